"""Reads torch's checkpoints without torch and without running any code in them.

Both layouts are supported: the zip archive, whose tensors become views of the file, and the older
layout, a row of pickles followed by the storages. A storage holds the numbers of some tensors.
"""

import dataclasses
import math
import mmap
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import ml_dtypes
import numpy as np

from crocohuman_jax.weights.safe import archives, pickles, rebuild

LARGEST_PICKLE = 64 << 20  # bytes, without the tensors
LARGEST_OLD_FILE = 8 << 30
MOST_NUMBERS = 1 << 48  # elements of a tensor
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The pickles at the start of a file of the older layout, and the values that they must have.
_OLD = {
    "magic number": _MAGIC,
    "protocol": _PROTOCOL,
    "system": None,
    "content": None,
    "list of storages": None,
}
_KINDS = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
}
_TAR = b"ustar"  # at byte 257


def read(path: pathlib.Path) -> dict:
    """Returns the content of a checkpoint: tensors as numpy arrays, a Namespace as a dictionary.

    Objects of other classes become `rebuild.Unknown`. Tensors of a zip archive are read-only views
    of the file.

    Raises:
        ValueError: the file is not a torch file, is damaged, or holds what torch does not write.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if mapped[257:262] == _TAR:
        raise ValueError(
            f"{path} is a tar file from torch before 0.1.10: save it again with a newer torch."
        )
    found = _read_zip(path, mapped) if mapped[:4] == archives.FIRST else _read_old(path, mapped)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a dictionary of weights.")
    return found


def _read_zip(path: pathlib.Path, mapped: mmap.mmap):
    members = _members(path, mapped)
    roots = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(
            f"{path} has {len(roots)} files named data.pkl; a torch checkpoint has one."
        )
    root = roots[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder", b"little")
    if bytes(order[:16]) != b"little":
        raise ValueError(f"{path} was written on a big-endian machine, which is not supported.")
    described = members[roots[0]]
    if len(described) > LARGEST_PICKLE:
        raise ValueError(
            f"{path}: its data.pkl has {len(described)} bytes; the limit is {LARGEST_PICKLE}."
        )
    tree, _ = pickles.read(bytes(described), f"{path}'s data.pkl")

    def storage(key: str) -> memoryview:
        name = f"{root}data/{key}"
        if name not in members:
            raise ValueError(f"the storage {key!r} is missing")
        return members[name]

    return rebuild.rebuild(tree, str(path), len(mapped), Tensors(storage))


def _members(path: pathlib.Path, mapped: mmap.mmap) -> dict[str, memoryview]:
    """Returns the members of an archive without compression, as views of the file."""
    view, found = memoryview(mapped), {}
    for name, (member, begin) in archives.members(path, mapped).items():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{path}: {name!r} is compressed; torch writes without compression.")
        content = view[begin : begin + member.file_size]
        if zlib.crc32(content) != member.CRC:
            raise ValueError(
                f"{path}: {name!r} is damaged: its checksum does not match. Download or copy the "
                "file again."
            )
        found[name] = content
    return found


def _read_old(path: pathlib.Path, mapped: mmap.mmap):
    if len(mapped) > LARGEST_OLD_FILE:
        raise ValueError(f"{path} has {len(mapped)} bytes, more than {LARGEST_OLD_FILE}.")
    view, position, trees = memoryview(mapped), 0, []
    for what, expected in _OLD.items():
        room = bytes(view[position : position + LARGEST_PICKLE])
        tree, end = pickles.read(room, f"{path}'s {what}", whole=False)
        if expected is not None and (type(tree) is not int or tree != expected):
            raise ValueError(f"{path} is not a torch checkpoint: its {what} is not {expected}.")
        trees.append(tree)
        position += end
    *_, tree, keys = trees
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{path} does not list its storages, so it is not a torch checkpoint.")
    try:
        sizes = _storage_sizes(tree)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if set(sizes) != set(keys) or len(set(keys)) != len(keys):
        raise ValueError(f"{path}: the storages that it lists are not those that its tensors use.")
    found = {}
    for key in keys:
        count = int.from_bytes(view[position : position + 8], "little")
        wanted, itemsize = sizes[key]
        begin, end = position + 8, position + 8 + wanted * itemsize
        if count != wanted or end > len(view):
            raise ValueError(
                f"{path}: the storage {key!r} does not hold its {wanted} numbers. If the file was "
                "cut short, download or copy it again."
            )
        found[key] = view[begin:end]
        position = end
    if position != len(view):
        raise ValueError(
            f"{path} has {len(view) - position} bytes after its last storage; expected none."
        )
    return rebuild.rebuild(tree, str(path), len(mapped), Tensors(found.__getitem__))


def _storage_sizes(tree) -> dict[str, tuple[int, int]]:
    """Returns {key: (count of numbers, bytes per number)} of all storages in a tree."""
    sizes, seen, waiting = {}, set(), [tree]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        if isinstance(node, pickles.Persistent):
            key, kind, count = _storage(node)
            sizes[key] = count, kind.itemsize
            continue
        inner = ()
        if isinstance(node, dict):
            inner = (*node.keys(), *node.values())
        elif isinstance(node, list | tuple | set | frozenset):
            inner = node
        elif isinstance(node, pickles.Call):
            inner = (node.arguments, node.state, *node.items)
        if inner:
            seen.add(id(node))
            waiting.extend(inner)
    return sizes


def _storage(named) -> tuple[str, np.dtype, int]:
    """Returns the key, type and count of numbers of a storage that a pickle refers to."""
    about = named.id if isinstance(named, pickles.Persistent) else None
    if not isinstance(about, tuple) or len(about) < 5 or about[0] != "storage":
        raise ValueError("a tensor has no storage")
    _, kind, key, _, count = about[:5]
    if len(about) > 5 and about[5] is not None:
        raise ValueError("a storage that is a view of another storage is not supported")
    if not isinstance(kind, pickles.Global) or not isinstance(key, str) or type(count) is not int:
        raise ValueError("a storage lacks its type, key or size")
    if kind.module != "torch" or kind.name not in _KINDS:
        raise ValueError(f"tensors of {kind} are not supported")
    if not 0 <= count < MOST_NUMBERS:
        raise ValueError(f"a storage cannot have {count} numbers")
    return key, _KINDS[kind.name], count


@dataclasses.dataclass
class Tensors:
    """Makes arrays from tensors; tensors that share a storage share its memory.

    Attributes:
        storage: function that returns the bytes of a storage, given its key.
    """

    storage: Callable[[str], memoryview]

    def __call__(self, storage, offset, shape, strides) -> np.ndarray:
        """Returns the array that `torch._utils._rebuild_tensor_v2` would make from the arguments.

        Raises:
            ValueError: the tensor reaches beyond its storage, or has more elements than it.
        """
        key, kind, count = _storage(storage)
        content = self.storage(key)
        if len(content) != count * kind.itemsize:
            raise ValueError(
                f"the storage {key!r} has {len(content)} bytes, which do not fit {count} {kind}"
            )
        sides = isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
        if not sides or not len(shape) == len(strides) <= 32:
            raise ValueError("the shape and the strides of a tensor do not fit together")
        numbers = (offset, *shape, *strides)
        if not all(type(n) is int and 0 <= n < MOST_NUMBERS for n in numbers):
            raise ValueError(
                "the offset, shape and strides of a tensor must be integers from 0 to "
                f"{MOST_NUMBERS - 1}"
            )
        elements = math.prod(shape)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if elements and (last >= count or elements > count):
            raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {count}")
        if not elements:
            return np.zeros(shape, kind)
        flat = np.frombuffer(content, kind)[offset:]
        steps = [stride * kind.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
        return view if view.flags.c_contiguous else view.copy()

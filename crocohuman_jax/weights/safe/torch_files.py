"""Reads torch's checkpoints without torch and without running anything that they hold.

Both layouts are read: the zip archive, whose tensors are views of the file, and the older one, a
row of pickles followed by the storages.
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
MOST_NUMBERS = 1 << 48  # of a tensor
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# The pickles with which an old file begins, and what they have to be.
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
    """Returns what a checkpoint holds: tensors as numpy arrays, a Namespace as a dictionary.

    Classes that are none of these are `rebuild.Unknown`. Tensors of a zip archive are read-only
    views of the file.

    Raises:
        ValueError: no torch file, a damaged one, or one that tries what an honest one does not.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if mapped[257:262] == _TAR:
        raise ValueError(f"{path} is a tar of torch before 0.1.10: save it again with a newer one.")
    found = _read_zip(path, mapped) if mapped[:4] == archives.FIRST else _read_old(path, mapped)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a dictionary of weights.")
    return found


def _read_zip(path: pathlib.Path, mapped: mmap.mmap):
    members = _members(path, mapped)
    roots = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"{path} has {len(roots)} data.pkl; a checkpoint of torch has one.")
    root = roots[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder", b"little")
    if bytes(order[:16]) != b"little":
        raise ValueError(f"{path} was written on a big-endian machine, which is not read.")
    described = members[roots[0]]
    if len(described) > LARGEST_PICKLE:
        raise ValueError(f"{path}: its data.pkl has {len(described)} bytes.")
    tree, _ = pickles.read(bytes(described), f"{path}'s data.pkl")

    def storage(key: str) -> memoryview:
        name = f"{root}data/{key}"
        if name not in members:
            raise ValueError(f"the storage {key!r} is missing")
        return members[name]

    return rebuild.rebuild(tree, str(path), len(mapped), Tensors(storage))


def _members(path: pathlib.Path, mapped: mmap.mmap) -> dict[str, memoryview]:
    """Returns the members of an archive that only stores, as views of the file."""
    view, found = memoryview(mapped), {}
    for name, (member, begin) in archives.members(path, mapped).items():
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{path}: {name!r} is packed; torch does not pack.")
        content = view[begin : begin + member.file_size]
        if zlib.crc32(content) != member.CRC:
            raise ValueError(f"{path}: {name!r} is damaged: its checksum is another.")
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
            raise ValueError(f"{path} is no checkpoint of torch: its {what} is another.")
        trees.append(tree)
        position += end
    *_, tree, keys = trees
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{path}: its list of storages is none.")
    try:
        sizes = _storage_sizes(tree)
    except ValueError as error:
        raise ValueError(f"{path} is not read: {error}.") from error
    if set(sizes) != set(keys) or len(set(keys)) != len(keys):
        raise ValueError(f"{path}: the storages it lists are not those it uses.")
    found = {}
    for key in keys:
        count = int.from_bytes(view[position : position + 8], "little")
        wanted, itemsize = sizes[key]
        begin, end = position + 8, position + 8 + wanted * itemsize
        if count != wanted or end > len(view):
            raise ValueError(f"{path}: the storage {key!r} has not the {wanted} numbers it should.")
        found[key] = view[begin:end]
        position = end
    if position != len(view):
        raise ValueError(f"{path} is followed by {len(view) - position} bytes that are none of it.")
    return rebuild.rebuild(tree, str(path), len(mapped), Tensors(found.__getitem__))


def _storage_sizes(tree) -> dict[str, tuple[int, int]]:
    """Returns {key: (numbers, bytes of each)} of all storages that a tree names."""
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
    """Returns key, type and count of numbers of a storage that a pickle names."""
    about = named.id if isinstance(named, pickles.Persistent) else None
    if not isinstance(about, tuple) or len(about) < 5 or about[0] != "storage":
        raise ValueError("a tensor without a storage")
    _, kind, key, _, count = about[:5]
    if len(about) > 5 and about[5] is not None:
        raise ValueError("a storage that is a view of another is not read")
    if not isinstance(kind, pickles.Global) or not isinstance(key, str) or type(count) is not int:
        raise ValueError("a storage without type, key and size")
    if kind.module != "torch" or kind.name not in _KINDS:
        raise ValueError(f"tensors of {kind} are not read")
    if not 0 <= count < MOST_NUMBERS:
        raise ValueError(f"a storage of {count} numbers")
    return key, _KINDS[kind.name], count


@dataclasses.dataclass
class Tensors:
    """Makes arrays of tensors; tensors that share a storage share its memory.

    Attributes:
        storage: key -> the bytes of a storage.
    """

    storage: Callable[[str], memoryview]

    def __call__(self, storage, offset, shape, strides) -> np.ndarray:
        """Returns the array that `torch._utils._rebuild_tensor_v2` would make of these.

        Raises:
            ValueError: it reaches beyond its storage, or unfolds to more than that has.
        """
        key, kind, count = _storage(storage)
        content = self.storage(key)
        if len(content) != count * kind.itemsize:
            raise ValueError(f"the storage {key!r} has {len(content)} bytes for {count} {kind}")
        sides = isinstance(shape, tuple | list) and isinstance(strides, tuple | list)
        if not sides or not len(shape) == len(strides) <= 32:
            raise ValueError("a tensor whose shape and strides do not fit")
        numbers = (offset, *shape, *strides)
        if not all(type(n) is int and 0 <= n < MOST_NUMBERS for n in numbers):
            raise ValueError("a tensor whose shape and strides are no numbers, or very large")
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

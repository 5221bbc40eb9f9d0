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

from crocohuman_jax.weights import objects, pickles

LARGEST_PICKLE = 64 << 20  # bytes, without the tensors
LARGEST_OLD_FILE = 8 << 30
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
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
}
_END = b"PK\x05\x06"  # of an archive's last record, 22 bytes long without a comment
_FIRST = b"PK\x03\x04"


def read(path: pathlib.Path) -> dict:
    """Returns what a checkpoint holds: tensors as numpy arrays, a Namespace as a dictionary.

    Classes that are none of these are `objects.Unknown`. Tensors of a zip archive are read-only
    views of the file.

    Raises:
        ValueError: no torch file, a damaged one, or one that tries what an honest one does not.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = _read_zip(path, mapped) if mapped[:4] == _FIRST else _read_old(path, mapped)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}, not a dictionary of weights.")
    return found


def _read_zip(path: pathlib.Path, mapped: mmap.mmap):
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is a broken archive: {error}.") from error
    with archive:
        members = _members(path, archive, mapped)
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

    return objects.rebuild(tree, str(path), Tensors(storage))


def _members(path, archive: zipfile.ZipFile, mapped: mmap.mmap) -> dict[str, memoryview]:
    """Returns the members of an archive that only stores, as views of the file."""
    if mapped[-22:-18] != _END or archive.comment:
        raise ValueError(f"{path} is followed by bytes that are none of the archive.")
    view, members = memoryview(mapped), {}
    for member in archive.infolist():
        name = member.filename
        parts = pathlib.PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
            raise ValueError(f"{path} has a member {name!r}, a path out of the archive.")
        if name in members:
            raise ValueError(f"{path} has the member {name!r} twice.")
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise ValueError(f"{path}: {name!r} is packed or encrypted; torch does neither.")
        begin = member.header_offset + 30
        head = mapped[member.header_offset : begin]
        if len(head) != 30 or head[:4] != _FIRST:
            raise ValueError(f"{path}: {name!r} is not where the archive says.")
        begin += int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        content = view[begin : begin + member.file_size]
        if len(content) != member.file_size or member.file_size != member.compress_size:
            raise ValueError(f"{path}: {name!r} reaches beyond the end of the file.")
        if zlib.crc32(content) != member.CRC:
            raise ValueError(f"{path}: {name!r} is damaged: its checksum is another.")
        members[name] = content
    return members


def _read_old(path: pathlib.Path, mapped: mmap.mmap):
    if len(mapped) > LARGEST_OLD_FILE:
        raise ValueError(f"{path} has {len(mapped)} bytes, more than {LARGEST_OLD_FILE}.")
    view, position, trees = memoryview(mapped), 0, []
    for what in ("magic number", "protocol", "system", "content", "list of storages"):
        room = bytes(view[position : position + LARGEST_PICKLE])
        tree, end = pickles.read(room, f"{path}'s {what}", whole=False)
        if (what, tree) not in (("magic number", _MAGIC), ("protocol", _PROTOCOL)) and what in (
            "magic number",
            "protocol",
        ):
            raise ValueError(f"{path} is no checkpoint of torch: its {what} is another.")
        trees.append(tree)
        position += end
    *_, tree, keys = trees
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{path}: its list of storages is none.")
    sizes = _storage_sizes(path, tree)
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
    return objects.rebuild(tree, str(path), Tensors(lambda key: found[key]))


def _storage_sizes(path, tree) -> dict[str, tuple[int, int]]:
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
    name = kind.name if isinstance(kind, pickles.Global) and kind.module == "torch" else str(kind)
    if name not in _KINDS:
        raise ValueError(f"tensors of {name} are not read")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage without key and size")
    return key, _KINDS[name], count


@dataclasses.dataclass
class Tensors:
    """Makes arrays of tensors; tensors that share a storage share its memory.

    Attributes:
        storage: key -> the bytes of a storage.
    """

    storage: Callable[[str], memoryview]

    def __call__(self, arguments: tuple) -> np.ndarray:
        """Returns the array of `torch._utils._rebuild_tensor_v2(*arguments)`.

        Raises:
            ValueError: it reaches beyond its storage, or unfolds to more than that has.
        """
        if len(arguments) < 4:
            raise ValueError("a tensor without storage, offset, size and stride")
        named, offset, shape, strides = arguments[:4]
        key, kind, count = _storage(named)
        content = self.storage(key)
        if len(content) != count * kind.itemsize:
            raise ValueError(f"the storage {key!r} has {len(content)} bytes for {count} {kind}")
        numbers = (offset, *self._whole(shape), *self._whole(strides))
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers) or len(shape) > 32:
            raise ValueError(f"a tensor of shape {shape}, strides {strides} at {offset}")
        if len(shape) != len(strides):
            raise ValueError(f"a tensor of shape {shape} with strides {strides}")
        elements = math.prod(shape)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if elements and (last >= count or elements > count):
            raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {count}")
        if not elements:
            return np.zeros(shape, kind)
        flat = np.frombuffer(content, kind)[offset:]
        steps = [stride * kind.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
        return np.ascontiguousarray(view).reshape(shape)

    @staticmethod
    def _whole(values) -> tuple:
        if isinstance(values, pickles.Call):  # torch.Size(...)
            values = values.arguments[0] if values.arguments else ()
        if not isinstance(values, tuple | list):
            raise ValueError("a tensor whose shape is no row of numbers")
        return tuple(values)

"""Arrays in files that cannot hold code: safetensors, read in place, and numpy's own formats."""

import json
import math
import mmap
import pathlib
import zipfile
from collections.abc import Mapping

import ml_dtypes
import numpy as np

LARGEST_HEADER = 100 << 20  # bytes, as the safetensors library allows
LARGEST_ARRAYS = 16 << 30  # bytes that the arrays of a numpy file may take
# How many times larger than its file a compressed numpy archive may unpack.
LARGEST_RATIO = 200
ALIGNMENT = 64  # bytes
_TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of a safetensors file, read-only views of it, and its metadata.

    Raises:
        ValueError: the file breaks the format: a header that is no JSON or names something twice,
            arrays that overlap, leave a gap or do not fit, bytes that belong to none.
    """
    size = path.stat().st_size
    if size < 8:
        raise ValueError(f"{path} has {size} bytes: no safetensors file.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(mapped[:8], "little")
    if length > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"{path} says its header has {length} bytes; the file has {size}.")
    try:
        header = json.loads(mapped[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has no readable safetensors header: {error}.") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: its header is no JSON object.")
    metadata = header.pop("__metadata__", {})
    if not _is_text(metadata):
        raise ValueError(f"{path}: its metadata is not text by name.")
    arrays, ends = {}, {}
    for name, entry in header.items():
        kind, shape, begin, end = _entry(path, name, entry, size - 8 - length)
        count = math.prod(shape)
        if count * kind.itemsize != end - begin:
            raise ValueError(f"{path}: {name!r} has {end - begin} bytes for {kind} {shape}.")
        flat = np.frombuffer(mapped, kind, count, 8 + length + begin)
        arrays[name] = flat.reshape(shape)
        ends[name] = (begin, end)
    last = 0
    for name, (begin, end) in sorted(ends.items(), key=lambda item: item[1]):
        if begin != last:
            raise ValueError(f"{path}: {name!r} begins at byte {begin}, not where {last} ended.")
        last = end
    if 8 + length + last != size:
        raise ValueError(f"{path} has {size - 8 - length - last} bytes that belong to no array.")
    return arrays, metadata


def write_safetensors(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays by name, sorted, whole or not at all; the same bytes for the same content.

    Raises:
        ValueError: an array of a type that the format does not have.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position, ordered = 0, []
    # Wide types first, so that every array lies at a multiple of its item size.
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.asarray(arrays[name])
        kind = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
        if kind not in _NAMES:
            raise ValueError(f"{name!r} is {array.dtype}; safetensors holds {', '.join(_TYPES)}.")
        ordered.append(array.astype(kind, copy=False))
        header[name] = {
            "dtype": _NAMES[kind],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)  # so that the arrays can be used in place
    temporary = path.with_name(f"{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in ordered:
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    temporary.replace(path)


def read_numpy(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an npz file by name, or that of an npy file as {"": array}.

    Raises:
        ValueError: damaged, too large once unpacked, or with Python objects in it.
    """
    try:
        if path.suffix == ".npy":
            return {"": _check_size(path, np.load(path, mmap_mode="r", allow_pickle=False))}
        _check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise
    except MemoryError as error:
        raise ValueError(f"{path} asks for more memory than there is.") from error
    except Exception as error:  # numpy and zipfile raise whatever a broken file makes them
        raise ValueError(f"{path} cannot be read as arrays: {error}") from error


def _check_size(path, array: np.ndarray) -> np.ndarray:
    if array.nbytes > LARGEST_ARRAYS:
        raise ValueError(f"{path} holds {array.nbytes} bytes, more than {LARGEST_ARRAYS}")
    return array


def _check_archive(path: pathlib.Path) -> None:
    """Raises a ValueError for an archive that would unpack to very much, or holds names twice."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = {member.filename for member in members}
        if len(names) != len(members):
            raise ValueError("a name is there twice")
        total = sum(member.file_size for member in members)
        if total > min(LARGEST_ARRAYS, LARGEST_RATIO * path.stat().st_size):
            raise ValueError(f"it would unpack to {total} bytes")
        for member in members:
            with archive.open(member) as file:
                _check_header(member, file)


def _check_header(member: zipfile.ZipInfo, file) -> None:
    """Compares what an array's header asks for with what the archive holds for it."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{member.filename} is of the unknown version {version}")
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, _, kind = read(file)
    if kind.hasobject:
        raise ValueError(f"{member.filename} holds Python objects, which are not read")
    if math.prod(shape) * kind.itemsize > member.file_size:
        raise ValueError(f"{member.filename} says {kind} {shape} but has {member.file_size} bytes")


def _once(pairs):
    """Returns the pairs of a JSON object as a dictionary; a name that comes twice is an error."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _is_text(metadata) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _entry(path, name, entry, room: int):
    """Returns type, shape and bounds of an array, or raises a ValueError."""
    try:
        kind, shape = entry["dtype"], entry["shape"]
        begin, end = entry["data_offsets"]
        numbers = (*shape, begin, end)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: what its header says of {name!r} is no array.") from error
    if not all(type(n) is int and n >= 0 for n in numbers) or not begin <= end <= room:
        raise ValueError(f"{path}: {name!r} of shape {shape} lies at {begin}:{end} of {room}.")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"{path}: {name!r} is of the unknown type {kind!r}.")
    return _TYPES[kind], tuple(shape), begin, end

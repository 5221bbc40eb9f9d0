"""Reads and writes safetensors files, and reads numpy's npz and npy files, without running code."""

import json
import math
import mmap
import pathlib
import reprlib
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from crocohuman_jax.configuration import files
from crocohuman_jax.weights.safe import archives, pickles, rebuild

LARGEST_HEADER = 4 << 20  # bytes; a model of a thousand tensors needs 0.1 MB
LARGEST_ARRAYS = 16 << 30  # bytes that the arrays of a numpy file may have
# An archive may unpack to at most ROOM bytes plus LARGEST_RATIO times its own size.
ROOM, LARGEST_RATIO = 128 << 20, 20
MOST_SIDES = 32  # axes of an array
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
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def read_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of a safetensors file, as read-only views of it, and its metadata.

    Raises:
        ValueError: the file breaks the format: its header is not JSON or repeats a name, its arrays
            overlap, leave a gap or do not fit their sizes, or some bytes belong to no array.
    """
    size = path.stat().st_size
    if size < 8:
        raise ValueError(f"{path} has {size} bytes; a safetensors file has at least 8.")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(mapped[:8], "little")
    if length > min(LARGEST_HEADER, size - 8):
        raise ValueError(
            f"{path} states a header of {length} bytes; a file of {size} bytes may have at most "
            f"{min(LARGEST_HEADER, size - 8)}."
        )
    try:
        header = json.loads(mapped[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has no readable safetensors header: {error}.") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path}: its header is not a JSON object.")
    metadata = header.pop("__metadata__", {})
    if not _is_text(metadata):
        raise ValueError(f"{path}: its __metadata__ must map names to texts.")
    arrays, ends = {}, {}
    for name, entry in header.items():
        kind, shape, begin, end = _entry(path, name, entry, size - 8 - length)
        count = math.prod(shape)
        if count * kind.itemsize != end - begin:
            raise ValueError(
                f"{path}: {name!r} has {end - begin} bytes; {kind} {shape} needs "
                f"{count * kind.itemsize}."
            )
        flat = np.frombuffer(mapped, kind, count, 8 + length + begin) if count else ()
        arrays[name] = np.asarray(flat, kind).reshape(shape)
        ends[name] = (begin, end)
    last = 0
    for name, (begin, end) in sorted(ends.items(), key=lambda item: item[1]):
        if begin != last:
            raise ValueError(
                f"{path}: {name!r} begins at byte {begin}; the array before it ends at {last}."
            )
        last = end
    if 8 + length + last != size:
        raise ValueError(f"{path} has {size - 8 - length - last} bytes that belong to no array.")
    return arrays, metadata


def write_safetensors(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes a safetensors file, whole or not at all; equal content gives equal bytes.

    Raises:
        ValueError: an array has a type that the format does not support.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position, ordered = 0, []
    # Wide types first, so that every array begins at a multiple of its item size.
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        array = np.asarray(arrays[name])
        kind = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
        if kind not in _NAMES:
            raise ValueError(
                f"{name!r} has the type {array.dtype}; safetensors supports {', '.join(_TYPES)}."
            )
        ordered.append(array.astype(kind, copy=False))
        header[name] = {
            "dtype": _NAMES[kind],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)  # so that the arrays can be used in place
    with files.whole(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in ordered:
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_numpy(path: pathlib.Path, only: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Returns the arrays of an npz file by name, or {"": array} for an npy file.

    An npz may hold Python objects, as some body models do. `rebuild.rebuild` reads these as data:
    arrays, texts, other plain values, and lists of them.

    Args:
        path: the file.
        only: names of the arrays to read from an npz, as far as it has them; None for all.

    Raises:
        ValueError: the file is damaged, unpacks to too many bytes, or has an array of Python
            objects with more than one axis.
    """
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path} is empty.")
    with open(path, "rb") as file:
        if path.suffix == ".npy":
            return {"": _one(path, file, size, size)}
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    members = archives.members(path, mapped)
    total = sum(member.file_size for member, _ in members.values())
    if total > min(LARGEST_ARRAYS, ROOM + LARGEST_RATIO * size):
        raise ValueError(f"{path} would unpack to {total} bytes, too many for its {size} bytes.")
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name, (member, _) in members.items():
            if only is not None and name.removesuffix(".npy") not in only:
                continue
            with archive.open(member) as file:
                found[name.removesuffix(".npy")] = _one(
                    f"{path}: {name}", file, member.file_size, size
                )
    return found


def _one(what, file, length: int, size: int) -> Any:
    """Returns the content of one file in numpy's npy format.

    Args:
        what: name of the file in errors.
        file: the open file.
        length: its number of bytes.
        size: number of bytes on disk, of the file or of the npz that holds it.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"its format version {version} is not supported")
        shape, fortran, kind = _HEADERS[version](file)
        if kind.hasobject:
            tree, _ = pickles.read(file.read(length), "the object it holds")
            return rebuild.rebuild(tree, "the object it holds", size)
        wanted = math.prod(shape) * kind.itemsize
        if kind.kind not in "biufcSU" or wanted > length:
            raise ValueError(
                f"its header gives {kind} {shape}, which is not supported or needs more than its "
                f"{length} bytes"
            )
        data = file.read(wanted)
        if len(data) != wanted or file.read(1):
            raise ValueError(f"it does not hold exactly the {wanted} bytes of {kind} {shape}")
    except Exception as error:  # a damaged file can make numpy and zipfile raise anything
        raise ValueError(f"{what} cannot be read: {error}") from error
    if not wanted:
        return np.zeros(shape, kind)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")


def _once(pairs):
    """Returns the pairs of a JSON object as a dictionary; a repeated name is a ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _is_text(metadata) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _entry(path, name, entry, room: int):
    """Returns an array's type, shape, first byte and end byte, or raises a ValueError."""
    try:
        kind, shape = entry["dtype"], entry["shape"]
        begin, end = entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: its header must give dtype, shape and two data_offsets for {name!r}."
        ) from error
    if not isinstance(shape, list) or len(shape) > MOST_SIDES:
        raise ValueError(
            f"{path}: the shape of {name!r} must be a list of at most {MOST_SIDES} numbers."
        )
    whole = all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, begin, end))
    # numpy refuses a shape whose product is too large, even if one side is 0.
    if not whole or not begin <= end <= room or math.prod(n or 1 for n in shape) > 1 << 48:
        shape, begin, end = map(reprlib.repr, (shape, begin, end))
        raise ValueError(
            f"{path}: {name!r} of shape {shape} cannot be at bytes {begin}:{end} of {room}."
        )
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(
            f"{path}: {name!r} has the unknown type {reprlib.repr(kind)}. "
            f"Known: {', '.join(_TYPES)}."
        )
    return _TYPES[kind], tuple(shape), begin, end

"""Looks through zip archives before anything in them is used: every byte has its place.

Python's zipfile is lenient, as it has to be. Here an archive begins where its file begins, its
members follow each other without overlap or gap, and nothing comes after its directory.
"""

import mmap
import pathlib
import zipfile

LARGEST_DIRECTORY = 4 << 20  # bytes; a model of a thousand tensors needs 0.1 MB
FIRST = b"PK\x03\x04"  # of each member
_LAST = b"PK\x05\x06"  # of the archive's last record, 22 bytes long without a comment
_LOCATOR = b"PK\x06\x07"  # of what precedes it in an archive of more than 4 GB, 76 bytes before
# Bytes that may follow a member whose sizes were not known when it was begun.
_FOOTERS = (12, 16, 20, 24)


def members(path: pathlib.Path, mapped: mmap.mmap) -> dict[str, tuple[zipfile.ZipInfo, int]]:
    """Returns the members of an archive by name, and at which byte the content of each begins.

    Args:
        path: of the archive.
        mapped: its content.

    Raises:
        ValueError: it is broken, or built as no honest program builds it.
    """
    if mapped[:4] != FIRST or mapped[-22:-18] != _LAST:
        raise ValueError(f"{path} is no archive from its first byte to its last, or is cut.")
    length = int.from_bytes(mapped[-10:-6], "little")
    if mapped[-42:-38] == _LOCATOR:
        length = max(length if length != 0xFFFFFFFF else 0, _large_directory(mapped))
    if length > LARGEST_DIRECTORY:
        raise ValueError(f"{path}: its directory has {length} bytes.")
    try:
        with zipfile.ZipFile(path) as archive:
            listed, directory = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is a broken archive: {error}.") from error
    found = {}
    end = 0
    for member in sorted(listed, key=lambda member: member.header_offset):
        begin = _begin(path, mapped, member)
        gap = member.header_offset - end
        if gap and not (gap in _FOOTERS and found):
            raise ValueError(f"{path}: {member.filename!r} overlaps another member or has a gap.")
        if member.filename in found:
            raise ValueError(f"{path} has the member {member.filename!r} twice.")
        found[member.filename] = member, begin
        end = begin + member.compress_size
        if end > directory:
            raise ValueError(f"{path}: {member.filename!r} reaches beyond the end of the file.")
    if directory - end not in (0, *_FOOTERS):
        raise ValueError(f"{path} has {directory - end} bytes before its directory.")
    return found


def _large_directory(mapped) -> int:
    return int.from_bytes(mapped[-58:-50], "little")


def _begin(path, mapped, member: zipfile.ZipInfo) -> int:
    """Returns where the content of a member begins, or raises a ValueError."""
    name = member.filename
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not name:
        raise ValueError(f"{path} has a member {name!r}, a path out of the archive.")
    if member.flag_bits & 1:
        raise ValueError(f"{path}: {name!r} is encrypted.")
    head = mapped[member.header_offset : member.header_offset + 30]
    if len(head) != 30 or head[:4] != FIRST:
        raise ValueError(f"{path}: {name!r} is not where the archive says.")
    begin = member.header_offset + 30 + int.from_bytes(head[26:28], "little")
    if mapped[member.header_offset + 30 : begin] != _encoded(member):
        raise ValueError(f"{path}: {name!r} has another name where it lies.")
    return begin + int.from_bytes(head[28:30], "little")


def _encoded(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")

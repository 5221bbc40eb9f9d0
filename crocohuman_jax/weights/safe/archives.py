"""Checks the structure of a zip archive before any of its members is used.

Python's zipfile accepts archives with bytes that belong to no member. This module does not: an
archive must begin at the first byte of its file, its members must follow each other without
overlap or gap, and nothing may follow its directory (the list of its members).
"""

import mmap
import pathlib
import zipfile

LARGEST_DIRECTORY = 4 << 20  # bytes; a model of a thousand tensors needs 0.1 MB
FIRST = b"PK\x03\x04"  # signature of each member
_LAST = b"PK\x05\x06"  # signature of the last record, 22 bytes long without a comment
# Signature of the locator (20 bytes) that precedes the last record in an archive of more than 4 GB.
# A record of 56 bytes, which holds the length of the directory, precedes the locator.
_LOCATOR = b"PK\x06\x07"
# Lengths in bytes of the record that may follow a member whose size was unknown at its start.
_FOOTERS = (12, 16, 20, 24)


def members(path: pathlib.Path, mapped: mmap.mmap) -> dict[str, tuple[zipfile.ZipInfo, int]]:
    """Returns the members of an archive by name, each with the byte where its content begins.

    Args:
        path: the archive.
        mapped: the same file, memory-mapped.

    Raises:
        ValueError: the archive is damaged, or its structure breaks the rules above.
    """
    if mapped[:4] != FIRST or mapped[-22:-18] != _LAST:
        raise ValueError(
            f"{path} is not a zip archive from its first byte to its last. If it was cut short, "
            "download or copy it again."
        )
    length = int.from_bytes(mapped[-10:-6], "little")
    if mapped[-42:-38] == _LOCATOR:
        length = max(length if length != 0xFFFFFFFF else 0, _large_directory(mapped))
    if length > LARGEST_DIRECTORY:
        raise ValueError(
            f"{path}: its archive directory has {length} bytes; the limit is {LARGEST_DIRECTORY}."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            listed, directory = archive.infolist(), archive.start_dir
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path} is a damaged archive: {error}.") from error
    found = {}
    end = 0
    for member in sorted(listed, key=lambda member: member.header_offset):
        begin = _begin(path, mapped, member)
        gap = member.header_offset - end
        if gap and not (gap in _FOOTERS and found):
            raise ValueError(
                f"{path}: {member.filename!r} overlaps the member before it, or follows a gap."
            )
        if member.filename in found:
            raise ValueError(f"{path} has the member {member.filename!r} twice.")
        found[member.filename] = member, begin
        end = begin + member.compress_size
        if end > directory:
            raise ValueError(f"{path}: {member.filename!r} reaches into the archive directory.")
    if directory - end not in (0, *_FOOTERS):
        raise ValueError(
            f"{path} has {directory - end} unknown bytes between its members and its directory."
        )
    return found


def _large_directory(mapped) -> int:
    return int.from_bytes(mapped[-58:-50], "little")


def _begin(path, mapped, member: zipfile.ZipInfo) -> int:
    """Returns the byte where the content of a member begins, or raises a ValueError."""
    name = member.filename
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not name:
        raise ValueError(
            f"{path} has a member named {name!r}; a name must be a path that stays in the archive."
        )
    if member.flag_bits & 1:
        raise ValueError(f"{path}: {name!r} is encrypted, which is not supported.")
    head = mapped[member.header_offset : member.header_offset + 30]
    if len(head) != 30 or head[:4] != FIRST:
        raise ValueError(f"{path}: {name!r} is not at the position that the directory gives.")
    begin = member.header_offset + 30 + int.from_bytes(head[26:28], "little")
    if mapped[member.header_offset + 30 : begin] != _encoded(member):
        raise ValueError(f"{path}: {name!r} has a different name in its own header.")
    return begin + int.from_bytes(head[28:30], "little")


def _encoded(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437")

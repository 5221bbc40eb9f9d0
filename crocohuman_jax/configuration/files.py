"""Makes foreign names safe to use as file names and paths, and writes files whole or not at all."""

import contextlib
import os
import pathlib
import unicodedata
from collections.abc import Iterator

LONGEST = 100  # bytes of a cleaned name, which is a part of a file name
LONGEST_WHOLE = 200  # bytes of a file name without its ending; file systems take 255 in all
SEPARATORS = " ._-"


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the path of a file to write, which takes the place of `path` once it is complete.

    If writing fails, `path` stays as it was. The temporary file lies in the same folder, and its
    name is hidden and ends in .tmp, so that nobody reads it as data.
    """
    temporary = path.with_name(f".{_shortened(path.name, LONGEST)}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def clean(name: str) -> str:
    """Returns a name that can be part of a file name: letters, digits and `SEPARATORS` only.

    Other characters become "_". The result has no dots or spaces at its ends and at most LONGEST
    bytes; if nothing remains, it is "unnamed". Different names may give one result: see `Distinct`.
    """
    composed = unicodedata.normalize("NFC", name)
    # L, M and N are Unicode's letters, marks and numbers.
    kept = "".join(
        c if c in SEPARATORS or unicodedata.category(c)[0] in "LMN" else "_" for c in composed
    )
    return _shortened(kept.strip(" ."), LONGEST).strip(" .") or "unnamed"


class LeadsOut(ValueError):
    """A link within a folder leads out of it."""


class Distinct:
    """Returns a different file name at each call.

    No two are equal, not even on file systems that ignore upper and lower case.
    """

    def __init__(self):
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """Returns the name, with a number appended if it was returned before.

        Args:
            name: a file name without its ending; parts of it that come from files must have passed
                through `clean`.
        """
        name = found = _shortened(printable(name), LONGEST_WHOLE)
        number = 1
        while _folded(found) in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(_folded(found))
        return found


def within(folder: pathlib.Path, name: str, follow_links: bool = False) -> pathlib.Path:
    """Returns the path of a named file, which must lie in the folder but need not exist.

    Args:
        folder: the folder, which may itself be reached through links.
        name: path of the file relative to the folder, with "/" between its parts.
        follow_links: accept links within the folder that lead out of it.

    Raises:
        LeadsOut: a link leads out of the folder.
        ValueError: the name is empty, absolute, has "..", or is not valid in the file system.
    """
    path = pathlib.PurePosixPath(name)
    if not path.parts:
        raise ValueError(f"{name!r} is not the name of a file")
    if path.is_absolute() or ".." in path.parts or pathlib.PureWindowsPath(name).drive:
        raise ValueError(f"{name!r} is absolute or has '..', but must stay within {folder}")
    try:
        found = folder / path
        resolved, root = found.resolve(), folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL, a lone surrogate
        raise ValueError(f"{name!r} is not the name of a file: {error}") from error
    if not follow_links and not resolved.is_relative_to(root):
        raise LeadsOut(f"{name!r} leads out of {folder}, by a link to {str(resolved)!r}")
    return found


def printable(text: str) -> str:
    """Returns a text that can be printed and stored: bytes that are not UTF-8 become \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()

"""Names that come out of files, made safe: as names of files, and as paths within a folder."""

import pathlib
import unicodedata

LONGEST = 100  # bytes of a cleaned name; file systems take 255 with everything around it
LONGEST_WHOLE = 200
SEPARATORS = " ._-"


def clean(name: str) -> str:
    """Returns a name as part of a file's name: letters, digits and `SEPARATORS`, never a path.

    Everything else becomes "_". What is left has no dots or spaces at its ends, at most LONGEST
    bytes, and is "unnamed" if nothing is left. Several names may become the same: see `Distinct`.
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
    """Gives everything that is written a file's name of its own.

    No two are equal, not even on file systems that take upper and lower case for the same.
    """

    def __init__(self):
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """Returns a name, with a number after it if it was returned before.

        Args:
            name: a file's name without its ending, whose parts from elsewhere went through `clean`.
        """
        name = found = _shortened(printable(name), LONGEST_WHOLE)
        number = 1
        while _folded(found) in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(_folded(found))
        return found


def within(folder: pathlib.Path, name: str, follow_links: bool = False) -> pathlib.Path:
    """Returns the path of a file that something names, which must lie in the folder.

    Args:
        folder: which may itself be reached by links.
        name: relative to the folder, with "/" between its parts.
        follow_links: also take what a link within the folder leads to elsewhere.

    Raises:
        LeadsOut: a link leads out of the folder.
        ValueError: the name is empty, absolute, has "..", or is no text that a file system takes.
            That there is no such file is no error.
    """
    path = pathlib.PurePosixPath(name)
    if not path.parts:
        raise ValueError(f"{name!r} is not the name of a file")
    if path.is_absolute() or ".." in path.parts or pathlib.PureWindowsPath(name).drive:
        raise ValueError(f"{name!r} is absolute or has '..': names stay within {folder}")
    try:
        found = folder / path
        resolved, root = found.resolve(), folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL, a lone surrogate
        raise ValueError(f"{name!r} is not the name of a file: {error}") from error
    if not follow_links and not resolved.is_relative_to(root):
        raise LeadsOut(f"{name!r} leads out of {folder}, by a link to {str(resolved)!r}")
    return found


def printable(text: str) -> str:
    """Returns a text that can be printed and stored: bytes that are not UTF-8 as \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()

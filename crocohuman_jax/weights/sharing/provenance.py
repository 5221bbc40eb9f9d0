"""Writes receipts: which files a conversion read and wrote, with their SHA-256."""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping

from crocohuman_jax.configuration import files

RECEIPT = "receipt.json"


def about(path: pathlib.Path) -> dict:
    """Returns a file's name, size in bytes and SHA-256, or a folder's name and number of files."""
    if path.is_dir():
        files = sorted(child for child in path.rglob("*") if child.is_file())
        return {"name": path.name, "files": len(files)}
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def write(
    folder: pathlib.Path,
    source: pathlib.Path,
    outputs: Iterable[pathlib.Path],
    details: Mapping[str, object],
    name: str = RECEIPT,
) -> pathlib.Path:
    """Writes a receipt into a folder and returns its path.

    Args:
        folder: the folder that gets the receipt.
        source: the file or folder that was read.
        outputs: the files that were written.
        details: further entries, as values that JSON supports.
        name: file name of the receipt.
    """
    content = {
        "source": about(source),
        "outputs": [about(path) for path in outputs],
        **details,
    }
    path = folder / name
    with files.whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")
    return path

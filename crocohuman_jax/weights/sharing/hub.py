"""Models on the Hugging Face hub; needs the extra `hub`."""

import importlib
import pathlib
import re

from crocohuman_jax.weights.sharing import model_folder

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_name(source: str) -> bool:
    """Returns whether a text has the form of a model's name there: owner/name."""
    return bool(NAME.fullmatch(source))


def fetch(name: str, revision: str | None = None) -> pathlib.Path:
    """Returns the folder of a model, downloaded unless it is there already.

    Args:
        name: owner/name.
        revision: a branch, tag or commit; None for the newest.

    Raises:
        ValueError: huggingface_hub is not installed, or there is no such model.
    """
    library = _library(f"{name} is no folder here, and loading it from the hub")
    try:
        found = library.snapshot_download(
            name, revision=revision, allow_patterns=[model_folder.WEIGHTS, model_folder.DESCRIPTION]
        )
    except (OSError, ValueError) as error:  # what huggingface_hub raises is one of them
        raise ValueError(
            f"{name} is neither a folder here nor could it be loaded from the hub: {error}"
        ) from error
    return pathlib.Path(found)


def push(source: pathlib.Path, name: str, private: bool = True) -> str:
    """Uploads a shared model, made private unless said otherwise; returns its address.

    Args:
        source: the folder.
        name: owner/name; made if need be.
        private: whether a repository made for it is private.

    Raises:
        ValueError: huggingface_hub is not installed, or the folder holds no model.
    """
    if not is_name(name):
        raise ValueError(f"A model's name on the hub is OWNER/NAME, not {name!r}.")
    model_folder.read(source)  # whole and as described, before anything leaves this machine
    library = _library("Pushing to the hub")
    library.create_repo(name, private=private, exist_ok=True)
    shown = [model_folder.CARD, model_folder.DESCRIPTION, model_folder.WEIGHTS]
    return str(library.upload_folder(repo_id=name, folder_path=source, allow_patterns=shown))


def _library(what: str):
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ValueError(
            f"{what} needs huggingface_hub: pip install 'crocohuman_jax[hub]'."
        ) from error

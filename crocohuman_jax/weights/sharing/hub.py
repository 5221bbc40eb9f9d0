"""Downloads and uploads models on the Hugging Face hub; needs the extra `hub`."""

import importlib
import pathlib
import re

from crocohuman_jax.weights.sharing import model_folder

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_name(source: str) -> bool:
    """Returns whether a text has the form of a model's name on the hub: owner/name."""
    return bool(NAME.fullmatch(source))


def fetch(name: str, revision: str | None = None) -> pathlib.Path:
    """Returns the local folder of a model, downloaded if it is not there yet.

    Args:
        name: owner/name.
        revision: a branch, tag or commit; None for the newest.

    Raises:
        ValueError: huggingface_hub is not installed, or the model cannot be downloaded.
    """
    library = _library(f"{name} is not a local folder, and loading it from the hub")
    try:
        found = library.snapshot_download(
            name, revision=revision, allow_patterns=[model_folder.WEIGHTS, model_folder.DESCRIPTION]
        )
    except (OSError, ValueError) as error:  # those of huggingface_hub are of these types
        raise ValueError(
            f"{name} is not a local folder and could not be downloaded from the hub: {error}"
        ) from error
    return pathlib.Path(found)


def push(source: pathlib.Path, name: str, private: bool = True) -> str:
    """Uploads a shared model and returns its address.

    Args:
        source: the model's folder.
        name: owner/name; the repository is created if it does not exist.
        private: whether a repository created for the model is private.

    Raises:
        ValueError: huggingface_hub is not installed, or the folder holds no model.
    """
    if not is_name(name):
        raise ValueError(f"A model's name on the hub must be OWNER/NAME, not {name!r}.")
    model_folder.read(source)  # so that nothing incomplete is uploaded
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

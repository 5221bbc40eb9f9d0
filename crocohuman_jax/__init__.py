"""Learns to understand people from pairs of pictures, in JAX.

`load` gives a trained model: of a folder, of a run, or of the Hugging Face hub.
"""

import importlib

_PUBLIC = {"load": "inference.model", "Model": "inference.model"}


def __getattr__(name: str):
    # Only when asked for: the processes that read data import this package without JAX.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Pre-trains networks on pairs of pictures of people and recovers human meshes, in JAX.

`load` returns a trained model from a folder, a run or the Hugging Face hub.
"""

import importlib

_PUBLIC = {"load": "inference.model", "Model": "inference.model"}


def __getattr__(name: str):
    # Imported on first use, because processes that read data import this package without JAX.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

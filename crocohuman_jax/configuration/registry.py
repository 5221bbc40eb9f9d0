"""Finds a task, a dataset or a kind of data by the name of its module."""

import importlib
import pkgutil
import types


def find(kind: str, name: str, setting: str = "") -> types.ModuleType:
    """Returns the module or package `crocohuman_jax.<kind>.<name>`: find("tasks", "completion").

    Names that begin with an underscore are helpers and are not found.

    Args:
        kind: name of the package.
        name: name of the module.
        setting: the setting that gave the name, for the message: config.task.

    Raises:
        ValueError: there is no such module; the message lists the known names.
    """
    package = importlib.import_module(f"crocohuman_jax.{kind}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    known = sorted(name for name in found if not name.startswith("_"))
    if name not in known:
        raise ValueError(
            f"{setting and f'{setting}: '}Unknown name {name!r} in {kind}. "
            f"Known: {', '.join(known)}. "
            f"To add it, write crocohuman_jax/{kind.replace('.', '/')}/{name}.py."
        )
    return importlib.import_module(f"{package.__name__}.{name}")

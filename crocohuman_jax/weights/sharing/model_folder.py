"""The form in which models are shared: a folder of model.safetensors, config.json, README.md."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.configuration import options
from crocohuman_jax.models import parameters, pixels, position_embeddings
from crocohuman_jax.models.croco import Shape
from crocohuman_jax.weights.names import architectures, leaf_names
from crocohuman_jax.weights.safe import arrays

WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = "crocohuman_jax/1"


def write(
    folder: pathlib.Path,
    description: architectures.Description,
    params: Mapping[str, np.ndarray],
    card: str,
) -> list[pathlib.Path]:
    """Writes a model, its weights last, so that a folder with weights is whole.

    Args:
        folder: made if need be; what it holds is replaced.
        description: what the model is.
        params: {path: array}, stacks with their leading axis.
        card: the text of README.md.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in (CARD, DESCRIPTION, WEIGHTS)]
    paths[0].write_text(card)
    saved = {"format": FORMAT, "model": description.as_json(), "pixels": _pixels()}
    options.save(saved, paths[1])
    arrays.write_safetensors(paths[2], params, {"format": FORMAT})
    return paths


def holds_model(folder: pathlib.Path) -> bool:
    """Returns whether a folder has the form of `write`."""
    return (folder / WEIGHTS).is_file() and (folder / DESCRIPTION).is_file()


def describe(source: pathlib.Path) -> architectures.Description:
    """Returns what a shared model, or the model of a run's workdir, is.

    Raises:
        ValueError: neither of them, or of another version.
    """
    path = source / DESCRIPTION
    if not path.is_file():
        raise ValueError(
            f"{source} holds no model: neither a folder with {WEIGHTS} and {DESCRIPTION} nor "
            "the workdir of a run. PyTorch's files are made into one by: "
            "python -m crocohuman_jax.convert import --source=FILE --output=DIR."
        )
    saved = json.loads(path.read_text())
    saved = saved if isinstance(saved, dict) else {}
    if "config" in saved:  # of a run
        return _of_run(saved["config"])
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{path} is of the format {saved.get('format')!r}, not {FORMAT!r}: "
            "python -m crocohuman_jax.convert import makes one of it."
        )
    if saved.get("pixels") != _pixels():
        raise ValueError(f"{path}: pixels normalised by {saved.get('pixels')}, not {_pixels()}.")
    return architectures.Description.from_json(saved.get("model"))


def _pixels() -> dict[str, list[float]]:
    """Returns how pictures are normalised, rounded to what the numbers mean."""
    return {
        name: [round(float(x), 6) for x in values]
        for name, values in (("mean", pixels.MEAN), ("std", pixels.STD))
    }


def _of_run(config: Mapping[str, Any]) -> architectures.Description:
    if config["task"] != "completion":
        raise ValueError(f"A run of the task {config['task']!r} is no model to share yet.")
    model = config["model"]
    return architectures.Description(
        kind="croco",
        encoder=Shape(**model["encoder"]),
        decoder=Shape(**model["decoder"]),
        image=tuple(model["image"]),
        patch=model["patch"],
        position=model["position"],
        head=3 * model["patch"] ** 2,
        norm_pix=config["loss"]["norm_pix"],
    )


def read(folder: pathlib.Path) -> tuple[architectures.Description, dict[str, np.ndarray]]:
    """Returns a shared model and its parameters by path, views of the file where that can be.

    Raises:
        ValueError: the file does not hold what the description says.
    """
    description = describe(folder)
    found, _ = arrays.read_safetensors(folder / WEIGHTS)
    wanted = {leaf.path: leaf.shape_here() for leaf in architectures.leaves(description)}
    faults = [f"{path}: missing" for path in wanted if path not in found]
    faults += [f"{path}: not expected" for path in found if path not in wanted]
    faults += [
        f"{path}: {found[path].dtype} {found[path].shape}, expected float32 {shape}"
        for path, shape in wanted.items()
        if path in found and (found[path].shape != shape or found[path].dtype != np.float32)
    ]
    if faults:
        raise ValueError(
            f"{folder / WEIGHTS} does not hold what {DESCRIPTION} says:\n  " + "\n  ".join(faults)
        )
    return description, found


def load_params(folder: pathlib.Path, wanted: Any, grid: tuple[int, int], position: str) -> Any:
    """Returns parameters of a shared model, placed as `wanted` is.

    A table of positions that the file stores for another grid is interpolated.

    Args:
        folder: what `write` wrote.
        wanted: a nested dict of arrays or their shapes with shardings; only these are read.
        grid: (rows, columns) of patches they are wanted for.
        position: kind of positions they are wanted for.

    Raises:
        ValueError: a leaf is missing or of another shape, or the positions are of another kind.
    """
    description, found = read(folder)
    if description.position != position:
        raise ValueError(
            f"The weights of {folder} are of {description.position!r} positions, "
            f"not {position!r}: set config.model.position."
        )
    shapes = dict(parameters.named_leaves(wanted))
    for path in found:
        if path.endswith("/positions") and path in shapes:
            found[path] = resized(found[path], description.grid, grid)
    faults = [f"{path}: missing there" for path in shapes if path not in found]
    faults += [
        f"{path}: {found[path].shape} there, {tuple(leaf.shape)} here"
        for path, leaf in shapes.items()
        if path in found and found[path].shape != tuple(leaf.shape)
    ]
    if faults:
        parts = ", ".join(architectures.parts(description))
        raise ValueError(
            f"The weights of {folder} do not fit (it has {parts}):\n  " + "\n  ".join(faults[:20])
        )

    def place(path, leaf):
        array = found[path].astype(leaf.dtype, copy=False)
        placed = jax.make_array_from_callback(array.shape, leaf.sharding, lambda i: array[i])
        return jnp.copy(placed)  # memory of its own: the file's may be given up only with the file

    return leaf_names.nested({path: place(path, leaf) for path, leaf in shapes.items()})


def resized(table: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Returns a stored table [1 + N, D] for another grid; the class token's row stays."""
    if old == new:
        return table
    return np.concatenate([table[:1], np.asarray(position_embeddings.resize(table[1:], old, new))])

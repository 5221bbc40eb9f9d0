"""Reads and writes shared models: folders of model.safetensors, config.json and README.md."""

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
    """Writes a model's folder, the weights last, so that a folder with weights is complete.

    Args:
        folder: created if it does not exist; files of the same names are replaced.
        description: what the model is.
        params: {path: array}; the layers of a stack share a leading axis.
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
    """Returns whether a folder holds a model that `write` wrote."""
    return (folder / WEIGHTS).is_file() and (folder / DESCRIPTION).is_file()


def describe(source: pathlib.Path) -> architectures.Description:
    """Returns the description of a shared model, or of the model in a run's workdir.

    Raises:
        ValueError: the folder is neither of them, or has another format.
    """
    path = source / DESCRIPTION
    if not path.is_file():
        raise ValueError(
            f"{source} holds no model: neither a folder with {WEIGHTS} and {DESCRIPTION} nor "
            "the workdir of a run. To convert a PyTorch file: "
            "python -m crocohuman_jax.convert import --source=FILE --output=DIR."
        )
    saved = json.loads(path.read_text())
    saved = saved if isinstance(saved, dict) else {}
    if "config" in saved:  # written by a run
        return _of_run(saved["config"])
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {saved.get('format')!r}, not {FORMAT!r}: convert it with "
            "python -m crocohuman_jax.convert import."
        )
    if saved.get("pixels") != _pixels():
        raise ValueError(
            f"{path}: this model normalises pixels by {saved.get('pixels')}; only {_pixels()} is "
            "supported."
        )
    return architectures.Description.from_json(saved.get("model"))


def _pixels() -> dict[str, list[float]]:
    """Returns the mean and deviation that normalise pixels, rounded to six decimals."""
    return {
        name: [round(float(x), 6) for x in values]
        for name, values in (("mean", pixels.MEAN), ("std", pixels.STD))
    }


def _of_run(config: Mapping[str, Any]) -> architectures.Description:
    if config["task"] != "completion":
        raise ValueError(
            f"A run of the task {config['task']!r} cannot be loaded or shared as a model; only "
            "runs of 'completion' can."
        )
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
    """Returns a shared model's description and its parameters by path, as views of the file.

    Raises:
        ValueError: the weights do not match the description.
    """
    description = describe(folder)
    found, _ = arrays.read_safetensors(folder / WEIGHTS)
    wanted = {leaf.path: leaf.shape_here() for leaf in architectures.leaves(description)}
    faults = [f"{path}: missing" for path in wanted if path not in found]
    faults += [f"{path}: unexpected" for path in found if path not in wanted]
    faults += [
        f"{path}: {found[path].dtype} {found[path].shape}, expected float32 {shape}"
        for path, shape in wanted.items()
        if path in found and (found[path].shape != shape or found[path].dtype != np.float32)
    ]
    if faults:
        raise ValueError(
            f"{folder / WEIGHTS} does not match {DESCRIPTION}:\n  " + "\n  ".join(faults)
        )
    return description, found


def load_params(folder: pathlib.Path, wanted: Any, grid: tuple[int, int], position: str) -> Any:
    """Returns parameters of a shared model, with the types and shardings of `wanted`.

    A stored table of positions is interpolated if it is for another grid.

    Args:
        folder: a folder that `write` wrote.
        wanted: a nested dict of arrays or their shapes with shardings; only these are returned.
        grid: (rows, columns) of patches of the model that gets the parameters.
        position: kind of position embeddings of that model.

    Raises:
        ValueError: a parameter is missing or has another shape, or the kinds of positions differ.
    """
    description, found = read(folder)
    if description.position != position:
        raise ValueError(
            f"The weights of {folder} use {description.position!r} positions, "
            f"not {position!r}: set config.model.position."
        )
    shapes = dict(parameters.named_leaves(wanted))
    for path in found:
        if path.endswith("/positions") and path in shapes:
            found[path] = resized(found[path], description.grid, grid)
    faults = [f"{path}: missing in the file" for path in shapes if path not in found]
    faults += [
        f"{path}: {found[path].shape} in the file, expected {tuple(leaf.shape)}"
        for path, leaf in shapes.items()
        if path in found and found[path].shape != tuple(leaf.shape)
    ]
    if faults:
        parts = ", ".join(architectures.parts(description))
        raise ValueError(
            f"The weights of {folder} (it has {parts}) do not fit this model:\n  "
            + "\n  ".join(faults[:20])
        )

    def place(path, leaf):
        array = found[path].astype(leaf.dtype, copy=False)
        placed = jax.make_array_from_callback(array.shape, leaf.sharding, lambda i: array[i])
        return jnp.copy(placed)  # a copy, since a view's memory is freed only with the whole file

    return leaf_names.nested({path: place(path, leaf) for path, leaf in shapes.items()})


def resized(table: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """Returns a stored table [1 + N, D] interpolated to a grid; the class token's row stays."""
    if old == new:
        return table
    return np.concatenate([table[:1], np.asarray(position_embeddings.resize(table[1:], old, new))])

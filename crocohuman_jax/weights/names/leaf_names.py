"""Converts parameters between the names and layouts of PyTorch's files and of this project.

"There" means in PyTorch's files, "here" in this project. One list of `Leaf` serves both directions.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crocohuman_jax.models import position_embeddings

# Layout of one array: here -> there.
#   matrix   [in, *out]      -> [prod(out), in]
#   patches  [P * P * 3, D]  -> [D, 3, P, P]
#   flat     any             -> one axis
#   token    [D]             -> [1, 1, D]
#   table    [N, D]          -> [1, N, D]
#   conv     [h, w, in, out] -> [out, in, h, w]
#   upconv   [h, w, in, out] -> [in, out, h, w]
FORMS = ("matrix", "patches", "flat", "token", "table", "conv", "upconv")
Table = tuple[tuple[int, int], int]  # ((rows, columns) of patches, width) of a cosine table


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One parameter, with its names and layouts here and there.

    Attributes:
        path: its path here, with slashes between the parts.
        name: its name there; {i} stands for the index of a layer in a stack.
        form: its layout there, one of `FORMS`.
        shape: its shape here, for one layer.
        depth: number of layers in its stack, 0 without a stack; here they share a leading axis.
        also: further names there under which the same array is stored again.
    """

    path: str
    name: str
    form: str
    shape: tuple[int, ...]
    depth: int = 0
    also: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Returns the names there, one for each layer."""
        return [self.name.format(i=i) for i in range(self.depth)] if self.depth else [self.name]

    def shape_there(self) -> tuple[int, ...]:
        """Returns the shape there, for one layer."""
        shape = self.shape
        if self.form == "matrix":
            return (math.prod(shape[1:]), shape[0])
        if self.form == "patches":
            side = math.isqrt(shape[0] // 3)
            return (shape[1], 3, side, side)
        if self.form == "token":
            return (1, 1, *shape)
        if self.form == "table":
            return (1, *shape)
        if self.form == "conv":
            return (shape[3], shape[2], shape[0], shape[1])
        if self.form == "upconv":
            return (shape[2], shape[3], shape[0], shape[1])
        return (math.prod(shape),)

    def shape_here(self) -> tuple[int, ...]:
        """Returns the shape here, with the axis of layers if there is a stack."""
        return (self.depth, *self.shape) if self.depth else self.shape

    def take(self, array: np.ndarray) -> np.ndarray:
        """Returns one layer's array in the layout here, as a view if possible."""
        if self.form == "matrix":
            array = array.T
        elif self.form in ("patches", "conv"):
            array = array.transpose(2, 3, 1, 0)
        elif self.form == "upconv":
            array = array.transpose(2, 3, 0, 1)
        return array.reshape(self.shape)

    def give(self, array: np.ndarray) -> np.ndarray:
        """Returns one layer's array in the layout there; the inverse of `take`."""
        if self.form == "matrix":
            array = array.reshape(self.shape[0], -1).T
        elif self.form == "patches":
            side = math.isqrt(self.shape[0] // 3)
            array = array.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
        elif self.form == "conv":
            array = array.transpose(3, 2, 0, 1)
        elif self.form == "upconv":
            array = array.transpose(2, 3, 0, 1)
        return np.ascontiguousarray(array.reshape(self.shape_there()))


def expected(leaves: Iterable[Leaf]) -> dict[str, tuple[int, ...]]:
    """Returns {name there: shape there} of every array, without buffers."""
    return {name: leaf.shape_there() for leaf in leaves for name in (*leaf.names(), *leaf.also)}


def import_arrays(
    state: Mapping[str, np.ndarray],
    leaves: list[Leaf],
    tables: Mapping[str, Table],
    *,
    allow_missing: str = "",
    allow_unexpected: str = "",
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the parameters in a state dict by their paths here, as float32.

    A part (the text before the first slash of a path) is left out if it lacks an array.

    Args:
        state: {name there: array}.
        leaves: the parameters of the whole model.
        tables: {name there: (grid, width)} of arrays that must equal the cosine table. They are
            not parameters, and the file need not have them.
        allow_missing: comma-separated patterns of names that may be absent.
        allow_unexpected: comma-separated patterns of names to ignore.

    Returns:
        Parameters by path, and a line of text for everything that was skipped.

    Raises:
        ValueError: arrays are missing, unexpected, of the wrong shape or not finite floating-point
            numbers, or the two names of one parameter hold different arrays. All are listed.
    """
    wanted, faults, passed = expected(leaves), [], []
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in wanted and name not in tables]
    for names, patterns, word in (
        (missing, allow_missing, "missing"),
        (unexpected, allow_unexpected, "unexpected"),
    ):
        for name in names:
            (passed if _matches(name, patterns) else faults).append(f"{word}: {name}")
    for name, shape in wanted.items():
        if name in state:
            faults += _faults_of(name, state[name], shape)
    for name, table in tables.items():
        if name in state:
            faults += _faults_of_table(name, state[name], table)
    for leaf in leaves:
        for name in leaf.also:
            both = name in state and leaf.name in state
            if both and not np.array_equal(state[name], state[leaf.name]):
                faults.append(f"different: {name} and {leaf.name} must be the same array")
    if faults:
        raise ValueError(
            f"{len(faults)} arrays do not fit the model that this file describes:\n  "
            + "\n  ".join(sorted(faults))
            + "\nSkip missing ones with --allow_missing=PATTERN, unexpected ones with "
            "--allow_unexpected=PATTERN."
        )
    incomplete = {_part(leaf) for leaf in leaves if any(name not in state for name in leaf.names())}
    passed += [f"left out: {part}, which lacks arrays" for part in sorted(incomplete)]
    kept = [leaf for leaf in leaves if _part(leaf) not in incomplete]
    if not kept:
        raise ValueError(f"No part is complete: {', '.join(sorted(incomplete))} lack arrays.")
    return {leaf.path: _gather(leaf, state) for leaf in kept}, passed


def export_arrays(
    params: Mapping[str, np.ndarray], leaves: list[Leaf], tables: Mapping[str, Table]
) -> dict[str, np.ndarray]:
    """Returns a state dict from parameters by path; the inverse of `import_arrays`.

    Raises:
        ValueError: a parameter is missing, unexpected or of the wrong shape.
    """
    wanted = {leaf.path: leaf.shape_here() for leaf in leaves}
    faults = [f"missing: {path}" for path in wanted if path not in params]
    faults += [f"unexpected: {path}" for path in params if path not in wanted]
    for path, shape in wanted.items():
        if path in params:
            faults += _faults_of(path, params[path], shape)
    if faults:
        raise ValueError("These parameters do not fit the model:\n  " + "\n  ".join(sorted(faults)))
    state = {name: position_embeddings.cosine(*table) for name, table in tables.items()}
    for leaf in leaves:
        array = np.asarray(params[leaf.path])
        layers = array if leaf.depth else [array]
        for name, layer in zip(leaf.names(), layers, strict=True):
            state[name] = leaf.give(layer)
        for name in leaf.also:
            state[name] = state[leaf.name]
    return state


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {"a/b": x} as {"a": {"b": x}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, last = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree


def _gather(leaf: Leaf, state: Mapping[str, np.ndarray]) -> np.ndarray:
    out = np.empty(leaf.shape_here(), np.float32)
    for i, name in enumerate(leaf.names()):
        (out[i] if leaf.depth else out)[...] = leaf.take(np.asarray(state[name]))
    return out


def _faults_of(name: str, array: Any, shape: tuple[int, ...]) -> list[str]:
    if tuple(np.shape(array)) != shape:
        return [f"wrong shape: {name} is {tuple(np.shape(array))}, expected {shape}"]
    # bfloat16 is not one of numpy's own floating types.
    kind = getattr(array, "dtype", np.dtype(object))
    if kind.kind != "f" and kind.name != "bfloat16":
        return [f"not floating point: {name} is {kind}"]
    return [] if np.isfinite(array).all() else [f"not finite: {name}"]


def _faults_of_table(name: str, array: np.ndarray, table: Table) -> list[str]:
    grid, width = table
    faults = _faults_of(name, array, (grid[0] * grid[1], width))
    if faults:
        return faults
    off = float(
        np.abs(np.asarray(array, np.float64) - position_embeddings.cosine(grid, width)).max()
    )
    # Half precision keeps eleven bits, so its tables differ more.
    near = 1e-3 if np.asarray(array).dtype.itemsize < 4 else 1e-5
    return [] if off <= near else [f"not the cosine table: {name} is off by up to {off:.2g}"]


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, p.strip()) for p in patterns.split(",") if p.strip())


def _part(leaf: Leaf) -> str:
    return leaf.path.split("/")[0]

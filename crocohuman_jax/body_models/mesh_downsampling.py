"""Coarse versions of a triangle mesh, and the matrices that convert vertices between them."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

from crocohuman_jax.body_models import mesh_decimation
from crocohuman_jax.configuration import files

VERSION = 1  # version of the results of `compute`; part of the name of cached results


@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """A sparse matrix with at most K entries in a row.

    Args:
        columns: [R, K] int32, column of each entry; any column for unused entries.
        values: [R, K] float32, value of each entry; 0 for unused entries.
        width: number of columns of the matrix.
    """

    columns: np.ndarray
    values: np.ndarray
    width: int


@dataclasses.dataclass(frozen=True, eq=False)
class Coarse:
    """A mesh in several sizes, from fine to coarse.

    Args:
        levels: number of vertices of each level, as (13718, 1723, 431).
        down: matrices from the vertices of each level to those of the next coarser one.
        up: matrices from the coarser levels back.
        faces: [F, 3] int32 of each level.
    """

    levels: tuple[int, ...]
    down: tuple[Matrix, ...]
    up: tuple[Matrix, ...]
    faces: tuple[np.ndarray, ...]


def apply(matrix: Matrix, x):
    """Returns the product of a matrix with vertices, numpy's or jax's.

    Args:
        matrix: [R, V].
        x: [..., V, 3], or another number of values per vertex.

    Returns:
        [..., R, 3].

    Raises:
        ValueError: the number of vertices is not the number of the matrix's columns.
    """
    if x.ndim < 2 or x.shape[-2] != matrix.width:
        raise ValueError(f"The matrix takes [..., {matrix.width}, 3], not {tuple(x.shape)}.")
    terms = (
        x[..., matrix.columns[:, k], :] * matrix.values[:, k, None]
        for k in range(matrix.columns.shape[1])
    )
    return functools.reduce(lambda a, b: a + b, terms)


def pyramid(coarse: Coarse, x) -> list:
    """Returns vertices [..., V, 3] at every level, from fine to coarse."""
    found = [x]
    for matrix in coarse.down:
        found.append(apply(matrix, found[-1]))
    return found


def compute(vertices: np.ndarray, faces: np.ndarray, sizes: tuple[int, ...]) -> Coarse:
    """Returns coarser meshes, made by merging vertices where that changes the surface least.

    A merge moves no vertex, so every coarse vertex is also one of the finer ones. No merge turns a
    triangle over, opens or closes a hole, or joins or removes a connected piece: a piece such as an
    eyeball or a tooth keeps at least a tetrahedron. All pieces are reduced together, so small and
    strongly curved ones keep more vertices for their size. Vertices without a face are merged
    first. The same mesh gives the same result on every machine.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        sizes: number of vertices of each coarse level, as (1723, 431).

    Raises:
        ValueError: sizes that do not decrease or to which the mesh cannot be reduced; faces that
            refer to vertices that do not exist.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    _check(vertices, faces, sizes)
    surface = mesh_decimation.Surface(vertices, faces)
    kept, levels = np.arange(len(vertices)), [faces.astype(np.int32)]
    down, up = [], []
    for size in sizes:
        surface.reduce(size)
        chosen, into, fewer = surface.state()
        place = np.zeros(len(vertices), np.int64)
        place[chosen] = np.arange(len(chosen))
        row = np.zeros(len(vertices), np.int64)
        row[kept] = np.arange(len(kept))
        columns = row[chosen][:, None].astype(np.int32)
        down.append(Matrix(columns, np.ones(columns.shape, np.float32), len(kept)))
        small = place[fewer]
        up.append(_lift(vertices[kept], vertices[chosen], small, place[into[kept]]))
        levels.append(small.astype(np.int32))
        kept = chosen
    return Coarse((len(vertices), *sizes), tuple(down), tuple(up), tuple(levels))


def _check(vertices, faces, sizes) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(
            f"Vertices and faces must be [V, 3] and [F, 3], not {vertices.shape} and {faces.shape}."
        )
    if not np.isfinite(vertices).all():
        raise ValueError("The mesh has vertices that are not finite.")
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"The faces refer to vertices beyond the {len(vertices)} of the mesh.")
    steps = (len(vertices), *sizes)
    if len(steps) < 2 or any(a <= b for a, b in itertools.pairwise(steps)):
        raise ValueError(
            f"Sizes {tuple(sizes)} of a mesh of {len(vertices)} vertices: each must be smaller "
            "than the one before."
        )


def _lift(fine: np.ndarray, points: np.ndarray, faces: np.ndarray, into: np.ndarray) -> Matrix:
    """Returns the matrix from coarse vertices back to the fine ones.

    Each fine vertex becomes the nearest point on the triangles around the coarse vertex into which
    it was merged, up to the second ring. So a hand that touches the thigh stays on the hand.

    Args:
        fine: [V, 3], the fine vertices.
        points: [R, 3], the coarse vertices.
        faces: [F, 3], rows of `points`.
        into: [V], the row of `points` into which each fine vertex was merged.
    """
    vertex, face = _candidates(faces, into, len(points))
    corners = points[faces[face]]  # [P, 3, 3]
    weights = _nearest(fine[vertex], corners)
    missed = _square((weights[..., None] * corners).sum(1) - fine[vertex])
    order = np.lexsort((face, missed, vertex))
    _, first = np.unique(vertex[order], return_index=True)
    best = order[first]
    return Matrix(faces[face[best]].astype(np.int32), weights[best].astype(np.float32), len(points))


def _candidates(faces, into, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns pairs of a fine vertex and a face around the coarse vertex it was merged into."""
    around: list[set[int]] = [set() for _ in range(count)]
    for number, face in enumerate(faces.tolist()):
        for vertex in face:
            around[vertex].add(number)
    rings = []
    for vertex in range(count):
        ring = np.array(sorted(around[vertex]), np.int64)
        near = set(faces[ring].ravel().tolist())
        found = sorted(set().union(*(around[other] for other in near)))
        # A vertex without a face has no neighbours, so all faces are candidates.
        rings.append(np.array(found or range(len(faces)), np.int64))
    lengths = np.array([len(ring) for ring in rings])[into]
    return np.repeat(np.arange(len(into)), lengths), np.concatenate([rings[i] for i in into])


def _nearest(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns weights [P, 3] of the corners [P, 3, 3] that sum nearest to the points [P, 3]."""
    a, b, c = (corners[:, k] for k in range(3))
    normal = np.cross(b - a, c - a)
    size = np.maximum(_square(normal), np.finfo(float).tiny)
    inside = np.stack(
        [
            (np.cross(q - p, points - p) * normal).sum(-1) / size
            for p, q in ((b, c), (c, a), (a, b))
        ],
        -1,
    )
    tries = [np.where((inside >= 0).all(-1, keepdims=True), inside, np.eye(3)[0])]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, way = corners[:, first], corners[:, second] - corners[:, first]
        length = np.maximum(_square(way), np.finfo(float).tiny)
        share = np.clip(((points - start) * way).sum(-1) / length, 0, 1)
        weights = np.zeros((len(points), 3))
        weights[:, first], weights[:, second] = 1 - share, share
        tries.append(weights)
    tries = np.stack(tries, 1)  # [P, 4, 3]
    missed = _square(np.einsum("ptk,pka->pta", tries, corners) - points[:, None])
    return tries[np.arange(len(points)), missed.argmin(1)]


def _square(x: np.ndarray) -> np.ndarray:
    return (x**2).sum(-1)


def cached(
    vertices: np.ndarray, faces: np.ndarray, sizes: tuple[int, ...], folder: pathlib.Path | None
) -> Coarse:
    """Returns the result of `compute`, which runs once for each mesh and sizes.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        sizes: number of vertices of each coarse level.
        folder: folder in which results are cached, in files named by a hash of mesh and sizes; None
            caches them in this process only.

    Raises:
        ValueError: as `compute`, or a cached file is damaged.
    """
    vertices, faces = np.asarray(vertices, "<f8"), np.asarray(faces, "<i8")
    _check(vertices, faces, sizes)
    content = vertices.tobytes(), faces.tobytes(), tuple(int(size) for size in sizes)
    if folder is None:
        return _remembered(*content)
    digest = hashlib.sha256(repr((VERSION, content[2], vertices.shape)).encode())
    for part in content[:2]:
        digest.update(part)
    path = pathlib.Path(folder) / f"coarse_{digest.hexdigest()[:32]}.npz"
    if path.exists():
        return _kept(path)
    found = _remembered(*content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **to_arrays(found))
    return found


@functools.lru_cache(maxsize=8)
def _remembered(vertices: bytes, faces: bytes, sizes: tuple[int, ...]) -> Coarse:
    shape = (-1, 3)
    vertices = np.frombuffer(vertices, "<f8").reshape(shape)
    return compute(vertices, np.frombuffer(faces, "<i8").reshape(shape), sizes)


def _kept(path: pathlib.Path) -> Coarse:
    try:
        with np.load(path, allow_pickle=False) as file:
            return from_arrays(dict(file))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}). Delete it to compute it again.") from error


def to_arrays(coarse: Coarse) -> dict[str, np.ndarray]:
    """Returns a mesh's coarse versions as plain arrays.

    F0, F1, ... are the faces [F, 3] of each level. D0, D1, ... are the matrices from each level to
    the next coarser one, U0, U1, ... those back. Matrix D0 is stored as D0_rows, D0_columns and
    D0_values of its entries and D0_shape = (rows, columns).
    """
    arrays = {f"F{level}": faces for level, faces in enumerate(coarse.faces)}
    for kind, matrices in (("D", coarse.down), ("U", coarse.up)):
        for level, matrix in enumerate(matrices):
            rows, slots = np.nonzero(matrix.values)
            arrays[f"{kind}{level}_rows"] = rows.astype(np.int32)
            arrays[f"{kind}{level}_columns"] = matrix.columns[rows, slots]
            arrays[f"{kind}{level}_values"] = matrix.values[rows, slots]
            arrays[f"{kind}{level}_shape"] = np.array([len(matrix.columns), matrix.width])
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray], levels: int | None = None) -> Coarse:
    """Returns a mesh's coarse versions from the plain arrays of `to_arrays`.

    Args:
        arrays: the arrays by name; other names are ignored.
        levels: number of levels to take, from the finest on; None for all.

    Raises:
        ValueError: arrays that are missing, have another type, or do not fit together.
    """
    there = sum(f"F{level}" in arrays for level in range(len(arrays)))
    levels = there if levels is None else levels
    if not 2 <= levels <= there:
        raise ValueError(f"Found faces F0, ... of {there} levels, but {levels} levels are needed.")
    down, up = (
        tuple(_matrix(arrays, f"{kind}{level}") for level in range(levels - 1)) for kind in "DU"
    )
    sizes = (down[0].width, *(len(matrix.columns) for matrix in down))
    for level in range(levels - 1):
        fine, small = sizes[level : level + 2]
        for name, matrix, expected in (("D", down, (small, fine)), ("U", up, (fine, small))):
            shape = len(matrix[level].columns), matrix[level].width
            if shape != expected or small >= fine:
                raise ValueError(
                    f"{name}{level} is {shape}, but converts between {fine} and {small} vertices."
                )
    faces = tuple(arrays[f"F{level}"] for level in range(levels))
    for level, (one, size) in enumerate(zip(faces, sizes, strict=True)):
        whole = one.ndim == 2 and one.shape[1] == 3 and one.dtype.kind in "iu" and one.size
        if not whole or one.min() < 0 or one.max() >= size:
            raise ValueError(
                f"F{level}, {one.dtype} {one.shape}, must be [F, 3] indices of {size} vertices."
            )
    return Coarse(sizes, down, up, tuple(one.astype(np.int32) for one in faces))


def _matrix(arrays, name: str) -> Matrix:
    parts = [f"{name}_{part}" for part in ("rows", "columns", "values", "shape")]
    missing = [part for part in parts if part not in arrays]
    if missing:
        raise ValueError(f"The arrays {', '.join(missing)} are missing.")
    rows, columns, values, shape = (np.asarray(arrays[part]) for part in parts)
    whole = all(array.dtype.kind in "iu" for array in (rows, columns, shape))
    if not whole or shape.shape != (2,) or not rows.shape == columns.shape == (len(values),):
        raise ValueError(f"{name}'s rows, columns, values and shape do not fit together.")
    height, width = shape.tolist()
    for array, end, what in ((rows, height, "rows"), (columns, width, "columns")):
        if len(array) and not 0 <= array.min() <= array.max() < end:
            raise ValueError(f"{name}_{what} go beyond its shape ({height}, {width}).")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}_values are not all finite.")
    order = np.lexsort((columns, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    counts = np.bincount(rows, minlength=height)
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    most = max(1, counts.max(initial=0))
    matrix = Matrix(np.zeros((height, most), np.int32), np.zeros((height, most), np.float32), width)
    matrix.columns[rows, slots], matrix.values[rows, slots] = columns, values
    return matrix

"""Body models, regressors and mean parameters of others as one plain file of arrays.

The pickles in which SMPL and MANO come hold chumpy's and SciPy's objects. They are read as data,
see `pickles`, and written as an npz that needs neither those packages nor trust.
"""

import os
import pathlib

import numpy as np

from crocohuman_jax.body_models import mesh_downsampling
from crocohuman_jax.weights.safe import arrays, pickles, rebuild

LARGEST_FILE = 2 << 30  # bytes
# How many joints a model has, by its name.
KINDS = {24: "SMPL", 16: "MANO", 52: "SMPL+H", 55: "SMPL-X"}
_FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
# What is carried over where a file has it.
_MORE = (
    *("J", "hands_components", "hands_componentsl", "hands_componentsr", "hands_mean"),
    *("hands_meanl", "hands_meanr", "hands_coeffs", "vert_sym_idxs", "vt", "ft"),
    *("J_regressor_prior", "weights_prior", "lmk_faces_idx", "lmk_bary_coords"),
)
_MEANS = ("pose", "shape", "cam")
# Of METRO's files; beside them lies M, a pickle of classes, which is not looked at.
_SAMPLING = ("D", "U", "F")


def read(path: pathlib.Path) -> dict[str, np.ndarray | str]:
    """Returns the arrays and texts of a model file: .pkl, .npz or .npy.

    Raises:
        ValueError: damaged, too large, or something else than numbers and texts by name.
    """
    if path.suffix not in (".npz", ".npy"):
        return _named(path, content(path))
    found = arrays.read_numpy(path)
    return _named(path, {"J_regressor": found[""]} if "" in found else found)


def content(path: pathlib.Path) -> object:
    """Returns what a pickle holds: plain containers, numbers, texts and arrays.

    Raises:
        ValueError: damaged, too large, or of anything else.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise ValueError(f"{path} has {size} bytes; up to {LARGEST_FILE} are read.")
    tree, _ = pickles.read(path.read_bytes(), str(path))
    return rebuild.rebuild(tree, str(path), size)


def _named(path: pathlib.Path, content: object) -> dict[str, np.ndarray | str]:
    """Returns the arrays and texts of what a file holds."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary.")
    named = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}
    return {
        name: str(value) if isinstance(value, np.ndarray) and _is_text(value) else value
        for name, value in named.items()
        if isinstance(name, str) and isinstance(value, np.ndarray | str)
    }


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind == "U" and not array.ndim


def plain(path: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
    """Returns what a file is, and its arrays by the names of SMPL's files.

    Floats stay as they are; indices become int64, the root's parent -1.

    Raises:
        ValueError: it is no body model, regressor or set of mean parameters, or does not fit
            together.
    """
    if path.suffix == ".npz":
        found = arrays.read_numpy(path, only=_SAMPLING)
        if set(found) == set(_SAMPLING):
            return _sampling(path, found)
    found = read(path)
    if "v_template" in found:
        return _model(path, found)
    if set(_MEANS) <= set(found):
        return "mean parameters", {name: _floats(path, name, found[name]) for name in _MEANS}
    if "J_regressor" in found:
        regressor = _floats(path, "J_regressor", found["J_regressor"])
        if regressor.ndim != 2:
            raise ValueError(f"{path}: a regressor of shape {regressor.shape}, not [joints, V].")
        return f"a regressor of {len(regressor)} joints", {"J_regressor": regressor}
    raise ValueError(
        f"{path} is neither a body model (v_template, ...), nor a regressor, nor mean parameters "
        f"({', '.join(_MEANS)}). It has: {', '.join(sorted(found)) or 'nothing'}."
    )


def convert(source: pathlib.Path, output: pathlib.Path) -> str:
    """Writes a file of others as a plain npz, whole or not at all; returns what it is.

    Raises:
        ValueError: see `plain`; or the output is no .npz or exists.
    """
    if output.suffix != ".npz":
        raise ValueError(f"--output={output} is to be a .npz file.")
    if output.exists():
        raise ValueError(f"{output} exists: choose another --output.")
    if not source.is_file():
        raise ValueError(f"--source={source} is no file.")
    what, content = plain(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.stem}.{os.getpid()}.npz")
    np.savez(temporary, **content)
    temporary.replace(output)
    return what


def _model(path, found) -> tuple[str, dict[str, np.ndarray]]:
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)} of a body model.")
    content = {name: found[name] for name in (*_FIELDS, *_MORE) if name in found}
    indices = {"kintree_table", "f", "ft", "vert_sym_idxs", "lmk_faces_idx"}
    model = {
        name: _indices(path, name, value) if name in indices else _floats(path, name, value)
        for name, value in content.items()
    }
    tree = model["kintree_table"]
    vertices, joints = model["weights"].shape if model["weights"].ndim == 2 else (0, 0)
    expected = {
        "v_template": (vertices, 3),
        "shapedirs": (vertices, 3, model["shapedirs"].shape[-1]),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "J_regressor": (joints, vertices),
        "kintree_table": (2, joints),
        "f": (len(model["f"]), 3),
    }
    wrong = [f"{k}: {model[k].shape}, not {v}" for k, v in expected.items() if model[k].shape != v]
    if wrong:
        raise ValueError(f"{path} does not fit together: {'; '.join(wrong)}.")
    tree[0, 0] = -1
    if (tree[0, 1:] >= np.arange(1, joints)).any() or (tree[0, 1:] < 0).any():
        raise ValueError(f"{path}: in its kintree_table a joint comes before its parent.")
    if model["f"].min() < 0 or model["f"].max() >= vertices:
        raise ValueError(f"{path}: its faces name vertices that there are not.")
    name = KINDS.get(joints, f"a model of {joints} joints")
    return f"{name} of {vertices} vertices", model


def _floats(path, name: str, value) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {name} is no array of numbers.")
    value = value.astype(value.dtype.newbyteorder("=")) if value.dtype.kind == "f" else value * 1.0
    if not np.isfinite(value).all():
        raise ValueError(f"{path}: {name} holds numbers that are not finite.")
    return np.ascontiguousarray(value)


def _indices(path, name: str, value) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or not value.size:
        raise ValueError(f"{path}: {name} is no array of indices.")
    return value.astype(np.int64)


def _sampling(path, found) -> tuple[str, dict[str, np.ndarray]]:
    content = {}
    if not all(isinstance(found[name], list) for name in _SAMPLING):
        raise ValueError(f"{path}: its D, U and F are no lists of matrices and faces.")
    for kind in "DU":
        for level, matrix in enumerate(found[kind]):
            matrix = _floats(path, f"{kind}[{level}]", matrix)
            rows, columns = np.nonzero(matrix)
            content[f"{kind}{level}_rows"] = rows.astype(np.int32)
            content[f"{kind}{level}_columns"] = columns.astype(np.int32)
            content[f"{kind}{level}_values"] = matrix[rows, columns].astype(np.float32)
            content[f"{kind}{level}_shape"] = np.array(matrix.shape)
    for level, faces in enumerate(found["F"]):
        content[f"F{level}"] = _indices(path, f"F[{level}]", faces).astype(np.int32)
    levels = mesh_downsampling.from_arrays(
        content
    ).levels  # or an error that says what does not fit
    return f"sampling matrices between {', '.join(map(str, levels))} vertices", content

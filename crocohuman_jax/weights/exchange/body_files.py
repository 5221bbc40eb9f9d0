"""Converts body models, joint regressors and mean parameters of other projects to plain npz files.

The pickles of SMPL and MANO hold objects of chumpy and SciPy. They are read as data (see `pickles`)
and written as an npz that opens without these packages and cannot run code.
"""

import pathlib

import numpy as np

from crocohuman_jax.body_models import mesh_downsampling
from crocohuman_jax.configuration import files
from crocohuman_jax.weights.safe import arrays, pickles, rebuild

LARGEST_FILE = 2 << 30  # bytes
# Names of body models by their number of joints.
KINDS = {24: "SMPL", 16: "MANO", 52: "SMPL+H", 55: "SMPL-X"}
_FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
# Fields that are copied if the file has them.
_MORE = (
    *("J", "hands_components", "hands_componentsl", "hands_componentsr", "hands_mean"),
    *("hands_meanl", "hands_meanr", "hands_coeffs", "vert_sym_idxs", "vt", "ft"),
    *("J_regressor_prior", "weights_prior", "lmk_faces_idx", "lmk_bary_coords"),
)
_MEANS = ("pose", "shape", "cam")
# Fields of METRO's files. Their field M, a pickle of classes, is not read.
_SAMPLING = ("D", "U", "F")


def read(path: pathlib.Path) -> dict[str, np.ndarray | str]:
    """Returns the arrays and texts of a .pkl, .npz or .npy file by name.

    Raises:
        ValueError: the file is damaged, too large, or does not hold a dictionary.
    """
    if path.suffix not in (".npz", ".npy"):
        return _named(path, content(path))
    found = arrays.read_numpy(path)
    return _named(path, {"J_regressor": found[""]} if "" in found else found)


def content(path: pathlib.Path) -> object:
    """Returns the content of a pickle: plain containers, numbers, texts and arrays.

    Raises:
        ValueError: the file is empty, damaged or too large, or is not a pickle.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise ValueError(f"{path} has {size} bytes; expected 1 to {LARGEST_FILE}.")
    tree, _ = pickles.read(path.read_bytes(), str(path))
    return rebuild.rebuild(tree, str(path), size)


def _named(path: pathlib.Path, content: object) -> dict[str, np.ndarray | str]:
    """Returns the arrays and texts in the content of a file, by name."""
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of arrays.")
    named = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}
    return {
        name: str(value) if isinstance(value, np.ndarray) and _is_text(value) else value
        for name, value in named.items()
        if isinstance(name, str) and isinstance(value, np.ndarray | str)
    }


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind == "U" and not array.ndim


def plain(path: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
    """Returns a short text that says what a file holds, and its arrays by the names SMPL uses.

    Floating-point arrays keep their type. Indices become int64. The root's parent becomes -1.

    Raises:
        ValueError: the file holds no body model, regressor, sampling matrices or mean parameters,
            or its arrays do not fit together.
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
            raise ValueError(
                f"{path}: J_regressor has the shape {regressor.shape}, expected [joints, vertices]."
            )
        return f"a regressor of {len(regressor)} joints", {"J_regressor": regressor}
    raise ValueError(
        f"{path} holds neither a body model (v_template, ...), nor a regressor (J_regressor), nor "
        f"mean parameters ({', '.join(_MEANS)}), nor sampling matrices ({', '.join(_SAMPLING)}). "
        f"It has: {', '.join(sorted(found)) or 'nothing'}."
    )


def convert(source: pathlib.Path, output: pathlib.Path) -> str:
    """Writes another project's file as a plain npz, whole or not at all; returns what it holds.

    Raises:
        ValueError: see `plain`; or `source` is not a file, or `output` is not a .npz or exists.
    """
    if output.suffix != ".npz":
        raise ValueError(f"--output={output} must be a .npz file.")
    if output.exists():
        raise ValueError(f"{output} exists: choose another --output.")
    if not source.is_file():
        raise ValueError(f"--source={source} is not a file.")
    what, content = plain(source)
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(output) as temporary, open(temporary, "wb") as file:
        np.savez(file, **content)
    return what


def _model(path, found) -> tuple[str, dict[str, np.ndarray]]:
    missing = [name for name in _FIELDS if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}, which a body model needs.")
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
        raise ValueError(f"{path}: these arrays have the wrong shape: {'; '.join(wrong)}.")
    tree[0, 0] = -1
    if (tree[0, 1:] >= np.arange(1, joints)).any() or (tree[0, 1:] < 0).any():
        raise ValueError(f"{path}: in its kintree_table a joint comes before its parent.")
    if model["f"].min() < 0 or model["f"].max() >= vertices:
        raise ValueError(f"{path}: its faces use vertices outside 0 to {vertices - 1}.")
    name = KINDS.get(joints, f"a model of {joints} joints")
    return f"{name} of {vertices} vertices", model


def _floats(path, name: str, value) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {name} is not an array of numbers.")
    value = value.astype(value.dtype.newbyteorder("=")) if value.dtype.kind == "f" else value * 1.0
    if not np.isfinite(value).all():
        raise ValueError(f"{path}: {name} holds numbers that are not finite.")
    return np.ascontiguousarray(value)


def _indices(path, name: str, value) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or not value.size:
        raise ValueError(f"{path}: {name} is not an array of indices.")
    return value.astype(np.int64)


def _sampling(path, found) -> tuple[str, dict[str, np.ndarray]]:
    content = {}
    if not all(isinstance(found[name], list) for name in _SAMPLING):
        raise ValueError(f"{path}: its D, U and F must be lists of matrices and faces.")
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
    ).levels  # or a ValueError if they do not fit together
    return f"sampling matrices between {', '.join(map(str, levels))} vertices", content

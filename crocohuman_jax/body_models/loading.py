"""Loads body models by name or from a converted file."""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np

from crocohuman_jax.body_models import joint_names, lbs
from crocohuman_jax.synthetic.figure import open_models, smpl_model

OPEN = ("open_body", "open_hand_right", "open_hand_left")
KINDS = {24: "smpl", 16: "mano", 52: "smplh", 55: "smplx"}
_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


def load(name: str, components: int = 10) -> lbs.Body:
    """Returns a body model.

    Args:
        name: one of OPEN, which are built in, or the path of a file that `convert body` wrote.
        components: number of betas.

    Raises:
        ValueError: there is no such model; the message says how to get one.
    """
    return _load(str(name), components)


@functools.lru_cache(8)
def _load(name: str, components: int) -> lbs.Body:
    if name == "open_body":
        return from_arrays(open_models.body(components), name, components)
    if name in OPEN:
        side = name.rpartition("_")[2]
        return from_arrays(open_models.hand(side, components), name, components)
    return from_arrays(arrays(name), "", components, name)


def arrays(path: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a converted file.

    Raises:
        ValueError: the file is missing or has another format; the message says what to do.
    """
    file = pathlib.Path(path)
    source, output = file.with_suffix(".pkl"), file.with_suffix(".npz")
    convert = f"python -m crocohuman_jax.convert body --source={source} --output={output}"
    if file.suffix in (".pkl", ".pickle"):
        raise ValueError(
            f"{path} is a pickle, which is never loaded directly. Convert it: {convert}"
        )
    if not file.is_file():
        raise ValueError(
            f"There is no body model {path!r}. SMPL and MANO are available from their authors "
            f"after registration; convert their file once: {convert}. Built-in models need no "
            f"file: {', '.join(OPEN)}."
        )
    return smpl_model.read(file)


def from_arrays(
    found: dict[str, np.ndarray], kind: str, components: int, path: str = ""
) -> lbs.Body:
    """Returns a body model from the fields of SMPL's files.

    Args:
        found: the fields.
        kind: kind of the model; "" to derive it from the fields.
        components: number of betas.
        path: path of the file, for errors.

    Raises:
        ValueError: a field is missing, or the model has fewer shape components.
    """
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise ValueError(f"{path or kind} is not a body model: it lacks {', '.join(missing)}.")
    available = found["shapedirs"].shape[-1]
    if not 1 <= components <= available:
        raise ValueError(f"{path or kind} has {available} betas, not {components}.")
    parents = np.asarray(found["kintree_table"])[0].astype(np.int64)
    parents[0] = -1  # SMPL's files store 2**32 - 1
    kind = kind or _kind(found, len(parents), path)
    regressor = np.asarray(found["J_regressor"], np.float64)
    shapes = np.asarray(found["shapedirs"], np.float64)[..., :components]
    template = np.asarray(found["v_template"], np.float64)
    poses = np.asarray(found["posedirs"])
    mean = np.zeros((len(parents), 3))
    if "hands_mean" in found and kind.startswith("mano"):
        mean[1:] = np.asarray(found["hands_mean"]).reshape(-1, 3)

    def single(x):
        return jnp.asarray(np.ascontiguousarray(x, np.float32))

    return lbs.Body(
        kind=kind,
        names=_names(kind, len(parents)),
        parents=tuple(int(p) for p in parents),
        faces=lbs.Faces(np.asarray(found["f"])),
        template=single(template),
        shapes=single(np.moveaxis(shapes, -1, 0)),
        poses=single(np.moveaxis(poses, -1, 0)) if poses.any() else None,
        joints=single(regressor @ template),
        joint_shapes=single(np.einsum("kv,vas->ska", regressor, shapes)),
        weights=single(found["weights"]),
        regressor=single(regressor),
        mean_pose=single(mean),
    )


def components(path: str) -> np.ndarray:
    """Returns MANO's principal components of hand poses, [C, 45].

    Raises:
        ValueError: the model has no such components.
    """
    found = open_models.hand(path.rpartition("_")[2]) if path in OPEN[1:] else arrays(path)
    if "hands_components" not in found:
        raise ValueError(f"{path} has no hands_components, so it is not a hand model.")
    return np.asarray(found["hands_components"])


def _kind(found, count: int, path: str) -> str:
    if count not in KINDS:
        raise ValueError(f"{path} has {count} joints. Known numbers of joints: {KINDS}.")
    if count != 16:
        return KINDS[count]
    # A right hand's fingers point along -x from the wrist, a left one's along x.
    at = np.asarray(found["J_regressor"]) @ np.asarray(found["v_template"])
    return "mano_right" if at[4, 0] < at[0, 0] else "mano_left"


def _names(kind: str, count: int) -> tuple[str, ...]:
    if count == len(joint_names.SMPL):
        return joint_names.SMPL
    return (
        joint_names.MANO
        if count == len(joint_names.MANO)
        else tuple(f"joint{i}" for i in range(count))
    )

"""Writes and reads files of predictions in the format of FreiHAND's evaluation."""

import json
import pathlib

import numpy as np

from crocohuman_jax.configuration import files

COUNT = 3960  # hands of its evaluation set
POINTS = 21
DECIMALS = 6  # micrometres


def check(path: pathlib.Path, points: int) -> None:
    """Raises a ValueError if the name is not a .json file's, or the number of points is not 21."""
    if path.suffix != ".json":
        raise ValueError(f"--submission={path} must be the name of a .json file.")
    if points != POINTS:
        raise ValueError(
            f"--submission writes FreiHAND's file of hands with {POINTS} points, but this run "
            f"predicts {points}: leave the flag out, or measure a run on hands."
        )


def write(
    path: pathlib.Path, joints: np.ndarray, vertices: np.ndarray, count: int | None = COUNT
) -> None:
    """Writes predictions in the order of the dataset; a failure leaves no partial file.

    Args:
        path: a .json file.
        joints: [N, 21, 3] metres in camera axes, in the dataset's order of joints.
        vertices: [N, V, 3] metres; MANO has 778.
        count: the expected number of hands; None accepts any number.

    Raises:
        ValueError: the number of hands or joints is wrong, or a value is not finite.
    """
    path, joints, vertices = pathlib.Path(path), np.asarray(joints), np.asarray(vertices)
    check(path, joints.shape[1] if joints.ndim == 3 else 0)
    if joints.shape[2:] != (3,) or vertices.shape[::2] != joints.shape[::2]:
        raise ValueError(
            f"Joints {joints.shape} and vertices {vertices.shape} do not fit FreiHAND's file: it "
            "holds [N, 21, 3] joints and [N, V, 3] vertices."
        )
    if count is not None and len(joints) != count:
        raise ValueError(
            f"FreiHAND's evaluation set has {count} hands, not {len(joints)}: prepare all of it."
        )
    for name, values in (("joints", joints), ("vertices", vertices)):
        wrong = np.flatnonzero(~np.isfinite(values).all((1, 2)))
        if len(wrong):
            raise ValueError(f"The {name} of hand {wrong[0]} are not finite.")
    content = [
        np.round(values.astype(np.float64), DECIMALS).tolist() for values in (joints, vertices)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as temporary:
        temporary.write_text(json.dumps(content))


def read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the joints [N, 21, 3] and vertices [N, V, 3] of a file that `write` wrote.

    Raises:
        ValueError: the file cannot be read, or is not [joints, vertices].
    """
    try:
        joints, vertices = (np.array(part, np.float64) for part in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not FreiHAND's [joints, vertices]: {error}") from error
    return joints, vertices

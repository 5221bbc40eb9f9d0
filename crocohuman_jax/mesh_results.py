"""The errors of predicted meshes, and pictures of them beside the truth."""

import jax
import numpy as np

from crocohuman_jax import drawing, metrics
from crocohuman_jax.body import camera as cameras

MEASURES = ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe")


def errors(predicted: dict, truth: dict, only_root: int) -> dict[str, jax.Array]:
    """Returns MEASURES of meshes and points, [B] mm each; the first point is the root."""
    points = [x["points"][:, only_root:] - x["points"][:, :1] for x in (predicted, truth)]
    meshes = [x["vertices"] - x["points"][:, :1] for x in (predicted, truth)]
    return {
        "mpjpe": metrics.mpjpe(*points),
        "pa_mpjpe": metrics.pa_mpjpe(*points),
        "mpvpe": metrics.mpvpe(*meshes),
        "pa_mpvpe": metrics.pa_mpjpe(*meshes),
    }


def caption(shown: dict[str, np.ndarray], i: int) -> str:
    """Returns the errors of one person in words."""
    return ", ".join(f"{name.upper().replace('_', '-')} {shown[name][i]:.0f}" for name in MEASURES)


def drawn(shown: dict[str, np.ndarray], i: int, faces: np.ndarray) -> list[np.ndarray]:
    """Returns the pictures of one person, named by `drawing.COLUMNS`."""
    image = np.round(255 * shown["image"][i]).astype(np.uint8)
    half = len(image) / 2
    focal = cameras.FOCAL / cameras.SIDE * len(image)
    here = (focal, focal, half, half)
    vertices = shown["vertices"][i] + shown["translation"][i]
    if shown["exact"][i]:
        matrix = shown["matrix"][i] / shown["matrix"][i][2, 2]
        there = [half * matrix[0, 0], half * matrix[1, 1]]
        there += [half * (matrix[0, 2] + 1), half * (matrix[1, 2] + 1)]
        true = shown["true_vertices"][i] + shown["true_translation"][i]
    else:  # where the camera is not known, the truth is shown where the prediction stands
        there = here
        moved = shown["points"][i, 0] - shown["true_points"][i, 0]
        true = shown["true_vertices"][i] + moved + shown["translation"][i]
    return drawing.compared(
        *(image, vertices, faces, here),
        truth=true,
        errors=shown["offsets"][i],
        truth_intrinsics=there,
    )

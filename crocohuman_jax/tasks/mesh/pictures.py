"""Draws predicted meshes beside the ground truth."""

import numpy as np

from crocohuman_jax.body_models import cameras
from crocohuman_jax.tasks.mesh.results import MEASURES
from crocohuman_jax.visualize import panels


def page(shown: dict[str, np.ndarray], faces: np.ndarray) -> np.ndarray:
    """Returns one row of pictures per person, under `panels.COLUMNS`, [H, W, 3] uint8.

    Args:
        shown: what `Mesh.predict` returns, as numpy arrays.
        faces: [F, 3], the faces of the mesh.
    """
    rows = [(caption(shown, i), drawn(shown, i, faces)) for i in range(len(shown["image"]))]
    return panels.page(rows, panels.COLUMNS)


def caption(shown: dict[str, np.ndarray], i: int) -> str:
    """Returns the errors of one person as a line of text, in mm."""
    return ", ".join(f"{name.upper().replace('_', '-')} {shown[name][i]:.0f}" for name in MEASURES)


def drawn(shown: dict[str, np.ndarray], i: int, faces: np.ndarray) -> list[np.ndarray]:
    """Returns the pictures of one person; `panels.COLUMNS` names them."""
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
    else:  # without a known camera the truth is drawn at the position of the prediction
        there = here
        moved = shown["points"][i, 0] - shown["true_points"][i, 0]
        true = shown["true_vertices"][i] + moved + shown["translation"][i]
    return panels.compared(
        *(image, vertices, faces, here),
        truth=true,
        errors=shown["offsets"][i],
        truth_intrinsics=there,
    )

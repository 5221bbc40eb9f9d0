"""The errors of predicted meshes, and pictures of them beside the truth."""

import math
from collections.abc import Mapping

import jax
import numpy as np

from crocohuman_jax import drawing, metrics
from crocohuman_jax.body import camera as cameras

MEASURES = ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe")
# Besides these: scale-corrected errors as posed and in the T-pose (PVE-SC, PVE-T-SC).
SCALED = ("pve_sc", "pve_t_sc")
F_MM = (5.0, 15.0)  # FreiHAND's thresholds


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


def means(
    found: Mapping[str, np.ndarray], index: Mapping[str, np.ndarray], only_root: int, hand: bool
) -> dict[str, float]:
    """Returns the mean of every error over the people who have it.

    Args:
        found: what `evaluate` found of each person, [N, ...].
        index: of the frames, {column: one row a frame}.
        only_root: how many points at the front are the root alone, and not measured.
        hand: whether these are hands, which have F-scores and areas under the curve.
    """
    result = {}
    for name in (*MEASURES, *SCALED):
        has = found["has_points" if "mpjpe" in name else "has_mesh"] > 0
        if name in found and (has & np.isfinite(found[name])).any():
            result[name] = float(found[name][has & np.isfinite(found[name])].mean())
    has = found["has_mesh"] > 0
    if hand and has.any():
        for kind in ("f", "f_aligned"):
            for i, limit in enumerate(F_MM):
                result[f"{kind}@{limit:g}"] = float(found[kind][has, i].mean())
        for name in ("joint", "vertex"):
            distances, sums = found[f"aligned_{name}_distances"][has], [0.0, 0.0]
            for some in np.array_split(distances, math.ceil(len(distances) / 256)):
                hits = metrics.pck_hits(some)
                sums = [total + np.asarray(x).sum(0) for total, x in zip(sums, hits, strict=True)]
            result[f"auc_{name}"] = metrics.auc(metrics.pck_curve(*sums))
    moved = acceleration(found, index, only_root)
    return result if moved is None else result | {"acceleration": moved}


def acceleration(
    found: Mapping[str, np.ndarray], index: Mapping[str, np.ndarray], only_root: int
) -> float | None:
    """Returns the mean acceleration error in mm per frame squared, None without sequences.

    The frames of one person and camera are a sequence. A frame counts with its two neighbours, when
    both are as far from it in time as the nearest frames of the sequence are from each other.
    """
    rows = found["row"]
    groups, instants = index["pose_group"][rows], index["instant"][rows]
    known = (found["has_points"] > 0) & (groups >= 0)
    order = np.lexsort((instants, groups))
    order = order[known[order]]
    if len(order) < 3:
        return None
    before, here, after = order[:-2], order[1:-1], order[2:]
    same = (groups[before] == groups[here]) & (groups[here] == groups[after])
    gaps = np.diff(instants[order])
    within = groups[order][1:] == groups[order][:-1]
    least: dict[int, int] = {}
    for group, gap in zip(groups[order][1:][within], gaps[within], strict=True):
        least[group] = min(least.get(group, gap), gap)
    step = np.array([least.get(group, 0) for group in groups[here]])
    counted = same & (gaps[:-1] == step) & (gaps[1:] == step) & (step > 0)
    if not counted.any():
        return None
    chosen = np.stack([before, here, after], 1)[counted]
    sides = [found[name][chosen] for name in ("points", "true_points")]  # [T, 3, P, 3]
    sides = [(side - side[:, :, :1])[:, :, only_root:] for side in sides]
    return float(np.mean(metrics.acceleration_error(*sides)))

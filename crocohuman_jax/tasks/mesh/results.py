"""Computes the errors of predicted meshes, for each person and on average."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.metrics import acceleration as acceleration_lib
from crocohuman_jax.metrics import freihand_scores, pose

MEASURES = ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe")
# Scale-corrected errors of the vertices, as posed and in the T-pose (PVE-SC, PVE-T-SC).
SCALED = ("pve_sc", "pve_t_sc")
F_MM = (5.0, 15.0)  # FreiHAND's thresholds


def errors(
    predicted: dict,
    truth: dict,
    only_root: int,
    root: tuple[int, ...] = (0,),
    alignment: str = "similarity",
) -> dict[str, jax.Array]:
    """Returns MEASURES of predicted meshes and points, [B] in mm each.

    Args:
        predicted, truth: points [B, P, 3], the first of which is the root of the vertices, and
            vertices [B, V, 3]; metres.
        only_root: number of leading points used only as the root, and not measured.
        root: the points whose mean is the origin of the points; () compares points and meshes
            without moving them.
        alignment: alignment of the pa_ errors, one of `pose.ALIGNMENTS`.
    """
    points = [pose.rooted(x["points"], root)[:, only_root:] for x in (predicted, truth)]
    meshes = [x["vertices"] - (x["points"][:, :1] if root else 0) for x in (predicted, truth)]
    return {
        "mpjpe": pose.mpjpe(*points),
        "pa_mpjpe": pose.pa_mpjpe(*points, alignment=alignment),
        "mpvpe": pose.mpvpe(*meshes),
        "pa_mpvpe": pose.pa_mpjpe(*meshes, alignment=alignment),
    }


def placed(shown: dict) -> tuple[dict, dict, jax.Array]:
    """Returns predicted and true people in camera space, and whose true position is known.

    The scale of the predicted weak-perspective camera is a person's size in the picture; with the
    known focal length it gives the distance. True positions are known for built-in people, and
    where joints are annotated in the camera's axes.

    Args:
        shown: the first value of `objective.Mesh.shown`.

    Returns:
        predicted and true points and vertices, metres in the camera's axes; [B] bool, whether the
        person's camera and true position are known.
    """
    matrix = shown["matrix"]
    known = matrix[:, 2, 2] != 0
    matrix = matrix / jnp.where(known, matrix[:, 2, 2], 1)[:, None, None]
    focal = jnp.stack([matrix[:, 0, 0], matrix[:, 1, 1]], -1)
    scale, moved = shown["camera"][:, :1], shown["camera"][:, 1:]
    depth = jnp.sqrt(jnp.prod(focal, -1, keepdims=True)) / scale
    across = (scale * moved - matrix[:, :2, 2]) * depth / jnp.where(known[:, None], focal, 1)
    here = jnp.concatenate([across, depth], -1)[:, None]
    there = jnp.where(shown["exact"][:, None] > 0, shown["true_translation"], 0)[:, None]
    predicted = {name: shown[name] + here for name in ("points", "vertices")}
    truth = {name: shown[f"true_{name}"] + there for name in ("points", "vertices")}
    before = jnp.all(truth["points"][..., 2] > 0, -1)
    certain = (shown["exact"] > 0) | (shown["annotated"] > 0)
    return predicted, truth, known & before & certain


def failed(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the people who have ground truth, but no finite prediction, [N] bool.

    Args:
        found: [N, ...] for each person: has_points, has_mesh, MEASURES, and `finite`, whether the
            whole prediction is finite.
    """
    known = (found["has_points"] > 0) | (found["has_mesh"] > 0)
    wrong = ~(found["finite"] > 0)
    for name in MEASURES:  # distances between finite numbers can overflow
        wrong |= (_has(found, name) > 0) & ~np.isfinite(found[name])
    return known & wrong


def means(
    found: Mapping[str, np.ndarray],
    index: Mapping[str, np.ndarray],
    only_root: int,
    hand: bool,
    allow_non_finite: bool = False,
    root: tuple[int, ...] = (0,),
) -> dict[str, float]:
    """Returns the mean of every error over the people who have it.

    Args:
        found: the results of each person, [N, ...], as `evaluation.Measurement` returns them.
        index: the index of the frames, {column: one value per frame}.
        only_root: number of leading points used only as the root, and not measured.
        hand: whether these are hands, which also get F-scores and areas under the curve.
        allow_non_finite: whether people whose prediction is not finite are left out; otherwise a
            mean that includes one is NaN.
        root: the points whose mean is the origin of accelerations, see `errors`.
    """
    lost, result = failed(found), {}
    kept = ~lost if allow_non_finite else np.ones(len(lost), bool)

    def add(name: str, has: np.ndarray, mean) -> None:
        has = has & kept
        if has.any():
            result[name] = math.nan if lost[has].any() else float(mean(has))

    for name in (*MEASURES, *SCALED):
        if name in found:
            values = found[name]
            add(name, _has(found, name) > 0, lambda has, values=values: values[has].mean())
    if hand:
        meshed = found["has_mesh"] > 0
        for kind in ("f", "f_aligned"):
            for i, limit in enumerate(F_MM):
                values = found[kind][:, i]
                add(f"{kind}@{limit:g}", meshed, lambda has, values=values: values[has].mean())
        for name in ("joint", "vertex"):
            values = found[f"aligned_{name}_distances"]
            add(f"auc_{name}", meshed, lambda has, values=values: _auc(values[has]))
    there = found | {"has_points": found["has_points"] * kept}
    moved = acceleration(there, index, only_root, root)
    if moved is not None:
        result["acceleration"] = math.nan if (lost & kept).any() else moved
    return result


def _has(found: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Returns which people have the ground truth that a metric needs, [N]."""
    if name == "pve_t_sc":
        return found["has_betas"]
    return found["has_points" if "mpjpe" in name else "has_mesh"]


def _auc(distances: np.ndarray) -> float:
    """Returns the area under the curve of correct points, from distances [N, P] in mm."""
    sums = [0.0, 0.0]
    for some in np.array_split(distances, math.ceil(len(distances) / 256)):
        hits = freihand_scores.pck_hits(some)
        sums = [total + np.asarray(x).sum(0) for total, x in zip(sums, hits, strict=True)]
    return freihand_scores.auc(freihand_scores.pck_curve(*sums))


def acceleration(
    found: Mapping[str, np.ndarray],
    index: Mapping[str, np.ndarray],
    only_root: int,
    root: tuple[int, ...] = (0,),
) -> float | None:
    """Returns the mean acceleration error in mm per frame squared, None without sequences.

    The frames of one person and camera are a sequence. A frame is measured if its two neighbours
    are both exactly one time step away; the step is the smallest gap within the sequence.
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
    sides = [pose.rooted(side, root)[:, :, only_root:] for side in sides]
    return float(np.mean(acceleration_lib.acceleration_error(*sides)))

"""Errors of meshes and joints as the published protocols define them, one value per example."""

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.configuration import options
from crocohuman_jax.metrics import alignment as alignment_lib

ALIGNMENTS = {"similarity": alignment_lib.similarity, "freihand": alignment_lib.freihand}
# The thresholds of FreiHAND's PCK curve.
PCK_THRESHOLDS_MM = np.linspace(0, 50, 100)


def distances(predicted, truth) -> jax.Array:
    """Returns each point's distance from the true one, [..., N] mm; the gradient at 0 is 0.

    Args:
        predicted: [..., N, 3] metres.
        truth: [..., N, 3] metres.

    Raises:
        ValueError: the shapes do not fit.
    """
    predicted, truth, _ = alignment_lib.paired(predicted, truth)
    squares = jnp.sum((predicted - truth) ** 2, -1)
    none = squares == 0
    return 1000 * jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, squares)))


def rooted(points, root: tuple[int, ...]) -> jax.Array:
    """Returns the points minus the mean of those that `root` lists; unchanged for ().

    Args:
        points: [..., N, 3].
        root: indices among the N.

    Raises:
        ValueError: an index is out of range.
    """
    points = jnp.asarray(points, jnp.float32)
    if not root:
        return points
    count = points.shape[-2]
    if not all(0 <= joint < count for joint in root):
        raise ValueError(f"Root joints {tuple(root)} are not all among the {count} joints from 0.")
    # First relative to one joint, so that a distant origin costs no precision.
    points = points - points[..., root[0], None, :]
    return points - jnp.mean(points[..., list(root), :], -2, keepdims=True)


def mpjpe(predicted, truth, *, root: tuple[int, ...] = (), weights=None) -> jax.Array:
    """Returns the mean distance of the joints relative to their roots, [...] mm.

    Args:
        predicted: [..., J, 3] metres.
        truth: [..., J, 3] metres.
        root: joints whose mean is the root; () compares absolute positions.
        weights: [..., J], 0 for a missing joint, whose coordinates are then ignored; None for equal
            weights. An example without joints, or without one of the root's, has the error NaN,
            which the caller must leave out.

    Raises:
        ValueError: the shapes or the root do not fit.
    """
    predicted, truth, weights = _present(predicted, truth, weights)
    errors = _mean(distances(rooted(predicted, root), rooted(truth, root)), weights)
    return jnp.where(jnp.all(weights[..., list(root)] > 0, -1), errors, jnp.nan) if root else errors


def pa_mpjpe(predicted, truth, *, alignment: str = "similarity", weights=None) -> jax.Array:
    """Returns the mean distance after the prediction was aligned to the truth, [...] mm.

    With vertices instead of joints this is PA-MPVPE. Each set of points is aligned separately.

    Args:
        predicted: [..., N, 3] metres.
        truth: [..., N, 3] metres.
        alignment: "similarity" (bodies; never reflects) or "freihand" (as in FreiHAND's toolbox).
        weights: [..., N], 0 for a missing point, whose coordinates are then ignored; None for equal
            weights. An example without points has the error NaN.

    Raises:
        ValueError: the shapes do not fit, or an unknown alignment.
    """
    align = options.choose("alignment", ALIGNMENTS, alignment)
    return _after(align, predicted, truth, weights)


def mpvpe(predicted, truth, *, roots=None, weights=None) -> jax.Array:
    """Returns the mean distance of the vertices, [...] mm; without roots this is PVE.

    Args:
        predicted: [..., V, 3] metres.
        truth: [..., V, 3] metres.
        roots: (predicted, true) root points, [..., 3] metres, subtracted from their meshes.
        weights: [..., V] or None, as in `pa_mpjpe`.

    Raises:
        ValueError: the shapes do not fit.
    """
    predicted, truth, weights = _present(predicted, truth, weights)
    if roots is not None:
        roots = [jnp.asarray(point, jnp.float32) for point in roots]
        wanted = (*predicted.shape[:-2], 3)
        if [point.shape for point in roots] != [wanted, wanted]:
            found = ", ".join(str(point.shape) for point in roots)
            raise ValueError(f"The roots must be two arrays of shape {wanted}, not {found}.")
        predicted, truth = predicted - roots[0][..., None, :], truth - roots[1][..., None, :]
    return _mean(distances(predicted, truth), weights)


def scaled_mpvpe(predicted, truth, *, weights=None) -> jax.Array:
    """Returns the mean distance after matching the truth's centre and size, [...] mm.

    This is PVE-SC for posed meshes, and PVE-T-SC for the meshes of both shapes in the T-pose.

    Args:
        predicted: [..., V, 3] metres.
        truth: [..., V, 3] metres.
        weights: [..., V] or None, as in `pa_mpjpe`.

    Raises:
        ValueError: the shapes do not fit.
    """
    return _after(alignment_lib.scaled, predicted, truth, weights)


def f_score(predicted, truth, thresholds) -> jax.Array:
    """Returns the F-scores of two sets of points, [..., T] in [0, 1].

    Precision is the share of predicted points nearer than a threshold to a true one, recall the
    reverse, and F their harmonic mean, 0 if both are 0. For the aligned score of FreiHAND, pass
    vertices that `alignment.freihand` returned.

    Args:
        predicted: [..., N, 3] metres.
        truth: [..., M, 3] metres; the sets may differ in size.
        thresholds: [T] mm; a distance counts if it is strictly below.

    Raises:
        ValueError: the shapes do not fit.
    """
    predicted, truth = (jnp.asarray(x, jnp.float32) for x in (predicted, truth))
    lead = predicted.shape[:-2]
    if lead != truth.shape[:-2] or {predicted.shape[-1], truth.shape[-1]} != {3}:
        raise ValueError(
            f"Sets {predicted.shape} and {truth.shape} must be [..., N, 3] and [..., M, 3], with "
            "the same leading axes."
        )
    thresholds = jnp.asarray(thresholds, jnp.float32)

    def one(pair):
        precision, recall = (
            jnp.mean(_nearest(*sets)[:, None] < thresholds, 0) for sets in (pair, pair[::-1])
        )
        both = precision + recall
        return 2 * precision * recall / jnp.where(both == 0, 1, both)

    # One example at a time, so that memory does not grow with the batch.
    flat = (x.reshape(-1, *x.shape[-2:]) for x in (predicted, truth))
    return jax.lax.map(one, tuple(flat)).reshape(*lead, thresholds.size)


def pck_hits(distances_mm, thresholds=PCK_THRESHOLDS_MM, weights=None):
    """Returns hits [..., N, T] and seen [..., N], whose sums over a dataset `pck_curve` takes.

    Args:
        distances_mm: [..., N], error of every point.
        thresholds: [T] mm; a point is a hit if its error is at most the threshold.
        weights: [..., N], 0 for a missing point; None if no point is missing.
    """
    distances_mm = jnp.asarray(distances_mm)
    weights = jnp.asarray(1.0 if weights is None else weights)
    seen = jnp.broadcast_to(weights > 0, distances_mm.shape)
    hits = (distances_mm[..., None] <= jnp.asarray(thresholds)) & seen[..., None]
    return hits.astype(jnp.float32), seen.astype(jnp.float32)


def pck_curve(hits, seen) -> np.ndarray:
    """Returns the share of correct points at every threshold, [T], averaged over the points seen.

    Args:
        hits: [N, T], the hits of `pck_hits` summed over a dataset.
        seen: [N], likewise.

    Raises:
        ValueError: no point was ever seen.
    """
    hits, seen = np.asarray(hits, np.float64), np.asarray(seen, np.float64)
    if not seen.any():
        raise ValueError(f"None of the {seen.size} points was ever seen, so there is no PCK curve.")
    return np.mean(hits[seen > 0] / seen[seen > 0, None], 0)


def auc(curve, thresholds=PCK_THRESHOLDS_MM) -> float:
    """Returns the area under a PCK curve by trapezoids, as a share of the largest possible.

    Args:
        curve: [T], shares at the thresholds.
        thresholds: [T] mm, rising.
    """
    curve, thresholds = np.asarray(curve, np.float64), np.asarray(thresholds, np.float64)
    return float(np.trapezoid(curve, thresholds) / (thresholds[-1] - thresholds[0]))


def acceleration_error(predicted, truth, *, fps: float | None = None, valid=None) -> jax.Array:
    """Returns the mean distance between predicted and true second differences in time, [...].

    Args:
        predicted: [..., T, J, 3] metres, the frames of one sequence in order.
        truth: [..., T, J, 3] metres.
        fps: frames per second, for mm/s^2; None for mm per frame^2, which published tables use,
            often labelled mm/s^2.
        valid: [..., T] bool; a second difference counts if its three frames are valid. The result
            is NaN if none counts.

    Raises:
        ValueError: fewer than three frames, or shapes that do not fit.
    """
    predicted, truth, _ = alignment_lib.paired(predicted, truth)
    frames = predicted.shape[-3] if predicted.ndim > 2 else 0
    if frames < 3:
        raise ValueError(
            f"Acceleration needs joints [..., T, J, 3] of at least 3 frames, not {predicted.shape}."
        )
    valid = jnp.ones(predicted.shape[:-2], bool) if valid is None else jnp.asarray(valid, bool)
    if valid.shape != predicted.shape[:-2]:
        raise ValueError(f"Valid frames {valid.shape} do not fit joints {predicted.shape}.")
    kept = valid[..., None, None]
    errors = jnp.where(kept, predicted, 0) - jnp.where(kept, truth, 0)
    errors = errors[..., 2:, :, :] - 2 * errors[..., 1:-1, :, :] + errors[..., :-2, :, :]
    norms = jnp.mean(distances(errors, jnp.zeros_like(errors)), -1)
    counted = valid[..., 2:] & valid[..., 1:-1] & valid[..., :-2]
    return _mean(norms, counted.astype(jnp.float32)) * (1 if fps is None else fps**2)


def _after(align, predicted, truth, weights) -> jax.Array:
    """Returns the weighted mean distance after an alignment, [...] mm."""
    predicted, truth, weights = _present(predicted, truth, weights)
    truth, _ = alignment_lib.centred(truth, weights)  # float32 is most precise near 0
    return _mean(distances(align(predicted, truth, weights), truth), weights)


def _present(predicted, truth, weights) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the arrays with zeros for the points of weight 0, whatever their values."""
    predicted, truth, weights = alignment_lib.paired(predicted, truth, weights)
    there = weights[..., None] > 0
    return jnp.where(there, predicted, 0), jnp.where(there, truth, 0), weights


def _mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the weighted mean over the last axis; NaN if all weights are 0."""
    return jnp.sum(jnp.where(weights > 0, values * weights, 0), -1) / jnp.sum(weights, -1)


def _nearest(points: jax.Array, among: jax.Array) -> jax.Array:
    """Returns each point's distance to the nearest of another set, [N] mm."""

    def one(point):
        return jnp.min(jnp.sum((among - point) ** 2, -1))

    return 1000 * jnp.sqrt(jax.lax.map(one, points, batch_size=256))

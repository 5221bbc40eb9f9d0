"""FreiHAND's scores: F-scores, the PCK curve and its area."""

import jax
import jax.numpy as jnp
import numpy as np

# The thresholds of FreiHAND's PCK curve.
PCK_THRESHOLDS_MM = np.linspace(0, 50, 100)


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


def _nearest(points: jax.Array, among: jax.Array) -> jax.Array:
    """Returns each point's distance to the nearest of another set, [N] mm."""

    def one(point):
        return jnp.min(jnp.sum((among - point) ** 2, -1))

    return 1000 * jnp.sqrt(jax.lax.map(one, points, batch_size=256))

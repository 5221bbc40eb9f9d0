"""Errors of meshes and joints as the published protocols define them, one value per example."""

import jax
import jax.numpy as jnp

from crocohuman_jax.configuration import options
from crocohuman_jax.metrics import alignment as alignment_lib

ALIGNMENTS = {"similarity": alignment_lib.similarity, "freihand": alignment_lib.freihand}


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
    errors = mean(distances(rooted(predicted, root), rooted(truth, root)), weights)
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
    return mean(distances(predicted, truth), weights)


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


def _after(align, predicted, truth, weights) -> jax.Array:
    """Returns the weighted mean distance after an alignment, [...] mm."""
    predicted, truth, weights = _present(predicted, truth, weights)
    truth, _ = alignment_lib.centred(truth, weights)  # float32 is most precise near 0
    return mean(distances(align(predicted, truth, weights), truth), weights)


def _present(predicted, truth, weights) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the arrays with zeros for the points of weight 0, whatever their values."""
    predicted, truth, weights = alignment_lib.paired(predicted, truth, weights)
    there = weights[..., None] > 0
    return jnp.where(there, predicted, 0), jnp.where(there, truth, 0), weights


def mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the weighted mean over the last axis; NaN if all weights are 0."""
    return jnp.sum(jnp.where(weights > 0, values * weights, 0), -1) / jnp.sum(weights, -1)

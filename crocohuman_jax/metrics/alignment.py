"""Aligns predicted points to the true ones, as published protocols do before measuring errors."""

import functools

import jax
import jax.numpy as jnp

# Accelerators compute matrix products in lower precision by default, which is not enough here.
_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def similarity(points, target, weights=None) -> jax.Array:
    """Returns the points after the rotation, scale and shift that bring them nearest to a target.

    This is the alignment of PA-MPJPE on bodies. It minimises the sum of squared distances and never
    reflects. If all points are equal, they get scale 0 and move to the target's centre. If the best
    rotation is not unique (collinear points), one of the best is taken, and the gradient along
    undetermined directions is 0.

    Args:
        points: [..., N, 3].
        target: [..., N, 3], in the same unit.
        weights: [..., N], at least 0; None for equal weights. Points of weight 0 do not affect the
            alignment but are moved by it.

    Returns:
        [..., N, 3] float32.

    Raises:
        ValueError: the shapes do not fit.
    """
    points, target, weights = paired(points, target, weights)
    points, _ = centred(points, weights)
    target, centre = centred(target, weights)
    points, _ = _unit(points, weights)
    target, size = _unit(target, weights)
    product = _product(target, points, weights)
    rotation = nearest_orthogonal(product, True)
    scale = jnp.sum(rotation * product, (-2, -1))[..., None, None]
    return _einsum("...nj,...ij->...ni", points, rotation) * (scale * size) + centre


def freihand(points, target, weights=None) -> jax.Array:
    """Returns the points aligned to a target as FreiHAND's `align_w_scale` does it.

    Unlike `similarity`, it may reflect the points. It adds 1e-8 to the norms, so the unit matters:
    metres.

    Args:
        points: [..., N, 3] metres.
        target: [..., N, 3] metres.
        weights: [..., N], at least 0; None for equal weights. Points of weight 0 do not affect the
            alignment but are moved by it.

    Returns:
        [..., N, 3] metres, float32.

    Raises:
        ValueError: the shapes do not fit.
    """
    points, target, weights = paired(points, target, weights)
    points, _ = centred(points, weights)
    target, centre = centred(target, weights)
    size, target_size = (_unit(p, weights)[1] + 1e-8 for p in (points, target))
    points = points / size
    product = _product(target / target_size, points, weights)
    turn = nearest_orthogonal(product, False)
    scale = jnp.sum(turn * product, (-2, -1))[..., None, None]  # the sum of singular values
    return _einsum("...nj,...ij->...ni", points, turn) * (scale * target_size) + centre


def scaled(points, target, weights=None) -> jax.Array:
    """Returns the points shifted and scaled to the target's centre and RMS distance from it.

    This is the scale correction of PVE-SC and PVE-T-SC (Sengupta et al., STRAPS, 2020). If all
    points are equal, they move to the target's centre.

    Args:
        points: [..., N, 3].
        target: [..., N, 3], in the same unit.
        weights: [..., N], at least 0; None for equal weights. Points of weight 0 do not affect the
            alignment but are moved by it.

    Returns:
        [..., N, 3] float32.

    Raises:
        ValueError: the shapes do not fit.
    """
    points, target, weights = paired(points, target, weights)
    points, _ = centred(points, weights)
    target, centre = centred(target, weights)
    return _unit(points, weights)[0] * _unit(target, weights)[1] + centre


def paired(points, target, weights=None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns points, target and weights (ones for None) as float32 arrays of matching shapes.

    Args:
        points: [..., N, 3].
        target: [..., N, 3].
        weights: an array that broadcasts to [..., N], or None.

    Returns:
        points and target as they are, and weights [..., N] whose leading axes may be 1.

    Raises:
        ValueError: the shapes do not fit.
    """
    points, target = (jnp.asarray(x, jnp.float32) for x in (points, target))
    if points.shape != target.shape or points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(
            f"Points {points.shape} and target {target.shape} must both be [..., N, 3], with the "
            "same N and the same leading axes."
        )
    weights = jnp.atleast_1d(jnp.asarray(1.0 if weights is None else weights, jnp.float32))
    fits = weights.ndim < points.ndim and all(
        given in (1, wanted)
        for given, wanted in zip(weights.shape[::-1], points.shape[-2::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"Weights {weights.shape} do not fit points {points.shape}: expected one per point, "
            f"{points.shape[:-1]}."
        )
    # Leading axes of 1 stay, because the compiler would evaluate constants of the full size.
    lead = (1,) * (points.ndim - 1 - weights.ndim) + weights.shape[:-1]
    return points, target, jnp.broadcast_to(weights, (*lead, points.shape[-2]))


def centred(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the points around their weighted mean, [..., N, 3], and that mean, [..., 1, 3].

    Args:
        points: [..., N, 3] float32.
        weights: [..., N], leading axes may be 1; points of weight 0 may have any coordinates.
    """
    # Relative to one of the points first: equal points become exact zeros, and a distant origin
    # costs no precision.
    first = jnp.argmax(weights > 0, -1)[..., None, None]
    anchor = jnp.take_along_axis(points, first, -2)
    points = points - anchor
    total = jnp.sum(weights, -1)[..., None, None]
    mean = jnp.sum(_present(points, weights), -2, keepdims=True) / _or_one(total)
    return points - mean, anchor + mean


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def nearest_orthogonal(matrix: jax.Array, proper: bool) -> jax.Array:
    """Returns the orthogonal matrix nearest to each 3x3 matrix, of determinant +1 if `proper`.

    Its derivative exists also where that of a singular value decomposition does not (equal or
    vanishing singular values); it is 0 along undetermined directions.

    Args:
        matrix: [..., 3, 3].
        proper: True for rotations only, False to allow reflections too.
    """
    return _nearest(matrix, proper)[0]


@nearest_orthogonal.defjvp
def _nearest_orthogonal_jvp(proper, primals, tangents):
    # M = Q P with P = V diag(p) V' symmetric. So Q' dM = W P + dP for a skew W = Q' dQ, whose
    # skew part reads W_ij (p_i + p_j) in the basis V.
    nearest, basis, stretch = _nearest(primals[0], proper)
    moved = _einsum("...ki,...kj->...ij", nearest, tangents[0])
    moved = _einsum("...ik,...ij,...jl->...kl", basis, moved, basis)
    skew = moved - jnp.swapaxes(moved, -2, -1)
    sums = stretch[..., :, None] + stretch[..., None, :]
    free = sums <= 1e-6 * stretch[..., :1, None]
    skew = jnp.where(free, 0, skew / jnp.where(free, 1, sums))
    return nearest, _einsum("...ij,...jk,...kl,...ml->...im", nearest, basis, skew, basis)


def _nearest(matrix: jax.Array, proper: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns (Q, V, p) of matrix = Q V diag(p) V', Q orthogonal, p falling, its last maybe < 0."""
    left, stretch, right = jnp.linalg.svd(matrix)
    if proper:
        flip = jnp.where(jnp.linalg.det(left) * jnp.linalg.det(right) < 0, -1.0, 1.0)
        left = left.at[..., :, 2].multiply(flip[..., None])
        stretch = stretch.at[..., 2].multiply(flip)
    return _einsum("...ij,...jk->...ik", left, right), jnp.swapaxes(right, -2, -1), stretch


def _present(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the values times their weights; 0 for weight 0, whatever the value."""
    weights = weights[..., None]
    return jnp.where(weights > 0, weights * values, 0)


def _product(target: jax.Array, points: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the weighted sum of outer products of target and point, [..., 3, 3]."""
    points = jnp.where(weights[..., None] > 0, points, 0)
    return _einsum("...ni,...nj->...ij", _present(target, weights), points)


def _unit(points: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the points scaled to norm 1 (zeros stay zeros) and their original norm, [..., 1, 1].

    The norm is the root of the weighted sum of squares. Its gradient at 0 is 0.
    """
    present = jnp.where(weights[..., None] > 0, points, 0)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(present), (-2, -1), keepdims=True))
    none = largest < jnp.finfo(jnp.float32).tiny
    largest = jnp.where(none, 1, largest)  # so that squares neither over- nor underflow
    squares = jnp.sum(_present((present / largest) ** 2, weights), (-2, -1), keepdims=True)
    norm = jnp.sqrt(jnp.where(none, 1, squares))
    return points / largest / norm, jnp.where(none, 0, largest * norm)


def _or_one(value: jax.Array) -> jax.Array:
    """Returns the value, or 1 if it is 0, to divide by."""
    return jnp.where(value == 0, 1, value)

"""Rotations as vectors, matrices and the six numbers that networks predict."""

import jax
import jax.numpy as jnp
import jaxlie

_TINY = 1e-12  # smallest length used as a divisor


def exp(vectors: jax.Array) -> jax.Array:  # [..., 3] -> [..., 3, 3]
    """Returns the matrices of rotation vectors (axis times angle); smooth at zero and at pi."""
    return jaxlie.SO3.exp(vectors).as_matrix()


def log(matrices: jax.Array) -> jax.Array:  # [..., 3, 3] -> [..., 3]
    """Returns the rotation vectors of matrices, their angles in [0, pi]."""
    return jaxlie.SO3.from_matrix(matrices).log()


def from_6d(six: jax.Array) -> jax.Array:  # [..., 6] -> [..., 3, 3]
    """Returns rotations made of two columns by Gram-Schmidt (Zhou et al., 2019).

    The six numbers are interleaved, as in methods based on HMR: entries 0, 2, 4 are the first
    column and 1, 3, 5 the second, so the identity is (1, 0, 0, 1, 0, 0). Columns that are zero or
    parallel give finite values, but no rotation.
    """
    first, second = six[..., 0::2], six[..., 1::2]
    x = _unit(first)
    y = _unit(second - jnp.sum(x * second, -1, keepdims=True) * x)
    return jnp.stack([x, y, jnp.cross(x, y)], -1)


def to_6d(matrices: jax.Array) -> jax.Array:  # [..., 3, 3] -> [..., 6]
    """Returns the first two columns of matrices, interleaved as `from_6d` takes them."""
    return matrices[..., :2].reshape(*matrices.shape[:-2], 6)


def _unit(vectors: jax.Array) -> jax.Array:
    square = jnp.sum(vectors**2, -1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(square, _TINY**2))


def angle(first: jax.Array, second: jax.Array) -> jax.Array:  # [..., 3, 3] twice -> [...]
    """Returns the angle between rotations in radians, in [0, pi]."""
    turn = jnp.swapaxes(first, -1, -2) @ second
    skew = jnp.stack([turn[..., i, j] - turn[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)
    # Sine and cosine of the angle, so that it is exact near zero and near pi.
    sine = jnp.linalg.norm(skew, axis=-1)
    return jnp.arctan2(sine, jnp.trace(turn, axis1=-2, axis2=-1) - 1)

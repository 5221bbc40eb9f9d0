"""Camera projections: weak perspective, its full-perspective equivalent, and pinhole matrices."""

import jax
import jax.numpy as jnp

# A weak-perspective camera stands for one of this focal length, in a picture of SIDE; in pixels.
FOCAL = 5000.0
SIDE = 224.0


def translation(camera: jax.Array) -> jax.Array:  # [..., 3] -> [..., 3]
    """Returns a body's translation in metres for a weak-perspective camera (s, tx, ty), as in SPIN.

    The camera has the focal length FOCAL in a picture of SIDE; the projection does not depend on
    the real size of the picture.
    """
    scale, x, y = camera[..., 0], camera[..., 1], camera[..., 2]
    return jnp.stack([x, y, 2 * FOCAL / (SIDE * scale + 1e-9)], -1)


def project(points: jax.Array, camera: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3]
    """Returns points projected in full perspective by a camera (s, tx, ty), [..., N, 2].

    The picture spans [-1, 1]; its centre is the principal point.
    """
    placed = points + translation(camera)[..., None, :]
    return FOCAL / (SIDE / 2) * placed[..., :2] / placed[..., 2:]


def weak(points: jax.Array, camera: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3]
    """Returns points projected in weak perspective, s * (X + t), [..., N, 2], within [-1, 1]."""
    return camera[..., None, :1] * (points[..., :2] + camera[..., None, 1:])


def pinhole(points: jax.Array, matrix: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3, 3]
    """Returns points projected by a 3x3 camera matrix, [..., N, 2]."""
    seen = jnp.einsum("...ab,...nb->...na", matrix, points, precision="highest")
    return seen[..., :2] / seen[..., 2:]

"""Cameras: weak perspective, what it means in full perspective, and the forms others use."""

import jax
import jax.numpy as jnp

FOCAL = 5000.0  # pixels of a picture of SIDE pixels, what a weak-perspective camera is taken for
SIDE = 224.0


def translation(camera: jax.Array) -> jax.Array:  # [..., 3] -> [..., 3]
    """Returns where a weak-perspective camera (s, tx, ty) puts a body, in metres (SPIN).

    The camera has a focal length of FOCAL for a picture of SIDE; what is projected does not depend
    on the real size of the picture.
    """
    scale, x, y = camera[..., 0], camera[..., 1], camera[..., 2]
    return jnp.stack([x, y, 2 * FOCAL / (SIDE * scale + 1e-9)], -1)


def project(points: jax.Array, camera: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3]
    """Returns points seen in full perspective by a camera (s, tx, ty), [..., N, 2].

    The picture spans [-1, 1]; its centre is the principal point.
    """
    placed = points + translation(camera)[..., None, :]
    return FOCAL / (SIDE / 2) * placed[..., :2] / placed[..., 2:]


def weak(points: jax.Array, camera: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3]
    """Returns points in weak perspective, s * (X + t), [..., N, 2]; the picture spans [-1, 1]."""
    return camera[..., None, :1] * (points[..., :2] + camera[..., None, 1:])


def pinhole(points: jax.Array, matrix: jax.Array) -> jax.Array:  # [..., N, 3], [..., 3, 3]
    """Returns points through a matrix of homogeneous coordinates, [..., N, 2]."""
    seen = jnp.einsum("...ab,...nb->...na", matrix, points, precision="highest")
    return seen[..., :2] / seen[..., 2:]

"""Rotations in three dimensions as numpy matrices."""

import numpy as np

X, Y, Z = np.eye(3)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors [..., 3] of length one; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors, np.float64), where=length > 0)


def from_vector(vectors: np.ndarray) -> np.ndarray:
    """Returns the matrices [..., 3, 3] of rotation vectors [..., 3] (axis times radians)."""
    vectors = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(unit(vectors), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def to_vector(matrices: np.ndarray) -> np.ndarray:
    """Returns the rotation vectors [..., 3] of matrices [..., 3, 3], angles in [0, pi]."""
    m = np.asarray(matrices, np.float64)
    # Computes the quaternion from its largest component, which stays exact near half a turn.
    trace = np.trace(m, axis1=-2, axis2=-1)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    squares = np.concatenate([trace[..., None], diagonal], -1)
    squares = np.concatenate([1 + squares[..., :1], 1 - trace[..., None] + 2 * diagonal], -1)
    largest = np.argmax(squares, -1)
    a = np.stack(
        [
            m[..., 2, 1] - m[..., 1, 2],
            m[..., 0, 2] - m[..., 2, 0],
            m[..., 1, 0] - m[..., 0, 1],
        ],
        -1,
    )
    s = m + np.swapaxes(m, -1, -2)
    table = np.empty((*m.shape[:-2], 4, 4))
    table[..., 0, 0] = squares[..., 0]
    table[..., 0, 1:] = table[..., 1:, 0] = a
    table[..., 1:, 1:] = s
    for i in range(3):
        table[..., 1 + i, 1 + i] = squares[..., 1 + i]
    q = np.take_along_axis(table, largest[..., None, None], -2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q = np.where(q[..., :1] < 0, -q, q)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return np.where(sine > 1e-12, angle / np.maximum(sine, 1e-300), 2.0) * q[..., 1:]


def about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Returns the rotation about an axis by an angle in radians."""
    return from_vector(unit(np.asarray(axis, np.float64)) * angle)


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the smallest rotation that turns direction a [3] into direction b [3]."""
    a, b = unit(np.asarray(a, np.float64)), unit(np.asarray(b, np.float64))
    axis = np.cross(a, b)
    sine, cosine = np.linalg.norm(axis), float(a @ b)
    if sine < 1e-9:
        if cosine > 0:
            return np.eye(3)
        axis = np.cross(a, X if abs(a[0]) < 0.9 else Y)
    return about(axis, np.arctan2(sine, cosine))

"""Position embeddings of patches on a grid: tables to add to tokens, and rotary angles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def grid(shape: tuple[int, int]) -> np.ndarray:
    """Returns the (row, column) of every patch of a (rows, columns) grid, row by row: [N, 2]."""
    rows, columns = shape
    return np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(
        -1, 2
    )


@functools.cache
def cosine(shape: tuple[int, int], width: int) -> np.ndarray:
    """Returns the fixed sine-cosine table of a grid, [N, D] float32.

    The first half of the channels encodes the column, the second half the row; each is
    [sin, cos] of the coordinate times 10000^(-k / (D / 4)).

    Raises:
        ValueError: the width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"Cosine positions need a width that is a multiple of 4, not {width}.")
    frequencies = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4))
    angles = grid(shape)[:, ::-1, None] * frequencies  # [N, (column, row), D/4]
    table = np.concatenate([np.sin(angles), np.cos(angles)], -1)  # [N, 2, D/2]
    return table.reshape(-1, width).astype(np.float32)


@functools.cache
def rotary(shape: tuple[int, int], head_width: int, base: float) -> np.ndarray:
    """Returns the rotary angles of a grid, [N, 2 (cosine, sine), 2 (row, column), d/4].

    The first half of a head turns with the row, the second half with the column; frequency i
    of a half is base^(-2i / (d/2)).

    Raises:
        ValueError: the width of a head is not a multiple of 4.
    """
    if head_width % 4:
        raise ValueError(
            f"Rotary positions need a head width that is a multiple of 4, not {head_width}."
        )
    half = head_width // 2
    frequencies = 1.0 / base ** (np.arange(0, half, 2, dtype=np.float64) / half)
    angles = grid(shape)[:, :, None] * frequencies  # [N, 2, d/4]
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def resize(table: jax.Array, old: tuple[int, int], new: tuple[int, int]) -> jax.Array:
    """Returns a table of positions resampled for another grid.

    It equals PyTorch's interpolate(mode="bicubic", align_corners=False, antialias=False). Compute a
    cosine table for the new grid instead (`cosine`): an interpolated one keeps the coordinates of
    the old grid.

    Args:
        table: [N, D], row by row.
        old: (rows, columns) of its grid.
        new: (rows, columns) of the new grid.

    Returns:
        [M, D].

    Raises:
        ValueError: the table does not have one row per patch of the old grid.
    """
    if len(table) != old[0] * old[1]:
        raise ValueError(f"A table of {len(table)} rows does not fit a {old[0]}x{old[1]} grid.")
    if old == new:
        return table
    rows, columns = (_bicubic(a, b) for a, b in zip(old, new, strict=True))
    maps = jnp.asarray(table, jnp.float32).reshape(*old, -1)
    resized = jnp.einsum("ri,cj,ijd->rcd", rows, columns, maps, precision="highest")
    return resized.reshape(new[0] * new[1], -1)


@functools.cache
def _bicubic(old: int, new: int) -> np.ndarray:  # [new, old]
    """Returns the weights of Keys' cubic convolution with a = -0.75 and repeated border values."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(at).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        t = np.abs(at - first - tap)
        near = (1.25 * t - 2.25) * t**2 + 1  # (a + 2) t^3 - (a + 3) t^2 + 1
        far = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)  # a (t^3 - 5 t^2 + 8 t - 4)
        place = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), place), np.where(t <= 1, near, far))
    return weights.astype(np.float32)


def rotate(x: jax.Array, table: jax.Array) -> jax.Array:
    """Returns heads x [B, N, H, d] turned by the angles of `rotary`.

    The table is [N, 2, 2, d/4], or [B, N, 2, 2, d/4] if examples differ.
    """
    halves = x.reshape(*x.shape[:-1], 2, 2, x.shape[-1] // 4)  # [B, N, H, half, pair, d/4]
    first, second = halves[..., 0, :], halves[..., 1, :]
    cos, sin = (jnp.expand_dims(table[..., i, :, :], -3).astype(x.dtype) for i in (0, 1))
    turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], -2)
    return turned.reshape(x.shape)

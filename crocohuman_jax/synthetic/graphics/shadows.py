"""Shadows of meshes: a depth map for each lamp, and a map of the sky that the ground sees."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import cameras, kernels, raster, rotations

MAP_SIZE = 320  # texels per side of a person's shadow map; one is 6 mm on a standing body
FLOOR_CELLS = 64
WIDE = 1.0  # metres around an object within which it darkens the ground
BLOCK = 1 << 3  # texels per side of a block; the nearest depth of each block is stored
DARK = 2.5  # factor on the sky hidden by balls, since a body has no gaps as balls have


@dataclasses.dataclass(frozen=True)
class Shadows:
    """The light that one object blocks from each of K lamps and from the sky.

    Attributes:
        depth: [K, S, S] float32, metres from the lamp to the first surface, inf for none.
        project: [K, 3, 4] float64, world points to (u z, v z, z) in texels.
        texel: [K], width of a texel divided by its distance from the lamp.
        nearest: [K, S / 8, S / 8] float32, smallest depth in and around each block of texels.
        floor: [G, G] float32 in [0, 1], share of the sky that the ground sees; rows along y.
        corner: [2], corner of the floor's first cell; cell: side of a cell; both in metres.
    """

    depth: np.ndarray
    project: np.ndarray
    texel: np.ndarray
    nearest: np.ndarray
    floor: np.ndarray
    corner: np.ndarray
    cell: float


def cast(lamps: np.ndarray, points, faces, size: int = MAP_SIZE, samples=None, side=0.1) -> Shadows:
    """Returns the shadows of a mesh; its faces block light from both sides.

    Args:
        lamps: [K, 3], positions in metres.
        points, faces: vertices [M, 3] in metres and faces [F, 3].
        size: texels per side of the maps.
        samples: [n, 3] points spread over the mesh; None if its vertices are dense enough.
        side: approximate distance between samples, metres.
    """
    low, high = extent(points)
    centre, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 0.05)
    depth = np.empty((len(lamps), size, size), np.float32)
    project, texel = np.empty((len(depth), 3, 4)), np.empty(len(depth))
    for k, position in enumerate(lamps):
        distance = np.linalg.norm(position - centre)
        half = np.tan(np.arcsin(min(radius / distance, 0.9)))
        focal = size / 2 / half
        texel[k] = 1 / focal
        rotation, translation = cameras.look_at(position, centre + 1e-5 * rotations.X)
        intrinsics = (focal, focal, size / 2, size / 2)
        buffers = raster.canvas((size, size))
        seen = raster.homogeneous(intrinsics, rotation, translation, points)
        raster.draw(seen, faces, buffers, cull=False)
        depth[k] = buffers[1]
        matrix = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
        project[k] = matrix @ np.concatenate([rotation, translation[:, None]], 1)
    return Shadows(
        depth,
        project,
        texel,
        _nearest(depth),
        *_floor(points if samples is None else samples, side),
    )


def none(lamps: np.ndarray) -> Shadows:
    """Returns shadows that block no light."""
    count = len(lamps)
    project = np.zeros((count, 3, 4))
    empty, free = np.zeros((count, 1, 1), np.float32), np.ones((1, 1), np.float32)
    return Shadows(empty, project, np.zeros(count), empty, free, np.zeros(2), 1.0)


def _nearest(depth):  # [K, S, S], S a multiple of 8
    least = depth[:, ::BLOCK]
    for k in range(1, BLOCK):
        least = np.minimum(least, depth[:, k::BLOCK])
    least = least.reshape(*least.shape[:2], -1, BLOCK).min(-1)
    padded = np.pad(least, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = np.minimum(np.minimum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    return np.minimum(np.minimum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _floor(points, side):
    """Returns the share of the sky that the ground around points sees: map, corner and cell."""
    low, high = extent(points)
    low, high = low[:2] - WIDE, high[:2] + WIDE
    cell = float((high - low).max()) / FLOOR_CELLS
    # The mesh is approximated by balls, one for each cube of space that it touches.
    i, j, k = (np.floor(points[:, axis] / side).astype(np.int64) + 512 for axis in range(3))
    number = np.unique((i * 1024 + j) * 1024 + k)
    balls = np.stack([number >> 20, (number >> 10) & 1023, number & 1023], 1) - 511.5
    balls = balls * side
    balls[:, 2] = np.maximum(balls[:, 2], 0.3 * side)
    balls = balls[balls[:, 2] < 1.0]
    kernel = _covered if kernels.AVAILABLE else _covered_numpy
    covered = kernel(balls, side * 0.45, low, cell, FLOOR_CELLS)
    return (1 / (1 + DARK * covered)).astype(np.float32), low, cell


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest coordinates [3] float64 of points [n, 3]."""
    # One column at a time, since numpy is slow at reductions along the first of two axes.
    columns = [points[:, axis] for axis in range(3)]
    return np.array([float(c.min()) for c in columns]), np.array([float(c.max()) for c in columns])


@kernels.compiled
def _covered(balls, radius, corner, cell, count):
    out = np.zeros((count, count))
    for b in range(len(balls)):
        x, y, z = balls[b, 0] - corner[0], balls[b, 1] - corner[1], balls[b, 2]
        for row in range(max(0, int((y - WIDE) / cell)), min(count, int((y + WIDE) / cell) + 1)):
            dy = (row + 0.5) * cell - y
            first, last = max(0, int((x - WIDE) / cell)), min(count, int((x + WIDE) / cell) + 1)
            for column in range(first, last):
                dx = (column + 0.5) * cell - x
                square = dx * dx + dy * dy + z * z
                # The share of the sky that a ball hides, weighted by the cosine; fades out at WIDE.
                end = max(0.0, 1 - (dx * dx + dy * dy) / (WIDE * WIDE))
                out[row, column] += end * z * z * radius * radius / (square * square)
    return out


def _covered_numpy(balls, radius, corner, cell, count):
    at = (np.arange(count) + 0.5) * cell
    out = np.zeros((count, count))
    for x, y, z in balls - (*corner, 0):
        flat = (at[:, None] - y) ** 2 + (at - x) ** 2
        end = np.maximum(0.0, 1 - flat / (WIDE * WIDE))
        out += end * z * z * radius * radius / (flat + z * z) ** 2
    return out

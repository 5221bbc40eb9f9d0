"""Turns a user's 3D scene, such as a scanned flat, into a place with a free spot at the origin."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import (
    mesh_files,
    noise,
    primitives,
    rotations,
    shading,
    surface,
)

CELL = 0.1  # cell size of the grid on which free ground is searched, metres
CLEAR = (0.15, 1.9)  # range of heights above the ground that must be empty around a person, metres
REACH = 8.0  # the scene is cut off at this distance from the person, metres
BLOCK = 0.75  # side of the cubes into which a scene is divided, metres
Interior = mesh_files.Mesh
load = mesh_files.load


class Stage:
    """A scene rotated and translated so that a free spot of it is the origin.

    Args:
        rng: draws the spot, the turn and the light.
        interior: the scene, metres, z up.

    Raises:
        ValueError: the scene has no free spot to stand on.
    """

    def __init__(self, rng: np.random.Generator, interior: Interior):
        spot, ceiling = _free_spot(rng, interior)
        turn = rotations.about(rotations.Z, rng.uniform(0, 2 * np.pi))
        centroid = interior.vertices[interior.faces].mean(1)
        away = np.linalg.norm((centroid - spot)[:, :2], axis=1)
        height = centroid[:, 2] - spot[2]
        near = (away < REACH) & (height > -0.6) & (height < 4.5)
        used, faces = np.unique(interior.faces[near], return_inverse=True)
        vertices = ((interior.vertices[used] - spot) @ turn.T).astype(np.float32)
        self._scan = _scan(interior, used, faces.reshape(-1, 3).astype(np.int32), near, vertices)
        level = float(rng.uniform(0.8, 1.2))
        angle, warm = rng.uniform(0, 2 * np.pi), np.array([1.0, 0.93, 0.82]) ** rng.uniform(0, 1.5)
        away = rng.uniform(0.8, 1.4)
        lamp = [away * np.cos(angle), away * np.sin(angle), min(max(ceiling - 0.15, 2.0), 2.6)]
        # The scan's colours contain most of the light, so there is ambient light and a single lamp
        # for shadows.
        sky = 0.55 * level * (0.5 + 0.5 * warm)
        self.lights = shading.Lights(
            np.array([lamp]), 0.55 * level * warm[None], np.array([2.2]), sky, 0.75 * sky
        )

    def fit(self, eyes: np.ndarray, radius: float) -> "Scan":
        """Returns the scene's mesh around the spot; the arguments have no effect."""
        return self._scan

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns the dim grey behind holes in the scene; see `room.Room.background`."""
        count = len(rays)
        grey = 0.25 + 0.2 * noise.fbm(rays, 2.0, 3)
        emission = np.repeat(grey[:, None], 3, 1).astype(np.float32)
        zero = np.zeros((count, 3), np.float32)
        return shading.Hits(
            np.zeros(count, bool), zero, np.zeros(count, np.float32), emission, zero, zero
        )


@dataclasses.dataclass(frozen=True)
class Scan:
    """The mesh of a scene, divided into blocks for view culling; see `primitives.Solids`.

    Walls are visible only from their inside, so a camera behind a wall looks through it.

    Attributes:
        vertices: [M, 3] float32; color: [M, 3] float32 linear; uv: [M, 2] float32.
        faces: [F, 3] int32, sorted by block; image: [F] int, the texture's number or -1.
        block, thing: [F] int32; `thing` is the block, or -1 for ground, which is never removed.
        images: textures, [h, w, 3] uint8 sRGB.
        middle, radius: [B, 3] and [B], bounding sphere of each block.
        normals: None, so faces are shaded flat.
        casts: whether it casts shadows; False because scanned colours contain them.
    """

    vertices: np.ndarray
    color: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    image: np.ndarray
    block: np.ndarray
    thing: np.ndarray
    images: tuple[np.ndarray, ...]
    middle: np.ndarray
    radius: np.ndarray
    normals: None = None
    casts: bool = False  # scanned colours contain the shadows

    def seen_by(self, camera) -> np.ndarray:
        """Returns the indices of the faces whose blocks lie in a camera's field of view."""
        middle = camera.see(self.middle.astype(np.float64))
        fx, fy, cx, cy = camera.intrinsics
        height, width = camera.size
        sides = np.array([[fx, 0, cx], [-fx, 0, width - cx], [0, fy, cy], [0, -fy, height - cy]])
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        seen = (middle @ sides.T > -self.radius[:, None]).all(1)
        seen &= middle[:, 2] > -self.radius
        return np.flatnonzero(seen[self.block])

    def keep(self, faces: np.ndarray) -> "Scan":  # [F] bool
        """Returns the scene with only the faces that are True."""
        kept = {name: getattr(self, name)[faces] for name in ("faces", "image", "block", "thing")}
        return dataclasses.replace(self, **kept)

    def material(self, face, barycentric, points, normals) -> surface.Material:
        """Returns the material of points [P, 3] on faces [P]."""
        corners = self.faces[face]
        first = 1 - barycentric.sum(1, keepdims=True)
        weights = np.concatenate([first, barycentric], 1)[..., None]
        albedo = (self.color[corners] * weights).sum(1)
        image = self.image[face]
        for number in np.unique(image[image >= 0]):
            at = np.flatnonzero(image == number)
            uv = (self.uv[corners[at]] * weights[at]).sum(1) % 1
            picture = self.images[number]
            size = np.array(picture.shape[1::-1])
            x, y = np.minimum((uv * size).astype(int), size - 1).T
            albedo[at] *= (picture[y, x].astype(np.float32) / 255) ** 2.2
        gloss = np.full(len(face), 0.03, np.float32)
        return surface.Material(np.clip(albedo, 0, 0.95).astype(np.float32), gloss, normals)


def _scan(interior, used, faces, near, vertices) -> Scan:
    corners = vertices[faces]
    centroid = corners.mean(1)
    cell = np.floor(centroid / BLOCK).astype(np.int64) + 64
    key = (cell[:, 0] * 128 + cell[:, 1]) * 128 + cell[:, 2]
    order = np.argsort(key, kind="stable")
    faces, corners, centroid = faces[order], corners[order], centroid[order]
    blocks, block = np.unique(key[order], return_inverse=True)
    starts = np.searchsorted(block, np.arange(len(blocks)))
    low = np.minimum.reduceat(corners.min(1), starts)
    high = np.maximum.reduceat(corners.max(1), starts)
    normal = rotations.unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    ground = (normal[:, 2] > 0.7) & (centroid[:, 2] < 0.2)
    return Scan(
        vertices,
        interior.color[used],
        interior.uv[used],
        faces,
        interior.image[near][order],
        block.astype(np.int32),
        np.where(ground, -1, block).astype(np.int32),
        interior.images,
        (low + high) / 2,
        np.linalg.norm(high - low, axis=1) / 2,
    )


def _free_spot(rng, interior):
    """Returns a free spot on the ground, [3], and the ceiling's height above it, metres."""
    vertices, faces = interior.vertices, interior.faces
    points, face = primitives.sampled(vertices, faces, CELL * 0.7)
    corners = vertices[faces]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    flat = area[:, 2] > 0.9 * np.linalg.norm(area, axis=1)
    flat &= area[:, 2] > 0
    low = points.min(0)
    cell = np.floor((points[:, :2] - low[:2]) / CELL).astype(int) + 1
    shape = tuple(cell.max(0) + 2)
    for level in _levels(corners[flat][..., 2].mean(1), area[flat, 2]):
        above = points[:, 2] - level
        ground, blocked = np.zeros(shape, bool), np.zeros(shape, bool)
        ground[tuple(cell[flat[face] & (np.abs(above) < 0.08)].T)] = True
        blocked[tuple(cell[(above > CLEAR[0]) & (above < CLEAR[1])].T)] = True
        free = _clearance(ground & ~blocked)
        if free.max() * CELL < 0.35:
            continue
        candidates = np.argwhere(free >= min(0.7 * free.max(), 1.5 / CELL))
        spot = candidates[rng.integers(len(candidates))]
        over = above[(cell == spot).all(1) & (above > CLEAR[1])]
        at = low[:2] + (spot - 0.5) * CELL
        return np.array([*at, level]), float(over.min()) if len(over) else 2.6
    raise ValueError(
        f"{interior.name}: nowhere in this scene is there level ground with 0.35 m around it and "
        f"{CLEAR[1]} m above it free. Check that the scene is in metres, with y up."
    )


def _levels(heights, areas):
    """Returns the heights of level ground, metres, the largest area first."""
    if not len(heights):
        return []
    bins = np.floor(heights / 0.05).astype(int)
    first = bins.min()
    area = np.bincount(bins - first, areas)
    order = np.argsort(-area, kind="stable")[:6]
    order = [k for k in order if area[k] > 0.15 * area.max()]
    return [
        float(np.average(heights[bins - first == k], weights=areas[bins - first == k]))
        for k in order
    ]


def _clearance(free):
    """Returns each free cell's distance to the nearest occupied cell, in steps along the axes."""
    distance = np.zeros(free.shape, int)
    while free.any():
        distance += free
        inner = free.copy()
        inner[1:] &= free[:-1]
        inner[:-1] &= free[1:]
        inner[:, 1:] &= free[:, :-1]
        inner[:, :-1] &= free[:, 1:]
        free = inner
    return distance

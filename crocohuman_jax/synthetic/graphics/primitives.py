"""The solid objects of a scene as one mesh, and the simple shapes that they are made of."""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.synthetic.graphics import noise, rotations, surface

# A unit box that stands on the origin. Each of its 6 sides has its own 4 vertices.
_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
BOX = _CORNERS[np.array(_SIDES).ravel()]
BOX_NORMALS = np.repeat([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], 4, 0)
BOX_FACES = np.concatenate([[[k, k + 1, k + 2], [k, k + 2, k + 3]] for k in range(0, 24, 4)])


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of an object: a mesh and its material.

    Attributes:
        vertices, normals: [m, 3]; faces: [f, 3].
        color: [3] linear RGB; grain: strength of the colour's random variation.
        stretch: [3], noise cells of that variation per metre along each axis.
        gloss: in [0, 1].
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    color: np.ndarray
    grain: float = 0.15
    stretch: tuple[float, float, float] = (12.0, 12.0, 12.0)
    gloss: float = 0.1


@dataclasses.dataclass(frozen=True)
class Solids:
    """All objects of a scene as one mesh.

    Attributes:
        vertices, normals: [M, 3] float32, in world coordinates.
        faces: [F, 3] int32, counter-clockwise from outside.
        thing: [F] int32, number of the object that each face belongs to.
        color: [F, 3] float32 linear; stretch: [F, 3]; grain, gloss: [F]; see `Part`.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    thing: np.ndarray
    color: np.ndarray
    stretch: np.ndarray
    grain: np.ndarray
    gloss: np.ndarray

    casts = True  # whether the mesh casts shadows

    def seen_by(self, camera) -> np.ndarray:
        """Returns the indices of the faces that a camera may see: all, since they are few."""
        return np.arange(len(self.faces))

    def keep(self, faces: np.ndarray) -> "Solids":  # [F] bool
        """Returns the solids with only the faces that are True."""
        kept = {
            name: getattr(self, name)[faces]
            for name in ("faces", "thing", "color", "stretch", "grain", "gloss")
        }
        return dataclasses.replace(self, **kept)

    def material(self, face, barycentric, points, normals) -> surface.Material:
        """Returns the material at points [P, 3] on faces [P]; `barycentric` is not used."""
        rough = noise.fbm(points * self.stretch[face], 1.0, 3) - 0.5
        color = self.color[face] * (1 + 3 * self.grain[face] * rough)[:, None]
        return surface.Material(np.clip(color, 0.005, 0.95), self.gloss[face], normals)


def join(first: Solids, second: Solids) -> Solids:
    """Returns the objects of both; those of the second are numbered after the first's."""
    count, number = len(first.vertices), int(first.thing.max(initial=-1)) + 1
    moved = dataclasses.replace(second, faces=second.faces + count, thing=second.thing + number)
    names = [field.name for field in dataclasses.fields(Solids)]
    return Solids(*(np.concatenate([getattr(s, n) for s in (first, moved)]) for n in names))


def assemble(things: list[list[Part]]) -> Solids:
    """Returns all parts of all objects as one mesh."""
    parts = [(number, part) for number, thing in enumerate(things) for part in thing]
    if not parts:
        empty, none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
        indices = np.zeros((0, 3), np.int32)
        return Solids(empty, empty, indices, np.zeros(0, np.int32), empty, empty, none, none)
    first = np.cumsum([0] + [len(part.vertices) for _, part in parts])
    count = [len(part.faces) for _, part in parts]

    def spread(values):
        return np.repeat(np.asarray(values, np.float32), count, axis=0)

    vertices = np.concatenate([part.vertices for _, part in parts]).astype(np.float32)
    vertices[:, 2] = np.maximum(vertices[:, 2], 0)  # no vertex lies below the ground
    return Solids(
        vertices,
        np.concatenate([part.normals for _, part in parts]).astype(np.float32),
        np.concatenate([p.faces + i for i, (_, p) in zip(first[:-1], parts, strict=True)]).astype(
            np.int32
        ),
        np.repeat(np.array([number for number, _ in parts], np.int32), count),
        spread([part.color for _, part in parts]),
        spread([part.stretch for _, part in parts]),
        spread([part.grain for _, part in parts]),
        spread([part.gloss for _, part in parts]),
    )


def place(thing: list[Part], position, yaw: float) -> list[Part]:
    """Returns an object rotated about z by `yaw` radians and moved to `position` [x, y] or [3]."""
    turn = rotations.about(rotations.Z, yaw)
    shift = np.zeros(3)
    shift[: len(position)] = position
    return [
        dataclasses.replace(
            part, vertices=part.vertices @ turn.T + shift, normals=part.normals @ turn.T
        )
        for part in thing
    ]


def reach(thing: list[Part]) -> float:
    """Returns the largest distance of an object's vertices from its z axis, metres."""
    return max(float(np.linalg.norm(part.vertices[:, :2], axis=1).max()) for part in thing)


def box(size, at=(0, 0, 0), color=(0.5, 0.5, 0.5), **look) -> Part:
    """Returns a box of `size` that stands on the point `at`."""
    return Part(BOX * size + at, BOX_NORMALS, BOX_FACES, np.asarray(color, float), **look)


def turned(profile, at=(0, 0, 0), color=(0.5, 0.5, 0.5), around: int = 12, **look) -> Part:
    """Returns a solid of revolution about z; `profile` lists (radius, height) from the bottom."""
    profile = np.asarray(profile, float)
    angle = np.arange(around) * 2 * np.pi / around
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    radius, height = profile.T
    vertices = _rings(ring, radius, height)
    normals = _rings(ring, np.gradient(height), -np.gradient(radius))
    k, n = np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for level in range(len(profile) - 1):
        a, b = level * around, (level + 1) * around
        faces += [np.stack([a + k, a + n, b + n], 1), np.stack([a + k, b + n, b + k], 1)]
    # The lids have their own vertices, because their normals differ from those of the side.
    count = len(vertices)
    lids = [vertices[:around], vertices[-around:]]
    bottom, top = count, count + around
    inner = k[1:-1]
    faces += [np.stack([0 * inner + bottom, bottom + inner + 1, bottom + inner], 1)]
    faces += [np.stack([0 * inner + top, top + inner, top + inner + 1], 1)]
    normals = np.concatenate(
        [
            rotations.unit(normals),
            np.tile(-rotations.Z, (around, 1)),
            np.tile(rotations.Z, (around, 1)),
        ]
    )
    vertices = np.concatenate([vertices, *lids]) + at
    return Part(vertices, normals, np.concatenate(faces), np.asarray(color, float), **look)


def _rings(ring, radius, height):  # [n, 2], [m], [m]
    """Returns a ring of points for each radius and height, [m n, 3]."""
    points = np.empty((len(radius), len(ring), 3))
    points[..., :2] = ring * radius[:, None, None]
    points[..., 2] = height[:, None]
    return points.reshape(-1, 3)


def blob(rng, radii, at, color, rough: float = 0.25, **look) -> Part:
    """Returns a lumpy ball centred at `at`, such as foliage."""
    vertices, normals, faces = _ball(int(rng.integers(12)), rough)
    turn = rotations.about(rotations.Z, rng.uniform(0, 2 * np.pi))
    normals = rotations.unit(normals @ turn.T / radii)
    return Part(vertices @ turn.T * radii + at, normals, faces, np.asarray(color, float), **look)


@functools.cache
def _ball(number: int, rough: float):
    """Returns vertices, normals and faces of a lumpy ball of radius one; `number` is its seed."""
    down = np.linspace(0, np.pi, 9)
    part = turned(np.stack([np.sin(down) + 1e-4, -np.cos(down)], 1), around=14)
    shift = np.random.default_rng(number).uniform(0, 9, 3)
    lumps = noise.fbm(part.vertices + shift, 2.2, 3) - 0.5
    vertices = part.vertices * (1 + 4 * rough * lumps[:, None])
    normals = surface.normals(vertices, part.faces)
    # The lids of a ball have no area, so their computed normals are zero.
    normals = np.where(np.linalg.norm(normals, axis=1, keepdims=True) > 0.5, normals, part.normals)
    return vertices, normals, part.faces


def sampled(vertices, faces, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns points [n, 3] all over faces, at most `spacing` metres apart, and their faces [n]."""
    corners = vertices[faces]
    edges = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1)
    steps = np.clip(np.ceil(edges / spacing).astype(int), 1, 300)
    # Powers of two, so that few lattices are needed.
    steps = 1 << np.ceil(np.log2(steps)).astype(int)
    points, owners = [np.zeros((0, 3), np.float32)], [np.zeros(0, int)]
    for count in np.unique(steps):
        i, j = np.divmod(np.arange((count + 1) ** 2), count + 1)
        i, j = i[i + j <= count] / count, j[i + j <= count] / count
        weights = np.stack([1 - i - j, i, j], 1).astype(np.float32)
        some = np.flatnonzero(steps == count)
        points.append(np.einsum("sk,fkd->fsd", weights, corners[some]).reshape(-1, 3))
        owners.append(np.repeat(some, len(weights)))
    return np.concatenate(points), np.concatenate(owners)

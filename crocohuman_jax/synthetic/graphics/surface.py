"""Data classes that geometry and rendering exchange: meshes, poses, pixels, materials."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Surface:
    """What no pose changes in a dressed person's mesh: M vertices, F2 faces, A attributes.

    The first vertices and faces are the body's, in the asset's order; hair and garments follow.

    Attributes:
        faces: [F2, 3] int32, counter-clockwise from outside.
        canonical: [M, 3] float32, position of each vertex on the template body at rest, metres.
        attributes: [M, A] float32, interpolated to the pixels for shading.
        part: [F2] uint8, 1..17, number of the body part.
        uv: [F2, 3, 2] float32 in [0, 1], texture coordinates of each corner in the body's atlas.
        skip: [F2] bool, faces that no camera can see.
    """

    faces: np.ndarray
    canonical: np.ndarray
    attributes: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    skip: np.ndarray


@dataclasses.dataclass(frozen=True)
class Posed:
    """A person at one instant, in the world: metres, z up, the ground at z = 0.

    Attributes:
        vertices, normals: [M, 3] float32 of the dressed person; normals have length one.
        skin: [V, 3] float32, the body under the clothes.
        joints: [J, 3], the bones' heads (start points).
        transforms: [J, 4, 4], transform of each bone from the person at rest to the world.
    """

    vertices: np.ndarray
    normals: np.ndarray
    skin: np.ndarray
    joints: np.ndarray
    transforms: np.ndarray


@dataclasses.dataclass(frozen=True)
class Pixels:
    """The surface points that P pixels of a camera show.

    Attributes:
        canonical: [P, 3] float32, position on the template body at rest, metres.
        attributes: [P, A] float32, interpolated.
        face: [P] int, index into `Surface.faces`.
        normal: [P, 3] float32, of length one, world axes.
    """

    canonical: np.ndarray
    attributes: np.ndarray
    face: np.ndarray
    normal: np.ndarray


@dataclasses.dataclass(frozen=True)
class Material:
    """How P points reflect light.

    Attributes:
        albedo: [P, 3] float32 in [0, 1], linear RGB.
        gloss: [P] float32 in [0, 1].
        normal: [P, 3] float32, of length one, world axes, including fine relief.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    normal: np.ndarray


def normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns vertex normals [M, 3] float32 of length one, weighted by face area.

    A vertex without a face has a zero normal.
    """
    x, y, z = np.ascontiguousarray(vertices.T, np.float32)  # [M] each
    i, j, k = np.ascontiguousarray(faces.T)  # [F2] each
    ax, ay, az = x[j] - x[i], y[j] - y[i], z[j] - z[i]
    bx, by, bz = x[k] - x[i], y[k] - y[i], z[k] - z[i]
    corners = np.concatenate([i, j, k])
    total = np.empty((3, len(x)), np.float32)
    for axis, area in enumerate((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)):
        total[axis] = np.bincount(corners, np.concatenate([area, area, area]), len(x))
    length = np.sqrt((total * total).sum(0))
    total /= np.where(length > 0, length, 1)
    return np.ascontiguousarray(total.T)

"""Draws meshes over a photograph, from the side, or coloured by error.

Points are in camera axes, metres: x to the right, y down, z forward. Pixel coordinates are
continuous: the centre of the first pixel is (0.5, 0.5).
"""

from collections.abc import Sequence

import numpy as np

from crocohuman_jax.synthetic.graphics import kernels, raster, surface

CLAY = (158, 178, 214)
AMBIENT = 0.3  # fraction of ambient light; the rest comes from the camera
SHINE = 0.12  # strength of the highlight
INSIDE = 0.5  # brightness of a face seen from its inside
FINE = 2  # samples per pixel in each direction
DISTANCE = 6  # of the camera from the mesh in a side view, in diagonals of its bounding box
MARGIN = 0.04  # of a side view, as a fraction of its size
# Zero to largest error: blue, pink, orange, yellow, in even steps of lightness (CIELAB L* from 40
# to 95). The scale starts in mid tones, so that shading stays visible where there is no error.
_ERRORS = np.array(
    [
        (77, 88, 165),
        (131, 96, 187),
        (187, 104, 177),
        (232, 118, 147),
        (255, 145, 112),
        (255, 178, 85),
        (255, 213, 91),
        (247, 245, 157),
    ],
    np.float64,
)


def overlay(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    intrinsics: Sequence[float],
    *,
    color: Sequence[int] = CLAY,
    values: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a picture with a shaded mesh drawn over it, [H, W, 3] uint8.

    The light is at the camera, edges are antialiased, and an open mesh is darker inside. Parts
    behind the camera, or nearer than `raster.NEAR`, are not drawn: if the whole mesh is there, the
    picture does not change.

    Args:
        image: [H, W, 3] uint8; not changed.
        vertices: [V, 3] in camera axes, metres.
        faces: [F, 3] int, counter-clockwise from outside.
        intrinsics: (fx, fy, cx, cy) in pixels.
        color: RGB of the mesh, 0 to 255.
        values: [V, 3] RGB of each vertex, which replaces `color`, such as from `error_colors`.

    Raises:
        ValueError: the picture, the mesh or the colours have other shapes, a vertex is not finite,
            or a face has a vertex index out of range.
    """
    check_picture(image)
    vertices, faces = _checked(vertices, faces)
    if values is None:
        values = np.broadcast_to(np.asarray(color), vertices.shape)
    if np.shape(values) != vertices.shape:
        raise ValueError(
            f"The colours are {np.shape(values)}; {vertices.shape} is expected: RGB per vertex. "
            "drawing.error_colors returns them for errors [V]."
        )
    points = raster.homogeneous(
        np.asarray(intrinsics, np.float64) * FINE, np.eye(3), np.zeros(3), vertices
    )
    height, width = image.shape[:2]
    seen, depth = raster.canvas((height * FINE, width * FINE))
    raster.draw(points, faces, (seen, depth), cull=False)
    row, column = np.nonzero(seen >= 0)
    sight = _sight(intrinsics, row, column)
    shaded = _shade(vertices, faces, points, values, (seen[row, column], row, column), sight)
    # A pixel is the mean of its FINE^2 samples; those that miss the mesh show the picture.
    pixel = row // FINE * width + column // FINE
    samples = np.bincount(pixel, minlength=height * width)
    sums = [np.bincount(pixel, shaded[:, c], height * width) for c in range(3)]
    under = image.reshape(-1, 3) * (FINE**2 - samples[:, None]) + np.stack(sums, 1)
    return np.round(under / FINE**2).astype(np.uint8).reshape(image.shape)


def side_view(
    vertices: np.ndarray,
    faces: np.ndarray,
    size: tuple[int, int],
    angle: float = 90.0,
    *,
    color: Sequence[int] = CLAY,
    values: np.ndarray | None = None,
) -> np.ndarray:
    """Returns a rotated mesh on white that fills the frame, [H, W, 3] uint8.

    Args:
        vertices, faces, color, values: as for `overlay`; the position does not matter.
        size: (H, W) pixels.
        angle: degrees about the vertical axis through the mesh's centre. At 90, the side that
            faced the camera faces left.

    Raises:
        ValueError: as `overlay`.
    """
    vertices, faces = _checked(vertices, faces)
    image = np.full((*size, 3), 255, np.uint8)
    if not len(vertices):
        return image
    low, high = vertices.min(0), vertices.max(0)
    turn = np.radians(angle % 360)
    cos, sin = np.cos(turn), np.sin(turn)
    turned = (vertices - (low + high) / 2) @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    # Scale does not matter here; with a diagonal of one, no mesh is too near the camera.
    turned = turned / max(np.linalg.norm(high - low), 1e-9) + (0, 0, DISTANCE)
    flat = turned[:, :2] / turned[:, 2:]
    low, high = flat.min(0), flat.max(0)
    frame = np.array([size[1], size[0]])
    focal = float(((1 - 2 * MARGIN) * frame / np.maximum(high - low, 1e-9)).min())
    center = frame / 2 - focal * (low + high) / 2
    return overlay(
        image, turned, faces, (focal, focal, *center.tolist()), color=color, values=values
    )


def error_colors(errors: np.ndarray, largest: float = 100.0) -> np.ndarray:
    """Returns the colours of errors, [V, 3] uint8, brighter for larger errors.

    Args:
        errors: [V], mm.
        largest: mm, the error with the last colour; larger errors have the same colour.

    Raises:
        ValueError: an error is negative or not a number, or `largest` is not positive.
    """
    errors = np.asarray(errors, np.float64)
    if not largest > 0:
        raise ValueError(f"The largest error is {largest} mm; a positive number is expected.")
    if not (errors >= 0).all():
        wrong = np.flatnonzero(~(errors.ravel() >= 0))
        raise ValueError(
            f"{len(wrong)} of {errors.size} errors are negative or not numbers, the first is "
            f"{errors.ravel()[wrong[0]]} at {wrong[0]}; distances in mm are expected."
        )
    at = np.linspace(0, largest, len(_ERRORS))
    channels = [np.interp(errors, at, _ERRORS[:, c]) for c in range(3)]
    return np.round(np.stack(channels, -1)).astype(np.uint8)


def _sight(intrinsics, row, column):
    """Returns the unit directions of the rays through the samples of `overlay`, [P, 3]."""
    fx, fy, cx, cy = intrinsics
    x = ((column + 0.5) / FINE - cx) / fx
    y = ((row + 0.5) / FINE - cy) / fy
    sight = np.stack([x, y, np.ones_like(x)], 1).astype(np.float32)
    return sight / np.linalg.norm(sight, axis=1, keepdims=True)


def _shade(vertices, faces, points, values, where, sight):
    """Returns the colours of samples lit from the camera, [P, 3] float32 in 0..255.

    Args:
        vertices, faces, values: as for `overlay`.
        points: [V, 3] homogeneous pixel coordinates, see `raster.homogeneous`.
        where: face, row and column of each sample, [P] int each.
        sight: [P, 3], see `_sight`.
    """
    face = where[0]
    weights = raster.barycentrics(points, faces, *where)
    known = np.concatenate([surface.normals(vertices, faces), values], 1)
    known = kernels.interpolate(known, faces, face, weights)
    normal, color = known[:, :3], known[:, 3:]
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    facing = np.abs((normal * sight).sum(1))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    outside = (np.cross(b - a, c - a) * a).sum(1) < 0
    light = AMBIENT + (1 - AMBIENT) * facing
    shine = 255 * SHINE * facing**40  # light and camera coincide, so highlights face the camera
    shaded = color * light[:, None] + shine[:, None]
    return np.clip(np.where(outside[face][:, None], shaded, INSIDE * shaded), 0, 255)


def check_picture(image: np.ndarray) -> None:
    """Raises a ValueError unless an image is [H, W, 3] uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"The picture is {image.dtype} {image.shape}; uint8 [H, W, 3] is expected."
        )


def _checked(vertices, faces):
    """Returns vertices [V, 3] float64 and faces [F, 3] int32; raises if they cannot be drawn."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"The vertices are {vertices.shape}; [V, 3] is expected, metres.")
    wrong = np.flatnonzero(~np.isfinite(vertices).all(1))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(vertices)} vertices are not finite, the first is vertex "
            f"{wrong[0]} at {vertices[wrong[0]]}: check the prediction."
        )
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise ValueError(
            f"The faces are {faces.dtype} {faces.shape}; integers [F, 3] are expected."
        )
    if faces.size and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise ValueError(
            f"The faces name vertices {faces.min()} to {faces.max()}, but there are "
            f"{len(vertices)}: pass the faces of this mesh."
        )
    return vertices, faces.astype(np.int32)

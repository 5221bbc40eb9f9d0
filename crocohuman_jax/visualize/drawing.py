"""Draws meshes and joints over a photograph, from the side, or coloured by error.

Points are in camera axes, metres: x to the right, y down, z forward. Pixel coordinates are
continuous: the centre of the first pixel is (0.5, 0.5).
"""

import colorsys
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from crocohuman_jax.synthetic.graphics import kernels, raster, surface

CLAY = (158, 178, 214)
COLUMNS = ("picture", "prediction", "from the side", "error", "truth")
AMBIENT = 0.3  # fraction of ambient light; the rest comes from the camera
SHINE = 0.12  # strength of the highlight
INSIDE = 0.5  # brightness of a face seen from its inside
FINE = 2  # samples per pixel in each direction
DISTANCE = 6  # of the camera from the mesh in a side view, in diagonals of its bounding box
MARGIN = 0.04  # of a side view, as a fraction of its size
GAP, TEXT = 4, 13  # gap between pictures of a page and text height, pixels
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
    _check_picture(image)
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


def color_bar(width: int = 224, largest: float = 100.0) -> np.ndarray:
    """Returns the legend of `error_colors`: a colour scale in mm, [H, width, 3] uint8."""
    bar = PIL.Image.new("RGB", (width, 2 * TEXT + GAP), "white")
    colors = error_colors((np.arange(width) + 0.5) / width * largest, largest)
    bar.paste(PIL.Image.fromarray(np.repeat(colors[None], TEXT, 0)), (0, 0))
    draw, font = PIL.ImageDraw.Draw(bar), PIL.ImageFont.load_default(TEXT)
    ticks = [
        (0, "0", "lt"),
        (width / 2, f"{largest / 2:g}", "mt"),
        (width, f"{largest:g} mm", "rt"),
    ]
    for x, text, anchor in ticks:
        draw.text((x, TEXT + GAP), text, "black", font=font, anchor=anchor)
    return np.asarray(bar)


def skeleton(
    image: np.ndarray,
    points: np.ndarray,
    bones: Sequence[tuple[int, int]],
    visible: np.ndarray | None = None,
    *,
    radius: float | None = None,
) -> np.ndarray:
    """Returns a picture with joints and bones drawn over it, [H, W, 3] uint8.

    Each joint has its own colour; a bone has the colour of its second joint.

    Args:
        image: [H, W, 3] uint8; not changed.
        points: [K, 2], x and y in pixels; may lie outside the picture.
        bones: pairs of joint indices, such as (parent, child).
        visible: [K] bool, the joints to draw; bones need both of theirs. None draws all.
        radius: of a joint, pixels; None is a hundredth of the longer side, at least 1.5.

    Raises:
        ValueError: points are not [K, 2], a visible point is not finite, visible is not [K], or a
            bone has a joint index out of range.
    """
    _check_picture(image)
    points = np.asarray(points, np.float64)
    count = len(points)
    if points.shape != (count, 2):
        raise ValueError(f"The points are {points.shape}; [K, 2] is expected: x, y of each joint.")
    visible = np.ones(count, bool) if visible is None else np.asarray(visible).astype(bool)
    if visible.shape != (count,):
        raise ValueError(f"visible is {visible.shape}; {(count,)} is expected, one per joint.")
    lost = np.flatnonzero(visible & ~np.isfinite(points).all(1))
    if len(lost):
        raise ValueError(
            f"Joint {lost[0]} is at {points[lost[0]]}; mark joints without a position not visible."
        )
    for bone in bones:
        if not all(0 <= joint < count for joint in bone):
            raise ValueError(f"The bone {tuple(bone)} is not a pair of joints 0 to {count - 1}.")
    radius = max(max(image.shape[:2]) / 100, 1.5) if radius is None else radius
    drawn = image.astype(np.float64)
    hues = [colorsys.hsv_to_rgb(0.618 * k % 1, 0.75, 1.0) for k in range(count)]
    for a, b in bones:
        if visible[a] and visible[b]:
            _stroke(drawn, points[a], points[b], radius / 2, hues[b])
    for k in np.flatnonzero(visible):
        _stroke(drawn, points[k], points[k], radius, hues[k])
    return np.round(drawn).astype(np.uint8)


def compared(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    intrinsics: Sequence[float],
    *,
    truth: np.ndarray | None = None,
    errors: np.ndarray | None = None,
    truth_intrinsics: Sequence[float] | None = None,
    largest: float = 100.0,
) -> list[np.ndarray]:
    """Returns one row of a `page` about a predicted mesh; `COLUMNS` names its pictures.

    Without ground truth the row ends after the view from the side.

    Args:
        image, vertices, faces, intrinsics: as for `overlay`.
        truth: [V, 3], the ground-truth mesh.
        errors: [V] mm, after the alignment (if any) of the metric that the row shows.
        truth_intrinsics: of the ground truth's camera; None uses `intrinsics`.
        largest: mm, see `error_colors`.

    Raises:
        ValueError: as `overlay` and `error_colors`; or only one of truth and errors is given, or
            their number of vertices differs from the prediction's.
    """
    pictures = [
        image,
        overlay(image, vertices, faces, intrinsics),
        side_view(vertices, faces, image.shape[:2]),
    ]
    if truth is None and errors is None:
        return pictures
    if np.shape(truth) != np.shape(vertices) or np.shape(errors) != np.shape(vertices)[:1]:
        raise ValueError(
            f"The truth is {np.shape(truth)} and the errors are {np.shape(errors)}; both are "
            f"expected, or neither, for a prediction of {np.shape(vertices)}."
        )
    colors = error_colors(errors, largest)
    return [
        *pictures,
        overlay(image, vertices, faces, intrinsics, values=colors),
        overlay(image, truth, faces, intrinsics if truth_intrinsics is None else truth_intrinsics),
    ]


def page(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], headings: Sequence[str] = ()
) -> np.ndarray:
    """Returns one sheet of rows of pictures, each under its caption, [H, W, 3] uint8.

    Pictures are in columns and keep their sizes; captions may have several lines.

    Args:
        rows: (caption, pictures [h, w, 3] uint8) each; an empty caption takes no space.
        headings: titles of the columns, such as `COLUMNS`.

    Raises:
        ValueError: there are no rows, or a picture is not [h, w, 3] uint8.
    """
    if not rows:
        raise ValueError("The page has no rows; at least one (caption, pictures) is expected.")
    for _, pictures in rows:
        for picture in pictures:
            _check_picture(picture)
    font = PIL.ImageFont.load_default(TEXT)
    line = TEXT + GAP
    columns = max(len(headings), *(len(pictures) for _, pictures in rows))
    widths = [int(np.ceil(font.getlength(text))) for text in headings]
    widths += [0] * (columns - len(headings))
    for _, pictures in rows:
        for j, picture in enumerate(pictures):
            widths[j] = max(widths[j], picture.shape[1])
    lefts = GAP + np.cumsum([0, *(width + GAP for width in widths)])
    texts = [text for caption, _ in rows for text in caption.splitlines()]
    longest = max((font.getlength(text) for text in texts), default=0)
    heights = [max((len(p) for p in pictures), default=0) for _, pictures in rows]
    lines = [len(caption.splitlines()) for caption, _ in rows]
    height = GAP + line * (sum(lines) + bool(headings)) + sum(h + GAP for h in heights)
    width = max(int(lefts[-1]), int(np.ceil(longest)) + 2 * GAP)
    sheet = PIL.Image.new("RGB", (width, height), "white")
    draw, top = PIL.ImageDraw.Draw(sheet), GAP
    for text, left in zip(headings, lefts, strict=False):
        draw.text((left, top), text, (110, 110, 110), font=font)
    top += line * bool(headings)
    for (caption, pictures), tall in zip(rows, heights, strict=True):
        for text in caption.splitlines():
            draw.text((GAP, top), text, "black", font=font)
            top += line
        for left, picture in zip(lefts, pictures, strict=False):
            sheet.paste(PIL.Image.fromarray(picture), (int(left), top))
        top += tall + GAP
    return np.asarray(sheet)


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


def _stroke(drawn, start, end, radius, hue):
    """Draws a line with round ends into [H, W, 3] float64, in place: all points within `radius`."""
    height, width = drawn.shape[:2]
    low = np.floor(np.minimum(start, end) - radius - 1)
    high = np.ceil(np.maximum(start, end) + radius + 1)
    (x0, y0), (x1, y1) = (np.clip(edge, 0, (width, height)).astype(int) for edge in (low, high))
    x, y = np.arange(x0, x1) + 0.5 - start[0], np.arange(y0, y1)[:, None] + 0.5 - start[1]
    dx, dy = end - start
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    distance = np.hypot(x - along * dx, y - along * dy)
    cover = np.clip(radius + 0.5 - distance, 0, 1)[..., None]
    part = drawn[y0:y1, x0:x1]
    part += cover * (255 * np.array(hue) - part)


def _check_picture(image):
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

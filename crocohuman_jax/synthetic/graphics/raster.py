"""Finds the face that each pixel shows, with a z-buffer in double precision.

The compiled and the numpy version give the same result. Vertices are in homogeneous pixel
coordinates (u z, v z, z), see `homogeneous`. In these coordinates the line of sight through a pixel
(x, y) meets a triangle a, b, c if the three products (x, y, 1) . (b x c), (x, y, 1) . (c x a) and
(x, y, 1) . (a x b) have the sign of the determinant of a, b, c. The products are proportional to
the perspective-correct barycentric weights. Nothing has to be clipped at the image plane, and since
b x c is exactly minus c x b, two faces leave no gap at the edge they share. A pixel shows the
nearest face, and the first of equally near ones.
"""

import numpy as np

from crocohuman_jax.synthetic.graphics import kernels

NEAR = 1e-2  # metres; nothing closer to the camera is drawn


def homogeneous(intrinsics, rotation, translation, points) -> np.ndarray:
    """Returns the homogeneous pixel coordinates (u z, v z, z) of points, [M, 3] float64.

    Args:
        intrinsics: (fx, fy, cx, cy) in pixels.
        rotation, translation: camera_from_world.
        points: [M, 3] in the world, metres.
    """
    fx, fy, cx, cy = intrinsics
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return points.astype(np.float64) @ (matrix @ rotation).T + matrix @ translation


def canvas(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns empty buffers: face [H, W] int32, all -1, and depth [H, W] float64, all inf."""
    return np.full(size, -1, np.int32), np.full(size, np.inf)


def draw(points, faces, buffers, first: int = 0, cull: bool = True) -> None:
    """Draws triangles into buffers; each pixel keeps the nearest face.

    Args:
        points: [M, 3] float64, see `homogeneous`.
        faces: [F, 3] int32, counter-clockwise from outside.
        buffers: face and depth of `canvas`, changed in place. Depth is measured along the optical
            axis, metres.
        first: number that is written for face 0.
        cull: leave out faces that are seen from inside. As y points down, faces seen from outside
            have a negative signed area.
    """
    points = np.ascontiguousarray(points, np.float64)
    kernel = _draw if kernels.AVAILABLE else _draw_numpy
    kernel(points, np.ascontiguousarray(faces, np.int32), *buffers, first, cull)


def barycentrics(points, faces, face, row, column) -> np.ndarray:
    """Returns the weights of corners 1 and 2 at pixel centres, [P, 2] float32.

    They are perspective-correct, so they apply to the corners' positions in the world.

    Args:
        points, faces: as for `draw`.
        face, row, column: [P] int, the face that each pixel shows, and the pixel's row and column.
    """
    points = np.ascontiguousarray(points, np.float64)
    if kernels.AVAILABLE:
        return _barycentrics(points, faces, face, row, column)
    a, b, c = (_edges(points[faces[face]])[i] for i in range(3))
    x, y = column + 0.5, row + 0.5
    ea, eb, ec = (e[:, 0] * x + e[:, 1] * y + e[:, 2] for e in (a, b, c))
    total = ea + eb + ec
    return np.stack([eb / total, ec / total], 1).astype(np.float32)


@kernels.compiled
def _draw(points, faces, face, depth, first, cull):
    height, width = face.shape
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        x0, x1, y0, y1 = 0, width - 1, 0, height - 1
        if az > NEAR and bz > NEAR and cz > NEAR:
            u, v, w = ax / az, bx / bz, cx / cz
            x0 = int(max(0.0, np.ceil(min(u, v, w) - 0.5)))
            x1 = int(min(width - 1.0, np.floor(max(u, v, w) - 0.5)))
            if x0 > x1:
                continue
            u, v, w = ay / az, by / bz, cy / cz
            y0 = int(max(0.0, np.ceil(min(u, v, w) - 0.5)))
            y1 = int(min(height - 1.0, np.floor(max(u, v, w) - 0.5)))
            if y0 > y1:
                continue
        elif (
            (az <= NEAR and bz <= NEAR and cz <= NEAR)
            or (ax < 0 and bx < 0 and cx < 0)
            or (ay < 0 and by < 0 and cy < 0)
            or (ax > width * az and bx > width * bz and cx > width * cz)
            or (ay > height * az and by > height * bz and cy > height * cz)
        ):
            continue
        a0, a1, a2 = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        determinant = ax * a0 + ay * a1 + az * a2
        if determinant == 0 or (cull and determinant > 0):
            continue
        b0, b1, b2 = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
        c0, c1, c2 = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        sign = 1.0 if determinant > 0 else -1.0
        for row in range(y0, y1 + 1):
            y = row + 0.5
            for column in range(x0, x1 + 1):
                x = column + 0.5
                ea = a0 * x + a1 * y + a2
                eb = b0 * x + b1 * y + b2
                ec = c0 * x + c1 * y + c2
                if ea * sign < 0 or eb * sign < 0 or ec * sign < 0:
                    continue
                total = ea + eb + ec
                if total == 0:
                    continue
                z = determinant / total
                if NEAR < z < depth[row, column]:
                    depth[row, column] = z
                    face[row, column] = f + first


def _draw_numpy(points, faces, face, depth, first, cull):
    height, width = face.shape
    corners = points[faces]  # [F, 3, 3]
    x0, x1, y0, y1 = _bounds(corners, width, height)
    edges = _edges(corners)
    determinant = corners[:, 0, 0] * edges[0][:, 0] + corners[:, 0, 1] * edges[0][:, 1]
    determinant = determinant + corners[:, 0, 2] * edges[0][:, 2]
    kept = (x0 <= x1) & (y0 <= y1) & (determinant < 0 if cull else determinant != 0)
    kept = np.flatnonzero(kept)
    sign = np.where(determinant > 0, 1.0, -1.0)
    # Faces of similar size are drawn together; all pixels of their bounding boxes are tested.
    side = np.maximum(x1 - x0, y1 - y0)[kept] + 1
    bucket = np.ceil(np.log2(side)).astype(int)
    found = []
    for power in np.unique(bucket):
        chosen, n = kept[bucket == power], 1 << int(power)
        for some in np.array_split(chosen, max(1, len(chosen) * n * n // 2_000_000)):
            column = x0[some, None] + np.tile(np.arange(n), n)
            row = y0[some, None] + np.repeat(np.arange(n), n)
            at, pixel = np.nonzero((column <= x1[some, None]) & (row <= y1[some, None]))
            f, column, row = some[at], column[at, pixel], row[at, pixel]
            x, y, s = column + 0.5, row + 0.5, sign[f]
            ea, eb, ec = (e[f, 0] * x + e[f, 1] * y + e[f, 2] for e in edges)
            total = ea + eb + ec
            inside = (ea * s >= 0) & (eb * s >= 0) & (ec * s >= 0) & (total != 0)
            z = determinant[f[inside]] / total[inside]
            found.append((row[inside] * width + column[inside], z, f[inside]))
    if not found:
        return
    pixel, z, f = (np.concatenate(values) for values in zip(*found, strict=True))
    seen = (z > NEAR) & (z < depth.ravel()[pixel])
    pixel, z, f = pixel[seen], z[seen], f[seen]
    # The last write wins, so far faces come before near ones, and among equally near faces the
    # later one before the earlier.
    order = np.lexsort((f, z))[::-1]
    face.reshape(-1)[pixel[order]] = f[order] + first
    depth.reshape(-1)[pixel[order]] = z[order]


def _bounds(corners, width, height):  # [F, 3, 3]
    """Returns first and last column, first and last row that each face can cover, four [F] int."""
    z = corners[..., 2]
    ahead = (z > NEAR).all(1)
    flat = corners[..., :2] / np.where(ahead[:, None], z, 1)[..., None]
    last = np.array([width - 1.0, height - 1.0])
    low = np.where(ahead[:, None], np.maximum(0, np.ceil(flat.min(1) - 0.5)), 0)
    high = np.where(ahead[:, None], np.minimum(last, np.floor(flat.max(1) - 0.5)), last)
    x, y = corners[..., 0], corners[..., 1]
    outside = (z <= NEAR).all(1) | (x < 0).all(1) | (y < 0).all(1)
    outside |= (x > width * z).all(1) | (y > height * z).all(1)
    high[outside & ~ahead] = -1
    # Bounds far outside the image are limited first, since they could overflow an int.
    low, high = np.minimum(low, last + 1), np.maximum(high, -1)
    low, high = low.astype(np.int64), high.astype(np.int64)
    return low[:, 0], high[:, 0], low[:, 1], high[:, 1]


def _edges(corners):  # [F, 3, 3]
    """Returns b x c, c x a and a x b of corners a, b, c: three [F, 3]."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    return _cross(b, c), _cross(c, a), _cross(a, b)


def _cross(p, q):
    return np.stack(
        [
            p[:, 1] * q[:, 2] - p[:, 2] * q[:, 1],
            p[:, 2] * q[:, 0] - p[:, 0] * q[:, 2],
            p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0],
        ],
        1,
    )


@kernels.compiled
def _barycentrics(points, faces, face, row, column):
    out = np.empty((len(face), 2), np.float32)
    for p in range(len(face)):
        i, j, k = faces[face[p], 0], faces[face[p], 1], faces[face[p], 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        x, y = column[p] + 0.5, row[p] + 0.5
        ea = (by * cz - bz * cy) * x + (bz * cx - bx * cz) * y + (bx * cy - by * cx)
        eb = (cy * az - cz * ay) * x + (cz * ax - cx * az) * y + (cx * ay - cy * ax)
        ec = (ay * bz - az * by) * x + (az * bx - ax * bz) * y + (ax * by - ay * bx)
        total = ea + eb + ec
        out[p, 0], out[p, 1] = eb / total, ec / total
    return out

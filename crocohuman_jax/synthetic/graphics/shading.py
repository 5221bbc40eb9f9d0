"""Shades surfaces: lamps and sun with soft shadows, light from sky and ground, highlights."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import kernels

NEAREST = np.float32(0.6)  # square metres added to squared distances: a lamp is not a point
WRAP = np.float32(0.08)  # light also reaches surfaces that face slightly away, like skin and cloth
# A kernel computes in single precision only if all its constants are float32.
ZERO, HALF, ONE, NINTH = (np.float32(value) for value in (0, 0.5, 1, 1 / 9))
# Shadows are looked up OFF texels and CLOSE metres outside the surface, so that it does not
# shadow itself.
OFF, CLOSE, TINY = np.float32(1.6), np.float32(0.001), np.float32(1e-12)


@dataclasses.dataclass(frozen=True)
class Lights:
    """K lamps and the ambient light.

    Attributes:
        position: [K, 3] metres; a sun is a lamp very far away.
        color: [K, 3], linear RGB light on a white surface that faces the lamp at distance `reach`.
        reach: [K] metres; light falls off as (reach / distance)^2; inf for no falloff.
        sky, ground: [3], linear RGB light from above and from below.
    """

    position: np.ndarray
    color: np.ndarray
    reach: np.ndarray
    sky: np.ndarray
    ground: np.ndarray

    def on(self, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Returns the light [3] on a surface at a point [3] with a normal [3], without shadow."""
        away = self.position - point
        distance = np.linalg.norm(away, axis=1)
        falloff = np.where(np.isinf(self.reach), 1.0, self.reach**2 / (distance**2 + NEAREST))
        facing = np.maximum((away @ normal / distance + WRAP) / (1 + WRAP), 0)
        around = self.ground + (self.sky - self.ground) * (0.5 + 0.5 * normal[2])
        return (self.color * (falloff * facing)[:, None]).sum(0) + around

    def level(self, point: np.ndarray) -> float:
        """Returns the mean light on white surfaces of all directions at a point, without shadow."""
        distance = np.linalg.norm(self.position - point, axis=1)
        falloff = np.where(np.isinf(self.reach), 1.0, self.reach**2 / (distance**2 + NEAREST))
        # Half of all directions face the lamp, with a mean cosine of one half.
        lamps = (self.color * falloff[:, None]).sum(0) / 4
        return float((lamps + (self.sky + self.ground) / 2).mean())


@dataclasses.dataclass(frozen=True)
class Hits:
    """The points of a scene at which N lines of sight end.

    Attributes:
        lit: [N] bool, whether the point reflects light; other points only emit light.
        albedo: [N, 3] and gloss: [N], how the point reflects light.
        emission: [N, 3], light that the point emits, whatever shines on it.
        position, normal: [N, 3] metres; undefined where `lit` is False.
    """

    lit: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray
    emission: np.ndarray
    position: np.ndarray
    normal: np.ndarray


def shade(points, normals, albedo, gloss, eye, lights: Lights, shadows) -> np.ndarray:
    """Returns the light that P points send to the eye, [P, 3] float32.

    Args:
        points, normals: [P, 3], the normals of length one.
        albedo: [P, 3] in [0, 1], linear; gloss: [P] in [0, 1].
        eye: [3], the camera centre.
        lights: the lamps and the ambient light.
        shadows: two `shadows.Shadows`, one of moving and one of static things.
    """
    points, normals, albedo, gloss = (
        np.ascontiguousarray(a, np.float32) for a in (points, normals, albedo, gloss)
    )
    lamps = (lights.position, lights.color, lights.reach, lights.sky, lights.ground)
    lamps = [np.asarray(values, np.float32) for values in (eye, *lamps)]
    maps = []
    for one in shadows:
        maps += [one.depth, one.project.astype(np.float32), one.texel.astype(np.float32)]
        maps += [one.nearest, one.floor, one.corner.astype(np.float32), np.float32(one.cell)]
    kernel = _shade if kernels.AVAILABLE else _shade_numpy
    return kernel(points, normals, albedo, gloss, *lamps, *maps)


@kernels.inlined
def _matrix(project):
    """Returns the rows of a lamp's projection as one tuple, which stays in registers."""
    m = project.reshape(12)
    return (m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11])


@kernels.inlined
def _lit(x, y, z, nx, ny, nz, m, texel, depth, nearest):
    """Returns the share of a lamp's light that reaches a point, averaged over 3x3 texels."""
    size = depth.shape[0]
    q = m[8] * x + m[9] * y + m[10] * z + m[11]
    if q <= CLOSE or size == 1:
        return ONE
    off = OFF * q * texel + CLOSE
    x, y, z = x + nx * off, y + ny * off, z + nz * off
    q = m[8] * x + m[9] * y + m[10] * z + m[11]
    u = (m[0] * x + m[1] * y + m[2] * z + m[3]) / q - HALF
    v = (m[4] * x + m[5] * y + m[6] * z + m[7]) / q - HALF
    if not (u >= ONE and v >= ONE and u < np.float32(size - 2) and v < np.float32(size - 2)):
        return ONE
    i, j = int(u), int(v)
    near = q - HALF * off
    if near <= nearest[j >> 3, i >> 3]:
        return ONE
    fu, fv = u - np.float32(i), v - np.float32(j)
    hidden = ZERO
    for b in range(4):
        row = j + b - 1
        first = ONE if near > depth[row, i - 1] else ZERO
        second = ONE if near > depth[row, i] else ZERO
        third = ONE if near > depth[row, i + 1] else ZERO
        fourth = ONE if near > depth[row, i + 2] else ZERO
        weight = ONE - fv if b == 0 else (fv if b == 3 else ONE)
        hidden += weight * (first * (ONE - fu) + second + third + fourth * fu)
    return ONE - hidden * NINTH


@kernels.inlined
def _open(x, y, z, floor, corner, cell):
    """Returns the share of the sky that is visible from a point near the ground."""
    if z > 0.02:
        return ONE
    u, v = (x - corner[0]) / cell - HALF, (y - corner[1]) / cell - HALF
    i, j = int(np.floor(u)), int(np.floor(v))
    size = floor.shape[0]
    if i < 0 or j < 0 or i >= size - 1 or j >= size - 1:
        return ONE
    fu, fv = u - np.float32(i), v - np.float32(j)
    top = floor[j, i] * (ONE - fu) + floor[j, i + 1] * fu
    bottom = floor[j + 1, i] * (ONE - fu) + floor[j + 1, i + 1] * fu
    return top * (ONE - fv) + bottom * fv


@kernels.compiled
def _add_lamp(
    points,
    normals,
    gloss,
    eye,
    position,
    color,
    reach,
    depth,
    project,
    texel,
    nearest,
    depth2,
    project2,
    texel2,
    nearest2,
    light,
    shine,
):
    m, m2 = _matrix(project), _matrix(project2)
    px, py, pz, ex, ey, ez = position[0], position[1], position[2], eye[0], eye[1], eye[2]
    red, green, blue = color[0], color[1], color[2]
    falls = not np.isinf(reach)
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        nx, ny, nz = normals[p, 0], normals[p, 1], normals[p, 2]
        lx, ly, lz = px - x, py - y, pz - z
        facing = nx * lx + ny * ly + nz * lz
        square = lx * lx + ly * ly + lz * lz
        distance = np.sqrt(square)
        if facing <= -WRAP * distance:
            continue
        lit = _lit(x, y, z, nx, ny, nz, m, texel, depth, nearest)
        if lit > ZERO:
            lit *= _lit(x, y, z, nx, ny, nz, m2, texel2, depth2, nearest2)
        if lit <= ZERO:
            continue
        over = ONE / distance
        facing *= over
        if falls:
            lit *= reach * reach / (square + NEAREST)
        diffuse = lit * (facing + WRAP) / (ONE + WRAP)
        light[p, 0] += red * diffuse
        light[p, 1] += green * diffuse
        light[p, 2] += blue * diffuse
        if facing <= ZERO or gloss[p] <= ZERO:
            continue
        vx, vy, vz = ex - x, ey - y, ez - z
        away = ONE / np.sqrt(vx * vx + vy * vy + vz * vz)
        hx, hy, hz = lx * over + vx * away, ly * over + vy * away, lz * over + vz * away
        half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz + TINY)
        if half > ZERO:
            power = np.float32(8) + np.float32(150) * gloss[p] * gloss[p]
            spot = lit * HALF * gloss[p] * half / (power - (power - ONE) * half)
            shine[p, 0] += red * spot
            shine[p, 1] += green * spot
            shine[p, 2] += blue * spot


@kernels.compiled
def _shade(
    points,
    normals,
    albedo,
    gloss,
    eye,
    position,
    color,
    reach,
    sky,
    ground,
    depth,
    project,
    texel,
    nearest,
    floor,
    corner,
    cell,
    depth2,
    project2,
    texel2,
    nearest2,
    floor2,
    corner2,
    cell2,
):
    light, shine = np.empty((len(points), 3), np.float32), np.zeros((len(points), 3), np.float32)
    for p in range(len(points)):
        x, y, z = points[p, 0], points[p, 1], points[p, 2]
        up = HALF + HALF * normals[p, 2]
        seen = _open(x, y, z, floor, corner, cell) * _open(x, y, z, floor2, corner2, cell2)
        for c in range(3):
            light[p, c] = (ground[c] + (sky[c] - ground[c]) * up) * seen
    for k in range(len(position)):
        _add_lamp(
            points,
            normals,
            gloss,
            eye,
            position[k],
            color[k],
            reach[k],
            depth[k],
            project[k],
            texel[k],
            nearest[k],
            depth2[k],
            project2[k],
            texel2[k],
            nearest2[k],
            light,
            shine,
        )
    for p in range(len(points)):
        for c in range(3):
            light[p, c] = albedo[p, c] * light[p, c] + shine[p, c]
    return light


def _shade_numpy(points, normals, albedo, gloss, eye, position, color, reach, sky, ground, *maps):
    p, n = points.astype(np.float64), normals.astype(np.float64)
    v = eye - p
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    seen = _open_numpy(p, *maps[4:7]) * _open_numpy(p, *maps[11:14])
    light = (ground + (sky - ground) * (0.5 + 0.5 * n[:, 2:])) * seen[:, None]
    shine = np.zeros_like(light)
    power = 8 + 150 * gloss.astype(np.float64) ** 2
    for k in range(len(position)):
        to = position[k] - p
        square = (to * to).sum(1)
        to /= np.sqrt(square)[:, None]
        facing = (n * to).sum(1)
        lit = (facing > -WRAP) * _lit_numpy(p, n, *(part[k] for part in maps[:3]))
        lit *= _lit_numpy(p, n, *(part[k] for part in maps[7:10]))
        if not np.isinf(reach[k]):
            lit *= reach[k] ** 2 / (square + NEAREST)
        light += color[k] * (lit * (facing + WRAP) / (1 + WRAP))[:, None]
        between = to + v
        half = (n * between).sum(1) / np.sqrt((between * between).sum(1) + 1e-12)
        half = np.where((half > 0) & (facing > 0), half, 0)
        shine += color[k] * (lit * 0.5 * gloss * half / (power - (power - 1) * half))[:, None]
    return (albedo * light + shine).astype(np.float32)


def _lit_numpy(p, n, depth, project, texel):
    size = len(depth)
    q = p @ project[2, :3] + project[2, 3]
    off = 1.6 * q * texel + 0.001
    at = (p + n * off[:, None]) @ project[:, :3].T + project[:, 3]
    ahead = (q > CLOSE) & (size > 1)
    w = np.where(ahead, at[:, 2], 1)
    u, v = at[:, 0] / w - 0.5, at[:, 1] / w - 0.5
    inside = ahead & (u >= 1) & (v >= 1) & (u < size - 2) & (v < size - 2)
    u, v = u[inside], v[inside]
    i, j = u.astype(np.int64), v.astype(np.int64)
    fu, fv, near = u - i, v - j, (w - 0.5 * off)[inside]
    hidden = np.zeros(len(i))
    for b, wv in enumerate((1 - fv, 1, 1, fv)):
        for a, wu in enumerate((1 - fu, 1, 1, fu)):
            hidden += wu * wv * (near > depth[j + b - 1, i + a - 1])
    out = np.ones(len(p))
    out[inside] = 1 - hidden / 9
    return out


def _open_numpy(p, floor, corner, cell):
    u, v = (p[:, 0] - corner[0]) / cell - 0.5, (p[:, 1] - corner[1]) / cell - 0.5
    size = len(floor)
    i, j = (np.clip(np.floor(a), -1, size).astype(np.int64) for a in (u, v))
    inside = (p[:, 2] <= 0.02) & (i >= 0) & (j >= 0) & (i < size - 1) & (j < size - 1)
    i, j, u, v = i[inside], j[inside], u[inside], v[inside]
    fu, fv = u - i, v - j
    top = floor[j, i] * (1 - fu) + floor[j, i + 1] * fu
    bottom = floor[j + 1, i] * (1 - fu) + floor[j + 1, i + 1] * fu
    out = np.ones(len(p))
    out[inside] = top * (1 - fv) + bottom * fv
    return out

"""Renders the picture that a camera takes of a person in a scene, and its ground truth.

A place is a scene with its lights; its objects (`things`) are furniture, trees and the like.
"""

import dataclasses
import zlib

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import cameras, kernels, raster, shading, surface
from crocohuman_jax.synthetic.graphics import shadows as shadows_lib
from crocohuman_jax.synthetic.scenes import scene

BLUR_STEPS = 8
# Table from linear light in [0, 1], in 2**14 steps, to sRGB.
_LINEAR = np.linspace(0, 1, 1 << 14)
_SRGB = np.where(_LINEAR <= 0.0031308, 12.92 * _LINEAR, 1.055 * _LINEAR ** (1 / 2.4) - 0.055)
_SRGB = _SRGB.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Truth:
    """The exact ground truth of a picture, sampled at the centre of each pixel.

    Attributes:
        silhouette: [H, W] bool, the visible pixels of the dressed person.
        face: [H, W] int32, index into `Surface.faces`, -1 outside the silhouette.
        barycentric: [H, W, 2] float32, perspective-correct weights of corners 1 and 2 of the face.
        depth: [H, W] float32, metres along the optical axis, 0 outside the silhouette.
        part: [H, W] uint8, the number of the body part, 0 outside the silhouette.
        uv: [H, W, 2] float32 in [0, 1], coordinates in the body's texture atlas.
        canonical: [H, W, 3] float32, position on the template body, metres.
        hidden: fraction of the person's pixels that objects of the place hide; objects that the
            person holds do not count.
    """

    silhouette: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    canonical: np.ndarray
    hidden: float


def render(
    person,
    posed: surface.Posed,
    place: scene.Place,
    camera: cameras.Camera,
    size: tuple[int, int] | None = None,
    supersample: int = 2,
    held=(),
    shadows: shadows_lib.Shadows | None = None,
    posed_later: surface.Posed | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, Truth, shadows_lib.Shadows]:
    """Returns the picture a camera takes, its ground truth, and the shadows of the pose.

    Args:
        person: a `Person` or `SmplPerson`: has a `surface` and a method `shade`.
        posed: the person in the middle of the exposure.
        place: the scene, already fitted to the camera.
        camera: its noise and exposure are applied, and its blur if `posed_later` is given.
        size: (height, width) in pixels; None uses the camera's.
        supersample: samples per pixel in each direction.
        held: objects in the hands, see `grasps.Held`.
        shadows: those returned for another view of the same pose; None computes them.
        posed_later: the person `camera.blur` seconds later.
        seed: of the sensor's noise, together with the camera's position.

    Returns:
        The picture [H, W, 3] uint8 sRGB, its `Truth`, and the shadows for other views of the pose.
    """
    size = camera.size if size is None else size
    meshes = _Meshes(person, posed, place, camera, size, held)
    if shadows is None:
        moving = slice(0, len(meshes.vertices) - len(place.things.vertices))
        shadows = shadows_lib.cast(
            place.lights.position, meshes.vertices[moving], meshes.faces[: meshes.own]
        )
    truth = _truth(person, meshes, size)
    samples = meshes.samples(size, supersample)
    light = _light(person, posed, place, camera, meshes, samples, (shadows, place.shadows))
    row, column = samples.row, samples.column
    if camera.blur and posed_later is not None:
        motion = _motion(meshes, samples, posed_later, camera, supersample)
        color, alpha = _smear(row, column, light, motion, size, supersample)
    else:
        color, alpha = _gather(row // supersample, column // supersample, light, size)
        color, alpha = color / supersample**2, alpha / supersample**2
    behind = _background(place, camera, size, alpha, (shadows, place.shadows))
    picture = color + behind * (1 - alpha)[..., None]
    picture = picture * np.float32(place.exposure * camera.exposure)
    return _develop(picture, camera, seed), truth, shadows


@dataclasses.dataclass(frozen=True)
class _Samples:
    """The samples of a picture that show the person, a held object or an object of the place."""

    row: np.ndarray
    column: np.ndarray
    face: np.ndarray  # index into `_Meshes.faces`
    barycentric: np.ndarray


class _Meshes:
    """Person, held objects and objects of the place as one mesh in front of a camera.

    Its faces are the person's visible `Surface.faces`, then held objects, then the place's objects.
    """

    def __init__(self, person, posed, place, camera, size, held):
        body, things = person.surface, place.things
        self.carried = [_carry(one, posed) for one in held]
        vertices = [posed.vertices, *(c[0] for c in self.carried), things.vertices]
        start = np.cumsum([0] + [len(v) for v in vertices])
        self.vertices = np.concatenate(vertices)
        kept = np.flatnonzero(~body.skip)
        self.chosen = things.seen_by(camera)
        groups = [body.faces[kept]]
        groups += [c[1] + s for c, s in zip(self.carried, start[1:-2], strict=True)]
        groups += [things.faces[self.chosen] + start[-2]]
        self.person = len(groups[0])
        self.own = self.person + sum(len(c[1]) for c in self.carried)  # without the place's objects
        self.kept = kept
        self.faces = np.concatenate(groups).astype(np.int32)
        fx, fy, cx, cy = camera.intrinsics
        sy, sx = size[0] / camera.size[0], size[1] / camera.size[1]
        self.intrinsics = (fx * sx, fy * sy, cx * sx, cy * sy)
        self.points = raster.homogeneous(
            self.intrinsics, camera.rotation, camera.translation, self.vertices
        )

    def samples(self, size, supersample: int) -> _Samples:
        """Returns the `supersample`^2 samples per pixel that show some mesh."""
        fine = (size[0] * supersample, size[1] * supersample)
        points = self.points * (supersample, supersample, 1)
        buffers = raster.canvas(fine)
        raster.draw(points, self.faces, buffers)
        at = np.flatnonzero(buffers[0] >= 0)
        row, column = np.divmod(at, fine[1])
        face = buffers[0].reshape(-1)[at]
        return _Samples(
            row, column, face, raster.barycentrics(points, self.faces, face, row, column)
        )


def _carry(held, posed):
    """Returns the vertices, in world axes, and the faces of a held object."""
    wrist = posed.transforms[parametric_body.load().bone[f"wrist.{held.side}"]]
    return (held.vertices @ wrist[:3, :3].T + wrist[:3, 3]).astype(np.float32), held.faces


def _truth(person, meshes: _Meshes, size) -> Truth:
    face, depth = buffers = raster.canvas(size)
    raster.draw(meshes.points, meshes.faces[: meshes.own], buffers)
    alone = (face >= 0) & (face < meshes.person)
    raster.draw(meshes.points, meshes.faces[meshes.own :], buffers, first=meshes.own)
    seen = (face >= 0) & (face < meshes.person)
    row, column = np.nonzero(seen)
    shown = face[row, column]
    weights = raster.barycentrics(meshes.points, meshes.faces, shown, row, column)
    number = meshes.kept[shown].astype(np.int32)
    mesh = person.surface

    def spread(values, fill=0, kind=np.float32):
        out = np.full((*size, *values.shape[1:]), fill, kind)
        out[row, column] = values
        return out

    corners = mesh.uv[number]  # [P, 3, 2]
    first = (1 - weights.sum(1))[:, None]
    uv = corners[:, 0] * first + corners[:, 1] * weights[:, :1] + corners[:, 2] * weights[:, 1:]
    whole = int(alone.sum())
    return Truth(
        silhouette=seen,
        face=spread(number, -1, np.int32),
        barycentric=spread(weights),
        depth=spread(depth[row, column]),
        part=spread(mesh.part[number], 0, np.uint8),
        uv=spread(uv),
        canonical=spread(kernels.interpolate(mesh.canonical, mesh.faces, number, weights)),
        hidden=1 - len(row) / whole if whole else 0.0,
    )


def _light(person, posed, place, camera, meshes: _Meshes, samples: _Samples, shadows):
    """Returns the light that each sample sends to the camera, [P, 3] float32."""
    out = np.empty((len(samples.face), 3), np.float32)
    eye, mesh, things = camera.eye, person.surface, place.things

    def shine(at, points, material):
        out[at] = shading.shade(
            points, material.normal, material.albedo, material.gloss, eye, place.lights, shadows
        )

    at = np.flatnonzero(samples.face < meshes.person)
    face, weights = meshes.kept[samples.face[at]], samples.barycentric[at]

    def mixed(values):
        return kernels.interpolate(values, mesh.faces, face, weights)

    normal = _unit(mixed(posed.normals))
    pixels = surface.Pixels(mixed(mesh.canonical), mixed(mesh.attributes), face, normal)
    shine(at, mixed(posed.vertices), person.shade(pixels))

    at = np.flatnonzero(samples.face >= meshes.person)
    if len(at):
        face, weights = samples.face[at], samples.barycentric[at]
        points = kernels.interpolate(meshes.vertices, meshes.faces, face, weights)
        flat = _flat(meshes, face)
        own = face < meshes.own
        if own.any():
            shine(at[own], points[own], _held_material(meshes, place.seed, face[own], flat[own]))
        far = ~own
        if far.any():
            number = meshes.chosen[face[far] - meshes.own]
            normal = flat[far]
            if things.normals is not None:
                normal = _unit(
                    kernels.interpolate(things.normals, things.faces, number, weights[far])
                )
            shine(at[far], points[far], things.material(number, weights[far], points[far], normal))
    return out


def _held_material(meshes, seed, face, normal):
    """Returns the materials of held objects: one plain colour and gloss per object and place."""
    ends = meshes.person + np.cumsum([len(faces) for _, faces in meshes.carried])
    which = np.searchsorted(ends, face, side="right")
    shapes = [zlib.crc32(np.ascontiguousarray(faces).tobytes()) for _, faces in meshes.carried]
    drawn = [np.random.default_rng([seed, shape]) for shape in shapes]
    colors = np.array([rng.uniform(0.05, 0.7) * rng.uniform(0.5, 1.2, 3) for rng in drawn])
    gloss = np.array([rng.uniform(0.1, 0.7) for rng in drawn])
    albedo = np.clip(colors, 0, 0.9)[which].astype(np.float32)
    return surface.Material(albedo, gloss[which].astype(np.float32), normal)


def _flat(meshes, face):
    """Returns the unit normals of faces [P], [P, 3] float32."""
    corners = meshes.vertices[meshes.faces[face]]
    return _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))


def _unit(vectors):
    length = np.sqrt((vectors * vectors).sum(1, keepdims=True))
    return vectors / np.maximum(length, np.float32(1e-12))


def _background(place, camera, size, alpha, shadows):
    """Returns the light of the background, [H, W, 3], zero where the foreground covers a pixel."""
    out = np.zeros((*size, 3), np.float32)
    row, column = np.nonzero(alpha < 1)
    if not len(row):
        return out
    fx, fy, cx, cy = camera.intrinsics
    sy, sx = size[0] / camera.size[0], size[1] / camera.size[1]
    x = (column.astype(np.float32) + np.float32(0.5) - np.float32(cx * sx)) / np.float32(fx * sx)
    y = (row.astype(np.float32) + np.float32(0.5) - np.float32(cy * sy)) / np.float32(fy * sy)
    rays = np.stack([x, y, np.ones_like(x)], 1) @ camera.rotation.astype(np.float32)
    rays /= np.sqrt(x * x + y * y + 1)[:, None]
    hits = place.background(camera.eye.astype(np.float32), rays, 1 / (fx * sx))
    color = hits.emission.astype(np.float32)
    lit = slice(None) if hits.lit.all() else np.flatnonzero(hits.lit)
    parts = (hits.position[lit], hits.normal[lit], hits.albedo[lit], hits.gloss[lit])
    color[lit] += shading.shade(*parts, camera.eye, place.lights, shadows)
    out[row, column] = color
    return out


def _gather(row, column, light, size):
    """Returns the sum of light [H, W, 3] and the number of samples [H, W] per pixel, float32."""
    at = row * size[1] + column
    if kernels.AVAILABLE:
        color, alpha = _gather_kernel(at, light, size[0] * size[1])
    else:
        count = size[0] * size[1]
        alpha = np.bincount(at, minlength=count).astype(np.float32)
        color = [np.bincount(at, light[:, k], count) for k in range(3)]
        color = np.stack(color, 1).astype(np.float32)
    return color.reshape(*size, 3), alpha.reshape(size)


@kernels.compiled
def _gather_kernel(at, light, count):
    color, alpha = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
    for p in range(len(at)):
        alpha[at[p]] += np.float32(1)
        for k in range(3):
            color[at[p], k] += light[p, k]
    return color, alpha


def _motion(meshes, samples, posed_later, camera, supersample):
    """Returns each sample's motion while the shutter is open, in samples, [P, 2] float32."""
    points, start = meshes.vertices.copy(), len(posed_later.vertices)
    points[:start] = posed_later.vertices
    for vertices, _ in meshes.carried:
        # A held object moves like the nearest vertex of the person.
        away = ((meshes.vertices[: len(posed_later.vertices)] - vertices.mean(0)) ** 2).sum(1)
        shift = posed_later.vertices[away.argmin()] - meshes.vertices[away.argmin()]
        points[start : start + len(vertices)] += shift
        start += len(vertices)
    seen = raster.homogeneous(meshes.intrinsics, camera.rotation, camera.translation, points)
    now, then = (p[:, :2] / np.maximum(p[:, 2:], 1e-3) for p in (meshes.points, seen))
    moved = ((then - now) * supersample).astype(np.float32)
    out = np.zeros((len(samples.face), 2), np.float32)
    at = np.flatnonzero(samples.face < meshes.own)
    out[at] = kernels.interpolate(moved, meshes.faces, samples.face[at], samples.barycentric[at])
    return out


def _smear(row, column, light, motion, size, supersample):
    """Returns the coverage-weighted colour [H, W, 3] and the coverage [H, W] of moving samples."""
    total_color, total_alpha = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    for step in range(BLUR_STEPS):
        share = (step + 0.5) / BLUR_STEPS - 0.5
        x = np.floor((column + 0.5 + motion[:, 0] * share) / supersample).astype(np.int64)
        y = np.floor((row + 0.5 + motion[:, 1] * share) / supersample).astype(np.int64)
        inside = (x >= 0) & (y >= 0) & (x < size[1]) & (y < size[0])
        color, alpha = _gather(y[inside], x[inside], light[inside], size)
        # A pixel with more samples than its capacity is fully covered and shows their mean.
        full = np.maximum(alpha, supersample**2)
        total_color += color / full[..., None]
        total_alpha += alpha / full
    return total_color / BLUR_STEPS, total_alpha / BLUR_STEPS


def _develop(picture, camera, seed):
    """Returns linear light [H, W, 3] as sRGB, uint8, with the sensor's noise."""
    # Highlights are compressed smoothly above 0.7 instead of clipped.
    bright = picture > 0.7
    picture[bright] = 1 - 0.3 * np.exp((0.7 - picture[bright]) / 0.3)
    level = _SRGB[(np.clip(picture, 0, 1) * (len(_SRGB) - 1) + 0.5).astype(np.int32)]
    if camera.noise:
        where = np.concatenate([camera.rotation.ravel(), camera.translation])
        rng = np.random.default_rng([seed, zlib.crc32(where.tobytes())])
        level = level + np.float32(camera.noise) * rng.standard_normal(level.shape, np.float32)
    return (np.clip(level, 0, 1) * 255 + 0.5).astype(np.uint8)

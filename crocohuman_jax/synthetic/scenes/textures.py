"""Procedural textures of floors, walls and ground: wood, tiles, bricks, carpets, grass, asphalt.

A texture maps positions on a plane, [P, 2] metres, to colours [P, 3]. The footprint, [P] metres, is
the size of a pixel on the plane; finer detail fades into its mean, which avoids aliasing.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from crocohuman_jax.synthetic.graphics import noise
from crocohuman_jax.synthetic.scenes import furniture


@dataclasses.dataclass(frozen=True)
class Texture:
    """A texture and its gloss in [0, 1]: color(at [P, 2], footprint [P]) -> [P, 3]."""

    color: Callable[[np.ndarray, np.ndarray], np.ndarray]
    gloss: float = 0.02


def edge(distance: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Returns a step from 0 (distance [P] negative) to 1 (positive), as wide as the footprint."""
    return np.clip(distance / np.maximum(footprint, 1e-5) + 0.5, 0, 1)


def cells(i: np.ndarray, j: np.ndarray, number: int) -> np.ndarray:
    """Returns a random value in [0, 1) for each cell (i, j), different for each `number`."""
    i, j = i.astype(np.int64), j.astype(np.int64)
    return noise.VOLUME[i & 31, j & 31, (number + (i >> 5) * 5 + (j >> 5) * 11) & 31]


def rough(at: np.ndarray, footprint, frequency: float, octaves: int = 3, stretch=(1, 1)):
    """Returns noise in [-0.5, 0.5], [P] float32, that fades where a pixel covers whole cells.

    Args:
        at: [P, 2] metres.
        footprint: [P] metres.
        frequency: cells per metre.
        octaves: number of octaves.
        stretch: factors on the frequency along both axes.
    """
    points = np.empty((len(at), 3), np.float32)
    points[:, 0], points[:, 1] = at[:, 0] * stretch[0], at[:, 1] * stretch[1]
    points[:, 2] = frequency  # a different slice of the noise for each frequency
    fade = 1 / (1 + (footprint * (0.7 * frequency * max(stretch))) ** 2)
    return (noise.fbm(points, frequency, octaves) - 0.5) * fade.astype(np.float32)


def _tinted(color, factor):  # [3], [P]
    return (color * factor[:, None]).astype(np.float32)


def _joint(x, width, period, footprint):
    """Returns the fraction of each pixel that joints cover: lines at multiples of a period."""
    away = np.abs(x - period * np.round(x / period))
    line = edge(width / 2 - away, footprint)
    # Joints finer than a pixel cover their mean fraction of it.
    return np.where(footprint > period / 2, width / period, line * np.minimum(1, width / footprint))


def planks(rng) -> Texture:
    """A wooden floor."""
    look, width, length = furniture.wood(rng), rng.uniform(0.07, 0.2), rng.uniform(0.8, 2.2)
    color, spread = look["color"] * rng.uniform(0.9, 1.3), rng.uniform(0.1, 0.4)

    def at_(at, footprint):
        row = np.floor(at[:, 1] / width)
        shift = at[:, 0] + cells(row, row, 3) * length
        plank = np.floor(shift / length)
        shade = 1 + spread * (cells(row, plank, 5) - 0.5)
        grain = rough(at + row[:, None] * 3.3, footprint, 2.5, 4, (1, 12))
        joint = _joint(at[:, 1], 0.003, width, footprint)
        joint = np.maximum(joint, _joint(shift, 0.003, length, footprint))
        return _tinted(color, shade * (1 + 0.7 * grain) * (1 - 0.7 * joint))

    return Texture(at_, float(rng.uniform(0.05, 0.35)))


def tiles(rng) -> Texture:
    """Square or oblong tiles with joints; sometimes of two colours, like a chessboard."""
    first = furniture.muted(rng, 0.15, 0.7, 0.3)
    second = first * rng.uniform(0.4, 0.75) if rng.random() < 0.2 else first
    size = np.array([1, rng.choice([0.5, 1, 1])]) * rng.uniform(0.15, 0.6)
    grout, gap = first * rng.uniform(0.4, 0.8), rng.uniform(0.003, 0.007)

    def at_(at, footprint):
        i, j = np.floor(at[:, 0] / size[0]), np.floor(at[:, 1] / size[1])
        color = np.where((((i + j) % 2) > 0)[:, None], second, first)
        cloud = rough(at, footprint, 6.0)
        factor = 1 + 0.12 * (cells(i, j, 7) - 0.5) + 0.3 * cloud
        joint = _joint(at[:, 0], gap, size[0], footprint)
        joint = np.maximum(joint, _joint(at[:, 1], gap, size[1], footprint))[:, None]
        return (color * factor[:, None] * (1 - joint) + grout * joint).astype(np.float32)

    return Texture(at_, float(rng.uniform(0.1, 0.5)))


def bricks(rng) -> Texture:
    """A wall of bricks, bare or painted."""
    red = np.array([0.32, 0.13, 0.08]) * rng.uniform(0.7, 1.4)
    color = furniture.muted(rng, 0.3, 0.75, 0.15) if rng.random() < 0.3 else red
    mortar = np.full(3, rng.uniform(0.25, 0.5)) * (color.mean() / 0.2) ** 0.3
    size = np.array([0.24, 0.075])

    def at_(at, footprint):
        row = np.floor(at[:, 1] / size[1])
        x = at[:, 0] + 0.5 * size[0] * (row % 2)
        shade = 1 + 0.5 * (cells(np.floor(x / size[0]), row, 9) - 0.5)
        shade = shade + 0.5 * rough(at, footprint, 25.0, 2)
        joint = _joint(x, 0.01, size[0], footprint)
        joint = np.maximum(joint, _joint(at[:, 1], 0.01, size[1], footprint))[:, None]
        return (color * shade[:, None] * (1 - joint) + mortar * joint).astype(np.float32)

    return Texture(at_, 0.0)


def stripes(rng) -> Texture:
    """A striped wallpaper."""
    color, period = furniture.muted(rng, 0.3, 0.75, 0.4), rng.uniform(0.06, 0.3)
    other, share = color * rng.uniform(0.65, 0.92, 3), rng.uniform(0.2, 0.5)

    def at_(at, footprint):
        line = _joint(at[:, 0], share * period, period, footprint)[:, None]
        factor = 1 + 0.15 * rough(at, footprint, 3.0, 2)[:, None]
        return ((color * (1 - line) + other * line) * factor).astype(np.float32)

    return Texture(at_, 0.0)


def _plain(low, high, amount, frequency, octaves=3, strongest=0.5, gloss=(0.0, 0.0)):
    """Returns a function that draws textures of one colour with irregularities."""

    def make(rng) -> Texture:
        color = furniture.muted(rng, low, high, strongest)
        strength, scale = amount * rng.uniform(0.5, 1.3), frequency * rng.uniform(0.7, 1.4)

        def at_(at, footprint):
            factor = 1 + strength * rough(at, footprint, scale, octaves)
            return _tinted(color, factor + 0.3 * strength * rough(at, footprint, 0.5, 2))

        return Texture(at_, float(rng.uniform(*gloss)))

    return make


paint = _plain(0.25, 0.75, 0.12, 1.5, strongest=0.3)
plaster = _plain(0.35, 0.75, 0.3, 9.0, 4, strongest=0.25)
concrete = _plain(0.2, 0.5, 0.5, 2.5, 5, strongest=0.12, gloss=(0.0, 0.2))
carpet = _plain(0.05, 0.45, 0.5, 90.0, 2)
paper = _plain(0.06, 0.8, 0.03, 2.0)


def ground(rng, colors, fine: float, coarse: float, frequency: float) -> Texture:
    """Natural ground: two colours in patches, with fine and coarse irregularities.

    Args:
        rng: varies the colours.
        colors: two colours [3].
        fine, coarse: strength of fine and coarse irregularities.
        frequency: of the fine irregularities, cells per metre.
    """
    first, second = (np.asarray(c) * rng.uniform(0.8, 1.25) for c in colors)
    shift = rng.uniform(0, 20, 2)

    def at_(at, footprint):
        at = at + shift
        patch = np.clip(0.5 + 3 * rough(at, footprint, 0.35, 4), 0, 1)[:, None]
        factor = 1 + fine * rough(at, footprint, frequency, 3)
        factor = factor + coarse * rough(at, footprint, 3.0, 3)
        return ((first + (second - first) * patch) * factor[:, None]).astype(np.float32)

    return Texture(at_, 0.0)


def grass(rng) -> Texture:
    """Short grass with bare spots."""
    return ground(rng, ((0.07, 0.13, 0.03), (0.14, 0.17, 0.05)), 1.6, 0.7, 60.0)


def asphalt(rng) -> Texture:
    """Worn asphalt."""
    return ground(rng, ((0.09, 0.09, 0.095), (0.14, 0.135, 0.13)), 0.9, 0.2, 80.0)


def sand(rng) -> Texture:
    """Beach sand."""
    return ground(rng, ((0.48, 0.38, 0.26), (0.38, 0.29, 0.19)), 0.35, 0.4, 70.0)


def dirt(rng) -> Texture:
    """Earth with moss."""
    return ground(rng, ((0.2, 0.14, 0.09), (0.1, 0.12, 0.05)), 0.9, 0.7, 40.0)


def snow(rng) -> Texture:
    """Trodden snow."""
    return ground(rng, ((0.72, 0.75, 0.8), (0.62, 0.66, 0.72)), 0.08, 0.25, 40.0)


def paving(rng) -> Texture:
    """Slabs of stone or concrete."""
    color = np.full(3, rng.uniform(0.18, 0.42)) * rng.normal(1, 0.05, 3)
    size = np.array([1, rng.choice([1, 0.5, 2])]) * rng.uniform(0.2, 0.5)

    def at_(at, footprint):
        row = np.floor(at[:, 1] / size[1])
        x = at[:, 0] + 0.5 * size[0] * (row % 2)
        shade = 1 + 0.35 * (cells(np.floor(x / size[0]), row, 13) - 0.5)
        shade = shade + 0.5 * rough(at, footprint, 20.0, 3)
        joint = _joint(x, 0.012, size[0], footprint)
        joint = np.maximum(joint, _joint(at[:, 1], 0.012, size[1], footprint))
        return _tinted(color, shade * (1 - 0.6 * joint))

    return Texture(at_, 0.0)


FLOORS = (planks, planks, planks, tiles, carpet, carpet, concrete)
WALLS = (paint, paint, paint, plaster, stripes, bricks, concrete)
GROUNDS = (grass, grass, asphalt, paving, sand, dirt, snow)

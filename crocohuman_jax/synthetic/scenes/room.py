"""Draws rooms: walls with doors, windows and pictures, a floor, a ceiling, lamps, furniture."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import noise, primitives, shading
from crocohuman_jax.synthetic.scenes import furniture, textures

MARGIN = 0.45  # metres between a camera and the wall behind it
NORMALS = np.array(
    [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.float32
)


@dataclasses.dataclass(frozen=True)
class Panel:
    """A door, window or picture on a wall.

    Attributes:
        kind: "door", "window" or "picture".
        left, bottom, width, height: metres on the wall.
        colors: [4, 3] linear RGB; the first is the frame's.
        seed: [3] offset into the noise that draws a picture or a view.
    """

    kind: str
    left: float
    bottom: float
    width: float
    height: float
    colors: np.ndarray
    seed: np.ndarray


class Room:
    """A room around the origin that `fit` enlarges until it contains the cameras.

    Args:
        rng: random generator of the whole room.
    """

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self.size = rng.uniform((2.2, 2.2, 2.4), (3.6, 3.6, 3.0))  # half x, half y, z; metres
        self._floor = _any(rng, textures.FLOORS)
        wall = _any(rng, textures.WALLS)
        self._walls = [wall] * 4
        if rng.random() < 0.35:
            self._walls[rng.integers(4)] = _any(rng, textures.WALLS)
        self._ceiling = np.full(3, rng.uniform(0.6, 0.85), np.float32)
        self._skirting = rng.choice([0.0, 0.07, 0.11]), furniture.muted(rng, 0.2, 0.8, 0.2)
        self._wainscot = rng.uniform(0.8, 1.2) if rng.random() < 0.15 else 0.0
        self._lower = furniture.muted(rng, 0.2, 0.7, 0.3)
        self._outside = _sky_colors(rng)
        self._rug = _rug(rng) if rng.random() < 0.35 else None
        self.lights = _lamps(rng, self.size)
        self._panels: list[list[Panel]] = [[], [], [], []]

    def fit(self, eyes: np.ndarray, radius: float) -> primitives.Solids:
        """Enlarges the room around cameras at eyes [n, 3]; returns the furniture."""
        wanted = np.abs(eyes).max(0) + MARGIN
        wanted = np.maximum(wanted, [radius + 0.6, radius + 0.6, 0])
        self.size = np.maximum(self.size, wanted)
        rng = np.random.default_rng(self._rng.integers(1 << 62))
        self._panels = [_panels(rng, self.size[1 - k // 2], self.size[2]) for k in range(4)]
        return _furniture(rng, self.size, self._panels, radius)

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns where rays from the camera hit the walls, floor and ceiling.

        Args:
            eye: [3] the camera's position, metres.
            rays: [N, 3] unit directions.
            angle: that a pixel spans, radians.
        """
        side = np.zeros(len(rays), np.int8)
        distance = np.full(len(rays), np.inf, np.float32)
        for axis in range(3):
            ray = rays[:, axis]
            low = -self.size[axis] if axis < 2 else 0.0
            limit = np.where(ray < 0, np.float32(low), np.float32(self.size[axis]))
            away = (limit - eye[axis]) / np.where(np.abs(ray) < 1e-9, np.float32(1e-9), ray)
            nearer = (away < distance) & (away > 0)
            distance = np.where(nearer, away, distance)
            side = np.where(nearer, np.where(ray < 0, 2 * axis + 1, 2 * axis), side)
        position = (eye + rays * distance[:, None]).astype(np.float32)
        normal = NORMALS[side]
        slant = np.abs(np.choose(side // 2, rays.T))
        footprint = (angle * distance / np.maximum(slant, 0.15)).astype(np.float32)
        count = len(rays)
        albedo, emission = np.empty((count, 3), np.float32), np.zeros((count, 3), np.float32)
        gloss = np.zeros(count, np.float32)
        for number in range(6):
            at = np.flatnonzero(side == number)
            if not len(at):
                continue
            if number == 5:
                albedo[at] = self._on_floor(position[at, :2], footprint[at])
                gloss[at] = self._floor.gloss
            elif number == 4:
                albedo[at], emission[at] = self._on_ceiling(position[at], footprint[at])
            else:
                flat = position[at][:, [1, 2] if number < 2 else [0, 2]]
                albedo[at], emission[at] = self._on_wall(number, flat, footprint[at])
        lit = np.ones(count, bool)
        return shading.Hits(lit, albedo, gloss, emission, position, normal)

    def _on_floor(self, at, footprint):
        color = self._floor.color(at, footprint)
        if self._rug is None:
            return color
        size, centre, texture, border = self._rug
        inside = (size - np.abs(at - centre)).min(1)
        some = np.flatnonzero(inside > -0.05)
        share = textures.edge(inside[some], footprint[some])[:, None]
        rug = texture.color(at[some], footprint[some])
        band = textures.edge(0.03 - np.abs(inside[some] - 0.12), footprint[some])[:, None]
        rug = rug * (1 - band) + border * band
        color[some] = color[some] * (1 - share) + rug * share
        return color

    def _on_ceiling(self, position, footprint):
        albedo = np.tile(self._ceiling, (len(position), 1))
        emission = np.zeros_like(albedo)
        for lamp, color in zip(self.lights.position, self.lights.color, strict=True):
            if np.any(np.abs(lamp[:2]) > self.size[:2] - 0.1):
                continue  # daylight from outside, not a lamp
            away = np.abs(position[:, :2] - lamp[:2]).max(1)
            share = textures.edge(0.25 - away, footprint)[:, None]
            emission = emission + share * 1.2 * (color / color.max()).astype(np.float32)
            albedo = albedo * (1 - share)
        return albedo, emission

    def _on_wall(self, number, at, footprint):
        color = self._walls[number].color(at, footprint)
        emission = np.zeros_like(color)
        u, v = at[:, 0], at[:, 1]
        if self._wainscot:
            low = textures.edge(self._wainscot - v, footprint)[:, None]
            rail = textures.edge(0.025 - np.abs(v - self._wainscot), footprint)[:, None]
            color = color * (1 - low) + self._lower * (low * (1 + 0.15 * rail))
        height, skirting = self._skirting
        low = textures.edge(height - v, footprint)[:, None]
        color = color * (1 - low) + skirting * low
        for panel in self._panels[number]:
            x, y = u - panel.left, v - panel.bottom
            inside = (x > -0.2) & (x < panel.width + 0.2) & (y > -0.2) & (y < panel.height + 0.2)
            some = np.flatnonzero(inside)
            if len(some):
                paint = {"door": _door, "window": self._window, "picture": _picture}[panel.kind]
                shown = color[some], emission[some]
                color[some], emission[some] = paint(panel, x[some], y[some], footprint[some], shown)
        return color, emission

    def _window(self, panel, x, y, footprint, shown):
        color, emission = shown
        inner = _inside(panel, x, y)
        frame = textures.edge(inner + 0.06, footprint)[:, None]
        bars = np.minimum(np.abs(x - panel.width / 2), np.abs(y - panel.height * 0.68)) - 0.02
        pane = textures.edge(np.minimum(inner, bars), footprint)[:, None]
        rise = np.clip(y / panel.height, 0, 1)[:, None]
        sky, horizon, trees = self._outside
        view = horizon + (sky - horizon) * rise
        shape = np.stack([x * 1.5, 0 * x, 0 * x], 1) + panel.seed
        top = 0.25 + 0.5 * (noise.fbm(shape, 1.3, 4) - 0.3)
        below = textures.edge(top * panel.height - y, 0.03)[:, None]
        leaves = 0.6 + 0.8 * noise.fbm(np.stack([x, y, 0 * x], 1) + panel.seed, 9.0, 3)[:, None]
        view = view * (1 - below) + trees * leaves * below
        color = color * (1 - frame) + panel.colors[0] * frame
        return color * (1 - pane), emission * (1 - pane) + view * pane


def _door(panel, x, y, footprint, shown):
    color, emission = shown
    inner = _inside(panel, x, np.maximum(y, 0.05))
    frame = textures.edge(inner + 0.07, footprint)[:, None]
    leaf = textures.edge(inner, footprint)[:, None]
    gap = textures.edge(0.004 - np.abs(inner), footprint)[:, None]
    # Two recessed panels with darker edges.
    across = panel.width / 2 - 0.13 - np.abs(x - panel.width / 2)
    field = np.maximum(
        np.minimum(across, 0.42 - np.abs(y - 0.6)), np.minimum(across, 0.4 - np.abs(y - 1.52))
    )
    groove = textures.edge(0.012 - np.abs(field), footprint)[:, None]
    handle = np.maximum(np.abs(x - panel.width + 0.09) - 0.05, np.abs(y - 1.02) - 0.015)
    knob = textures.edge(-handle, footprint)[:, None]
    color = color * (1 - frame) + panel.colors[0] * 1.05 * frame
    door = panel.colors[1] * (1 - 0.35 * groove) * (1 - knob) + panel.colors[2] * knob
    return (color * (1 - leaf) + door * leaf) * (1 - 0.7 * gap), emission


def _picture(panel, x, y, footprint, shown):
    color, emission = shown
    inner = _inside(panel, x, y)
    frame = textures.edge(inner + 0.03, footprint)[:, None]
    sheet = textures.edge(inner, footprint)[:, None]
    art = textures.edge(inner - 0.05 * (panel.seed[0] > 4), footprint)[:, None]
    where = np.stack([x, y, 0 * x], 1) / max(panel.width, panel.height) + panel.seed
    first, second = noise.fbm(where, 2.0, 4), noise.fbm(where + 5, 3.5, 3)
    paint = (
        panel.colors[1]
        + (panel.colors[2] - panel.colors[1]) * textures.edge(first - 0.5, 0.12)[:, None]
    )
    paint = paint + (panel.colors[3] - paint) * textures.edge(second - 0.58, 0.04)[:, None]
    mount = 0.75 * (1 - art) + paint * art
    return (color * (1 - frame) + panel.colors[0] * frame) * (1 - sheet) + mount * sheet, emission


def _inside(panel, x, y):
    """Returns the distance of points to a panel's edge, metres, negative outside."""
    across = np.minimum(x, panel.width - x)
    return np.minimum(across, np.minimum(y, panel.height - y))


def _any(rng, makers) -> textures.Texture:
    return makers[rng.integers(len(makers))](rng)


def _sky_colors(rng):
    """Returns the colours seen through windows: sky, horizon and trees, [3] each."""
    level = rng.uniform(0.7, 1.4)
    sky = level * np.array([0.55, 0.75, 1.0]) * rng.uniform(0.7, 1.1)
    return sky, np.full(3, level), level * np.array([0.13, 0.17, 0.08])


def _rug(rng):
    """Returns the half size [2], centre [2], texture and border colour [3] of a rug."""
    size, texture = rng.uniform((0.8, 0.6), (1.7, 1.2)), textures.carpet(rng)
    return size, rng.normal(0, 0.3, 2), texture, furniture.muted(rng, 0.05, 0.5, 0.8)


def _lamps(rng, size) -> shading.Lights:
    """Returns warm or cold lamps on the ceiling, and sometimes daylight from one side."""
    warm = np.array([1.0, rng.uniform(0.78, 1.0), 0.0])
    warm[2] = warm[1] ** 2.2
    positions, colors = [], []
    turn, count = rng.uniform(0, 2 * np.pi), int(rng.integers(1, 4))
    for k in range(count):
        angle, away = turn + 2 * np.pi * k / count + rng.uniform(-0.4, 0.4), rng.uniform(1.1, 2.0)
        positions.append([away * np.cos(angle), away * np.sin(angle), size[2] - 0.08])
        colors.append(warm * rng.uniform(0.3, 1.0))
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        away = size[:2].max() + 1.5
        positions.append([away * np.cos(angle), away * np.sin(angle), rng.uniform(1.4, 3.0)])
        colors.append(np.array([0.85, 0.94, 1.0]) * rng.uniform(0.6, 1.6))
    mean = np.mean(colors, 0)
    sky = mean * rng.uniform(0.25, 0.5)
    reach = np.full(len(positions), 2.2)
    return shading.Lights(
        np.array(positions), np.array(colors), reach, sky, sky * rng.uniform(0.45, 0.8)
    )


def _panels(rng, half, height) -> list[Panel]:
    """Returns the panels of a wall that extends from -half to half metres, from left to right."""
    panels, left = [], -half + rng.uniform(0.2, 0.9)
    white = furniture.muted(rng, 0.5, 0.8, 0.15)
    while True:
        kind = str(rng.choice(["door", "window", "picture", "picture", "gap"]))
        if kind == "door" and any(panel.kind == "door" for panel in panels):
            kind = "picture"
        width, tall, bottom = {
            "door": (0.88, 2.03, 0.0),
            "window": (rng.uniform(0.8, 1.8), rng.uniform(1.0, 1.4), 0.9),
            "picture": (*rng.uniform(0.25, 0.95, 2), 0.0),
            "gap": (rng.uniform(0.4, 1.2), 0.0, 0.0),
        }[kind]
        if kind == "picture":
            bottom = 1.55 - tall / 2 + rng.normal(0, 0.06)
        if left + width > half - 0.15:
            return panels
        if kind != "gap" and bottom + tall < height - 0.1:
            colors = np.stack([furniture.muted(rng, 0.05, 0.75, 0.9) for _ in range(4)])
            if kind != "picture":
                colors[0], colors[1] = white, white * rng.uniform(0.6, 1.0)
            seed = rng.uniform(0, 8, 3)
            panels.append(Panel(kind, float(left), float(bottom), width, tall, colors, seed))
        left += width + rng.uniform(0.2, 1.1)


def _furniture(rng, size, panels, radius) -> primitives.Solids:
    """Returns furniture along the walls and some free-standing pieces outside `radius` metres."""
    things = []
    for number in range(4):
        # The wall's axis and side, and the rotation that turns the back (+y) of furniture to it.
        axis, sign = number // 2, 1 - 2 * (number % 2)
        yaw = (-np.pi / 2 if axis == 0 else 0.0) + (np.pi if sign < 0 else 0.0)
        half, along = size[axis], -size[1 - axis] + 0.2
        while along < size[1 - axis] - 0.6:
            thing = furniture.ALONG_WALLS[rng.integers(len(furniture.ALONG_WALLS))](rng)
            corners = np.concatenate([part.vertices for part in thing])
            width, depth = corners[:, 0].max() - corners[:, 0].min(), corners[:, 1].max()
            middle = along + width / 2
            blocked = any(
                p.kind == "door" and p.left - width / 2 < middle < p.left + p.width + width / 2
                for p in panels[number]
            )
            fits = along + width < size[1 - axis] - 0.2 and not blocked
            if fits and rng.random() < 0.6:
                spot = np.zeros(2)
                spot[axis], spot[1 - axis] = sign * (half - depth - 0.03), middle
                things.append(primitives.place(thing, spot, yaw))
            along += width + rng.uniform(0.1, 1.0)
    for _ in range(rng.integers(0, 5)):
        thing = furniture.ANYWHERE[rng.integers(len(furniture.ANYWHERE))](rng)
        angle = rng.uniform(0, 2 * np.pi)
        away = rng.uniform(0.15, 1.6) + radius + primitives.reach(thing)
        spot = away * np.array([np.cos(angle), np.sin(angle)])
        if np.all(np.abs(spot) < size[:2] - primitives.reach(thing)):
            things.append(primitives.place(thing, spot, rng.uniform(0, 2 * np.pi)))
    return primitives.assemble(things)

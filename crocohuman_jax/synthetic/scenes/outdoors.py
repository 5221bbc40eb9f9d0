"""Places without walls: outdoors with trees or houses, a studio, a user's picture as a backdrop."""

import numpy as np

from crocohuman_jax.synthetic.graphics import noise, primitives, rotations, shading
from crocohuman_jax.synthetic.scenes import furniture, textures

SUN = 80.0  # distance of the sun, metres; far enough for parallel shadows
FAR = 400.0  # distance of the horizon, metres


class Outdoors:
    """An outdoor scene: ground, sky, hills or roofs at the horizon, and objects."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._town = bool(rng.random() < 0.45)
        grounds = (textures.asphalt, textures.paving) if self._town else textures.GROUNDS
        self._ground = grounds[rng.integers(len(grounds))](rng)
        self._path = None
        if rng.random() < 0.35:
            other = (textures.paving, textures.asphalt, textures.dirt)[rng.integers(3)](rng)
            angle = rng.uniform(0, np.pi)
            across = np.array([np.cos(angle), np.sin(angle)])
            self._path = other, across, rng.normal(0, 1.5), rng.uniform(0.8, 2.5)
        overcast = rng.random() < 0.4
        self._zenith, self._horizon = _sky(rng, overcast)
        self._clouds = rng.uniform(0, 1), rng.uniform(0, 9, 3)
        self._hills = rng.uniform(0, 9, 3), rng.uniform(0.06, 0.3)
        tone = (0.10, 0.13, 0.07) if not self._town else (0.25, 0.24, 0.23)
        self._far = np.array(tone) * rng.uniform(0.6, 1.5) * 2 * self._horizon.mean()
        self.lights = _sunlight(rng, overcast, self._zenith, self._ground)

    def fit(self, eyes: np.ndarray, radius: float) -> primitives.Solids:
        """Returns the objects, all farther than `radius` metres from the origin."""
        rng = np.random.default_rng(self._rng.integers(1 << 62))
        things = []
        kinds = furniture.IN_TOWN if self._town else furniture.IN_THE_COUNTRY
        for _ in range(rng.integers(6, 16)):
            thing = kinds[rng.integers(len(kinds))](rng)
            wide, angle = primitives.reach(thing), rng.uniform(0, 2 * np.pi)
            away = radius + wide + 0.3 + 12 * rng.beta(1.2, 1.4)
            spot = away * np.array([np.cos(angle), np.sin(angle)])
            if not self._shades(thing, spot):
                things.append(primitives.place(thing, spot, rng.uniform(0, 2 * np.pi)))
        if self._town:
            for _ in range(rng.integers(4, 9)):
                thing, angle = furniture.house(rng), rng.uniform(0, 2 * np.pi)
                away = radius + primitives.reach(thing) + rng.uniform(6, 16)
                spot = away * np.array([np.cos(angle), np.sin(angle)])
                # A side of the house faces the origin, as along a street or a square.
                turn = angle + np.pi / 2 * rng.integers(4)
                if not self._shades(thing, spot):
                    things.append(primitives.place(thing, spot, turn))
        return primitives.assemble(things)

    def _shades(self, thing, spot) -> bool:
        """Returns whether an object would cast its shadow on a person at the origin."""
        sun = self.lights.position[0]
        flat = np.linalg.norm(sun[:2])
        along, across = spot @ sun[:2] / flat, abs(spot[0] * sun[1] - spot[1] * sun[0]) / flat
        wide, tall = primitives.reach(thing), max(part.vertices[:, 2].max() for part in thing)
        return along > 0 and across < wide + 0.5 and tall > (along - wide) * sun[2] / flat

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns where rays hit the background; see `room.Room.background`."""
        hits, below, distance = _plane(eye, rays)
        at = hits.position[below, :2]
        footprint = angle * distance[below] / np.maximum(-rays[below, 2], 0.02)
        footprint = footprint.astype(np.float32)
        color = self._ground.color(at, footprint)
        if self._path is not None:
            texture, across, shift, half = self._path
            bend = 0.8 * (noise.noise(np.concatenate([at * 0.15, 0 * at[:, :1]], 1), 1.0) - 0.5)
            share = textures.edge(half - np.abs(at @ across + shift + bend), footprint + 0.1)
            some = np.flatnonzero(share > 0)
            path, share = texture.color(at[some], footprint[some]), share[some, None]
            color[some] = color[some] * (1 - share) + path * share
        haze = 1 - np.exp(-distance[below, None] / 160)
        hits.albedo[below] = color * (1 - haze)
        sky = self._above(rays[~below])
        hits.emission[~below] = sky
        hits.emission[below] = (0.7 * self._far + 0.3 * self._horizon) * haze
        return hits

    def _above(self, rays):
        """Returns the colour of the sky and of hills or roofs at the horizon, [n, 3]."""
        rise = np.clip(rays[:, 2], 0, 1)[:, None]
        color = self._horizon + (self._zenith - self._horizon) * np.sqrt(rise) * (2 - rise) / 2
        amount, shift = self._clouds
        if amount > 0.3:
            sheet = rays / np.maximum(rays[:, 2:] + 0.12, 0.05)
            cover = noise.fbm(sheet * (1, 1, 0) + shift, 1.6, 5) - 0.62 + 0.25 * amount
            cover = np.clip(6 * cover, 0, 0.9)[:, None] * np.clip(rise * 8, 0, 1)
            color = color * (1 - cover) + self._horizon.max() * 1.2 * cover
        shift, height = self._hills
        around = rotations.unit(rays * (1, 1, 0)) + shift
        if self._town:  # roofs: steps instead of slopes
            around = np.floor(around * 14) / 14
        top = height * (noise.fbm(around, 2.4, 5) - 0.15)
        share = textures.edge(top - rays[:, 2], 0.004)[:, None]
        leaves = 1 + 0.8 * (noise.fbm(rays * (1, 1, 1.5) + shift, 22.0, 4)[:, None] - 0.5)
        return color * (1 - share) + (0.85 * self._far + 0.15 * self._horizon) * leaves * share


class Studio:
    """A paper backdrop that bends into the floor, lit by key, fill and rim lights."""

    def __init__(self, rng: np.random.Generator):
        self._paper = textures.paper(rng)
        self._glow = rng.uniform(0.15, 0.7)  # strength of the vignette on the backdrop
        angle, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2)
        spots = ((0, 0.8, 1.0), (rng.uniform(1.2, 2.0), 0.5, rng.uniform(0.1, 0.45)))
        spots += ((rng.uniform(2.6, 3.6), 0.7, rng.uniform(0.2, 0.7)),)
        positions, colors = [], []
        for turn, rise, strength in spots:
            toward = np.array([np.cos(angle + turn), np.sin(angle + turn)]) * np.cos(rise)
            positions.append([*(3.6 * toward), 1.0 + 3.6 * np.sin(rise)])
            colors.append(level * strength * np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2))
        sky = np.full(3, rng.uniform(0.15, 0.4))
        self.lights = shading.Lights(
            np.array(positions), np.array(colors), np.full(3, 3.4), sky, sky * 0.7
        )

    def fit(self, eyes: np.ndarray, radius: float) -> primitives.Solids:
        """Returns no objects: studios are empty."""
        return primitives.assemble([])

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns where rays hit the background; see `room.Room.background`."""
        hits, below, _ = _plane(eye, rays)
        color = self._paper.color(np.zeros((1, 2)), np.zeros(1))[0]
        # Far ground and backdrop are one evenly lit sheet; only near ground shows light and shadow.
        level = self.lights.level(np.array([0, 0, 1.0]))
        vignette = 1 - self._glow * 0.5 * (1 - np.exp(-((rays[:, 2] - 0.1) ** 2) * 3))
        sheet = (color * level * vignette[:, None]).astype(np.float32)
        from_middle = np.linalg.norm(hits.position[:, :2], axis=1)
        near = np.where(below, 1 / (1 + (from_middle / 3.2) ** 4), 0)[:, None]
        hits.albedo[:] = color * near
        hits.emission[:] = sheet * (1 - near)
        hits.lit[:] = near[:, 0] > 0.01
        return hits


class Backdrop:
    """A user's picture on a dome above flat ground, which all cameras share.

    The picture repeats around the dome, every other copy mirrored; seen from the dome's centre, a
    copy spans the field of view of a common lens. The ground receives the person's shadow.

    Args:
        rng: draws the placement of the picture and the light.
        picture: [H, W, 3] uint8.
    """

    def __init__(self, rng: np.random.Generator, picture: np.ndarray):
        self.radius = 9.0  # metres
        self._picture = (np.asarray(picture, np.float32) / 255) ** 2.2
        height, width = picture.shape[:2]
        self._copies = 2 * int(np.clip(np.round(2.6 * height / width * 1.2), 2, 4))
        self._across = 2 * np.pi / self._copies  # radians that one copy covers
        self._down = self._across * height / width
        self._turn, self._top = rng.uniform(0, 2 * np.pi), self._down * rng.uniform(0.35, 0.6)
        self._middle = np.array([0, 0, rng.uniform(1.3, 1.8)])
        bottom = self._picture[-max(1, height // 12) :].reshape(-1, 3).mean(0)
        self._bottom = bottom.astype(np.float32)
        upper = self._picture[: max(1, height // 3)].reshape(-1, 3).mean(0)
        self._gain = 0.32 / max(
            float(self._picture.mean()), 0.05
        )  # equalizes the brightness of pictures
        tint = np.clip(upper / max(upper.mean(), 1e-3), 0.75, 1.3) * 0.6 + 0.4
        overcast = rng.random() < 0.5
        self.lights = _sunlight(rng, overcast, tint, None)

    def fit(self, eyes: np.ndarray, radius: float) -> primitives.Solids:
        """Enlarges the dome around the eyes; returns no objects, for the picture contains them."""
        self.radius = max(self.radius, 1.3 * float(np.linalg.norm(eyes, axis=1).max()))
        return primitives.assemble([])

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns where rays hit the background; see `room.Room.background`."""
        hits, below, _ = _plane(eye, rays)
        along = rays @ eye
        to_dome = -along + np.sqrt(along**2 + self.radius**2 - eye @ eye)
        below &= np.linalg.norm(hits.position[:, :2], axis=1) < self.radius
        end = np.where(below[:, None], hits.position, eye + rays * to_dome[:, None])
        color, past = self.look(rotations.unit(end - self._middle))
        # Near ground lies below the picture: it gets the colour of its bottom rows, with noise.
        at = hits.position[:, :2]
        rough = textures.rough(at, np.zeros(len(at), np.float32), 5.0, 5)
        near = self._bottom * (1 + 0.5 * rough[:, None])
        color = (color * (1 - past) + near * past) * self._gain
        color = color * self.lights.level(np.array([0, 0, 1.0]))
        # This albedo makes the ground look like the picture wherever no shadow falls.
        level = self.lights.on(np.zeros(3), rotations.Z)
        hits.lit[:] = below
        hits.albedo[:] = np.where(below[:, None], color / level, 0)
        hits.emission[:] = np.where(below[:, None], 0, color)
        return hits

    def look(self, directions: np.ndarray) -> np.ndarray:
        """Returns what the dome shows in directions [n, 3] from its centre.

        Returns:
            Linear colours, [n, 3], and how much of each the near ground replaces, [n, 1] in [0, 1].
        """
        height, width = self._picture.shape[:2]
        azimuth = np.arctan2(directions[:, 0], directions[:, 1]) + self._turn
        u = (azimuth % (2 * np.pi)) / self._across
        u = np.where(np.floor(u) % 2 > 0, 1 - u % 1, u % 1)
        rise = np.arcsin(np.clip(directions[:, 2], -1, 1))
        v = (self._top - rise) / self._down
        past = np.clip(np.maximum((v - 1) * 2.5, (-rise - 0.18) * 4), 0, 1)[:, None]
        v = 1 - np.abs((v % 2) - 1)
        return _bilinear(self._picture, u * width - 0.5, v * height - 0.5), past


def _bilinear(picture, x, y):
    height, width = picture.shape[:2]
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    i, j = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    i, j = np.maximum(i, 0), np.maximum(j, 0)
    fx, fy = (x - i)[:, None].astype(np.float32), (y - j)[:, None].astype(np.float32)
    i1, j1 = np.minimum(i + 1, width - 1), np.minimum(j + 1, height - 1)
    top = picture[j, i] * (1 - fx) + picture[j, i1] * fx
    return top * (1 - fy) + (picture[j1, i] * (1 - fx) + picture[j1, i1] * fx) * fy


def _plane(eye, rays):
    """Returns black hits on the ground plane, which rays hit it, [N] bool, and at what distance."""
    count = len(rays)
    down = np.minimum(rays[:, 2], -1e-6)
    distance = -eye[2] / down
    below = (rays[:, 2] < 0) & (distance < FAR)
    position = (eye + rays * np.where(below, distance, 0)[:, None]).astype(np.float32)
    normal = np.broadcast_to(np.array([0, 0, 1], np.float32), (count, 3))
    albedo, emission = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32)
    hits = shading.Hits(
        below.copy(), albedo, np.zeros(count, np.float32), emission, position, normal
    )
    return hits, below, distance


def _sky(rng, overcast):
    """Returns the colours at the zenith and at the horizon, [3] each."""
    if overcast:
        grey = rng.uniform(0.35, 0.62) * np.clip(rng.normal(1, 0.04, 3), 0.9, 1.1)
        return grey * rng.uniform(0.7, 1.0), grey
    blue = np.array([0.09, 0.2, 0.45]) * rng.uniform(0.7, 1.4)
    horizon = np.array([0.42, 0.55, 0.72]) * rng.uniform(0.8, 1.1)
    if rng.random() < 0.25:  # low sun
        horizon = np.array([0.75, 0.5, 0.32]) * rng.uniform(0.8, 1.1)
    return blue, horizon


def _sunlight(rng, overcast, zenith, ground) -> shading.Lights:
    """Returns sun and sky; the ground reflects part of both as light from below."""
    rise, angle = rng.uniform(0.35, 1.2), rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(angle) * np.cos(rise), np.sin(angle) * np.cos(rise), np.sin(rise)])
    warm = np.array([1.0, 0.93, 0.82]) ** (1.6 - rise)
    strength = rng.uniform(0.1, 0.3) if overcast else rng.uniform(0.9, 1.6)
    sky = zenith / zenith.max() * (0.75 if overcast else rng.uniform(0.35, 0.6))
    sky = 0.5 * sky + 0.5 * sky.mean()
    back = np.full(3, 0.3)
    if ground is not None:
        back = ground.color(np.zeros((1, 2)), np.ones(1))[0] + 0.08
    below = back * (sky + strength * warm * np.sin(rise) * 0.8)
    return shading.Lights(
        SUN * toward[None], (strength * warm)[None], np.array([np.inf]), sky, below
    )

"""Where people are shown: rooms, outdoors, studios, before a user's picture, in a user's scene."""

import copy

import numpy as np

from crocohuman_jax.synthetic.graphics import primitives, raster, shading
from crocohuman_jax.synthetic.graphics import shadows as shadows_lib
from crocohuman_jax.synthetic.scenes import outdoors, room, scans

KINDS = ("room", "outdoors", "studio")
SHARES = (0.58, 0.3, 0.12)
MOST_HIDDEN = 0.4  # share of a person that things may hide in any view
AROUND_EYES = 0.6  # metres around a camera where nothing stands
SHADOW_SIZE = 512  # texels a side of the maps of what stands in a place


class Place:
    """A place, its light and its things; all views of a scene share it.

    Args:
        seed: any non-negative integer.
        kind: one of `KINDS`; None draws one.
        picture: [H, W, 3] uint8 of the user's, to stand before instead.
        interior: scene of the user's, to stand in instead.

    Attributes:
        seed: as given.
        kind: as asked for or drawn, or "picture", or "interior".
        lights: what shines.
        exposure: factor that brings white surfaces near the origin to a sensible brightness.
        things: what stands around; empty before `fit`.

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(
        self,
        seed: int,
        kind: str | None = None,
        picture: np.ndarray | None = None,
        interior: scans.Interior | None = None,
    ):
        if kind is not None and kind not in KINDS:
            raise ValueError(f"Unknown place {kind!r}. Known: {', '.join(KINDS)}.")
        self.seed = seed
        rng = np.random.default_rng([seed, 31])
        drawn = str(rng.choice(KINDS, p=SHARES))
        if interior is not None:
            self.kind, self._scenery = "interior", scans.Stage(rng, interior)
        elif picture is not None:
            self.kind, self._scenery = "picture", outdoors.Backdrop(rng, picture)
        else:
            self.kind = kind or drawn
            maker = {"room": room.Room, "outdoors": outdoors.Outdoors, "studio": outdoors.Studio}
            self._scenery = maker[self.kind](rng)
        self.lights: shading.Lights = self._scenery.lights
        level = self.lights.level(np.array([0, 0, 1.0]))
        self.exposure = float(rng.uniform(0.75, 1.05)) / level
        self.things = primitives.assemble([])
        self._shadows = None

    def fit(self, cameras, radius: float) -> None:
        """Grows the place around all cameras of a scene and furnishes it, before the first view.

        Args:
            cameras: anything with an `eye` [3] in metres.
            radius: of what has to stay free around the origin, metres.
        """
        eyes = np.array([camera.eye for camera in cameras])
        things = self._scenery.fit(eyes, radius)
        if self.kind != "interior":  # whose walls may be near; what hides too much goes by `thin`
            blocked = [thing for thing, low, high in _bounds(things) if _near(low, high, eyes)]
            things = things.keep(~np.isin(things.thing, blocked))
        self.things = things
        self._shadows = None

    def add(self, thing: list[primitives.Part], position, yaw: float) -> None:
        """Puts a thing somewhere, after `fit`: turned about z by `yaw` radians, at [x, y] metres.

        A user's own scene is left as it is.
        """
        if self.kind != "interior":
            one = primitives.assemble([primitives.place(thing, position, yaw)])
            self.things = primitives.join(self.things, one)
            self._shadows = None

    def thin(self, person, views) -> "Place":
        """Returns the place without the things that hide too much of a person in any view.

        Args:
            person: who is looked at.
            views: (posed, camera) of each view that there will be.
        """
        thinned = copy.copy(self)
        thinned._shadows = None
        if not len(self.things.faces):
            return thinned
        for posed, camera in views:
            while True:
                whole, share, number = hiding(person, posed, thinned.things, camera)
                # A little stricter than asked for, because these pictures are small.
                if share <= MOST_HIDDEN - 0.05 or whole == 0:
                    break
                thinned.things = thinned.things.keep(thinned.things.thing != number)
        return thinned

    @property
    def shadows(self) -> shadows_lib.Shadows:
        """The shadows of the things, found when first asked for."""
        if self._shadows is None:
            self._shadows = self._scenery_shadows()
        return self._shadows

    def _scenery_shadows(self) -> shadows_lib.Shadows:
        things = self.things
        if not things.casts or not len(things.faces):
            return shadows_lib.none(self.lights.position)
        used = np.unique(things.faces)
        renumbered = np.searchsorted(used, things.faces).astype(np.int32)
        low = things.faces[things.vertices[things.faces, 2].min(1) < 1.2]
        samples, _ = primitives.sampled(things.vertices, low, 0.2)
        return shadows_lib.cast(
            self.lights.position, things.vertices[used], renumbered, SHADOW_SIZE, samples, side=0.2
        )

    def background(self, eye: np.ndarray, rays: np.ndarray, angle: float) -> shading.Hits:
        """Returns what lines of sight meet that meet neither person nor thing.

        Args:
            eye: [3] metres.
            rays: [N, 3] of length one.
            angle: that a pixel spans, radians.
        """
        return self._scenery.background(eye, rays, angle)


def hiding(person, posed, things, camera, size: int = 64) -> tuple[int, float, int]:
    """Returns how things hide a person from a camera, in a picture of `size` pixels a side.

    Returns:
        How many pixels the person has without the things, the share of them that is hidden, and
        the number of the thing that hides most.
    """
    surface = person.surface
    scale = size / max(camera.size)
    intrinsics = tuple(scale * value for value in camera.intrinsics)
    height, width = (max(1, round(scale * side)) for side in camera.size)
    buffers = raster.canvas((height, width))
    for number, vertices, faces in (
        (0, posed.vertices, surface.faces[~surface.skip]),
        (len(surface.faces), things.vertices, things.faces[things.seen_by(camera)]),
    ):
        points = raster.homogeneous(intrinsics, camera.rotation, camera.translation, vertices)
        raster.draw(points, faces, buffers, first=number)
        if number == 0:
            alone = buffers[0] >= 0
    whole = int(alone.sum())
    seen = things.seen_by(camera)
    over = buffers[0][alone & (buffers[0] >= len(surface.faces))] - len(surface.faces)
    if not len(over):
        return whole, 0.0, -1
    thing = things.thing[seen][over]
    thing = thing[thing >= 0]
    share = len(thing) / whole
    return whole, share, int(np.bincount(thing).argmax()) if len(thing) else -1


def _bounds(things):
    """Yields (thing, low [3], high [3]) of each thing."""
    order = np.argsort(things.thing, kind="stable")
    order = order[things.thing[order] >= 0]
    if not len(order):
        return
    corners = things.vertices[things.faces[order]]
    numbers, start = np.unique(things.thing[order], return_index=True)
    low = np.minimum.reduceat(corners.min(1), start)
    high = np.maximum.reduceat(corners.max(1), start)
    yield from zip(numbers, low, high, strict=True)


def _near(low, high, eyes) -> bool:
    """Returns whether a box comes too near to one of the eyes [n, 3]."""
    away = np.maximum(np.maximum(low - eyes, eyes - high), 0)
    return bool((np.linalg.norm(away, axis=1) < AROUND_EYES).any())

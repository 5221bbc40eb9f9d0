"""A place is the scene around a person: room, outdoors, studio, a user's picture or 3D scene.

Its scenery gives the background and the lights; its things are objects such as furniture and trees.
"""

import copy

import numpy as np

from crocohuman_jax.synthetic.graphics import primitives, raster, shading
from crocohuman_jax.synthetic.graphics import shadows as shadows_lib
from crocohuman_jax.synthetic.scenes import outdoors, room, scans

KINDS = ("room", "outdoors", "studio")
SHARES = (0.58, 0.3, 0.12)
MOST_HIDDEN = 0.4  # fraction of a person that objects may hide in any view
AROUND_EYES = 0.6  # metres around a camera that are kept free of objects
SHADOW_SIZE = 512  # texels per side of the shadow maps of objects


class Place:
    """A scene with its lights and objects; all views of a take share it.

    Args:
        seed: any non-negative integer.
        kind: one of `KINDS`; None draws one.
        picture: [H, W, 3] uint8, a user's picture used as the backdrop instead.
        interior: a user's 3D scene used instead.

    Attributes:
        seed: as given.
        kind: the given or drawn kind, or "picture", or "interior".
        lights: the light sources.
        exposure: factor that gives white surfaces near the origin a normal brightness.
        things: the objects that stand around; empty before `fit`.

    Raises:
        ValueError: the kind is unknown.
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
        """Enlarges the place to contain all cameras and adds objects; call before the first view.

        Args:
            cameras: objects with an `eye` [3] in metres.
            radius: distance from the origin that stays free of objects, metres.
        """
        eyes = np.array([camera.eye for camera in cameras])
        things = self._scenery.fit(eyes, radius)
        if self.kind != "interior":  # its walls may be near; `thin` removes what hides too much
            blocked = [thing for thing, low, high in _bounds(things) if _near(low, high, eyes)]
            things = things.keep(~np.isin(things.thing, blocked))
        self.things = things
        self._shadows = None

    def add(self, thing: list[primitives.Part], position, yaw: float) -> None:
        """Adds an object at [x, y] metres, turned about z by `yaw` radians; call it after `fit`.

        Does nothing in a user's own scene.
        """
        if self.kind != "interior":
            one = primitives.assemble([primitives.place(thing, position, yaw)])
            self.things = primitives.join(self.things, one)
            self._shadows = None

    def thin(self, person, views) -> "Place":
        """Returns the place without the objects that hide too much of the person in any view.

        Args:
            person: the person in view.
            views: (posed, camera) of every view.
        """
        thinned = copy.copy(self)
        thinned._shadows = None
        if not len(self.things.faces):
            return thinned
        for posed, camera in views:
            while True:
                whole, share, number = hiding(person, posed, thinned.things, camera)
                # The limit is a little stricter because these small pictures are inexact.
                if share <= MOST_HIDDEN - 0.05 or whole == 0:
                    break
                thinned.things = thinned.things.keep(thinned.things.thing != number)
        return thinned

    @property
    def shadows(self) -> shadows_lib.Shadows:
        """The shadows of the objects, computed at first use."""
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
        """Returns where rays hit the background; they meet neither person nor object.

        Args:
            eye: [3] the camera's position, metres.
            rays: [N, 3] unit directions.
            angle: that a pixel spans, radians.
        """
        return self._scenery.background(eye, rays, angle)


def hiding(person, posed, things, camera, size: int = 64) -> tuple[int, float, int]:
    """Returns how much of a person objects hide, at `size` pixels on the picture's longer side.

    Returns:
        The number of the person's pixels without objects, the fraction of them that is hidden, and
        the number of the object that hides most, or -1.
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
    """Yields (number, low [3], high [3]), the bounding box of each object."""
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
    """Returns whether a box comes closer than AROUND_EYES to one of the eyes [n, 3]."""
    away = np.maximum(np.maximum(low - eyes, eyes - high), 0)
    return bool((np.linalg.norm(away, axis=1) < AROUND_EYES).any())

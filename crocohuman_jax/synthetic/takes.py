"""Renders takes: a person moves in a scene while several cameras (views) record some instants.

The recipe and (person, take, kind, instant, view) determine a frame completely, so frames may be
made in any order, by any number of workers, once or many times.
"""

import dataclasses
import functools
import pathlib

import numpy as np
import threadpoolctl

from crocohuman_jax.synthetic import render
from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import cameras, raster, rotations, surface
from crocohuman_jax.synthetic.motion import motion
from crocohuman_jax.synthetic.people import person as person_lib
from crocohuman_jax.synthetic.people import smpl_person, true_parameters
from crocohuman_jax.synthetic.scenes import furniture, scene, user_assets

VERSION = 1  # of the rendering: increased when the same recipe gives different pictures
KINDS = ("body", "hand")
LEAST_SEEN = 0.6  # fraction of a hand that the rest of the person must leave visible
HAND_MARGIN = 1.1  # extra factor on the crop around a hand, so that it shows some of the arm
HELD_REACH = 1.0  # the crop includes held objects up to this distance, in sizes of the hand
LONGEST_WAY = 3.0  # metres a person walks at most in a take, so that cameras stay close
HAND_CANDIDATES = 3  # camera positions drawn for each one that is kept
PLAIN_OPTIONS = (
    *("people", "takes", "instants", "views", "supersample", "recording", "place"),
    *("pictures", "interiors", "motions", "model"),
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The options of a rendered data set.

    Attributes:
        kinds: "body", "hand" (close-ups), or both.
        people, takes, instants, views: number of people, takes each, instants each, and cameras.
        size: (height, width) in pixels.
        seed: seed of everything random.
        enlarge: factor on the bounding box around a body; `HAND_MARGIN` more around a hand.
        supersample: samples per pixel in each direction.
        recording: "clean", or "camera" with noise and motion blur.
        actions, hands: names to draw from; () for all.
        place: "room", "outdoors", "studio", or "" for all.
        pictures: folder of pictures used as backdrops; "" for none.
        interiors: folder of GLB or OBJ scenes that people stand in.
        motions: folder of BVH or AMASS files that move the people.
        model: SMPL file whose mesh replaces the built-in body; needs AMASS motions.

    Raises:
        ValueError: a value is out of range, a name is unknown, or two options exclude each other.
    """

    kinds: tuple[str, ...] = ("body",)
    people: int = 100
    takes: int = 1
    instants: int = 4
    views: int = 4
    size: tuple[int, int] = (256, 256)
    seed: int = 0
    enlarge: float = 1.25
    supersample: int = 2
    recording: str = "clean"
    actions: tuple[str, ...] = ()
    hands: tuple[str, ...] = ()
    place: str = ""
    pictures: str = ""
    interiors: str = ""
    motions: str = ""
    model: str = ""

    def __post_init__(self):
        for name, least, most in (
            ("people", 1, None),
            ("takes", 1, None),
            ("instants", 1, None),
            ("views", 1, cameras.LARGEST_RIG),
            ("supersample", 1, 4),
        ):
            value = getattr(self, name)
            if value < least or (most and value > most):
                limit = f"{least} to {most}" if most else f"at least {least}"
                raise ValueError(f"Option {name} is {limit}, not {value}.")
        for kind in self.kinds:
            _choice("kind", kind, (*KINDS, "both"))
        for action in self.actions:
            _choice("action", action, motion.ACTIONS)
        for hand in self.hands:
            _choice("hand", hand, motion.HANDS)
        _choice("recording", self.recording, ("clean", "camera"))
        if self.place:
            _choice("place", self.place, scene.KINDS)
        for one, other in (
            *(("motions", name) for name in ("actions", "hands")),
            *((("pictures", "place"), ("interiors", "place"))),
        ):
            if getattr(self, one) and getattr(self, other):
                raise ValueError(f"Option {other} has no effect with {one}: leave one of them out.")
        if self.motions and "hand" in self.kinds:
            raise ValueError("Option motions needs kind=body: it does not move close-ups of hands.")
        if self.model and self.kinds != ("body",):
            raise ValueError(f"Option model needs kind=body, not {' and '.join(self.kinds)}.")

    def sequences(self) -> list[tuple[int, int, str]]:
        """Returns the (person, take, kind) of every take."""
        return [
            (person, take, kind)
            for person in range(self.people)
            for take in range(self.takes)
            for kind in self.kinds
        ]


def _choice(what: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(f"Unknown {what} {name!r}. Known: {', '.join(names)}.")


def check_sources(recipe: Recipe) -> None:
    """Raises a ValueError if one of the user's folders or files cannot be used."""
    paths = user_assets.motions(recipe.motions)
    user_assets.pictures(recipe.pictures)
    scenes = user_assets.scenes(recipe.interiors)
    if recipe.model:
        if not any(path.suffix == ".npz" for path in paths):
            raise ValueError("Option model is posed by AMASS files: give their folder in motions.")
        smpl_person.SmplPerson(user_assets.model(recipe.model), 0)
    user_assets.one_of(user_assets.clip, "motions", recipe.motions, paths)
    user_assets.one_of(user_assets.scene, "interiors", recipe.interiors, scenes)


def mark(recipe: Recipe) -> str:
    """Returns a text that changes when VERSION, or a name or size of the user's files, changes."""
    paths = (
        *user_assets.motions(recipe.motions),
        *user_assets.pictures(recipe.pictures),
        *user_assets.scenes(recipe.interiors),
        *((pathlib.Path(recipe.model),) if recipe.model else ()),
    )
    return repr((VERSION, [(path.name, path.stat().st_size) for path in paths]))


class Take:
    """A moving person in a scene, and the cameras around.

    Args:
        recipe: the options.
        person, number: number of the person and of the take.
        kind: "body", or "hand" for close-ups of one hand.
    """

    def __init__(self, recipe: Recipe, person: int, number: int, kind: str):
        _single_thread()
        self.recipe, self.kind = recipe, kind
        rng = np.random.default_rng([recipe.seed, person, number, KINDS.index(kind)])
        self.side = str(rng.choice(["L", "R"]))
        if recipe.model:
            self.person, self.motion = self._model(rng, person)
        else:
            self.person = _person(recipe.seed, person, kind)
            self.motion = self._motion(rng)
        count = recipe.instants
        moments = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count
        self.times, self._origin = self._walk(moments * self.motion.duration)
        self.poses = [self.motion.at(time) for time in self.times]
        self.posed = [self._pose(pose) for pose in self.poses]
        self.subjects = [
            self._subject(pose, posed) for pose, posed in zip(self.poses, self.posed, strict=True)
        ]
        every = np.concatenate(self.subjects)
        centre = (every.min(0) + every.max(0)) / 2
        radius = float(np.linalg.norm(every - centre, axis=1).max())
        self.stations = self._stations(rng, centre, radius)
        shape = (count, recipe.views)
        self._crops, self._seeds = rng.uniform(0.92, 1.12, shape), rng.integers(1 << 62, size=shape)
        self.place = self._place(rng)
        self._shadows: dict[int, object] = {}

    def frame(self, instant: int, view: int) -> tuple[np.ndarray, dict]:
        """Renders what a camera sees at an instant.

        Returns:
            The picture, [H, W, 3] uint8, and its ground truth under the names that
            `data.storage.synthetic_truth` uses: maps, tables, cameras and names.
        """
        recipe, pose, posed = self.recipe, self.poses[instant], self.posed[instant]
        camera = self.camera(instant, view)
        later = None
        if camera.blur:
            later = self._pose(self.motion.at(self.times[instant] + camera.blur))
        picture, seen, shadows = render.render(
            self.person,
            posed,
            self.place,
            camera,
            recipe.size,
            supersample=recipe.supersample,
            held=pose.held,
            shadows=self._shadows.get(instant),
            posed_later=later,
            seed=int(self._seeds[instant, view]),
        )
        self._shadows[instant] = shadows
        return picture, self._known(instant, camera, seen)

    def camera(self, instant: int, view: int) -> cameras.Camera:
        """Returns the crop of a view's camera that frames the body or hand at an instant."""
        enlarge = self.recipe.enlarge * (HAND_MARGIN if self.kind == "hand" else 1)
        jitter = self._crops[instant, view]
        points = self.subjects[instant]
        return self.stations[view].crop(points, self.recipe.size, enlarge * jitter)

    def _motion(self, rng: np.random.Generator) -> motion.Motion:
        recipe = self.recipe
        paths = user_assets.motions(recipe.motions)
        clips = [user_assets.clip(paths[rng.integers(len(paths))])] if paths else ()
        action = str(rng.choice(recipe.actions)) if recipe.actions else None
        hand = str(rng.choice(recipe.hands)) if recipe.hands else None
        seed = int(rng.integers(1 << 62))
        return motion.draw(
            parametric_body.load(),
            self.person.heads,
            seed,
            action=action,
            hand=hand,
            side=self.side,
            kind=self.kind,
            clips=clips,
            vertices=self.person.rest,
        )

    def _model(self, rng: np.random.Generator, person: int):
        """Returns a person on the user's body model and a recorded motion of that person."""
        paths = [p for p in user_assets.motions(self.recipe.motions) if p.suffix == ".npz"]
        clip = user_assets.clip(paths[rng.integers(len(paths))])
        model = user_assets.model(self.recipe.model)
        wearer = smpl_person.SmplPerson(model, _drawn(self.recipe.seed, person), clip.betas)
        return wearer, smpl_person.Recorded(wearer, clip, int(rng.integers(1 << 62)))

    def _walk(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns times, compressed if the person walks too far, and the path's middle, [3]."""
        places = np.stack([self.motion.at(time).translation for time in times])
        far = np.linalg.norm(np.ptp(places[:, :2], axis=0))
        if far > LONGEST_WAY:
            times = times[0] + (times - times[0]) * LONGEST_WAY / far
            places = np.stack([self.motion.at(time).translation for time in times])
        return times, (places.min(0) + places.max(0)) / 2 * (1, 1, 0)

    def _pose(self, pose: motion.Pose) -> surface.Posed:
        return self.person.pose(pose.rotations, pose.translation - self._origin, pose.lift)

    def _subject(self, pose: motion.Pose, posed: surface.Posed) -> np.ndarray:
        """Returns the points that a crop has to show, [n, 3], metres."""
        if self.kind == "body":
            return posed.vertices
        hand = posed.skin[_hand(self.side)[0]]
        centre, wrist = (
            hand.mean(0),
            posed.transforms[parametric_body.load().bone[f"wrist.{self.side}"]],
        )
        reach = HELD_REACH * np.linalg.norm(hand - centre, axis=1).max()
        parts = [hand]
        for held in (held for held in pose.held if held.side == self.side):
            away = held.vertices @ wrist[:3, :3].T + wrist[:3, 3] - centre
            far = np.linalg.norm(away, axis=1, keepdims=True)
            parts.append(centre + away * np.minimum(1, reach / far))  # only part of a long object
        return np.concatenate(parts)

    def _stations(self, rng, centre: np.ndarray, radius: float) -> list[cameras.Station]:
        count, recording = self.recipe.views, self.recipe.recording
        if self.kind == "body":
            return cameras.rig(rng, count, centre, radius, recording)
        # Draws several and keeps those from which the rest of the person hides the hand least.
        drawn = [
            station
            for _ in range(HAND_CANDIDATES)
            for station in cameras.rig(rng, count, centre, radius, recording, close=True)
        ]
        moments = range(0, len(self.times), max(1, len(self.times) // 2))
        shares = [min(self._hand_seen(station, i) for i in moments) for station in drawn]
        good = [i for i, share in enumerate(shares) if share >= LEAST_SEEN]
        rest = sorted(set(range(len(drawn))) - set(good), key=lambda i: -shares[i])
        return [drawn[i] for i in (good + rest)[:count]]

    def _hand_seen(self, station: cameras.Station, instant: int) -> float:
        """Returns the fraction of the hand's pixels that the rest of the person does not hide."""
        posed, figure = self.posed[instant], parametric_body.load()
        if (station.rotation[2] @ posed.vertices.T + station.translation[2]).min() < 0.1:
            return 0.0  # inside the person, or partly in front of them
        camera = station.crop(self.subjects[instant], (48, 48), 1.1)
        points = raster.homogeneous(
            camera.intrinsics, camera.rotation, camera.translation, posed.vertices
        )
        alone, whole = raster.canvas(camera.size), raster.canvas(camera.size)
        faces, surface_faces = _hand(self.side)[1], self.person.surface.faces
        raster.draw(points, figure.faces[faces], alone)
        raster.draw(points, surface_faces[~self.person.surface.skip], whole)
        wanted = alone[0] >= 0
        seen = wanted & (whole[1] >= alone[1] - 1e-6)
        return seen.sum() / max(wanted.sum(), 1)

    def _place(self, rng: np.random.Generator) -> scene.Place:
        recipe, seed = self.recipe, int(rng.integers(1 << 62))
        picture, interior = (
            user_assets.pictures(recipe.pictures),
            user_assets.scenes(recipe.interiors),
        )
        if picture and interior:  # both options are set: one of them is drawn
            picture, interior = (picture, ()) if rng.random() < 0.5 else ((), interior)
        place = scene.Place(
            seed,
            kind=recipe.place or None,
            picture=user_assets.picture(picture[rng.integers(len(picture))]) if picture else None,
            interior=user_assets.scene(interior[rng.integers(len(interior))]) if interior else None,
        )
        reach = np.linalg.norm(np.concatenate([p.vertices for p in self.posed])[:, :2], axis=1)
        place.fit(self.stations, float(reach.max()))
        if self.motion.name == "sit":
            self._seat(place, np.random.default_rng(seed))
        views = [
            (posed, self.camera(i, view))
            for i, posed in enumerate(self.posed)
            for view in range(recipe.views)
        ]
        return place.thin(self.person, views)

    def _seat(self, place: scene.Place, rng: np.random.Generator) -> None:
        """Puts a stool under a sitting person, as high as the lowest point that they sit at."""
        hips, knees, figure = [], [], parametric_body.load()
        for posed in self.posed:
            for points, name in ((hips, "upperleg01"), (knees, "lowerleg01")):
                points.append(posed.joints[[figure.bone[f"{name}.{s}"] for s in "LR"]].mean(0))
        hip, ahead = np.mean(hips, 0), rotations.unit((np.mean(knees, 0) - hips[0]) * (1, 1, 0))
        middle = (hip + 0.05 * ahead)[:2]
        low = [p.skin[np.linalg.norm(p.skin[:, :2] - middle, axis=1) < 0.12, 2] for p in self.posed]
        height = float(np.concatenate(low).min())
        if height > 0.15:
            place.add(furniture.stool(rng, height), middle, float(np.arctan2(ahead[0], -ahead[1])))

    def _known(self, instant: int, camera: cameras.Camera, seen: render.Truth) -> dict:
        """Returns the ground truth of a frame, as named in `data.storage.synthetic_truth`."""
        pose, posed = self.poses[instant], self.posed[instant]
        joints, _ = camera.project(posed.joints)
        side = self.side if self.kind == "hand" else ""
        maps = ("part", "face", "depth", "uv", "canonical", "hidden")
        return {
            **{name: getattr(seen, name) for name in maps},
            **true_parameters.parameters(self.person, pose.rotations, posed, side),
            "joints": posed.joints,
            "joints_2d": joints,
            "intrinsics": camera.intrinsics,
            "rotation": camera.rotation,
            "translation": camera.translation,
            "time": self.times[instant],
            "kind": self.kind,
            "side": side,
            "action": self.motion.name,
            "left_hand": self.motion.hand_names["L"],
            "right_hand": self.motion.hand_names["R"],
        }


record = Take


@functools.cache  # once per process
def _single_thread() -> None:
    """Limits linear algebra to one thread, so that every process renders the same bytes.

    The number of threads changes the rounding of products. Products of thin matrices, as in
    skinning, also take ten times as long when the threads of several processes compete.
    """
    threadpoolctl.threadpool_limits(1, user_api="blas")


@functools.lru_cache(4)
def _person(seed: int, person: int, kind: str) -> person_lib.Person:
    return person_lib.Person(parametric_body.load(), _drawn(seed, person), kind)


def _drawn(seed: int, person: int) -> int:
    return int(np.random.SeedSequence([seed, person]).generate_state(1, np.uint64)[0] >> 1)


@functools.cache
def _hand(side: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the vertices and of the faces of a hand."""
    figure = parametric_body.load()
    faces = np.flatnonzero(figure.face_part == figure.parts.index(f"hand_{side.lower()}"))
    return np.unique(figure.faces[faces]), faces

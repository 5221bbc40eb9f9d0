"""Draws motions (what a person does over a few seconds) and gives their poses at any time."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations as rotations_lib
from crocohuman_jax.synthetic.motion import (
    actions,
    grasps,
    hand_poses,
    pose_solver,
    rhythms,
    self_collision,
)
from crocohuman_jax.synthetic.motion import skeleton as skeletons

ACTIONS = actions.ACTIONS
GESTURES = hand_poses.GESTURES
GRASPS = grasps.GRASPS
HANDS = tuple(sorted({*hand_poses.SHAPES, *GRASPS}))
KINDS = ("body", "hand")
TRIES = 8
CHECKED = 9  # times of a motion at which limbs are tested for intersections
HAND_ROOM = 0.12  # metres to keep free around the hand of a close-up
# Actions with an arm free for a gesture; used if a gesture is requested without an action.
_BESIDE_GESTURE = ("stand", "stand", "sit", "turn", "hips", "walk")
_NOISE = {
    "spine": (2.5, 2.0, 3.0),
    "neck": (4.0, 3.0, 6.0),
    "arm.L": (4.0, 2.5, 6.0, 5.0, 8.0, 6.0, 4.0),
    "arm.R": (4.0, 2.5, 6.0, 5.0, 8.0, 6.0, 4.0),
}


@dataclasses.dataclass(frozen=True)
class Pose:
    """A person at one time.

    Attributes:
        rotations: [J, 3, 3] float64, for `parametric_body.Body.transforms`.
        translation: [3] of the root, metres; only x and y are meaningful.
        lift: metres between the lowest point and the ground.
        held: objects in the hands.
    """

    rotations: np.ndarray
    translation: np.ndarray
    lift: float = 0.0
    held: tuple[grasps.Held, ...] = ()


class Motion:
    """The movement of a person for some seconds; continuous in time, independent of earlier calls.

    Attributes:
        name: name of the action; duration: seconds; hand_names: {"L": name, "R": name}.
        accepted: True if no limbs intersect; touching: otherwise the two that do, else "".
        tries: number of motions drawn until one was accepted, at most TRIES.
    """

    def __init__(self, skeleton, posture, duration, name, hand_names, held=(), clip=None):
        self._skeleton, self._posture, self._clip = skeleton, posture, clip
        self.name, self.duration, self.hand_names = name, float(duration), hand_names
        self._held = tuple(held)
        self.accepted, self.tries, self.touching = True, 1, ""

    def at(self, time: float) -> Pose:
        """Returns the pose at a time in seconds, which may be before the start or after the end."""
        turns, place, lift = self.turns(np.array([float(time)]))
        matrices = self._skeleton.compose(turns)[0]
        return Pose(matrices, place[0], float(lift[0]), self._held)

    def turns(self, times: np.ndarray):
        """Returns rotations in neutral axes [T, J, 3, 3], translations [T, 3] and lifts [T]."""
        return self.solve(times)[0]

    def angles(self, times: np.ndarray) -> dict:
        """Returns the anatomical angles at times in seconds, {name: [T, ...] degrees}."""
        return self.solve(times)[1]

    def solve(self, times: np.ndarray):
        """Returns the results of `turns` and of `angles`."""
        posture, noise = self._posture(times)
        solver = pose_solver.Solver(self._skeleton, posture, len(times), noise)
        solved = solver.solve()
        if self._clip is not None:
            solved = self._clip(times, solved)
        return solved, solver.angles


def draw(
    body,
    heads: np.ndarray,
    seed: int,
    action: str | None = None,
    hand: str | None = None,
    side: str = "R",
    kind: str = "body",
    clips=(),
    vertices: np.ndarray | None = None,
) -> Motion:
    """Returns a random motion of a person, which depends on the arguments alone.

    Args:
        body: `parametric_body.Body`; heads: [J, 3], the person's bone heads at rest.
        seed: any non-negative integer.
        action: one of ACTIONS; None draws one, or one of the clips if there are any.
        hand: one of HANDS for the hand of `side`; None for hand shapes that change.
        kind: "body", or "hand" for a motion that keeps the hand of `side` free and in view.
        clips: recorded motions, with `.duration` and `.rotations(time, body, heads)`.
        vertices: [V, 3], the person at rest, to measure body thickness for the test of
            intersecting limbs; None for average thickness.

    Raises:
        ValueError: `action`, `hand`, `side` or `kind` is unknown.
    """
    _check(action, hand, side, kind)
    skeleton = skeletons.Skeleton(body, heads)
    solids = self_collision.Solids(skeleton, vertices)
    for attempt in range(TRIES):
        rng = np.random.default_rng([seed, attempt])
        # Each new attempt also holds the arms somewhat further from the body.
        hang = solids.hang() + 2.0 * attempt
        motion = _draw(skeleton, rng, action, hand, side, kind, clips, hang)
        close = (
            side if kind == "hand" and motion.hand_names[side] not in hand_poses.AT_FACE else None
        )
        times = np.linspace(0, motion.duration, CHECKED)
        motion.tries = attempt + 1
        recorded = motion._clip is not None
        if not recorded:
            slack = actions.RESTING.get(motion.name, 0.0)
            if motion.hand_names[side] in hand_poses.AT_FACE:
                slack = max(slack, 0.05)
            motion.touching = solids.touching(motion.turns(times)[0], close, HAND_ROOM, slack)
        motion.accepted = not motion.touching
        if motion.accepted:
            break
    return motion


def _check(action, hand, side, kind):
    for what, value, known in (
        ("action", action, ACTIONS),
        ("hand", hand, HANDS),
        ("side", side, tuple(skeletons.SIDES)),
        ("kind", kind, KINDS),
    ):
        if value not in known and not (value is None and what in ("action", "hand")):
            raise ValueError(f"Unknown {what} {value!r}. Known: {', '.join(known)}.")


def _draw(skeleton, rng, action, hand, side, kind, clips, hang) -> Motion:
    duration = rng.uniform(2.5, 6)
    if hand is None and kind == "hand" and rng.random() < 0.4:
        hand = str(rng.choice(GESTURES if rng.random() < 0.5 else GRASPS))
    fingers = {s: Fingers(rng, skeleton, s, hand if s == side else None) for s in skeletons.SIDES}
    names = {s: fingers[s].name for s in fingers}
    held = [f.held for f in fingers.values() if f.held is not None]
    clip = None
    if action is None and len(clips) and kind == "body":
        chosen = clips[rng.integers(len(clips))]
        duration = min(duration, chosen.duration)
        action, clip = "clip", Recorded(skeleton, chosen, duration, rng)
        acted = actions.draw("stand", rng)
    elif kind == "hand" and action is None:
        action = "show"
        acted = actions.draw(str(rng.choice(("stand", "stand", "sit", "hips"))), rng)
    else:
        if action is None and hand is not None:
            action = str(rng.choice(_BESIDE_GESTURE))
        elif action is None:
            weights = actions.WEIGHTS / actions.WEIGHTS.sum()
            action = str(rng.choice(ACTIONS, p=weights))
        acted = actions.draw(action, rng)
    arm = _arm(rng, hand, kind, side)
    heading, noise = rng.uniform(-180, 180), Noise(rng, _NOISE)
    start = rng.uniform(0, 10)

    def posture(times):
        p = acted(times + start)
        path = np.asarray(p.get("path", (0.0, 0.0))[1]) - (
            np.asarray(acted(np.array([start]))["path"][1]) if "path" in p else 0.0
        )
        p["hang"] = hang
        p["heading"] = heading + p.get("heading", 0.0)
        angle = np.deg2rad(heading)
        # Forward is the world's -y, rotated by the heading.
        p["path"] = (np.sin(angle) * path, np.cos(angle) * path)
        if arm is not None:
            p[f"arm.{side}"] = arm(times)
        if hand in hand_poses.AT_FACE:  # the hand is at the face, which looks ahead
            p["neck"] = tuple(0.2 * np.asarray(angle) for angle in p.get("neck", (0, 0, 0)))
        for s in fingers:
            p[f"hand.{s}"] = fingers[s](times)
        return p, noise(times)

    return Motion(skeleton, posture, duration, action, names, held, clip)


def _arm(rng, hand, kind, side):
    """Returns a function from times to the arm pose that shows a hand; None keeps the action's."""
    if hand in GESTURES:
        reach = hand_poses.gesture_arm(hand, rng)
        if hand in hand_poses.AT_FACE:
            return lambda times: reach
        drift = _drift(rng, 0.04, 3)
        return lambda times: dataclasses.replace(
            reach, point=tuple(a + b for a, b in zip(reach.point, drift(times), strict=True))
        )
    if kind == "body" and hand is None:
        return None
    u = rng.uniform
    middle = (u(0.2, 0.65), u(0.5, 0.78), u(-0.25, 0.4))
    turned = (u(-60, 80), u(-25, 25), u(-10, 8))
    place, twist, swivel = _drift(rng, 0.1, 3), _drift(rng, 1.0, 3), u(-5, 30)
    size = (40, 25, 10)

    def arm(times):
        point = tuple(a + b for a, b in zip(middle, place(times), strict=True))
        wrist = tuple(a + s * b for a, b, s in zip(turned, twist(times), size, strict=True))
        return pose_solver.Reach(point, swivel=swivel, wrist=wrist)

    return arm


def _drift(rng, amplitude, count):
    """Returns a function from times [T] to `count` slow random drifts of about this amplitude."""
    noise = Noise(rng, {"drift": (amplitude,) * count}, 0.12, 0.35)
    return lambda times: noise(times)["drift"].T


class Noise:
    """Slow random variation over time: sums of sinusoids, {channel: [T, N]}."""

    WAVES = 3

    def __init__(self, rng, amplitudes: dict, slowest=0.1, fastest=0.5):
        self.slices, start = {}, 0
        for name, values in amplitudes.items():
            self.slices[name] = slice(start, start + len(values))
            start += len(values)
        deviations = np.concatenate([np.asarray(v, float) for v in amplitudes.values()])
        # The constant part is there because no two people hold themselves alike.
        self.constant = 0.6 * deviations * rng.normal(size=start)
        self.size = deviations * rng.normal(size=(self.WAVES, start)) * 0.5
        self.speed = rng.uniform(slowest, fastest, (self.WAVES, start)) * rhythms.TAU
        self.phase = rng.uniform(0, rhythms.TAU, (self.WAVES, start))

    def __call__(self, times: np.ndarray) -> dict:
        angle = times[:, None, None] * self.speed + self.phase
        values = self.constant + (self.size * np.sin(angle)).sum(1)
        return {name: values[:, s] for name, s in self.slices.items()}


class Fingers:
    """The shape of one hand over time, and the object that it holds."""

    def __init__(self, rng, skeleton, side, hand):
        self.held, self.name = None, hand or "free"
        self.noise = Noise(rng, {"fingers": (1.0,) * 25}, 0.15, 0.5)
        self.period, self.phase, self.sharp = rng.uniform(1.6, 4), rng.uniform(), rng.uniform(1, 3)
        if hand in GRASPS:
            grip, self.held = grasps.take(skeleton, side, hand, rng)
            self.first = self.second = grip
            self.amount = 0.0
            return
        if hand is not None:
            self.first = self.second = hand_poses.SHAPES[hand]
            if hand == "ok":
                self.first = self.second = grasps.bring_together(skeleton, side, self.first)
            self.amount = 0.8 if hand == "ok" else 2.2
            return
        pool = list(hand_poses.EVERYDAY.values())
        if rng.random() < 0.35:
            pool += list(hand_poses.SHAPES.values())
        calm = rng.random() < 0.45
        self.first = hand_poses.EVERYDAY["relaxed"] if calm else pool[rng.integers(len(pool))]
        self.second = pool[rng.integers(len(pool))]
        if calm:
            self.second = hand_poses.blend(self.first, self.second, np.array([0.25]))[0]
        # Neighbouring fingers bend together.
        bend = rng.normal(0, 7) + np.cumsum(rng.normal(0, 3, 4))
        change = np.zeros((5, 5))
        change[1:, :3] = bend[:, None] * (0.8, 1, 0.6)
        change[0] = rng.normal(0, 4, 5)
        self.first, self.second = self.first + change, self.second + change
        self.amount = 4.0

    def __call__(self, times: np.ndarray) -> np.ndarray:
        share = rhythms.hold(times, self.period, self.phase, self.sharp)
        shape = hand_poses.blend(self.first, self.second, share)
        if self.amount:
            shape = shape + self.amount * self.noise(times)["fingers"].reshape(-1, 5, 5)
        return shape


class Recorded:
    """Replaces the action by a recorded clip; keeps the drawn fingers if the clip has none."""

    def __init__(self, skeleton, clip, duration, rng):
        self.skeleton, self.clip = skeleton, clip
        self.start = rng.uniform(0, max(clip.duration - duration, 0))
        self.turn = rotations_lib.about(rotations_lib.Z, rng.uniform(0, rhythms.TAU))

    def __call__(self, times, solved):
        turns, place, lift = solved
        body, heads = self.skeleton.body, self.skeleton.heads
        moments = np.clip(times + self.start, 0, self.clip.duration)
        recorded = np.stack([self.clip.rotations(t, body, heads) for t in moments])
        result = self.skeleton.turns(recorded)
        result[:, 0] = self.turn @ result[:, 0]
        if getattr(self.clip, "fingers", None) is None:
            fingers = [k for k, n in enumerate(body.bones) if n.startswith("finger")]
            result[:, fingers] = turns[:, fingers]
        place, lift = np.zeros_like(place), np.zeros_like(lift)
        if hasattr(self.clip, "place"):
            origin = self.clip.place(self.start)
            moved = np.stack([self.clip.place(t) - origin for t in moments])
            place = moved @ self.turn.T * (1, 1, 0)
        if hasattr(self.clip, "lift"):
            lift = np.array([self.clip.lift(t) for t in moments])
        return result, place, lift

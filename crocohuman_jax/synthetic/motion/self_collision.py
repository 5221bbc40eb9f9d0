"""Tests whether limbs intersect, with capsules around bones, at several times of a motion."""

import numpy as np

# Capsules (from bone, to bone, radius on the template in metres, length beyond the far end).
_THICK = {
    "pelvis": ("root", "spine03", 0.125, 0.0),
    "chest": ("spine02", "spine01", 0.125, 0.0),
    "collar": ("spine01", "neck01", 0.075, 0.0),
    "head": ("neck03", "head", 0.092, 0.075),
    "thigh.L": ("upperleg01.L", "lowerleg01.L", 0.07, 0.0),
    "thigh.R": ("upperleg01.R", "lowerleg01.R", 0.07, 0.0),
    "shin.L": ("lowerleg01.L", "foot.L", 0.047, 0.0),
    "shin.R": ("lowerleg01.R", "foot.R", 0.047, 0.0),
    "forearm.L": ("lowerarm01.L", "wrist.L", 0.032, 0.0),
    "forearm.R": ("lowerarm01.R", "wrist.R", 0.032, 0.0),
}
_HAND = ("finger1-3", "finger2-1", "finger2-3", "finger3-1", "finger3-3", "finger5-1", "finger5-3")
_HAND_RADIUS = 0.010
_TRUNK = ("pelvis", "chest", "collar", "head", "thigh.L", "thigh.R")


class Solids:
    """The capsules of one person.

    Args:
        skeleton: `skeleton.Skeleton`.
        vertices: [V, 3] at rest, to measure the thickness of trunk and thighs; None for average.
    """

    def __init__(self, skeleton, vertices=None):
        self.skeleton = skeleton
        bone = skeleton.bone
        size = sum(skeleton.arm["L"]) / 0.455
        self.names = list(_THICK)
        rows = [_THICK[name] for name in self.names]
        self.start = np.array([bone[row[0]] for row in rows])
        self.end = np.array([bone[row[1]] for row in rows])
        self.radius = np.array([row[2] for row in rows]) * size
        self.beyond = np.array([row[3] for row in rows]) * size
        self.index = {name: k for k, name in enumerate(self.names)}
        if vertices is not None:
            self._measure(np.asarray(vertices, np.float64))
        self.hand = {s: np.array([bone[f"{n}.{s}"] for n in _HAND]) for s in "LR"}
        self.hand_radius = _HAND_RADIUS * size

    def _measure(self, vertices):
        """Scales trunk and thighs by the person's thickness relative to the template's."""
        body = self.skeleton.body
        owner = body.weight_bones[np.arange(len(body.weights)), body.weights.argmax(1)]
        for name in ("pelvis", "chest", "thigh.L", "thigh.R"):
            k = self.index[name]
            between = _between(body, self.start[k], self.end[k])
            mine = np.isin(owner, between)
            spans = [
                _distance(points[mine], heads[self.start[k]], heads[self.end[k]]).mean()
                for points, heads in (
                    (vertices, self.skeleton.heads),
                    (body.template.astype(np.float64), body.heads.astype(np.float64)),
                )
            ]
            self.radius[k] = _THICK[name][2] * spans[0] / spans[1]

    def hang(self) -> float:
        """Returns the sideways angle in degrees at which hanging arms clear the thighs."""
        bone, heads = self.skeleton.bone, self.skeleton.heads
        hips = abs(heads[bone["upperleg01.L"]][0]) + self.radius[self.index["thigh.L"]]
        shoulder = abs(heads[bone["upperarm01.L"]][0])
        reach = 1.15 * sum(self.skeleton.arm["L"])
        sine = (hips + 4.5 * self.hand_radius - shoulder) / reach
        return float(np.rad2deg(np.arcsin(np.clip(sine, 0, 0.5))))

    def touching(self, turns: np.ndarray, close: str | None = None, room: float = 0.0, slack=0.0):
        """Returns two body parts that intersect at some time, as "hand.L chest"; "" if none do.

        Args:
            turns: [T, J, 3, 3], rotations in neutral axes, see `skeleton`.
            close: side whose hand must also keep `room` metres from all other parts; None for none.
            slack: metres by which arms may press into the body where they rest on it.
        """
        joints, _ = self.skeleton.joints(turns)
        a, b = joints[:, self.start], joints[:, self.end]
        length = np.linalg.norm(b - a, axis=-1, keepdims=True)
        b = b + (b - a) / np.maximum(length, 1e-9) * self.beyond[:, None]
        for side, other in (("L", "R"), ("R", "L")):
            margin = room if side == close else 0.0
            hand = joints[:, self.hand[side]]
            fore = self.index[f"forearm.{side}"]
            names = (*_TRUNK, f"forearm.{other}")
            solid = [self.index[n] for n in names]
            gap = self._gap(hand, a[:, solid], b[:, solid], self.radius[solid])
            gap = gap.min((0, 1)) - self.hand_radius - margin
            if gap.min() < -slack:
                return f"hand.{side} {names[gap.argmin()]}"
            arm = a[:, fore, None] + (b - a)[:, fore, None] * np.array([0.5, 0.8, 1])[:, None]
            gap = self._gap(arm, a[:, solid], b[:, solid], self.radius[solid]).min((0, 1))
            if gap.min() < self.radius[fore] * 0.6 - slack:
                return f"forearm.{side} {names[gap.argmin()]}"
            if margin:
                apart = hand[:, :, None] - joints[:, None, self.hand[other]]
                if np.linalg.norm(apart, axis=-1).min() < margin + 2 * self.hand_radius:
                    return f"hand.{side} hand.{other}"
        return self._legs_touching(a, b)

    def _legs_touching(self, a, b):
        share = np.array([0.35, 0.6, 0.8, 1.0])[:, None]
        for own in ("thigh", "shin"):
            left = self.index[f"{own}.L"]
            points = a[:, left, None] + (b - a)[:, left, None] * share
            others = [self.index["thigh.R"], self.index["shin.R"]]
            gap = self._gap(points, a[:, others], b[:, others], self.radius[others])
            if gap.min() < self.radius[left] * 0.55:
                return f"{own}.L {('thigh.R', 'shin.R')[gap.min((0, 1)).argmin()]}"
        return ""

    def _gap(self, points, a, b, radius):
        """Returns distances from points [T, P, 3] to capsules [T, C, 3], [T, P, C] metres."""
        return _distance(points[:, :, None], a[:, None], b[:, None]) - radius


def _distance(points, a, b):
    """Returns the distance from points to segments, all [..., 3]."""
    along = b - a
    share = ((points - a) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-12)
    nearest = a + np.clip(share, 0, 1)[..., None] * along
    return np.linalg.norm(points - nearest, axis=-1)


def _between(body, first, last):
    """Returns the bones from `last`'s parent up to `first`."""
    result, bone = [], body.parents[last]
    while bone != first and bone >= 0:
        result.append(bone)
        bone = body.parents[bone]
    return [*result, first]

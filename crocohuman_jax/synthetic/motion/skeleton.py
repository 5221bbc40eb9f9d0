"""Converts anatomical angles and targets of limbs to rotations of a person's bones.

Every bone has a neutral orientation: the person stands upright, limbs and fingers straight down,
palms at the thighs, feet forward. Angles rotate bones in the axes of that neutral pose (x left, y
back, z up), so flexion is a rotation about x, however the bone lies at rest. Angles are in degrees.
"""

import functools

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations

SIDES = {"L": 1.0, "R": -1.0}
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03", "head")
# Spine and neck as a whole: bend forward, bend to the left, turn to the left.
SPINE_LIMITS = np.array([[-25, 75], [-28, 28], [-40, 40]], float)
NECK_LIMITS = np.array([[-45, 45], [-30, 30], [-70, 70]], float)
# Arm: raised forward, raised sideways, turned inward, elbow, pronation, wrist flexion, wrist
# deviation to the thumb's side. How far an arm goes behind the body depends on the first two: the
# backward component of its unit direction is at most BEHIND, plus BEHIND_HANGING if it hangs.
BEHIND, BEHIND_HANGING = 0.5, 0.25
ARM = ("forward", "side", "inward", "elbow", "pronation", "flexion", "deviation")
ARM_LIMITS = np.array(
    [[-120, 240], [-60, 175], [-95, 95], [0, 150], [-85, 85], [-70, 75], [-30, 22]], float
)
# Leg: hip flexion, abduction, outward turn, knee, dorsiflexion of the foot, its roll and its turn.
LEG = ("hip", "side", "outward", "knee", "ankle", "roll", "turn")
LEG_LIMITS = np.array(
    [[-30, 125], [-30, 60], [-45, 50], [0, 145], [-50, 32], [-22, 22], [-20, 20]], float
)
# Finger: bend of the knuckle, the middle and the last joint; spread to the thumb's side.
FINGER_LIMITS = np.array([[-28, 92], [0, 108], [-6, 85], [-25, 25]], float)
# Thumb: away from the index finger in the palm's plane, out of that plane, rotation about
# its own axis towards the fingers, and bend of its two joints.
THUMB_LIMITS = np.array([[-25, 65], [-15, 70], [-10, 150], [-15, 62], [-25, 85]], float)


def turn_x(degrees) -> np.ndarray:  # [...] -> [..., 3, 3]
    """Returns rotations about x."""
    return _turn(degrees, 1, 2)


def turn_y(degrees) -> np.ndarray:  # [...] -> [..., 3, 3]
    """Returns rotations about y."""
    return _turn(degrees, 2, 0)


def turn_z(degrees) -> np.ndarray:  # [...] -> [..., 3, 3]
    """Returns rotations about z."""
    return _turn(degrees, 0, 1)


def _turn(degrees, a, b):
    angle = np.deg2rad(np.asarray(degrees, np.float64))
    result = np.zeros((*angle.shape, 3, 3))
    cosine, sine = np.cos(angle), np.sin(angle)
    result[..., a, a] = result[..., b, b] = cosine
    result[..., a, b], result[..., b, a] = -sine, sine
    result[..., 3 - a - b, 3 - a - b] = 1
    return result


def apply(matrices, vectors) -> np.ndarray:  # [..., 3, 3], [..., 3]
    """Returns vectors rotated by matrices."""
    return (matrices @ vectors[..., None])[..., 0]


def cross(a, b) -> np.ndarray:  # [..., 3] each
    """Returns the cross product; numpy's own spends most of its time on checks."""
    result = np.empty(np.broadcast_shapes(a.shape, b.shape))
    for k, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        result[..., k] = a[..., i] * b[..., j] - a[..., j] * b[..., i]
    return result


def frame(down, thumbward) -> np.ndarray:  # [..., 3] each
    """Returns the rotation whose -z is `down` and whose -y lies towards `thumbward`."""
    z = -rotations.unit(down)
    y = -np.asarray(thumbward, np.float64)
    y = rotations.unit(y - (y * z).sum(-1, keepdims=True) * z)
    return np.stack([cross(y, z), y, z], -1)


def swing(direction) -> np.ndarray:  # [..., 3] of length one
    """Returns the smallest rotation from straight down to a direction, [..., 3, 3]."""
    x, y, z = np.moveaxis(direction, -1, 0)
    share = 1 / np.maximum(1 - z, 1e-9)
    result = np.empty((*x.shape, 3, 3))
    result[..., 0, 0], result[..., 0, 1] = 1 - x * x * share, -x * y * share
    result[..., 1, 0], result[..., 1, 1] = -x * y * share, 1 - y * y * share
    result[..., 0, 2], result[..., 1, 2] = -x, -y
    result[..., 2, 0], result[..., 2, 1], result[..., 2, 2] = x, y, -z
    return result


def twist_of(matrices) -> np.ndarray:  # [..., 3, 3] -> [...]
    """Returns the twist of rotations about z in degrees, without their swing away from z."""
    m = matrices
    return np.rad2deg(np.arctan2(m[..., 1, 0] - m[..., 0, 1], m[..., 0, 0] + m[..., 1, 1]))


def two_bones(target, upper, lower, pole, elbow):
    """Bends a limb of two bones so that its end reaches a point (inverse kinematics).

    Args:
        target: [T, 3] from the limb's root; a limb that cannot reach it points at it.
        upper, lower: lengths of the bones.
        pole: [T, 3], direction in which the middle joint should move out.
        elbow: True if the limb folds forward as arms do, False for knees.

    Returns:
        The orientation of the upper bone [T, 3, 3] and the bend of the middle joint [T] in degrees.
    """
    distance = np.linalg.norm(target, axis=-1)
    along = rotations.unit(target)
    # Near full stretch the reach approaches its limit smoothly, so that the joint never snaps.
    most, soft = (upper + lower) * 0.9995, (upper + lower) * 0.03
    excess = (distance - (most - soft)) / soft
    reach = np.where(excess > 0, most - soft * np.exp(-np.maximum(excess, 0)), distance)
    reach = np.maximum(reach, abs(upper - lower) + 0.12 * lower)
    side = rotations.unit(pole - (pole * along).sum(-1, keepdims=True) * along)
    cosine = (upper**2 + reach**2 - lower**2) / (2 * upper * reach)
    sine = np.sqrt(np.clip(1 - cosine**2, 0, 1))
    cosine, sine = cosine[..., None], sine[..., None]
    direction = cosine * along + sine * side
    fold = sine * along - cosine * side
    inner = (upper**2 + lower**2 - reach**2) / (2 * upper * lower)
    bend = 180 - np.rad2deg(np.arccos(np.clip(inner, -1, 1)))
    return frame(direction, fold if elbow else -fold), bend


class Skeleton:
    """A person's bones in their neutral orientations, and the body measures.

    Args:
        body: `parametric_body.Body`.
        heads: [J, 3] of the person at rest, metres.

    Attributes:
        neutral: [J, 3, 3], rotation of each bone from rest to its neutral orientation.
        offsets: [J, 3], from the parent's head to the bone's, in the parent's neutral axes.
        arm, leg: {side: (upper, lower)}, lengths in metres.
        foot_length: from ankle to middle toe; stature: length of a leg; both in metres.
        hand: length from wrist to middle knuckle in metres.
        head_size: size of the head relative to the template's.
    """

    def __init__(self, body, heads: np.ndarray):
        self.body, self.heads = body, np.asarray(heads, np.float64)
        self.bone, self.parents = body.bone, body.parents
        self.neutral = np.tile(np.eye(3), (len(heads), 1, 1))
        self.arm, self.leg, self.rest_twist = {}, {}, {}
        for side, sign in SIDES.items():
            self._legs(side)
            self._arms(side, sign)
        steps = self.heads - self.heads[np.maximum(self.parents, 0)]
        self.offsets = apply(self.neutral[np.maximum(self.parents, 0)], steps)
        self.hand = float(np.linalg.norm(self.head("finger3-1.L") - self.head("wrist.L")))
        sight = self.head("eye.L") - self.head("head")
        usual = body.heads[self.bone["eye.L"]] - body.heads[self.bone["head"]]
        self.head_size = float(np.linalg.norm(sight) / np.linalg.norm(usual))
        self.stature = self.leg["L"][0] + self.leg["L"][1]

    def head(self, name: str) -> np.ndarray:
        """Returns the start point of a bone at rest, [3] metres."""
        return self.heads[self.bone[name]]

    def set_neutral(self, names, side, matrix):
        for name in names:
            self.neutral[self.bone[f"{name}.{side}"]] = matrix

    def _legs(self, side):
        hip, knee, ankle = (self.head(f"{n}.{side}") for n in ("upperleg01", "lowerleg01", "foot"))
        self.leg[side] = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))
        forward = -rotations.Y
        self.set_neutral(("upperleg01", "upperleg02"), side, frame(knee - hip, forward).T)
        self.set_neutral(("lowerleg01", "lowerleg02"), side, frame(ankle - knee, forward).T)
        toes = self.head(f"toe3-1.{side}") - ankle
        foot = frame(-rotations.Z, toes).T
        self.set_neutral(("foot",), side, foot)
        for toe, count in ((1, 2), (2, 3), (3, 3), (4, 3), (5, 3)):
            self.set_neutral([f"toe{toe}-{k + 1}" for k in range(count)], side, foot)
        self.foot_length = float(np.linalg.norm(toes[:2]))

    def _arms(self, side, sign):
        names = ("upperarm01", "lowerarm01", "wrist")
        shoulder, elbow, wrist = (self.head(f"{n}.{side}") for n in names)
        upper, lower = elbow - shoulder, wrist - elbow
        self.arm[side] = float(np.linalg.norm(upper)), float(np.linalg.norm(lower))
        arm = frame(upper, lower).T
        self.set_neutral(("upperarm01", "upperarm02"), side, arm)
        fore = frame(lower, -upper).T
        self.set_neutral(("lowerarm01", "lowerarm02"), side, fore)
        middle = (self.head(f"finger3-1.{side}") + self.head(f"finger4-1.{side}")) / 2
        across = self.head(f"finger2-1.{side}") - self.head(f"finger5-1.{side}")
        hand = frame(middle - wrist, across).T
        self.set_neutral(("wrist", *(f"metacarpal{k}" for k in (1, 2, 3, 4))), side, hand)
        # The twist of the mesh at rest: only the difference from it must be spread over the bones.
        turned = swing(rotations.unit(upper)).T @ arm.T
        self.rest_twist[f"upper.{side}"] = float(twist_of(turned))
        self.rest_twist[f"fore.{side}"] = float(twist_of(fore @ hand.T))
        for finger in range(1, 6):
            self._finger(finger, side, sign)

    def _finger(self, finger, side, sign):
        first, second, third = (self.head(f"finger{finger}-{k}.{side}") for k in (1, 2, 3))
        tip = third + fingertips(self.body)[finger, side] * np.linalg.norm(third - second)
        back = nails(self.body)[finger, side]
        ends = (first, second, third, tip)
        # All joints share one hinge axis, across the finger's end; the nail gives it best.
        hinge = np.cross(back, tip - third) * sign
        for k in range(3):
            matrix = _hinged(ends[k + 1] - ends[k], hinge)
            self.set_neutral((f"finger{finger}-{k + 1}",), side, matrix)

    def compose(self, turns: np.ndarray) -> np.ndarray:  # [T, J, 3, 3] -> same
        """Returns rotations in neutral axes as `parametric_body.Body.transforms` takes them."""
        above = np.concatenate([np.eye(3)[None], self.neutral[self.parents[1:]]])
        return np.swapaxes(above, -1, -2) @ turns @ self.neutral

    def turns(self, rotations_: np.ndarray) -> np.ndarray:  # [T, J, 3, 3] -> same
        """Returns rotations in neutral axes from bone rotations; the inverse of `compose`."""
        above = np.concatenate([np.eye(3)[None], self.neutral[self.parents[1:]]])
        return above @ rotations_ @ np.swapaxes(self.neutral, -1, -2)

    def joints(self, turns: np.ndarray):  # [T, J, 3, 3]
        """Returns start points [T, J, 3] of the bones, the root at zero, and their rotations."""
        total, where = np.empty_like(turns), np.zeros(turns.shape[:-1])
        total[:, 0] = turns[:, 0]
        for k in range(1, turns.shape[1]):
            parent = self.parents[k]
            total[:, k] = total[:, parent] @ turns[:, k]
            where[:, k] = where[:, parent] + total[:, parent] @ self.offsets[k]
        return where, total


def _hinged(bone, hinge):
    """Returns the rotation that takes a bone to straight down and its hinge axis roughly to y."""
    z = -rotations.unit(bone)
    y = rotations.unit(hinge - (hinge @ z) * z)
    return np.stack([np.cross(y, z), y, z])


@functools.cache
def nails(body) -> dict:
    """Returns {(finger, side): [3]}, where each fingertip's back faces on the template."""
    owner = body.weight_bones[np.arange(len(body.weights)), body.weights.argmax(1)]
    result = {}
    for side in SIDES:
        for finger in range(1, 6):
            bone = body.bone[f"finger{finger}-3.{side}"]
            mine = body.template[(owner == bone) & (body.masks["nails"] > 0.5)]
            all_ = body.template[owner == bone]
            result[finger, side] = rotations.unit(mine.mean(0) - all_.mean(0))
    return result


@functools.cache
def fingertips(body) -> dict:
    """Returns {(finger, side): [3]}, last joint to tip on the template, over bone length."""
    owner = body.weight_bones[np.arange(len(body.weights)), body.weights.argmax(1)]
    result = {}
    for side in SIDES:
        for finger in range(1, 6):
            second, third = (body.bone[f"finger{finger}-{k}.{side}"] for k in (2, 3))
            base = body.heads[third]
            points = body.template[owner == third] - base
            length = np.linalg.norm(points, axis=1)
            tip = points[length > np.quantile(length, 0.9)].mean(0)
            result[finger, side] = tip / np.linalg.norm(base - body.heads[second])
    return result

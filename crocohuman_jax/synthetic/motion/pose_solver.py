"""Converts postures (positions of feet, trunk, hands and fingers) to the rotations of all bones.

A posture is a dict with values for one time or for T times; missing keys have the values of EASE.
Lengths are relative to the person's own and angles in degrees, so one posture suits all people:

    heading: rotation of the whole person to the left.
    path: (left, forward) metres in the world along the motion's heading; lift: metres above ground.
    lean: (forward, left) tilt of the pelvis.
    pelvis: (left, forward, height) of the hips' centre, in leg lengths; height 1 is standing tall.
    spine, neck: (bend forward, bend left, turn left).
    gaze: (left, up) of the eyes.
    foot.L, foot.R: (outward, forward, up, toes down, toes out, knee out): the first three in leg
        lengths from below the hip, the others in degrees; knee out is relative to the toes.
    arm.L, arm.R: the angles of `skeleton.ARM`, or a Reach.
    hand.L, hand.R: [5, 5], see `hand_poses`.
    hang: degrees added to hanging arms to keep them away from the hips.
"""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations
from crocohuman_jax.synthetic.motion import skeleton as bones

EASE = {
    "heading": 0.0,
    "path": (0.0, 0.0),
    "lift": 0.0,
    "lean": (0.0, 0.0),
    "pelvis": (0.0, 0.0, 0.985),
    "spine": (3.0, 0.0, 0.0),
    "neck": (0.0, 0.0, 0.0),
    "gaze": (0.0, 0.0),
    "foot": (0.0, 0.0, 0.0, 0.0, 9.0, 0.0),
    "arm": (0.0, 4.0, 12.0, 18.0, 10.0, 0.0, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Reach:
    """An arm pose that brings a point of the hand to a target.

    Attributes:
        point: the target, (outward, forward, up) from the anchor: in arm lengths for the shoulder,
            else in metres for a person of average size.
        anchor: "shoulder" or "chest" (axes of the chest), "head" (axes of the head), "hip" (axes
            of the pelvis) or "knee" (axes of the pelvis).
        swivel: degrees by which the elbow is rotated outward and up from its natural place.
        wrist: (pronation, flexion, deviation), used where `fingers` is None.
        fingers, palm: (outward, forward, up), where the fingers and the palm face, in the anchor's
            axes; the wrist follows as far as it can.
        tip: the point of the hand, (along the fingers, to the thumb, out of the palm) from the
            wrist, in lengths from wrist to middle knuckle.
    """

    point: tuple
    anchor: str = "shoulder"
    swivel: object = 0.0
    wrist: tuple = (0.0, 0.0, 0.0)
    fingers: tuple | None = None
    palm: tuple | None = None
    tip: tuple = (0.0, 0.0, 0.0)


def columns(values, count) -> np.ndarray:
    """Returns a row of scalars or [T] arrays as one array [T, N]."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return np.broadcast_to(values, (count, values.shape[1])).copy()
    result = np.empty((count, len(values)))
    for k, value in enumerate(values):
        result[:, k] = value
    return result


class Solver:
    """Converts postures of one person to bone rotations.

    Args:
        skeleton: the person's skeleton.
        posture: see the module, for `count` times.
        noise: {channel: [T, N]} degrees added to spine, neck and arms.
    """

    def __init__(self, skeleton: bones.Skeleton, posture: dict, count: int, noise: dict):
        self.skeleton, self.posture, self.count, self.noise = skeleton, posture, count, noise
        self.turns = np.zeros((count, len(skeleton.parents), 3, 3))
        self.turns[...] = np.eye(3)
        self.angles = {}

    def solve(self):
        """Returns rotations in neutral axes [T, J, 3, 3], root translation [T, 3] and lift [T]."""
        heading = np.broadcast_to(np.asarray(self._get("heading"), float), (self.count,))
        lean = self._columns("lean")
        self.tilt = bones.turn_x(lean[:, 0]) @ bones.turn_y(lean[:, 1])
        whole = bones.turn_z(heading)
        self._set("root", whole @ self.tilt)
        self.pelvis = self._columns("pelvis") * self.skeleton.stature
        self._trunk()
        for side in bones.SIDES:
            self._leg(side)
        for side in bones.SIDES:
            self._arm(side)
            self._hand(side)
        place = np.zeros((self.count, 3))
        place[:, 0], place[:, 1] = self.pelvis[:, 0], -self.pelvis[:, 1]
        place = bones.apply(whole, place)
        path = self._columns("path")
        place[:, 0] += path[:, 0]
        place[:, 1] -= path[:, 1]
        lift = np.broadcast_to(np.asarray(self._get("lift"), float), (self.count,))
        return self.turns, place, lift

    def _get(self, name, side=""):
        full = f"{name}.{side}" if side else name
        return self.posture.get(full, EASE.get(name))

    def _columns(self, name, side=""):
        full = f"{name}.{side}" if side else name
        result = columns(self._get(name, side), self.count)
        if full in self.noise:
            result += self.noise[full]
        return result

    def _set(self, name, matrices, side=""):
        self.turns[:, self.skeleton.bone[f"{name}.{side}" if side else name]] = matrices

    def _trunk(self):
        spine = np.clip(self._columns("spine"), *bones.SPINE_LIMITS.T)
        neck = np.clip(self._columns("neck"), *bones.NECK_LIMITS.T)
        self.angles["spine"], self.angles["neck"] = spine, neck
        step = _column(spine / len(bones.SPINE))
        for name in bones.SPINE:
            self._set(name, step)
        nod = _column(neck / len(bones.NECK))
        for name in bones.NECK:
            self._set(name, nod)
        gaze = self._columns("gaze")
        look = bones.turn_z(gaze[:, 0]) @ bones.turn_x(-gaze[:, 1])
        for side in bones.SIDES:
            self._set("eye", look, side)
        # Positions and orientations that targets of hands refer to, in the chest's axes.
        down, total = np.zeros((self.count, 3)), np.broadcast_to(np.eye(3), step.shape)
        for name in bones.SPINE:
            down = down + bones.apply(total, self.skeleton.offsets[self.skeleton.bone[name]])
            total = total @ step
        self.chest = total  # pelvis_from_chest
        self.chest_place = down
        place, total = np.zeros((self.count, 3)), np.broadcast_to(np.eye(3), step.shape)
        for name in bones.NECK:
            place = place + bones.apply(total, self.skeleton.offsets[self.skeleton.bone[name]])
            total = total @ nod
        self.head, self.head_place = total, place

    def _leg(self, side):
        skeleton, sign = self.skeleton, bones.SIDES[side]
        foot = self._columns("foot", side)
        size, (upper, lower) = skeleton.stature, skeleton.leg[side]
        hip = skeleton.heads[skeleton.bone[f"upperleg01.{side}"]] - skeleton.heads[0]
        middle = hip * (0, 1, 1)
        pitch = foot[:, 3]
        ankle = np.empty((self.count, 3))
        ankle[:, 0] = sign * (abs(hip[0]) * 0.85 + foot[:, 0] * size)
        ankle[:, 1] = -foot[:, 1] * size
        raised = skeleton.foot_length * np.sin(np.deg2rad(np.maximum(pitch, 0)))
        ankle[:, 2] = foot[:, 2] * size + raised
        start = self.pelvis * (1, -1, 1) + bones.apply(self.tilt, hip - middle)
        back = np.swapaxes(self.tilt, -1, -2)
        toes = sign * foot[:, 4]
        outward = np.deg2rad(toes + sign * foot[:, 5])
        pole = np.stack([np.sin(outward), -np.cos(outward), np.zeros(self.count)], -1)
        # A raised knee points up rather than forward, so the pole must not lie along the thigh.
        pole[:, 2] = 0.35
        matrix, knee = bones.two_bones(
            bones.apply(back, ankle - start), upper, lower, bones.apply(back, pole), False
        )
        angles = np.zeros((self.count, 7))
        angles[:, :2], turned = direction_angles(-matrix[..., 2], sign), matrix
        base = bones.turn_x(-angles[:, 0]) @ bones.turn_y(-sign * angles[:, 1])
        angles[:, 2] = sign * bones.twist_of(np.swapaxes(base, -1, -2) @ turned)
        angles[:, 3] = knee
        angles[:, :4] = np.clip(angles[:, :4], *bones.LEG_LIMITS[:4].T)
        base = bones.turn_x(-angles[:, 0]) @ bones.turn_y(-sign * angles[:, 1])
        half = bones.turn_z(sign * angles[:, 2] / 2)
        bend = bones.turn_x(angles[:, 3])
        shin = self.tilt @ base @ half @ half @ bend
        wanted = bones.turn_z(toes) @ bones.turn_x(pitch)
        m = np.swapaxes(shin, -1, -2) @ wanted
        angles[:, 4] = -np.rad2deg(np.arctan2(-m[..., 1, 2], m[..., 2, 2]))
        angles[:, 5] = np.rad2deg(np.arcsin(np.clip(m[..., 0, 2], -1, 1)))
        angles[:, 6] = np.rad2deg(np.arctan2(-m[..., 0, 1], m[..., 0, 0]))
        angles[:, 4:] = np.clip(angles[:, 4:], *bones.LEG_LIMITS[4:].T)
        self.angles[f"leg.{side}"] = angles
        self._set("upperleg01", base @ half, side)
        self._set("upperleg02", half, side)
        self._set("lowerleg01", bend, side)
        sole = bones.turn_x(-angles[:, 4]) @ bones.turn_y(angles[:, 5])
        self._set("foot", sole @ bones.turn_z(angles[:, 6]), side)
        planted = np.exp(-((foot[:, 2] / 0.04) ** 2))
        toe = bones.turn_x(-np.clip(pitch, 0, 40) * planted)
        for k in range(1, 6):
            self._set(f"toe{k}-1", toe, side)
        self.knee = getattr(self, "knee", {})
        place = bones.apply(base, np.array([0, 0, -upper])) + (hip - middle)
        self.knee[side] = place + middle

    def _arm(self, side):
        skeleton, sign = self.skeleton, bones.SIDES[side]
        spec = self._get("arm", side)
        if isinstance(spec, Reach):
            angles = self._reach(side, spec)
        else:
            angles = self._columns("arm", side)
            # Hanging arms stay clear of the hips; raised arms keep their angles.
            down = np.clip(-angle_direction(angles, sign)[:, 2], 0, 1) ** 3
            angles[:, 1] += self.posture.get("hang", 0.0) * down
        angles = np.clip(angles, *bones.ARM_LIMITS.T)
        direction = _not_behind(angle_direction(angles, sign))
        angles[:, :2] = direction_angles(direction, sign)
        self.angles[f"arm.{side}"] = angles
        girdle = _girdle(direction, sign)
        upright = bones.swing(direction)
        turn, rest = -sign * angles[:, 2], skeleton.rest_twist[f"upper.{side}"]
        part = rest + 0.5 * (turn - rest)
        self._set("clavicle", girdle, side)
        self._set("upperarm01", np.swapaxes(girdle, -1, -2) @ upright @ bones.turn_z(part), side)
        self._set("upperarm02", bones.turn_z(turn - part), side)
        turn, rest = -sign * angles[:, 4], skeleton.rest_twist[f"fore.{side}"]
        spread = turn - rest
        self._set("lowerarm01", bones.turn_x(-angles[:, 3]) @ bones.turn_z(0.15 * spread), side)
        self._set("lowerarm02", bones.turn_z(0.45 * spread), side)
        wrist = bones.turn_y(sign * angles[:, 5]) @ bones.turn_x(-angles[:, 6])
        self._set("wrist", bones.turn_z(turn - 0.6 * spread) @ wrist, side)

    def _reach(self, side, spec):
        """Returns the arm's angles [T, 7] in degrees that bring the hand to its target."""
        skeleton, sign = self.skeleton, bones.SIDES[side]
        upper, lower = skeleton.arm[side]
        target, axes = self._anchor(side, spec)
        tip = columns(spec.tip, self.count) * skeleton.hand
        tip = np.stack([-sign * tip[:, 2], -tip[:, 1], -tip[:, 0]], -1)
        wanted = None
        if spec.fingers is not None:
            fingers = bones.apply(axes, _world(spec.fingers, sign, self.count))
            palm = bones.apply(axes, _world(spec.palm, sign, self.count))
            # The thumb's direction follows from fingers and palm; it is mirrored between the sides.
            wanted = bones.frame(fingers, sign * bones.cross(palm, fingers))
        angles = np.zeros((self.count, 7))
        angles[:, 4:] = columns(spec.wrist, self.count)
        noise = self.noise.get(f"arm.{side}")
        if noise is not None:
            target = target + noise[:, :3] * 0.0012
            angles[:, 4:] += 0.6 * noise[:, 4:]
        goal = target
        direction, hand = np.zeros((self.count, 3)) - (0, 0, 1), wanted
        for _ in range(4):
            if hand is not None:
                goal = target - bones.apply(hand, tip)
            shoulder = self._shoulder(side, direction)
            pole = self._elbow(goal - shoulder, spec.swivel, sign)
            matrix, angles[:, 3] = bones.two_bones(goal - shoulder, upper, lower, pole, True)
            direction = -matrix[..., 2]
            angles[:, :2] = direction_angles(direction, sign)
            untwist = np.swapaxes(bones.swing(direction), -1, -2) @ matrix
            angles[:, 2] = -sign * bones.twist_of(untwist)
            fore = matrix @ bones.turn_x(-angles[:, 3])
            if wanted is not None:
                angles[:, 4:] = _wrist(np.swapaxes(fore, -1, -2) @ wanted, sign)
            low, high = bones.ARM_LIMITS[4:].T
            angles[:, 4:] = np.clip(angles[:, 4:], low, high)
            hand = fore @ bones.turn_z(-sign * angles[:, 4]) @ bones.turn_y(sign * angles[:, 5])
            hand = hand @ bones.turn_x(-angles[:, 6])
        return angles

    def _anchor(self, side, spec):
        """Returns a Reach's target [T, 3] and its anchor's axes [T, 3, 3], in the chest's axes."""
        skeleton, sign = self.skeleton, bones.SIDES[side]
        point = _world(spec.point, sign, self.count)
        reach = sum(skeleton.arm[side])
        straight = np.broadcast_to(np.eye(3), (self.count, 3, 3))
        size = reach / 0.455
        if spec.anchor == "shoulder":
            start = self._shoulder(side, np.zeros((self.count, 3)) - (0, 0, 1))
            return start + point * reach, straight
        if spec.anchor == "chest":
            return point * size, straight
        if spec.anchor == "head":
            size = skeleton.head_size
            return self.head_place + bones.apply(self.head, point * size), self.head
        back = np.swapaxes(self.chest, -1, -2)
        if spec.anchor == "knee":
            place = self.knee[side]
        else:
            place = skeleton.heads[skeleton.bone[f"upperleg01.{side}"]] - skeleton.heads[0]
        return bones.apply(back, place + point * size - self.chest_place), back

    def _shoulder(self, side, direction):
        """Returns the start point of the upper arm in the chest's axes, [T, 3]."""
        skeleton = self.skeleton
        first, second, third = (
            skeleton.offsets[skeleton.bone[f"{n}.{side}"]]
            for n in ("clavicle", "shoulder01", "upperarm01")
        )
        return first + bones.apply(_girdle(direction, bones.SIDES[side]), second + third)

    def _elbow(self, target, swivel, sign):
        """Returns the elbow's direction [T, 3]: down, out and back, rotated by the swivel."""
        natural = np.array([sign * 0.45, 0.45, -0.8])
        along = rotations.unit(target)
        side = rotations.unit(natural - (along @ natural)[:, None] * along)
        angle = np.deg2rad(np.broadcast_to(np.asarray(swivel, float), (self.count,)))[:, None]
        across = bones.cross(along, side) * sign
        return np.cos(angle) * side + np.sin(angle) * across

    def _hand(self, side):
        shape = self.posture.get(f"hand.{side}")
        if shape is None:
            return
        for name, matrices in hand_turns(np.asarray(shape, float), bones.SIDES[side]).items():
            self._set(name, matrices, side)


def hand_turns(shape: np.ndarray, sign: float) -> dict:  # [..., 5, 5]
    """Returns {bone: rotations [..., 3, 3]} of a hand's shape, see `hand_poses`."""
    return {
        f"finger{finger}-{k + 1}": turn
        for finger in range(1, 6)
        for k, turn in enumerate(finger_turns(finger, shape[..., finger - 1, :], sign))
    }


def finger_turns(finger: int, angles: np.ndarray, sign: float) -> tuple:  # [..., 5]
    """Returns the rotations of one finger's three bones, each [..., 3, 3]."""
    if finger == 1:
        thumb = np.clip(angles, *bones.THUMB_LIMITS.T)
        away = bones.turn_x(-thumb[..., 0]) @ bones.turn_y(sign * thumb[..., 1])
        joints = bones.turn_y(sign * thumb[..., 3:5])
        first = away @ bones.turn_z(-sign * thumb[..., 2])
        return first, joints[..., 0, :, :], joints[..., 1, :, :]
    angles = np.clip(angles[..., :4], *bones.FINGER_LIMITS.T)
    flexed = bones.turn_y(sign * angles[..., :3])
    # A bent finger cannot spread.
    spread = angles[..., 3] * np.clip(1 - angles[..., 0] / 90, 0, 1)
    first = bones.turn_x(-spread) @ flexed[..., 0, :, :]
    return first, flexed[..., 1, :, :], flexed[..., 2, :, :]


def direction_angles(direction, sign) -> np.ndarray:  # [T, 3] -> [T, 2]
    """Returns the degrees by which a limb is raised forward and sideways."""
    x, y, z = np.moveaxis(direction, -1, 0)
    forward = np.rad2deg(np.arctan2(-y, -z))
    forward = np.where(forward < -120, forward + 360, forward)
    return np.stack([forward, np.rad2deg(np.arcsin(np.clip(sign * x, -1, 1)))], -1)


def angle_direction(angles, sign) -> np.ndarray:  # [T, 2 or more] -> [T, 3]
    """Returns the direction of a limb that is raised forward and sideways by these degrees."""
    forward, side = np.deg2rad(angles[:, 0]), np.deg2rad(angles[:, 1])
    flat = np.cos(side)
    return np.stack([sign * np.sin(side), -flat * np.sin(forward), -flat * np.cos(forward)], -1)


def _not_behind(direction):  # [T, 3]
    """Returns directions of upper arms; those too far back for a shoulder are brought forward."""
    most = bones.BEHIND + bones.BEHIND_HANGING * np.clip(-direction[:, 2], 0, 1)
    back = np.minimum(direction[:, 1], most)
    flat = np.sqrt((1 - back**2) / np.maximum(1 - direction[:, 1] ** 2, 1e-9))
    return np.stack([direction[:, 0] * flat, back, direction[:, 2] * flat], -1)


def _girdle(direction, sign):
    """Returns the collar bone's rotation: up with a raised arm, forward with a reaching arm."""
    raised = np.rad2deg(np.arccos(np.clip(-direction[:, 2], -1, 1)))
    lift = 0.2 * np.clip(raised - 40, 0, 140)
    ahead = 14 * np.clip(-direction[:, 1], -0.3, 1)
    return bones.turn_z(-sign * ahead) @ bones.turn_y(-sign * lift)


def _column(bend):  # [T, 3]
    return bones.turn_x(bend[:, 0]) @ bones.turn_y(bend[:, 1]) @ bones.turn_z(bend[:, 2])


def _world(point, sign, count):
    """Returns (outward, forward, up) as [T, 3] in body axes."""
    return columns(point, count) * (sign, -1, 1)


def _wrist(matrices, sign):
    """Returns (pronation, flexion, deviation) [T, 3] in degrees, hand relative to forearm."""
    m = matrices
    pronation = -sign * np.rad2deg(np.arctan2(m[..., 1, 0], m[..., 0, 0]))
    flexion = sign * np.rad2deg(-np.arcsin(np.clip(m[..., 2, 0], -1, 1)))
    deviation = -np.rad2deg(np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    return np.stack([pronation, flexion, deviation], -1)

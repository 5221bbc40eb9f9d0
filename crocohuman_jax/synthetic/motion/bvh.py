"""Reads motions from BVH files with the joint names of CMU's conversions or of MakeHuman."""

import functools
import pathlib
import re

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations as rotations_lib
from crocohuman_jax.synthetic.motion import skeleton as skeletons

# Accepted names of each joint, in lower case and without punctuation.
_NAMES = {
    "thigh": (
        "{left}upleg",
        "upleg{l}",
        "{left}thigh",
        "{l}thigh",
        "{left}upperleg",
        "upperleg01{l}",
    ),
    "shin": ("{left}leg", "loleg{l}", "{left}shin", "{l}shin", "{left}lowerleg", "lowerleg01{l}"),
    "foot": ("{left}foot", "foot{l}", "{l}foot", "{left}ankle"),
    "upper arm": ("{left}arm", "uparm{l}", "{left}uparm", "{left}upperarm", "upperarm01{l}"),
    "forearm": ("{left}forearm", "loarm{l}", "{left}lowarm", "{left}lowerarm", "lowerarm01{l}"),
    "hand": ("{left}hand", "hand{l}", "{l}hand", "{left}wrist", "wrist{l}"),
}
_OPTIONAL = {
    "toes": ("{left}toebase", "toe{l}", "{left}toe", "{l}toe", "toe11{l}"),
    "knuckle": (
        "{left}fingerbase",
        "{left}handmiddle1",
        "middle1{l}",
        "finger31{l}",
        "{left}handindex1",
    ),
}
_SIDE = {"L": {"left": "left", "l": "l"}, "R": {"left": "right", "l": "r"}}
_HEAD = ("head",)
AVERAGE_LEG = 0.82  # metres from hip to ankle; BVH files have no fixed unit
_FORMS = "LeftUpLeg LeftLeg LeftFoot LeftArm LeftForeArm LeftHand as CMU's, or UpLeg_L LoLeg_L \
Foot_L UpArm_L LoArm_L Hand_L as MakeHuman's, and the same of the right"
_LIMBS = (("thigh", "shin"), ("shin", "foot"), ("upper arm", "forearm"), ("forearm", "hand"))


class Clip:
    """One recorded motion.

    Args:
        path: path of the file.
        up: "y" or "z", the file's vertical axis; None detects it from the rest pose.

    Attributes:
        path, up: as above; `up` is "y" or "z".
        duration: seconds from the first frame to the last; rate: frames per second.
        joints: names, in the file's order.
        fingers: None, since finger motion is not read.

    Raises:
        ValueError: the file is broken or joints are unknown; the text names file and reason.
    """

    fingers = None

    def __init__(self, path: str | pathlib.Path, up: str | None = None):
        if up not in (None, "y", "z"):
            raise ValueError(f"Unknown axis up={up!r}. Known: None, y, z.")
        self.path = pathlib.Path(path)
        text = self.path.read_bytes().decode("latin-1")
        if "MOTION" not in text or "HIERARCHY" not in text:
            missing = "MOTION" if "HIERARCHY" in text else "HIERARCHY"
            raise ValueError(f"{path} has no {missing}, so it is not a BVH file.")
        hierarchy, motion = text.split("MOTION", 1)
        self._read_hierarchy(hierarchy)
        self._read_motion(motion)
        self._locals = functools.lru_cache(64)(self._read_locals)
        self._roles = self._find_roles()
        rest = self._rest()
        self.up = up or self._find_up(rest)
        if self.up == "y":
            self._axes = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
        else:
            self._axes = np.eye(3)
        self._rest_places = rest @ self._axes.T
        self._facing = self._frame(self._rest_places)
        legs = [self._rest_places[self._roles[k, "L"]] for k in ("thigh", "shin", "foot")]
        self._leg = float(np.linalg.norm(np.diff(legs, axis=0), axis=1).sum())
        self._chest = self._common_ancestor()
        self._floor = min(self._lowest(t) for t in np.linspace(0, self.duration, 60))

    def _read_hierarchy(self, text):
        self.joints, self.parents, offsets, self.channels = [], [], [], []
        stack, at, channels = [], -1, 0
        for line in text.splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] in ("ROOT", "JOINT", "End"):
                parent = stack[-1] if stack else -1
                name = " ".join(words[1:]) if words[0] != "End" else f"end {at}"
                self.joints.append(name)
                self.parents.append(parent)
                offsets.append([0.0, 0.0, 0.0])
                self.channels.append([])
                at = len(self.joints) - 1
            elif words[0] == "{":
                stack.append(at)
            elif words[0] == "}":
                if not stack:
                    raise ValueError(f"{self.path}: the hierarchy has one closing brace too many.")
                stack.pop()
            elif words[0] == "OFFSET":
                offsets[at] = self._numbers(words[1:], f"OFFSET of {self.joints[at]}", 3)
            elif words[0] == "CHANNELS":
                self.channels[at] = self._channels(words, self.joints[at])
                channels += len(self.channels[at])
        if not self.joints:
            raise ValueError(f"{self.path}: the hierarchy has no joint.")
        if stack:
            raise ValueError(f"{self.path}: {len(stack)} braces in the hierarchy are not closed.")
        self._offsets = np.array(offsets)
        self._count = channels

    def _channels(self, words, joint):
        known = re.compile(r"[XYZ](position|rotation)$")
        names = words[2:]
        if len(words) < 2 or not words[1].isdigit() or int(words[1]) != len(names):
            raise ValueError(
                f"{self.path}: CHANNELS of {joint} says {' '.join(words[1:2]) or 'nothing'} "
                f"but lists {len(names)} channels."
            )
        for name in names:
            if not known.match(name):
                raise ValueError(
                    f"{self.path}: unknown channel {name!r} of {joint}. Known: X, Y or Z, "
                    "followed by position or rotation."
                )
        return [("XYZ".index(name[0]), name.endswith("rotation")) for name in names]

    def _numbers(self, words, what, count):
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise ValueError(f"{self.path}: {what} must be numbers: {error}.") from error
        if len(values) != count:
            raise ValueError(f"{self.path}: {what} has {len(values)} numbers; expected {count}.")
        return values

    def _read_motion(self, text):
        lines = [line.split() for line in text.splitlines() if line.strip()]
        header = {" ".join(words[:-1]).rstrip(":"): words[-1] for words in lines[:2]}
        if "Frames" not in header or "Frame Time" not in header:
            raise ValueError(f"{self.path}: MOTION must begin with 'Frames:' and 'Frame Time:'.")
        (count,) = self._numbers([header["Frames"]], "Frames", 1)
        (step,) = self._numbers([header["Frame Time"]], "Frame Time", 1)
        if not 0 < step < np.inf:
            raise ValueError(f"{self.path}: Frame Time is {step} seconds; expected more than zero.")
        rows = lines[2:]
        if not rows or len(rows) != count:
            raise ValueError(f"{self.path}: it has {len(rows)} frames, but Frames says {count:g}.")
        values = [self._numbers(row, f"frame {k + 1}", self._count) for k, row in enumerate(rows)]
        self._frames = np.array(values)
        if not np.isfinite(self._frames).all() or not np.isfinite(self._offsets).all():
            bad = np.flatnonzero(~np.isfinite(self._frames).all(1))
            where = f"frame {bad[0] + 1}" if len(bad) else "an OFFSET"
            raise ValueError(f"{self.path}: {where} holds numbers that are not finite.")
        self.rate, self.duration = 1 / step, (len(rows) - 1) * step

    def _find_roles(self):
        """Returns {(role, side): joint index}; optional roles appear only if the file has them."""
        plain = {
            re.sub(r"[^a-z0-9]", "", n.split(":")[-1].lower()): k
            for k, n in reversed(list(enumerate(self.joints)))
        }
        roles, missing = {}, []
        for role, names in {**_NAMES, **_OPTIONAL}.items():
            for side in skeletons.SIDES:
                ways = [name.format(**_SIDE[side]) for name in names]
                found = [plain[way] for way in ways if way in plain]
                if found:
                    roles[role, side] = found[0]
                elif role in _NAMES:
                    missing.append(f"{_SIDE[side]['left']} {role}")
        found = [plain[way] for way in _HEAD if way in plain]
        if found:
            roles["head", ""] = found[0]
        if missing:
            named = [name for name in self.joints if not name.startswith("end ")]
            raise ValueError(
                f"{self.path}: no joint for {', '.join(missing)}. Found: {', '.join(named)}. "
                f"Needed: {_FORMS}."
            )
        return roles

    def _rest(self):
        places = np.zeros((len(self.joints), 3))
        for k, parent in enumerate(self.parents):
            places[k] = self._offsets[k] + (places[parent] if parent >= 0 else 0)
        return places

    def _find_up(self, rest):
        hips = np.mean([rest[self._roles["thigh", s]] for s in "LR"], axis=0)
        feet = np.mean([rest[self._roles["foot", s]] for s in "LR"], axis=0)
        rise = np.abs(hips - feet)
        return "yz"[int(rise[2] > rise[1])]

    def _frame(self, places):
        """Returns the axes (left, back, up) of the hips of a figure, [3, 3]."""
        left = places[self._roles["thigh", "L"]] - places[self._roles["thigh", "R"]]
        arms = np.mean([places[self._roles["upper arm", s]] for s in "LR"], axis=0)
        hips = np.mean([places[self._roles["thigh", s]] for s in "LR"], axis=0)
        x = rotations_lib.unit(left)
        z = arms - hips
        z = rotations_lib.unit(z - (z @ x) * x)
        return np.stack([x, np.cross(z, x), z], 1)

    def _common_ancestor(self):
        chains = []
        for side in "LR":
            chain, at = [], self.parents[self._roles["upper arm", side]]
            while at >= 0:
                chain.append(at)
                at = self.parents[at]
            chains.append(chain)
        return next(joint for joint in chains[0] if joint in chains[1])

    def _pose(self, time):
        """Returns positions [N, 3] and rotations [N, 3, 3] of all joints at a time, z up."""
        at = min(max(time * self.rate, 0.0), len(self._frames) - 1.0)
        first = int(at)
        second, share = min(first + 1, len(self._frames) - 1), at - int(at)
        shift, local = zip(*(self._locals(k) for k in (first, second)), strict=True)
        step = rotations_lib.to_vector(np.swapaxes(local[0], -1, -2) @ local[1])
        turn = local[0] @ rotations_lib.from_vector(share * step)
        shift = (1 - share) * shift[0] + share * shift[1]
        places = np.zeros((len(self.joints), 3))
        total = np.empty_like(turn)
        for k, parent in enumerate(self.parents):
            if parent < 0:
                total[k], places[k] = turn[k], shift[k]
            else:
                total[k] = total[parent] @ turn[k]
                places[k] = places[parent] + total[parent] @ shift[k]
        return places @ self._axes.T, self._axes @ total @ self._axes.T

    def _read_locals(self, frame):
        """Returns translations [N, 3] and rotations [N, 3, 3] relative to parents in a frame."""
        row, column = self._frames[frame], 0
        shift, turn = self._offsets.copy(), np.tile(np.eye(3), (len(self.joints), 1, 1))
        about = (skeletons.turn_x, skeletons.turn_y, skeletons.turn_z)
        for k, channels in enumerate(self.channels):
            for axis, rotates in channels:
                if rotates:
                    turn[k] = turn[k] @ about[axis](row[column])
                elif self.parents[k] < 0:
                    shift[k, axis] = row[column]
                column += 1
        return shift, turn

    def _lowest(self, time):
        return float(self._pose(time)[0][:, 2].min())

    def place(self, time: float) -> np.ndarray:
        """Returns the position of the hips at a time, [3] metres for a person of average size."""
        return self._pose(time)[0][0] * AVERAGE_LEG / self._leg

    def lift(self, time: float) -> float:
        """Returns the height above the ground at a time, metres, above zero in a jump."""
        rise = (self._lowest(time) - self._floor) * AVERAGE_LEG / self._leg
        return max(rise - 0.03, 0.0)

    def rotations(self, time: float, body, heads: np.ndarray) -> np.ndarray:
        """Returns a person's bone rotations [J, 3, 3] for `parametric_body.Body.transforms`.

        The limbs point exactly as recorded; the bones of spine and neck share the rotations of
        chest and head.

        Args:
            time: seconds; before the start and after the end the pose is constant.
            body, heads: `parametric_body.Body` and the person's bone heads [J, 3] at rest.
        """
        skeleton = _skeleton(body, np.asarray(heads, np.float64).tobytes())
        return skeleton.compose(self._turns(time, skeleton)[None])[0]

    def _turns(self, time, skeleton):
        places, total = self._pose(time)
        turns = np.tile(np.eye(3), (len(skeleton.parents), 1, 1))
        pelvis = total[0] @ self._facing
        chest = total[self._chest] @ self._facing
        turns[0] = pelvis
        _share(turns, skeleton, skeletons.SPINE, pelvis.T @ chest)
        if ("head", "") in self._roles:
            head = total[self._roles["head", ""]] @ self._facing
            _share(turns, skeleton, skeletons.NECK, chest.T @ head)
        for side in skeletons.SIDES:
            whole = {"": pelvis}
            for joint, child in _LIMBS:
                whole[joint] = self._follow(places, total, joint, child, side)
            self._set_leg(turns, skeleton, side, whole, places, total)
            self._set_arm(turns, skeleton, side, whole, chest, places, total)
        return turns

    def _follow(self, places, total, joint, child, side):
        """Returns the recorded rotation [3, 3] of a limb, made to point exactly at its child."""
        a, b = self._roles[joint, side], self._roles[child, side]
        rest = rotations_lib.unit(self._rest_places[b] - self._rest_places[a])
        turn = total[a] @ self._facing @ skeletons.swing(self._facing.T @ rest)
        now = places[b] - places[a]
        return rotations_lib.between(-turn[:, 2], now) @ turn

    def _set_leg(self, turns, skeleton, side, whole, places, total):
        def bone(name):
            return skeleton.bone[f"{name}.{side}"]

        turns[bone("upperleg01")] = whole[""].T @ whole["thigh"]
        turns[bone("lowerleg01")] = whole["thigh"].T @ whole["shin"]
        foot = self._roles["foot", side]
        sole = total[foot] @ self._facing
        if ("toes", side) in self._roles:
            toes = self._roles["toes", side]
            rest = self._rest_places[toes] - self._rest_places[foot]
            # At rest soles are flat at any height of the ankle: only the heading counts.
            bearing = self._facing.T @ rest * (1, 1, 0)
            sole = sole @ rotations_lib.between(-rotations_lib.Y, bearing)
        turns[bone("foot")] = whole["shin"].T @ sole

    def _set_arm(self, turns, skeleton, side, whole, chest, places, total):
        def bone(name):
            return skeleton.bone[f"{name}.{side}"]

        collar = self.parents[self._roles["upper arm", side]]
        girdle = np.eye(3)
        if collar != self._chest:
            girdle = chest.T @ total[collar] @ self._facing
        turns[bone("clavicle")] = girdle
        upper = girdle.T @ chest.T @ whole["upper arm"]
        upright = skeletons.swing(-upper[:, 2])
        twist = float(skeletons.twist_of(upright.T @ upper))
        rest = skeleton.rest_twist[f"upper.{side}"]
        part = rest + 0.5 * _wrapped(twist - rest)
        turns[bone("upperarm01")] = upright @ skeletons.turn_z(part)
        turns[bone("upperarm02")] = skeletons.turn_z(twist - part)
        hand = self._roles["hand", side]
        if ("knuckle", side) in self._roles:
            palm = self._follow(places, total, "hand", "knuckle", side)
        else:
            palm = total[hand] @ total[self._roles["forearm", side]].T @ whole["forearm"]
        wrist = whole["forearm"].T @ palm
        spread = _wrapped(skeletons.twist_of(wrist) - skeleton.rest_twist[f"fore.{side}"])
        fore = whole["upper arm"].T @ whole["forearm"]
        turns[bone("lowerarm01")] = fore @ skeletons.turn_z(0.15 * spread)
        turns[bone("lowerarm02")] = skeletons.turn_z(0.45 * spread)
        turns[bone("wrist")] = skeletons.turn_z(-0.6 * spread) @ wrist


def _share(turns, skeleton, names, turn):
    """Divides a rotation evenly among a chain of bones."""
    step = rotations_lib.from_vector(rotations_lib.to_vector(turn) / len(names))
    for name in names:
        turns[skeleton.bone[name]] = step


def _wrapped(degrees):
    return (float(degrees) + 180) % 360 - 180


@functools.lru_cache(16)
def _skeleton(body, heads):
    return skeletons.Skeleton(body, np.frombuffer(heads).reshape(-1, 3))

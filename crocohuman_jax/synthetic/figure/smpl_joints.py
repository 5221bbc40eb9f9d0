"""Maps the body's 104 bones to the joints of SMPL (24) and of MANO (16), and gives their zero pose.

A *rig* holds the position of each joint and the share of each joint's rotation that a bone takes.
The zero pose is that of the models: arms stretched sideways, palms down, legs straight; a hand has
its fingers straight too. Bones use the world's axes (z up, facing -y), joints those of the models
(y up, facing +z); in both the left is at +x.
"""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import rotations

# model_from_world: rotates vectors from the world's axes to the models'.
AXES = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
SIDES = {"left": "L", "right": "R"}

# Joint, its parent, and bones; the joint lies at the mean of their heads.
_TRUNK = (
    ("pelvis", "", "root"),
    ("spine1", "pelvis", "spine03"),
    ("spine2", "spine1", "spine02"),
    ("spine3", "spine2", "spine01"),
    ("neck", "spine3", "neck01"),
    ("head", "neck", "head"),
)
_LIMBS = (
    ("hip", "pelvis", "upperleg01"),
    ("knee", "hip", "lowerleg01"),
    ("ankle", "knee", "foot"),
    ("foot", "ankle", "toe1-1 toe2-1 toe3-1 toe4-1 toe5-1"),
    ("collar", "spine3", "clavicle"),
    ("shoulder", "collar", "upperarm01"),
    ("elbow", "shoulder", "lowerarm01"),
    ("wrist", "elbow", "wrist"),
    ("hand", "wrist", "finger2-1 finger3-1 finger4-1 finger5-1"),
)
SMPL_JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
_FINGER_OF = {"index": 2, "middle": 3, "pinky": 5, "ring": 4, "thumb": 1}
MANO_JOINTS = ("wrist", *(f"{finger}{k}" for finger in _FINGER_OF for k in (1, 2, 3)))

# Share of each joint's rotation that a bone takes, by the beginning of the bone's name; the first
# match counts. Shares sum to one. Bones between two joints take a part of both rotations, since a
# forearm, for example, spreads its twist.
_FOLLOWS = (
    ("root", {"pelvis": 1}),
    ("pelvis", {"pelvis": 1}),
    ("upperleg", {"hip": 1}),
    ("lowerleg", {"knee": 1}),
    ("foot", {"ankle": 1}),
    ("toe", {"foot": 1}),
    ("spine05", {"pelvis": 2 / 3, "spine1": 1 / 3}),
    ("spine04", {"pelvis": 1 / 3, "spine1": 2 / 3}),
    ("spine03", {"spine1": 1}),
    ("spine02", {"spine2": 1}),
    ("spine01", {"spine3": 1}),
    ("clavicle", {"collar": 1}),
    ("shoulder", {"collar": 1}),
    ("upperarm", {"shoulder": 1}),
    ("lowerarm01", {"elbow": 1}),
    ("lowerarm02", {"elbow": 1 / 2, "wrist": 1 / 2}),
    ("wrist", {"wrist": 1}),
    ("metacarpal", {"wrist": 1}),
    ("finger1", {"wrist": 1}),
    ("finger", {"hand": 1}),
    ("neck01", {"neck": 1}),
    ("neck02", {"neck": 1}),
    ("neck03", {"neck": 1 / 2, "head": 1 / 2}),
    ("head", {"head": 1}),
    ("eye", {"head": 1}),
)


@dataclasses.dataclass(frozen=True)
class Rig:
    """K joints over J = 104 bones.

    Attributes:
        joints: names.
        parents: [K] int, -1 for the root, each before its children.
        heads: [K, J], rows sum to one: a joint lies at this weighted mean of the bones' heads.
        follows: [J, K], share of each joint's rotation that a bone takes; rows sum to one, or are
            zero for a bone of another part of the body.
        zero: [J, 3, 3], bone rotations in the zero pose, for `parametric_body.Body.transforms`.
        zero_world: [J, 3, 3], the same rotations accumulated from the root.
    """

    joints: tuple[str, ...]
    parents: np.ndarray
    heads: np.ndarray
    follows: np.ndarray
    zero: np.ndarray
    zero_world: np.ndarray


def smpl(body: parametric_body.Body, person: tuple[np.ndarray, np.ndarray]) -> Rig:
    """Returns the rig of SMPL's 24 joints.

    Args:
        body: the parametric body.
        person: vertices [V, 3] and heads [J, 3] at rest of the person that the zero pose makes
            straight.
    """
    rows = {name: (parent, bones.split()) for name, parent, bones in _TRUNK}
    for side, letter in SIDES.items():
        for name, parent, bones in _LIMBS:
            parent = parent if parent in rows else f"{side}_{parent}"
            rows[f"{side}_{name}"] = (parent, [f"{bone}.{letter}" for bone in bones.split()])
    follows = []
    for bone in body.bones:
        shares = next(shares for start, shares in _FOLLOWS if bone.startswith(start))
        side = {"L": "left_", "R": "right_"}.get(bone[-1] if "." in bone else "", "")
        named = {(j if j in SMPL_JOINTS else side + j): share for j, share in shares.items()}
        follows.append([named.get(joint, 0) for joint in SMPL_JOINTS])
    ordered = {name: rows[name] for name in SMPL_JOINTS}
    return _rig(body, ordered, np.array(follows), zero_pose(body, person, flat=False))


def mano(body: parametric_body.Body, person: tuple[np.ndarray, np.ndarray], side: str) -> Rig:
    """Returns the rig of MANO's 16 joints for the "left" or "right" hand; see `smpl`."""
    letter = SIDES[side]
    rows = {"wrist": ("", [f"wrist.{letter}"])}
    for finger, number in _FINGER_OF.items():
        for k in (1, 2, 3):
            parent = "wrist" if k == 1 else f"{finger}{k - 1}"
            rows[f"{finger}{k}"] = (parent, [f"finger{number}-{k}.{letter}"])
    leading = {bones[0]: k for k, (_, bones) in enumerate(rows.values())}
    follows = np.zeros((len(body.bones), len(rows)))
    for b, bone in enumerate(body.bones):
        if bone.endswith(letter) and bone.startswith(("lowerarm", "wrist", "metacarpal", "finger")):
            follows[b, leading.get(bone, 0)] = 1
    return _rig(body, rows, follows, zero_pose(body, person, flat=True))


def zero_pose(
    body: parametric_body.Body, person: tuple[np.ndarray, np.ndarray], flat: bool
) -> np.ndarray:
    """Returns the world rotations [J, 3, 3] of the bones in the models' zero pose.

    Args:
        body: the parametric body.
        person: see `smpl`.
        flat: True straightens the fingers too; otherwise they stay curved.
    """
    turns, heads = {}, person[1]

    def along(a, b):
        return rotations.unit(heads[body.bone[b]] - heads[body.bone[a]])

    for letter, sign in (("L", 1.0), ("R", -1.0)):
        bone = {name[:-2]: name for name in body.bones if name.endswith(letter)}
        thigh = along(bone["upperleg01"], bone["lowerleg01"])
        shin = along(bone["lowerleg01"], bone["foot"])
        turns[bone["upperleg01"]] = rotations.between(thigh, -rotations.Z)
        turns[bone["lowerleg01"]] = rotations.between(shin, -rotations.Z)
        turns[bone["foot"]] = np.eye(3)
        # The shoulder girdle rises with a raised arm.
        turns[bone["clavicle"]] = rotations.about(rotations.Y, -sign * np.radians(12))
        upper = along(bone["upperarm01"], bone["lowerarm01"])
        fore = along(bone["lowerarm01"], bone["wrist"])
        hinge = np.cross(upper, fore)  # axis of the elbow; upright, so that it bends forward
        out = sign * rotations.X
        turns[bone["upperarm01"]] = _carry(upper, hinge, out, -sign * rotations.Z)
        turns[bone["lowerarm01"]] = _carry(fore, hinge, out, -sign * rotations.Z)
        fingers = along(bone["wrist"], bone["finger3-1"])
        across = along(bone["finger2-1"], bone["finger5-1"])
        hand = turns[bone["wrist"]] = _carry(fingers, across, out, rotations.Y)
        turn = hand @ turns[bone["lowerarm01"]].T
        twist = np.arctan2(turn[2, 1] - turn[1, 2], turn[1, 1] + turn[2, 2])
        turns[bone["lowerarm02"]] = (
            rotations.about(rotations.X, twist / 2) @ turns[bone["lowerarm01"]]
        )
        if flat:
            turns |= _straight_fingers(body, person, hand, letter)
    world = np.empty((len(body.bones), 3, 3))
    for b, name in enumerate(body.bones):
        parent = body.parents[b]
        world[b] = turns.get(name, world[parent] if parent >= 0 else np.eye(3))
    return world


def _straight_fingers(body, person, hand, letter) -> dict[str, np.ndarray]:
    """Returns the world rotations that straighten the fingers' bones in the plane of the hand."""
    strongest = body.weight_bones[np.arange(len(body.weights)), body.weights.argmax(1)]
    turns = {}
    for finger in (2, 3, 4, 5):
        names = [f"finger{finger}-{k}.{letter}" for k in (1, 2, 3)]
        points = [person[1][body.bone[name]] for name in names]
        # The last bone has no child, so it points to the mean of its skin's vertices.
        points.append(person[0][strongest == body.bone[names[2]]].mean(0))
        line = hand @ (points[1] - points[0]) * (1, 1, 0)
        for name, start, end in zip(names, points, points[1:], strict=False):
            turns[name] = rotations.between(hand @ (end - start), line) @ hand
    return turns


def _carry(a, b, to_a, to_b) -> np.ndarray:  # [3] each
    """Returns the rotation that takes a to to_a, and the plane of a, b to that of to_a, to_b."""

    def frame(x, y):
        x = rotations.unit(x)
        z = rotations.unit(np.cross(x, y))
        return np.stack([x, np.cross(z, x), z], 1)

    return frame(to_a, to_b) @ frame(a, b).T


def _rig(body, rows, follows, zero_world) -> Rig:
    """Returns the rig of ordered rows {joint: (parent, bones whose heads give its position)}."""
    names = tuple(rows)
    parents = np.array([names.index(parent) if parent else -1 for parent, _ in rows.values()])
    heads = np.zeros((len(rows), len(body.bones)))
    for k, (_, bones) in enumerate(rows.values()):
        heads[k, [body.bone[bone] for bone in bones]] = 1 / len(bones)
    return Rig(names, parents, heads, follows, local(zero_world, body.parents), zero_world)


def local(world: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Returns each rotation [K, 3, 3] relative to its parent's."""
    relative = np.swapaxes(world[parents], 1, 2) @ world
    return np.where((parents >= 0)[:, None, None], relative, world)


def chain(relative: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Returns world rotations [K, 3, 3] from rotations relative to the parents."""
    world = np.array(relative, np.float64)
    for child, parent in enumerate(parents):
        if parent >= 0:
            world[child] = world[parent] @ world[child]
    return world


def mean(shares: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Returns the rotations [M, 3, 3] nearest to the weighted means of rotations.

    Args:
        shares: [M, N], rows sum to one.
        turns: [N, 3, 3].
    """
    return nearest(np.einsum("mn,nab->mab", shares, turns))


def nearest(matrices: np.ndarray) -> np.ndarray:
    """Returns the rotations [..., 3, 3] nearest to matrices; never a reflection."""
    u, _, vt = np.linalg.svd(matrices)
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt

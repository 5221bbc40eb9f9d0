"""Fields of the template body: coordinates along limbs, hollows, redness, hidden faces."""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import surface

CROTCH = -0.062  # heights on the template, metres
WAIST = 0.17
ARMPIT = 0.42
ANKLE = -0.725
ARM_LENGTH = 0.455  # from shoulder to wrist
ELBOW = 0.228  # metres along the arm
KNEE = -0.37

# Columns of `Surface.attributes`: distance inside the garment in metres (on skin: distance to the
# nearest garment's edge; on a garment's rim: -1), depth of hollows, distances inside hair and beard
# in metres, redness by blood, lips, nails, and the height of cloth folds in [-1, 1].
EDGE, HOLLOW, HAIR, BEARD, BLOOD, LIPS, NAILS, FOLD = range(8)
ATTRIBUTES = 8


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Fields of the template, one value per vertex [V] unless stated otherwise.

    Attributes:
        member: {part: bool}, whether the vertex touches a face of that body part.
        arm: metres along the arm; on the torso, metres beyond the armhole (negative).
        hollow: in [0, 1], depth in a fold or hole.
        blood: in [0, 1], redness of the skin: cheeks, nose, ears, joints, palms, finger tips.
        groove: depth in metres of grooves that cloth bridges: navel, spine, seat.
        normals: [V, 3], smoothed over the neighbourhood.
        neighbours: [V, N] int, padded with the vertex itself.
        hidden: [F] bool, faces that no camera can see, around and behind the eyeballs.
    """

    member: dict
    arm: np.ndarray
    hollow: np.ndarray
    blood: np.ndarray
    groove: np.ndarray
    normals: np.ndarray
    neighbours: np.ndarray
    hidden: np.ndarray

    def inside(self, *parts: str) -> np.ndarray:
        """Returns +1 for vertices of the parts and -1 elsewhere, [V] float32."""
        of_any = np.logical_or.reduce([self.member[part] for part in parts])
        return np.where(of_any, np.float32(1), np.float32(-1))

    def smooth(self, values: np.ndarray, rounds: int) -> np.ndarray:
        """Returns vertex values [V, ...] averaged over their neighbours `rounds` times."""
        count = self.neighbours.shape[1]
        for _ in range(rounds):
            values = sum(values[self.neighbours[:, k]] for k in range(count)) * np.float32(
                1 / count
            )
        return values


@functools.cache
def of(body: parametric_body.Body) -> Anatomy:
    """Returns the anatomy of a body's template, computed once."""
    member = {}
    for number, name in enumerate(body.parts):
        member[name] = np.zeros(len(body.template), bool)
        member[name][body.faces[body.face_part == number]] = True
    table = _neighbours(body.faces, len(body.template))
    normals = surface.normals(body.template, body.faces)
    smooth = normals
    for _ in range(3):
        smooth = smooth[table].mean(1)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    inside = np.logical_or.reduce([member[f"{p}_{s}"] for p in _ARM_PARTS for s in "lr"])
    along = np.where(inside, arm_coordinate(body, body.template), armhole(body.template))
    return Anatomy(
        member=member,
        arm=along.astype(np.float32),
        hollow=_hollow(body.template, normals, table),
        blood=_blood(body, member, normals),
        groove=_groove(body.template, smooth, table),
        normals=smooth.astype(np.float32),
        neighbours=np.asfortranarray(table),
        hidden=_hidden(body),
    )


_ARM_PARTS = ("upperarm", "forearm", "hand")


def arm_coordinate(body: parametric_body.Body, points: np.ndarray) -> np.ndarray:
    """Returns metres [P] along the arm, from the shoulder joint to template points [P, 3]."""
    shoulder, elbow, wrist = _joints(body, "upperarm01.L", "lowerarm01.L", "wrist.L")
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    upper, fore = elbow - shoulder, wrist - elbow
    length = np.linalg.norm(upper)
    upper, fore = upper / length, fore / np.linalg.norm(fore)
    beyond = (p - elbow) @ (upper + fore) > 0
    return np.where(beyond, length + (p - elbow) @ fore, (p - shoulder) @ upper)


def arm_angle(body: parametric_body.Body, points: np.ndarray) -> np.ndarray:
    """Returns the angle [P] in radians of template points [P, 3] around the arm's axis."""
    shoulder, elbow, wrist = _joints(body, "upperarm01.L", "lowerarm01.L", "wrist.L")
    p = points.copy()
    p[:, 0] = np.abs(p[:, 0])
    beyond = ((p - elbow) @ (wrist - shoulder) > 0)[:, None]
    axis = np.where(beyond, wrist - elbow, elbow - shoulder)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    d = p - elbow
    forward = np.cross(axis, [0.77, 0.0, 0.63])
    outward = np.cross(forward, axis)
    return np.arctan2((d * forward).sum(1), (d * outward).sum(1)) * np.sign(points[:, 0])


def armhole(points: np.ndarray) -> np.ndarray:
    """Returns metres [P] beyond the seam between torso and sleeve; negative on the torso."""
    x, z = np.abs(points[:, 0]), points[:, 2]
    seam = x - 0.158 - 0.12 * (z - 0.43)
    return np.where((z > 0.40) | (x > 0.23), seam, -0.06).astype(np.float32)


def leg_axis(heads: np.ndarray, bone: dict, z: np.ndarray) -> np.ndarray:
    """Returns points (|x|, y) of the left leg's axis at heights z [P], [P, 2]."""
    nodes = heads[[bone[k] for k in ("foot.L", "lowerleg01.L", "upperleg01.L")]]
    x = np.interp(z, nodes[:, 2], nodes[:, 0])
    return np.stack([x, np.interp(z, nodes[:, 2], nodes[:, 1])], 1)


def _joints(body, *names):
    return [body.heads[body.bone[name]].astype(np.float32) for name in names]


def _neighbours(faces, count):
    """Returns the neighbours of each vertex, [V, N], padded with the vertex itself."""
    a = np.concatenate([faces[:, k] for k in (0, 1, 2)])
    b = np.concatenate([faces[:, k] for k in (1, 2, 0)])
    order = np.argsort(a, kind="stable")
    a, b = a[order], b[order]
    start = np.searchsorted(a, np.arange(count))
    rank = np.arange(len(a)) - start[a]
    width = 7  # a few vertices have more neighbours; the others do not matter
    table = np.repeat(np.arange(count)[:, None], width, 1)
    keep = rank < width
    table[a[keep], rank[keep]] = b[keep]
    return table


def _hollow(template, normals, table):
    """Returns the curvature at two scales: how far the surroundings rise above each vertex."""
    result = np.zeros(len(template))
    around = template
    for rounds, scale in ((2, 0.0009), (8, 0.0035)):
        for _ in range(rounds):
            around = around[table].mean(1)
        result += np.clip(((around - template) * normals).sum(1) / scale, -0.3, 1)
    result = result[table].mean(1)
    return np.clip(result * 0.6, 0, 1).astype(np.float32)


def _groove(template, normals, table):
    """Returns how far a strongly smoothed body rises above each vertex, metres."""
    around = template
    for _ in range(14):
        around = around[table].mean(1)
    rise = np.clip(((around - template) * normals).sum(1), 0, 0.03)
    return (1.3 * rise[table].mean(1)).astype(np.float32)


def _blood(body, member, normals):
    """Returns how strongly blood shows through the skin, [V] in [0, 1]."""

    def spot(center, radius):
        near = np.linalg.norm(mirrored - np.asarray(center), axis=1) / radius
        return np.exp(-(near**2))

    mirrored = body.template.copy()
    mirrored[:, 0] = np.abs(mirrored[:, 0])
    total = 0.75 * spot((0.043, -0.135, 0.69), 0.021)  # cheeks
    total += 0.7 * spot((0.0, -0.166, 0.69), 0.014)  # nose
    total += 0.5 * body.masks["ears"]
    total += 0.25 * spot((0.03, -0.13, 0.728), 0.022)  # around the eyes
    total += 0.4 * spot(body.heads[body.bone["lowerarm01.L"]] + [0, 0.03, 0], 0.04)
    total += 0.4 * spot(body.heads[body.bone["lowerleg01.L"]] + [0, -0.05, 0], 0.05)
    for finger in range(1, 6):
        # The knuckles and, beyond the last joint, the tips.
        joints = [body.heads[body.bone[f"finger{finger}-{k}.L"]] for k in (1, 2, 3)]
        for k, joint in enumerate(joints):
            total += (0.45, 0.4, 0.3)[k] * spot(joint, 0.011)
        tip = joints[2] + 0.9 * (joints[2] - joints[1])
        total += 0.6 * spot(tip, 0.013)
    palm = palm_direction(body)
    hand = member["hand_l"] | member["hand_r"]
    facing = normals * np.where(body.template[:, :1] < 0, [-1, 1, 1], [1, 1, 1]) @ palm
    total += 0.45 * hand * np.clip(facing * 1.6, 0, 1)
    return np.clip(total, 0, 1).astype(np.float32)


def palm_direction(body: parametric_body.Body) -> np.ndarray:
    """Returns the direction that the template's left palm faces, [3] of length one."""
    wrist, middle, index, little = _joints(
        body, "wrist.L", "finger3-1.L", "finger2-1.L", "finger5-1.L"
    )
    normal = np.cross(middle - wrist, index - little)
    normal /= np.linalg.norm(normal)
    joints = _joints(body, "finger3-1.L", "finger3-2.L", "finger3-3.L")
    curl = (joints[2] - joints[1]) - (joints[1] - joints[0])
    return normal * np.sign(normal @ curl)


def _hidden(body):
    """Returns the faces behind the eyelids: walls of the eye sockets, backs of the eyeballs."""
    center = body.template[body.faces].mean(1)
    eye = body.heads[body.bone["eye.L"]]
    distance = np.linalg.norm(np.abs(center) * np.sign([1, -1, 1]) - eye, axis=1)
    socket = (body.face_part == body.parts.index("head")) & (distance < 0.019)
    ball = body.face_part == body.parts.index("eyes")
    return (socket & (center[:, 1] > -0.130)) | (ball & (center[:, 1] > -0.126))

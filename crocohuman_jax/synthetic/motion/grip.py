"""Closes fingers on an object until they touch it.

Points are in metres, in the neutral axes of the wrist (see `skeleton`), with its head at zero.
"""

import functools

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations
from crocohuman_jax.synthetic.motion import pose_solver
from crocohuman_jax.synthetic.motion import skeleton as skeletons

POINTS = 28  # number of skin points of each finger bone that are tested against an object
TOUCH = 0.0008  # metres by which an object may press into skin
STEPS = 14  # positions tested together; a second round refines the first
FURTHER = 1.35  # a holding finger may go this multiple of the way to its goal


class Hand:
    """Skin points of a person's hand, carried by its bones.

    Attributes:
        sign: 1 for the left hand, -1 for the right; size: wrist to middle knuckle, metres.
        skin: {(finger, bone 0 to 2): [P, 3]}, skin points in the axes of the finger bone.
        pads: {finger: [3]}, centre of the pad in the axes of the last bone.
        palm: [P, 3] points of the palm's skin.
    """

    def __init__(self, skeleton: skeletons.Skeleton, side: str):
        self.sign, self.size, self.side = skeletons.SIDES[side], skeleton.hand, side
        skin, self.pads, palm, size = _template(skeleton.body, side)
        scale = skeleton.hand / size
        self.skin = {key: points * scale for key, points in skin.items()}
        self.pads = {key: point * scale for key, point in self.pads.items()}
        self.palm = palm * scale
        self.steps = {}
        for finger in range(1, 6):
            names = [f"finger{finger}-{k}.{side}" for k in (1, 2, 3)]
            steps = [skeleton.offsets[skeleton.bone[name]] for name in names]
            if finger > 1:
                steps[0] = (
                    steps[0] + skeleton.offsets[skeleton.bone[f"metacarpal{finger - 1}.{side}"]]
                )
            self.steps[finger] = steps

    def bones(self, finger: int, shapes: np.ndarray):
        """Returns the start points and rotations of a finger's bones for shapes [S, 5, 5].

        Returns:
            Three pairs of [S, 3] and [S, 3, 3].
        """
        turns = pose_solver.finger_turns(finger, shapes[:, finger - 1], self.sign)
        place, total, result = np.zeros((len(shapes), 3)), np.eye(3), []
        for step, turn in zip(self.steps[finger], turns, strict=True):
            place = place + total @ step
            total = total @ turn
            result.append((place, total))
        return result

    def points(self, finger: int, shapes: np.ndarray) -> np.ndarray:
        """Returns a finger's skin points [S, 3, P, 3] for shapes [S, 5, 5]."""
        return np.stack(
            [
                place[:, None] + self.skin[finger, k] @ np.swapaxes(total, -1, -2)
                for k, (place, total) in enumerate(self.bones(finger, shapes))
            ],
            1,
        )

    def pad(self, finger: int, shape: np.ndarray) -> np.ndarray:
        """Returns the centre [3] of a finger's pad for a shape [5, 5]."""
        place, total = self.bones(finger, shape[None])[2]
        return place[0] + total[0] @ self.pads[finger]

    def vector(self, down, thumbward, palmward) -> np.ndarray:
        """Returns a vector [3] in neutral axes from hand coordinates, see `grasps`."""
        return np.array([-self.sign * palmward, -thumbward, -down], np.float64)


def close(hand: Hand, body, first: np.ndarray, last: np.ndarray, holds=()) -> np.ndarray:
    """Moves each finger of a hand from one shape towards another until it touches an object.

    A finger bends at all joints until it touches, then at those beyond the bone that touches.

    Args:
        hand: the hand.
        body: the object; `.distance(points)` gives metres, negative inside.
        first, last: shapes [5, 5] at the start and at the end of the movement.
        holds: fingers that may go further than `last` (see FURTHER) to touch; 1 is the thumb.

    Returns:
        The shape [5, 5].
    """
    result = first.copy()
    for finger in range(1, 6):
        row = finger - 1
        result[row] = _outside(hand, body, finger, result)
        moving = np.ones(5, bool)
        for stage in range(3):
            goal = np.where(moving, last[row], result[row])
            furthest = FURTHER if finger in holds else 1.0
            moved, touching = _until_touch(hand, body, finger, result, goal, furthest)
            result[row] = moved
            # Joints beyond the bone that touches still bend.
            moving = np.zeros(5, bool)
            if touching is not None:
                moving[list(((3, 4) if finger == 1 else (1, 2))[max(touching, stage) :])] = True
            if not moving.any():
                break
    return result


def _outside(hand, body, finger, shape):
    """Returns the finger's row [5] of a shape, or the nearest one outside the object."""
    row = shape[finger - 1]
    first = np.linspace(-45, 45, 13)
    second = np.linspace(-60, 30, 13) if finger == 1 else np.linspace(-10, 10, 3)
    moves = np.zeros((len(first), len(second), 5))
    moves[..., 0], moves[..., 1 if finger == 1 else 3] = first[:, None], second
    moves = moves.reshape(-1, 5)
    moves = moves[np.argsort(np.abs(moves).sum(1), kind="stable")]
    depth = _depth(hand, body, finger, shape, row + moves).min(1)
    free = np.flatnonzero(depth >= -TOUCH)
    return row + moves[free[0] if len(free) else depth.argmax()]


def _depth(hand, body, finger, shape, rows):
    """Returns the smallest distance [S, 3] of a finger's bones to the object, for rows [S, 5]."""
    shapes = np.repeat(shape[None], len(rows), 0)
    shapes[:, finger - 1] = rows
    return body.distance(hand.points(finger, shapes)).min(-1)


def _until_touch(hand, body, finger, shape, goal, furthest):
    """Moves one finger from its row of a shape towards a goal [5] until it touches the object.

    Returns:
        The row, and the bone (0 to 2) that stopped it, None if nothing did.
    """
    start, touching, low, high = shape[finger - 1], None, 0.0, furthest
    for _ in range(2):
        share = np.linspace(low, high, STEPS)
        depth = _depth(hand, body, finger, shape, start + share[:, None] * (goal - start))
        entered = np.flatnonzero(depth.min(1) < -TOUCH)
        if not len(entered):
            return goal.copy(), None
        if not entered[0]:
            return start.copy(), int(depth[0].argmin())
        touching = int(depth[entered[0]].argmin())
        low, high = share[entered[0] - 1], share[entered[0]]
    return start + low * (goal - start), touching


@functools.cache
def _template(body, side):
    """Returns skin points, pads and palm of the template's hand, and its size."""
    skeleton = skeletons.Skeleton(body, body.heads)
    sign = skeletons.SIDES[side]
    owner = body.weight_bones[np.arange(len(body.weights)), body.weights.argmax(1)]
    skin, pads = {}, {}
    for finger in range(1, 6):
        for k in range(3):
            bone = body.bone[f"finger{finger}-{k + 1}.{side}"]
            points = (body.template[owner == bone] - body.heads[bone]) @ skeleton.neutral[bone].T
            # The back of a finger touches nothing, so most points are on the palm's side.
            palmward = -sign * points[:, 0]
            order = np.argsort(-palmward, kind="stable")
            chosen = order[np.linspace(0, len(order) * 0.8 - 1, POINTS).astype(int)]
            skin[finger, k] = points[chosen]
            if k == 2:
                length = np.abs(points[:, 2]).max()
                middle = np.abs(-points[:, 2] - 0.5 * length) < 0.25 * length
                pads[finger] = points[middle & (palmward > np.quantile(palmward, 0.8))].mean(0)
    bone = body.bone[f"wrist.{side}"]
    names = [f"wrist.{side}", *(f"metacarpal{k}.{side}" for k in (1, 2, 3, 4))]
    mine = np.isin(owner, [body.bone[name] for name in names])
    points = (body.template[mine] - body.heads[bone]) @ skeleton.neutral[bone].T
    palm = points[(-sign * points[:, 0] > 0) & (points[:, 2] < -0.25 * skeleton.hand)]
    return skin, pads, palm[::2], skeleton.hand


class Solid:
    """A simple convex object: its signed distance and its mesh.

    Args:
        kind: "cylinder" (radius, half length), "ball" (radius,) or "box" (three half sides);
        sizes: metres.
        centre: [3]; axes: [3, 3], columns are its own axes; the last is a cylinder's axis.
    """

    def __init__(self, kind: str, sizes, centre: np.ndarray, axes: np.ndarray):
        self.kind, self.sizes = kind, np.asarray(sizes, np.float64)
        self.centre, self.axes = np.asarray(centre, np.float64), np.asarray(axes, np.float64)

    def distance(self, points: np.ndarray) -> np.ndarray:  # [..., 3] -> [...]
        """Returns the distance to the surface, metres, negative inside."""
        p = (points - self.centre) @ self.axes
        if self.kind == "ball":
            return np.linalg.norm(p, axis=-1) - self.sizes[0]
        if self.kind == "cylinder":
            radial = np.hypot(p[..., 0], p[..., 1]) - self.sizes[0]
            q = np.stack([radial, np.abs(p[..., 2]) - self.sizes[1]], -1)
        else:
            q = np.abs(p) - self.sizes
        return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0)

    def mesh(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns vertices [N, 3] and outward faces [M, 3]."""
        if self.kind == "box":
            vertices, faces = _box(self.sizes)
        elif self.kind == "ball":
            angle = np.linspace(0, np.pi, 13)
            vertices, faces = _lathe(self.sizes[0] * np.sin(angle), -self.sizes[0] * np.cos(angle))
        else:
            r, h = self.sizes
            edge = min(0.15 * r, 0.15 * h, 0.002)
            vertices, faces = _lathe(
                np.array([0, r - edge, r, r, r - edge, 0]),
                np.array([-h, -h, -h + edge, h - edge, h, h]),
            )
        # A left-handed set of axes would turn the mesh inside out.
        axes = self.axes * np.array([np.sign(np.linalg.det(self.axes)), 1, 1])
        return vertices @ axes.T + self.centre, faces


def _box(half):
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    # Each side has its own corners, so that edges stay sharp when normals are averaged.
    vertices = np.concatenate([corners[list(quad)] for quad in quads])
    faces = [
        (4 * k + a, 4 * k + b, 4 * k + c) for k in range(6) for a, b, c in ((0, 1, 2), (0, 2, 3))
    ]
    return vertices, np.array(faces)


def _lathe(radius, height, around=24):
    """Returns a surface of revolution about z, from its lowest to its highest ring."""
    angle = np.arange(around) * 2 * np.pi / around
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    vertices = np.concatenate(
        [np.c_[ring * r, np.full(around, z)] for r, z in zip(radius, height, strict=True)]
    )
    faces = []
    k = np.arange(around)
    for row in range(len(radius) - 1):
        a, b = row * around + k, row * around + (k + 1) % around
        c, d = a + around, b + around
        if radius[row + 1] > 0:
            faces.append(np.stack([a, d, c], 1))
        if radius[row] > 0:
            faces.append(np.stack([a, b, d], 1))
    return vertices, np.concatenate(faces)


def axes_along(axis: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Returns axes [3, 3] whose last column is `axis` and whose first lies towards `side`."""
    z = rotations.unit(axis)
    x = rotations.unit(side - (side @ z) * z)
    return np.stack([x, np.cross(z, x), z], 1)

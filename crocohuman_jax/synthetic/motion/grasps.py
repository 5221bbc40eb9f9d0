"""The 33 grasps of the taxonomy of Feix et al. (2016), each around a simple object.

Hand coordinates are (along the fingers, towards the thumb, out of the palm) from the wrist; their
unit is the distance from wrist to middle knuckle. Object sizes are in millimetres for a hand in
which this distance is 96 mm; they scale with the hand.
"""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.motion import grip, hand_poses

USUAL_HAND = 96.0  # mm from wrist to middle knuckle


@dataclasses.dataclass(frozen=True)
class Held:
    """An object in a hand.

    Attributes:
        name: name of the grasp; side: "L" or "R".
        vertices: [n, 3] float32, the object with the hand at rest; the transform of the bone
            `wrist.<side>` moves it.
        faces: [m, 3] int32, counter-clockwise from outside.
    """

    name: str
    side: str
    vertices: np.ndarray
    faces: np.ndarray


@dataclasses.dataclass(frozen=True)
class Grasp:
    """How a hand holds an object.

    Attributes:
        thing: kind and sizes in mm of the object, as for `grip.Solid`.
        open, closed: hand shapes [5, 5] from which and towards which the fingers close.
        holds: fingers that touch the object; 1 is the thumb.
        axis, side: the object's last and first axis in hand coordinates.
        at: centre of the object in hand coordinates, before it is moved along `out` until it clears
            palm and open fingers; None places it between the pads of the closed fingers.
        pads: if `at` is None, fingers between whose pads the object is; () means `holds`.
        shift: offset added to the centre, in hand coordinates.
    """

    thing: tuple
    open: np.ndarray
    closed: np.ndarray
    holds: tuple = (1, 2, 3, 4, 5)
    axis: tuple = (0.0, 1.0, 0.0)
    side: tuple = (1.0, 0.0, 0.0)
    at: tuple | None = None
    out: tuple = (0.0, 0.0, 1.0)
    pads: tuple = ()
    shift: tuple = (0.0, 0.0, 0.0)


_S = hand_poses.shape
_WIDE = _S((38, 45, 85, 0, 5), *[(8, 12, 8)] * 4, spread=(6, 1, -3, -8))
_FISTED = _S((14, 62, 118, 55, 70), *[(88, 104, 70)] * 4)
_HALF = _S((34, 45, 90, 0, 8), *[(25, 28, 14)] * 4, spread=(3, 1, -1, -4))
_ALONG = _S((14, 30, 70, 0, 0), *[(25, 30, 16)] * 4)
_ALONG_FIST = _S((-4, 30, 75, 10, 10), *[(88, 104, 70)] * 4)
_RELAXED = ((32, 38, 20), (36, 42, 22), (38, 44, 22))


def _pinch(thumb, *fingers, rest=_RELAXED, spread=(2, 0, 0, -4)) -> np.ndarray:
    return _S(thumb, *fingers, *rest[len(fingers) - 1 :], spread=spread)


def _opened(shape: np.ndarray, thumb=(8, 6, 0, -8, -6), fingers=(-26, -12, -8)) -> np.ndarray:
    """Returns a shape with opened fingers, from one whose finger pads meet."""
    result = shape.copy()
    result[0] += thumb
    result[1:, :3] = np.maximum(result[1:, :3] + fingers, (-10, 2, 0))
    return result


_INDEX = _pinch((15, 34, 120, 2, 2), (57, 42, 18))
_TIPS = _pinch((28, 36, 118, 15, 36), (49, 56, 38))
_TWO = _pinch((5, 39, 128, 5, 2), (56, 39, 18), (66, 43, 18))
_THREE = _pinch((0, 42, 130, 8, 4), (56, 40, 18), (66, 43, 18), (66, 43, 18))
_ALL = _S(
    (-10, 41, 135, 14, 2),
    (58, 41, 18),
    (64, 43, 18),
    (63, 42, 18),
    (53, 37, 17),
    spread=(4, 0, 0, -6),
)
_FLAT = _S((-8, 48, 138, 15, 0), (80, 13, 3), (88, 16, 3), (86, 15, 3), (74, 8, 3))
_KEY = _S((22, 16, 60, 18, 20), (50, 78, 40), (58, 82, 42), (64, 84, 44), (68, 84, 44))
_PEN = _pinch((5, 39, 128, 5, 2), (72, 54, 28), (66, 43, 18))
_STICKS = _pinch((0, 42, 130, 8, 4), (78, 58, 30), (66, 43, 18), (66, 43, 18))
_BALLED = _opened(_ALL, fingers=(-40, -18, -10))

TABLE = {
    "large_diameter": Grasp(
        ("cylinder", 40, 95), _WIDE, _FISTED, axis=(0.15, 1, 0), at=(0.82, 0.0, 0.0)
    ),
    "small_diameter": Grasp(
        ("cylinder", 13, 110), _HALF, _FISTED, axis=(0.3, 1, 0), at=(0.86, 0.0, 0.0)
    ),
    "medium_wrap": Grasp(
        ("cylinder", 24, 80), _WIDE, _FISTED, axis=(0.25, 1, 0), at=(0.84, 0.0, 0.0)
    ),
    "adducted_thumb": Grasp(
        ("cylinder", 14, 130), _ALONG, _ALONG_FIST, axis=(0.35, 1, 0), at=(0.86, 0.1, 0.0)
    ),
    "light_tool": Grasp(
        ("cylinder", 9, 120), _ALONG, _ALONG_FIST, axis=(0.45, 1, 0), at=(0.9, 0.1, 0.0)
    ),
    "prismatic_4_finger": Grasp(("cylinder", 8, 75), _opened(_ALL), _ALL),
    "prismatic_3_finger": Grasp(("cylinder", 7, 70), _opened(_THREE), _THREE, (1, 2, 3, 4)),
    "prismatic_2_finger": Grasp(("cylinder", 6, 70), _opened(_TWO), _TWO, (1, 2, 3)),
    "palmar_pinch": Grasp(("box", 14, 14, 4), _opened(_INDEX), _INDEX, (1, 2), axis=(1, 0, 0.6)),
    "power_disk": Grasp(
        ("cylinder", 44, 9),
        _WIDE,
        _S((20, 50, 100, 35, 45), *[(55, 85, 60)] * 4, spread=(12, 4, -5, -14)),
        axis=(0, 0, 1),
        at=(0.98, 0.0, 0.02),
    ),
    "power_sphere": Grasp(
        ("ball", 36),
        _WIDE,
        _S((20, 52, 105, 45, 55), *[(80, 95, 65)] * 4, spread=(8, 2, -4, -10)),
        at=(0.9, 0.05, 0.0),
    ),
    "precision_disk": Grasp(("cylinder", 36, 6), _BALLED, _ALL, axis=(0.75, 0, 0.65)),
    "precision_sphere": Grasp(("ball", 30), _BALLED, _ALL),
    "tripod": Grasp(("ball", 13), _opened(_TWO), _TWO, (1, 2, 3)),
    "fixed_hook": Grasp(
        ("cylinder", 12, 60),
        _S((20, 20, 60, 0, 0), *[(5, 40, 20)] * 4),
        _S((20, 20, 60, 0, 0), *[(30, 104, 75)] * 4),
        (2, 3, 4, 5),
        axis=(0.08, 1, 0),
        at=(1.2, 0.05, 0.0),
    ),
    "lateral": Grasp(
        ("box", 1.2, 27, 43),
        _S((48, 34, 62, 4, 8), *_KEY[1:, :3]),
        _S((-18, 36, 64, 26, 26), *_KEY[1:, :3]),
        (1, 2),
        axis=(0.6, 0, 0.8),
        side=(0, 1, 0),
        at=(1.22, 0.2, 0.58),
        out=(0, 1, 0),
    ),
    "index_finger_extension": Grasp(
        ("cylinder", 10, 85),
        _S((20, 40, 90, 0, 5), (18, 8, 4), *[(25, 30, 16)] * 3),
        _S((8, 52, 112, 40, 40), (34, 14, 8), *[(88, 104, 70)] * 3),
        axis=(0.75, 0.8, 0.1),
        at=(0.95, 0.1, 0.0),
    ),
    "extension_type": Grasp(
        ("box", 60, 60, 5),
        _opened(_FLAT),
        _FLAT,
        axis=(1, 0, 0.5),
        side=(0, 1, 0),
        shift=(0.0, 0.0, 0.35),
    ),
    "distal_type": Grasp(("cylinder", 9, 28), _opened(_INDEX), _INDEX, (1, 2), axis=(0.2, 1, 0)),
    "writing_tripod": Grasp(
        ("cylinder", 4, 72),
        _opened(_TWO),
        _PEN,
        (1, 2, 3),
        axis=(-0.75, 0.55, -0.45),
        shift=(-0.33, 0.24, -0.2),
    ),
    "tripod_variation": Grasp(
        ("cylinder", 3.2, 105),
        _opened(_THREE),
        _STICKS,
        (1, 2, 3),
        axis=(-0.6, 0.75, -0.35),
        shift=(-0.3, 0.35, -0.15),
        pads=(1, 2, 3),
    ),
    "parallel_extension": Grasp(
        ("box", 65, 95, 8),
        _opened(_FLAT),
        _FLAT,
        axis=(1, 0, 0.35),
        side=(0, 0, 1),
        shift=(0.0, 0.0, 0.4),
    ),
    "adduction_grip": Grasp(
        ("cylinder", 3.8, 42),
        _S((20, 25, 60, 8, 12), (14, 14, 8), (16, 18, 10), *_RELAXED[1:], spread=(12, -9, -4, -6)),
        _S((20, 25, 60, 8, 12), (14, 14, 8), (16, 18, 10), *_RELAXED[1:], spread=(-12, 14, 0, -4)),
        (2, 3),
        axis=(0.1, 0, 1),
        pads=(),
    ),
    "tip_pinch": Grasp(("cylinder", 1.6, 22), _opened(_TIPS), _TIPS, (1, 2)),
    "lateral_tripod": Grasp(
        ("cylinder", 4.5, 80),
        _opened(_TWO),
        _TWO,
        (1, 2),
        axis=(0.35, 0.9, 0.2),
        shift=(0.0, 0.3, 0.0),
    ),
    "sphere_4_finger": Grasp(("ball", 26), _opened(_ALL, fingers=(-32, -15, -10)), _ALL),
    "quadpod": Grasp(("ball", 19), _opened(_THREE), _THREE, (1, 2, 3, 4)),
    "sphere_3_finger": Grasp(
        ("ball", 22), _opened(_THREE, fingers=(-30, -14, -9)), _THREE, (1, 2, 3)
    ),
    "stick": Grasp(
        ("cylinder", 5, 85),
        _S((30, 25, 65, 0, 0), *[(22, 34, 18)] * 4),
        _ALONG_FIST,
        (2, 3, 4, 5),
        axis=(0.4, 1, 0),
        at=(1.05, 0.2, 0.0),
    ),
    "palmar": Grasp(
        ("box", 55, 42, 9),
        _S((30, 20, 60, 0, 5), *[(2, 4, 3)] * 4),
        _S((8, 40, 85, 30, 25), *[(32, 26, 16)] * 4),
        axis=(0, 0, 1),
        side=(1, 0, 0),
        at=(1.1, 0.0, 0.0),
    ),
    "ring": Grasp(
        ("cylinder", 24, 60),
        _opened(_INDEX, fingers=(-40, -20, -10)),
        _INDEX,
        (1, 2),
        axis=(0.1, 1, 0.1),
        shift=(-0.06, 0.0, 0.06),
    ),
    "ventral": Grasp(
        ("cylinder", 11, 45),
        _ALONG,
        _S((30, 20, 60, 5, 5), *[(88, 104, 70)] * 4),
        (2, 3, 4, 5),
        axis=(0.2, 1, 0),
        at=(0.9, 0.0, 0.0),
    ),
    "inferior_pincer": Grasp(
        ("ball", 7),
        _opened(_INDEX),
        _pinch((15, 34, 120, 2, 2), (57, 42, 18), rest=((14, 16, 10), (12, 14, 8), (10, 14, 8))),
        (1, 2),
    ),
}
GRASPS = tuple(TABLE)


def take(skeleton, side: str, name: str, rng: np.random.Generator):
    """Closes a hand around an object.

    Args:
        skeleton: the person's; side: "L" or "R"; name: one of GRASPS; rng: draws the object's size.

    Returns:
        The hand's shape [5, 5] and the Held object.

    Raises:
        ValueError: the grasp is unknown.
    """
    shape, solid, _ = solve(skeleton, side, name, rng)
    vertices, faces = solid.mesh()
    wrist = skeleton.bone[f"wrist.{side}"]
    rest = vertices @ skeleton.neutral[wrist] + skeleton.heads[wrist]
    return shape, Held(name, side, rest.astype(np.float32), faces.astype(np.int32))


def solve(skeleton, side: str, name: str, rng: np.random.Generator):
    """Returns the hand's shape [5, 5], the object in the wrist's neutral axes, and the hand."""
    if name not in TABLE:
        raise ValueError(f"Unknown grasp {name!r}. Known: {', '.join(GRASPS)}.")
    grasp, hand = TABLE[name], grip.Hand(skeleton, side)
    scale = hand.size / USUAL_HAND * rng.uniform(0.94, 1.06)
    axes = grip.axes_along(hand.vector(*grasp.axis), hand.vector(*grasp.side))
    kind, *sizes = grasp.thing
    solid = grip.Solid(kind, np.array(sizes) * scale, np.zeros(3), axes)
    start = grasp.open
    if grasp.at is None:
        pads = grasp.pads or grasp.holds
        fingers = [hand.pad(f, grasp.closed) for f in pads if f > 1]
        thumb = [hand.pad(f, grasp.closed) for f in pads if f == 1]
        middle = np.mean(fingers, 0)
        solid.centre = (middle + thumb[0]) / 2 if thumb else middle
    else:
        solid.centre = hand.vector(*grasp.at) * hand.size
        _lay(hand, solid, start, hand.vector(*grasp.out))
    solid.centre = solid.centre + hand.vector(*grasp.shift) * hand.size
    return grip.close(hand, solid, start, grasp.closed, grasp.holds), solid, hand


def bring_together(skeleton, side: str, shape: np.ndarray) -> np.ndarray:
    """Returns `shape` [5, 5] with thumb and index finger, which nearly meet, moved into contact."""
    hand = grip.Hand(skeleton, side)
    middle = (hand.pad(1, shape) + hand.pad(2, shape)) / 2
    grain = grip.Solid("ball", [0.001], middle, np.eye(3))
    start = shape.copy()
    start[:2] = _opened(shape)[:2]
    return grip.close(hand, grain, start, shape, (1, 2))


def _lay(hand, solid, shape, out):
    """Moves an object until it rests on the palm or on the open fingers."""
    points = np.concatenate(
        [hand.palm, *(hand.points(f, shape[None])[0].reshape(-1, 3) for f in (2, 3, 4, 5))]
    )
    start, low, high = solid.centre, -0.1, 1.2
    for _ in range(12):
        middle = (low + high) / 2
        solid.centre = start + middle * hand.size * out
        if solid.distance(points).min() < 0:
            low = middle
        else:
            high = middle
    solid.centre = start + high * hand.size * out

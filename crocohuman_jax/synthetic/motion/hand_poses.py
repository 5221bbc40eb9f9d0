"""Hand shapes: everyday ones and the 18 gestures of HaGRID, with the arm poses that show them.

A shape is an array [5, 5] of angles in degrees. Row 0 is the thumb: away from the index finger, out
of the palm's plane, rotation towards the fingers, bend of its knuckle and of its last joint. Rows 1
to 4 are index to little finger: bend of knuckle, middle joint and last joint, spread towards the
thumb's side; their last column is not used.
"""

import numpy as np

from crocohuman_jax.synthetic.motion.pose_solver import Reach

STRAIGHT = (2, 4, 3)
CURLED = (82, 98, 55)
TUCKED = (26, 48, 85, 42, 48)  # the thumb over the bent fingers
ASIDE = (38, 12, 55, 2, 4)  # the thumb stretched away
ALONG = (6, 12, 60, 14, 10)  # the thumb beside the palm


def shape(thumb, *fingers, spread=(0, 0, 0, 0)) -> np.ndarray:
    """Returns a shape [5, 5] of a thumb and four fingers (knuckle, middle, last joint)."""
    result = np.zeros((5, 5))
    result[0] = thumb
    for k, finger in enumerate(fingers):
        result[k + 1, :3], result[k + 1, 3] = finger, spread[k]
    return result


def _fingers(pattern: str, thumb, spread=(0, 0, 0, 0)) -> np.ndarray:
    """Returns a shape whose fingers are straight ("1") or curled ("0"), index first."""
    return shape(thumb, *(STRAIGHT if c == "1" else CURLED for c in pattern), spread=spread)


FAN = (9, 2, -5, -13)
EVERYDAY = {
    "relaxed": shape((14, 16, 60, 12, 18), (20, 28, 14), (26, 32, 16), (30, 35, 18), (33, 36, 18)),
    "open": _fingers("1111", (30, 16, 55, 4, 6), (5, 1, -3, -8)),
    "flat": _fingers("1111", ALONG),
    "spread": _fingers("1111", ASIDE, FAN),
    "fist_loose": shape((22, 40, 80, 30, 35), *[(68, 80, 42)] * 4),
    "claw": shape((28, 40, 70, 15, 40), *[(10, 58, 38)] * 4, spread=(8, 2, -4, -10)),
    "cupped": shape((24, 45, 75, 14, 18), *[(42, 30, 18)] * 4),
    "pointing": shape((14, 42, 80, 38, 40), STRAIGHT, *[(74, 92, 50)] * 3),
    "pinching": shape((17, 34, 120, 3, 6), (52, 40, 18), (36, 40, 20), (26, 34, 18), (20, 30, 16)),
    "thumb_up": _fingers("0000", (48, 2, 35, -6, -8)),
}
_TOUCH = (28, 36, 122, 15, 36)  # the thumb's tip on the tip of the bent index finger
_HELD = (24, 56, 92, 40, 50)  # the thumb holding ring and little finger down
_GESTURE_SHAPES = {
    "call": _fingers("0001", (52, 8, 50, -6, -8), (0, 0, 0, -20)),
    "dislike": EVERYDAY["thumb_up"],
    "fist": _fingers("0000", TUCKED),
    "four": _fingers("1111", (18, 60, 95, 40, 45), (8, 2, -4, -11)),
    "like": EVERYDAY["thumb_up"],
    "mute": _fingers("1000", TUCKED),
    "ok": shape(_TOUCH, (49, 56, 38), (18, 18, 10), (8, 12, 8), (2, 8, 5), spread=(2, 2, -3, -10)),
    "one": _fingers("1000", TUCKED),
    "palm": _fingers("1111", ASIDE, FAN),
    "peace": _fingers("1100", _HELD, (12, -9, 0, 0)),
    "peace_inverted": _fingers("1100", _HELD, (12, -9, 0, 0)),
    "rock": _fingers("1001", TUCKED, (4, 0, 0, -10)),
    "stop": _fingers("1111", ALONG),
    "stop_inverted": _fingers("1111", ALONG),
    "three": _fingers("1110", (24, 62, 95, 42, 52), (11, 0, -9, 0)),
    "three2": _fingers("1100", (50, 10, 50, -4, -4), (9, -7, 0, 0)),
    "two_up": _fingers("1100", _HELD, (-2, 3, 0, 0)),
    "two_up_inverted": _fingers("1100", _HELD, (-2, 3, 0, 0)),
}
GESTURES = tuple(sorted(_GESTURE_SHAPES))
SHAPES = {**EVERYDAY, **_GESTURE_SHAPES}
# Gestures that show the back of the hand.
INVERTED = ("peace_inverted", "stop_inverted", "two_up_inverted")
# Gestures made at the face.
AT_FACE = ("call", "mute")


def gesture_arm(name: str, rng: np.random.Generator) -> Reach:
    """Returns the arm pose that shows a gesture to somebody in front.

    Raises:
        ValueError: the gesture is unknown.
    """
    if name not in GESTURES:
        raise ValueError(f"Unknown gesture {name!r}. Known: {', '.join(GESTURES)}.")
    lean, tilt, swivel = rng.uniform(-12, 12), rng.uniform(-0.15, 0.15), rng.uniform(-5, 25)
    inward = np.sin(np.deg2rad(lean))
    if name == "mute":
        return Reach(
            (0.0, 0.154, -0.018),
            "head",
            swivel + 15,
            fingers=(-0.35, 0.05, 1),
            palm=(-1, 0.1, 0),
            tip=(1.68, 0.25, 0.0),
        )
    if name == "call":
        # Thumb at the ear and little finger before the mouth; found by a search over arm poses.
        wrist = (-60 + 0.4 * lean, -38 + 0.3 * lean, 0)
        return Reach((0.207, 0.108, -0.098), "head", 43 + 0.4 * lean, wrist)
    out, ahead, up = rng.uniform(0.32, 0.58), rng.uniform(0.45, 0.66), rng.uniform(-0.2, 0.2)
    fingers, palm = (-inward + 0.05, tilt, 1.0), (tilt - 0.05, 1.0, -tilt)
    if name == "like":
        fingers, palm = (-0.5, 1.0, tilt), (-1.0, 0.1, inward)
    elif name == "dislike":
        # The palm faces away with the elbow raised, because no forearm turns further.
        fingers, palm = (-1.0, 0.35, tilt - 0.1), (0.35, 1.0, inward)
        out, ahead, up, swivel = 0.5 * out, ahead - 0.05, up - 0.05, swivel + 40
    elif name in INVERTED:
        # To show the back of the hand, the forearm is upright over an elbow held in front.
        fingers, palm = (-0.2 - inward, 0.1, 1.0), (0.0, -1.0, 0.1)
        out, ahead, up, swivel = 0.75 * out, 0.48 + 0.15 * (ahead - 0.42), up * 0.5 + 0.08, 0.0
    return Reach((out, ahead, up), "shoulder", swivel, fingers=fingers, palm=palm)


def blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Returns shapes [T, 5, 5] between two shapes; `share` [T] is the weight of the second."""
    return first + (second - first) * np.asarray(share)[:, None, None]

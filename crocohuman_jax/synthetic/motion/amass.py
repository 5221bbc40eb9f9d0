"""Reads motions of AMASS, `*_poses.npz` and `*_stageii.npz`, and applies them to the body's bones.

The first layout holds SMPL+H poses (156 numbers: root, 21 joints, 2 x 15 finger joints), the second
SMPL-X poses (165: with jaw and eyes before the fingers); SMPL poses (72 numbers) are read too. The
files are not included. Driving the built-in people with them needs no licensed body model.
"""

import functools
import pathlib

import numpy as np

from crocohuman_jax.synthetic.figure import open_models, parametric_body, smpl_joints, smpl_model
from crocohuman_jax.synthetic.graphics import rotations as rotations_lib

# Index of the first of 30 finger joints, by the number of values in a pose; None without fingers.
_FINGERS = {72: None, 156: 22, 165: 25}
_RATES = ("mocap_framerate", "mocap_frame_rate")  # the name differs between the layouts
GENDERS = ("female", "male", "neutral")


class Clip:
    """One recorded motion; the world is z up, metres.

    Attributes:
        path: path of the file.
        gender: "female", "male" or "neutral".
        betas: [S] shape of the recorded person, of SMPL+H or SMPL-X.
        rate: frames per second; duration: seconds from the first frame to the last.
        poses: [T, 24, 3] axis-angles of SMPL's joints; the hands copy the first index finger joint.
        fingers: [T, 2, 15, 3], left and right in MANO's order, zero for a flat hand; None if
            they were not recorded.
        translations: [T, 3].

    Raises:
        ValueError: the file is broken or is not a motion; the text names the file.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        arrays = smpl_model.read(path)
        rates = [name for name in _RATES if name in arrays]
        missing = [name for name in ("poses", "trans") if name not in arrays]
        missing += [] if rates else [" or ".join(_RATES)]
        if missing:
            raise ValueError(f"{path} lacks {missing}, so it is not an AMASS motion.")
        try:
            poses = np.asarray(arrays["poses"], np.float64)
            self.translations = np.asarray(arrays["trans"], np.float64)
            self.betas = np.asarray(arrays.get("betas", np.zeros(10)), np.float64).reshape(-1)
            self.rate = float(arrays[rates[0]])
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: poses, trans, betas and frame rate must be numeric: {error}."
            ) from error
        self._check(poses)
        self.gender = _gender(arrays.get("gender"), path)
        self.duration = (len(poses) - 1) / self.rate
        start = _FINGERS[poses.shape[1]]
        joints = poses.reshape(len(poses), -1, 3)
        self.fingers = None
        self.poses = joints[:, :24]
        if start is not None:
            fingers = joints[:, start : start + 30].reshape(-1, 2, 15, 3)
            self.poses = np.concatenate([joints[:, :22], fingers[:, :, 0]], 1)
            self.fingers = fingers if fingers.any() else None

    def _check(self, poses: np.ndarray) -> None:
        shape = poses.shape
        if len(shape) != 2 or shape[1] not in _FINGERS or not shape[0]:
            raise ValueError(
                f"{self.path}: poses has shape {shape}; expected (frames, n), "
                f"n one of {tuple(_FINGERS)}."
            )
        if self.translations.shape != (shape[0], 3):
            raise ValueError(
                f"{self.path}: trans has shape {self.translations.shape}; expected ({shape[0]}, 3)."
            )
        if not all(np.isfinite(a).all() for a in (poses, self.translations, self.betas)):
            raise ValueError(f"{self.path}: poses, trans or betas are not finite (NaN, infinity).")
        if not 0 < self.rate < np.inf:
            raise ValueError(
                f"{self.path}: {self.rate} frames per second; expected a number above zero."
            )

    def at(self, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns betas [S], pose [24, 3] and translation [3] at a time in seconds.

        Rotations and translation are interpolated between frames; before the first and after the
        last frame they are constant.
        """
        return self.betas, self._turned(self.poses, time), self.place(time)

    def fingers_at(self, time: float) -> np.ndarray | None:
        """Returns the finger joints [2, 15, 3] at a time in seconds; None if not recorded."""
        return None if self.fingers is None else self._turned(self.fingers, time)

    def place(self, time: float) -> np.ndarray:
        """Returns the translation [3] at a time in seconds."""
        before, after, share = self._between(time)
        return (1 - share) * self.translations[before] + share * self.translations[after]

    def rotations(
        self, time: float, body: parametric_body.Body, heads: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the bone rotations [104, 3, 3] for `parametric_body.Body.transforms`.

        Args:
            time: seconds.
            body: the parametric body.
            heads: not used; other kinds of clips need the bone heads [104, 3].
        """
        return to_bones(self.at(time)[1], body, self.fingers_at(time))

    def _between(self, time: float) -> tuple[int, int, float]:
        """Returns the frames before and after a time, and the fraction of the way between them."""
        place = min(max(time * self.rate, 0.0), len(self.poses) - 1.0)
        before = int(place)
        return before, min(before + 1, len(self.poses) - 1), place - before

    def _turned(self, vectors: np.ndarray, time: float) -> np.ndarray:  # [T, ..., 3]
        before, after, share = self._between(time)
        first, second = rotations_lib.from_vector(vectors[[before, after]])
        step = rotations_lib.to_vector(np.swapaxes(first, -1, -2) @ second)
        return rotations_lib.to_vector(first @ rotations_lib.from_vector(share * step))


def to_bones(
    pose: np.ndarray, body: parametric_body.Body, fingers: np.ndarray | None = None
) -> np.ndarray:
    """Returns the rotations [104, 3, 3] of the body's bones for a pose of SMPL.

    Bones between two joints, such as those of the spine and forearm, take a part of both rotations.

    Args:
        pose: [24, 3] axis-angles; the first includes the change from SMPL's axes (y up) to the
            world's (z up).
        body: the parametric body.
        fingers: [2, 15, 3], left and right in MANO's order; None lets the fingers follow the hands.
    """
    rig = open_models.body_rig()
    world = smpl_joints.chain(rotations_lib.from_vector(pose), rig.parents)
    turns = smpl_joints.mean(rig.follows, world) @ smpl_joints.AXES @ rig.zero_world
    if fingers is not None:
        for side, vectors in zip(smpl_joints.SIDES, fingers, strict=True):
            hand = open_models.hand_rig(side)
            wrist = world[rig.joints.index(f"{side}_wrist")]
            relative = np.concatenate([wrist[None], rotations_lib.from_vector(vectors)])
            bent = smpl_joints.chain(relative, hand.parents)
            for joint in range(1, len(hand.joints)):
                bone = hand.heads[joint].argmax()
                turns[bone] = bent[joint] @ smpl_joints.AXES @ hand.zero_world[bone]
    return smpl_joints.local(turns, body.parents)


@functools.cache
def _names() -> dict[bytes | str, str]:
    """Returns the gender for each spelling that files use."""
    return {way: name for name in GENDERS for way in (name, name.encode(), name[0])}


def _gender(value, path) -> str:
    """Returns the gender of a file from its array of text or bytes, "neutral" if missing."""
    if value is None:
        return "neutral"
    value = value.item() if value.ndim == 0 else value.ravel()[0].item()
    if value not in _names():
        raise ValueError(f"{path}: gender {value!r}; expected one of {GENDERS}.")
    return _names()[value]

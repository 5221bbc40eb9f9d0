"""The labels of a person: each says once what shape and unit it has, and how it moves.

A label moves twice: when `prepare` crops the frame out of a picture, and when a stream crops,
scales, turns and mirrors what a network sees of the frame. A line in LABELS is enough to prepare,
crop, check and store a new label. `data.streams.person_labels` says which labels a stream gives.
"""

import dataclasses

import numpy as np

PIXELS = "pixels"  # the first two columns are x and y in the picture
SQUARE = "square"  # centre x, centre y and side of a square in the picture
INTRINSICS = "intrinsics"  # fx, fy, cx, cy; zeros if unknown
AXES = "axes"  # the first three columns are in the camera's axes (x right, y down, z forward)
POSE = "pose"  # rotation vectors of a body model, the first in the camera's axes
STAYS = "stays"  # nothing happens to it


@dataclasses.dataclass(frozen=True)
class Label:
    """What one label is.

    Attributes:
        shape: of the array; None for any length, of which 0 means that nothing is annotated. ()
            for a text.
        unit: of its numbers.
        moves: one of the words above.
        named: whether its rows are those of the dataset's KEYPOINTS.
    """

    shape: tuple[int | None, ...]
    unit: str
    moves: str = STAYS
    named: bool = False

    @property
    def columns(self) -> int:
        """The number of columns of a label of any length; 1 for a list of numbers."""
        return self.shape[1] if len(self.shape) > 1 else 1


LABELS = {
    "keypoints": Label((None, 3), "pixels, confidence", PIXELS, named=True),
    "joints": Label((None, 4), "metres, confidence", AXES, named=True),
    "pose": Label((None, 3), "radians", POSE),
    "betas": Label((None,), "shape parameters of the body model"),
    "vertices": Label((None, 3), "metres", AXES),
    "crop": Label((3,), "pixels", SQUARE),  # that is cropped by convention
    "intrinsics": Label((4,), "pixels", INTRINSICS),
    "translation": Label((3,), "metres", AXES),  # of the body model; zeros if unknown
    # s, tx, ty: weak perspective in the crop, s * (X + t) in [-1, 1]; zeros if unknown.
    "camera": Label((3,), "of the crop"),
    "model": Label((), 'as "smpl" or "mano_right"'),
    "gender": Label((), '"neutral", "male" or "female"; "" if there is none'),
}


def cropped(label: Label, value, origin: np.ndarray, scale: np.ndarray):
    """Returns a label of a picture as a label of a frame cut out of it.

    Args:
        label: what it is.
        value: its numbers in the picture, or its text.
        origin: [2] x, y of the frame's corner in the picture.
        scale: [2] pixels of the frame for one of the picture, along x and y.
    """
    if label.moves not in (PIXELS, SQUARE, INTRINSICS):
        return value
    value = np.array(value, np.float64)
    if label.moves == INTRINSICS:
        if not value.any():
            return value
        return np.concatenate([value[:2] * scale, (value[2:] - origin) * scale])
    value[..., :2] = (value[..., :2] - origin) * scale
    if label.moves == SQUARE:
        value[2] *= scale[1]
    return value


def placed(label: Label, value: np.ndarray, placing, rows, joints):
    """Returns a label of a frame as a label of the picture that a network sees.

    Args:
        label: what it is; its crop and intrinsics are the placing's own.
        value: its numbers in the frame.
        placing: how the frame is cropped, turned and mirrored, a `person_augmentation.Placing`.
        rows: partner of each row of a named label on the other side of the body.
        joints: likewise of each joint of a pose.
    """
    assert label.moves not in (SQUARE, INTRINSICS), "the placing has them"
    if label.moves == POSE:
        return placing.pose(value, joints)
    value = np.array(value)
    if label.moves == PIXELS:
        value[:, :2] = placing.points(value[:, :2])
    if label.moves == AXES:
        value[..., :3] = value[..., :3] @ placing.turn.T
    return value[list(rows)] if label.named and placing.flipped else value

"""Reads 3DPW: people outdoors, filmed by a moving camera, with SMPL's pose and shape."""

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.data.storage import records
from crocohuman_jax.synthetic.graphics import rotations

OPTIONS = {"images": "imageFiles"}
LAYOUT = """\
DIR/imageFiles/<sequence>/image_00000.jpg                  the pictures (option images)
DIR/sequenceFiles/{train,validation,test}/<sequence>.npz   made from the published .pkl files by
                              `python -m crocohuman_jax.convert 3dpw --source=DIR --output=DIR`"""
KEYPOINTS = joint_names.PEOPLE
# The rows of poses2d. Neck and hips differ from the points of the same name in PEOPLE.
OPENPOSE = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle"),
    *("left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear"),
)
ENLARGE = 1.2  # side of the square / side of the keypoints' hull
SHAPES = {  # P people, N pictures
    "poses": ("P", "N", 72),
    "betas": ("P", 10),
    "trans": ("P", "N", 3),
    "genders": ("P",),
    "poses2d": ("P", "N", 3, len(OPENPOSE)),
    "campose_valid": ("P", "N"),
    "cam_poses": ("N", 4, 4),
    "cam_intrinsics": (3, 3),
}


def plain(content: Mapping) -> dict[str, np.ndarray]:
    """Returns a published sequence as plain arrays, as stored in <sequence>.npz.

    Args:
        content: the unpickled dict of a sequence; its values are lists of arrays.

    Returns:
        poses [P, N, 72], whose first three numbers rotate the root in the world; betas [P, 10];
        trans [P, N, 3] in metres; genders [P], "male" or "female"; poses2d [P, N, 3, 18], x, y and
        confidence; campose_valid [P, N] bool; cam_poses [N, 4, 4], camera from world;
        cam_intrinsics [3, 3].

    Raises:
        ValueError: an entry is missing or has another shape, or a gender is unknown.
    """
    missing = [name for name in SHAPES if name not in content]
    if missing:
        raise ValueError(
            f"This is not a sequence of 3DPW: it has no {', '.join(missing)}. Found: "
            f"{', '.join(content)}."
        )
    found = {}
    for name in SHAPES:
        try:
            values = content[name]
            if name == "betas":  # some sequences have more than ten
                values = [np.asarray(betas)[:10] for betas in values]
            elif name == "genders":
                values = [_gender(gender) for gender in values]
            kind = {"genders": None, "campose_valid": bool}.get(name, np.float64)
            found[name] = np.array(list(values), kind)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} of a sequence of 3DPW cannot be read: {error}.") from error
    _check(found)
    return found


def _gender(gender) -> str:
    text = gender.decode() if isinstance(gender, bytes) else str(gender)
    if text not in annotations.GENDERS:
        raise ValueError(f"a gender is {text!r}, but must be 'm' or 'f'")
    return annotations.GENDERS[text]


def _check(sequence: Mapping[str, np.ndarray]) -> None:
    """Raises a ValueError if the shapes of a sequence's arrays do not fit together."""
    sizes = dict(zip("PN", sequence["poses"].shape, strict=False))
    for name, axes in SHAPES.items():
        expected = tuple(sizes.get(axis, axis) for axis in axes)
        if sequence[name].shape != expected:
            raise ValueError(
                f"{name} of a sequence of 3DPW is {sequence[name].shape}, but must be {expected} "
                f"for poses of {sequence['poses'].shape}."
            )


def plan(settings) -> Plan:
    """Lists the people of all sequences; see `datasets`."""
    found = _files(settings.source)
    if not found:
        raise ValueError(f"{settings.source} has no sequence of 3DPW. Expected:\n{LAYOUT}")
    frames, rows, skips, splits = [], [], [], {}
    for split, path in found:
        sequence = annotations.arrays(path, tuple(SHAPES), (), LAYOUT)
        try:
            _check(sequence)
        except ValueError as error:
            raise ValueError(f"{path}: {error} Expected:\n{LAYOUT}") from error
        if path.stem in splits:
            raise ValueError(
                f"{path.stem} lies in sequenceFiles of both {splits[path.stem]} and {split}."
            )
        splits[path.stem] = split
        for person in range(len(sequence["poses"])):
            numbers, left_out = _kept(sequence, person)
            name = f"{path.stem}, person {person}"
            skips += [(name, f"{count} frames {why}") for why, count in left_out.items() if count]
            if not len(numbers):
                continue
            boxes, columns = _person(sequence, person, numbers)
            rows.append(columns)
            folder = f"{settings.options['images']}/{path.stem}"
            for number, box in zip(numbers.tolist(), boxes, strict=True):
                source = f"{folder}/image_{number:05d}.jpg"
                track = f"{path.stem}#{person}"
                frames.append(
                    Frame(source, path.stem, str(person), "camera", number, "", track, box)
                )
    columns = {name: np.concatenate([row[name] for row in rows]) for name in (rows or [{}])[0]}
    files = [path for _, path in found]
    return annotations.plan(settings, LAYOUT, frames, columns, splits, files, skips)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, _labels)


def _labels(frame: Frame, row: dict) -> dict:
    return annotations.spin_labels(frame, row) | {"intrinsics": row["intrinsics"]}


def _files(source: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Returns (split, path) of each sequence's file."""
    found = []
    for split in records.SPLITS:
        folder = source / "sequenceFiles" / split
        for pickled in sorted(folder.glob("*.pkl")):
            if not pickled.with_suffix(".npz").exists():
                raise ValueError(
                    f"{pickled} is a pickle, which can run code when it is opened. Convert it: "
                    f"python -m crocohuman_jax.convert 3dpw --source={source} --output={source}"
                )
        found += [(split, path) for path in sorted(folder.glob("*.npz"))]
    return found


def _kept(sequence: dict, person: int) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the picture numbers that the benchmark keeps, and {reason: number left out}."""
    valid = sequence["campose_valid"][person].astype(bool)
    seen = np.any(sequence["poses2d"][person, :, 2] > 0, axis=1)
    left_out = {
        "without a valid camera": int((~valid).sum()),
        "without keypoints": int((valid & ~seen).sum()),
    }
    return np.flatnonzero(valid & seen), left_out


def _person(sequence: dict, person: int, numbers: np.ndarray) -> tuple[list, dict]:
    """Returns the squares around a person, and the columns of labels, one row per picture."""
    points = sequence["poses2d"][person, numbers].swapaxes(1, 2)  # [n, 18, 3]
    seen = points[..., 2:] > 0
    low = np.where(seen, points[..., :2], np.inf).min(1)
    high = np.where(seen, points[..., :2], -np.inf).max(1)
    boxes = annotations.squares((low + high) / 2, ENLARGE * (high - low).max(1))
    part = np.zeros((len(numbers), len(KEYPOINTS), 3), np.float32)
    rows = np.array(joint_names.positions(OPENPOSE, KEYPOINTS))
    part[:, rows[rows >= 0]] = np.where(seen, points, 0)[:, rows >= 0]
    pose = sequence["poses"][person, numbers].astype(np.float64)
    camera_from_world = sequence["cam_poses"][numbers, :3, :3]
    pose[:, :3] = rotations.to_vector(camera_from_world @ rotations.from_vector(pose[:, :3]))
    fx, cx, fy, cy = sequence["cam_intrinsics"][[0, 0, 1, 1], [0, 2, 1, 2]]
    count = len(numbers)
    return boxes, {
        "part": part,
        "pose": pose,
        "shape": np.tile(sequence["betas"][person], (count, 1)),
        "gender": np.full(count, sequence["genders"][person], "U6"),
        "intrinsics": np.tile([fx, fy, cx, cy], (count, 1)),
    }

"""EFT's fits of SMPL to people in COCO, and to those of MPII, LSP and others."""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from crocohuman_jax import joints
from crocohuman_jax.data import annotations, crop
from crocohuman_jax.data.datasets import Frame, Job, Plan, Sample
from crocohuman_jax.synthetic import rotations

OPTIONS = {
    "file": "COCO2014-Part-ver01.json",
    "split": "auto",  # train, validation or test; "auto" is what the file's name says
    "images": "train2014",
}
LAYOUT = """\
DIR/COCO2014-Part-ver01.json  (option file, as eft_fit/MPII_ver01.json) {"ver": ..., "data": [
                              {"imageName", "bbox_center" [2], "bbox_scale", "parm_pose"
                              [24, 3, 3], "parm_shape" [10], "parm_cam" [s, tx, ty], ...}]}
DIR/train2014/<imageName>     the pictures (option images)"""
KEYPOINTS = joints.PEOPLE
# People in the files, as their users counted them; the README says others, and for a time had the
# two names the wrong way round.
COUNTS = {"COCO2014-Part-ver01.json": 28_062, "COCO2014-All-ver01.json": 74_834}
SHAPES = {
    "bbox_center": (2,),
    "bbox_scale": (),
    "parm_pose": (24, 3, 3),
    "parm_shape": (10,),
    "parm_cam": (3,),
}
TOLERANCE = 1e-2  # of the matrices' orthogonality


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    path = annotations.locate(settings, LAYOUT)
    split = annotations.split_of(settings.options["split"], path.name)
    folder = pathlib.PurePosixPath(settings.options["images"])
    sources, rows, skips = [], [], []
    for number, item in enumerate(_people(path)):
        try:
            rows.append(_row(item))
            sources.append((folder / str(item["imageName"])).as_posix())
        except crop.Skip as skip:
            skips.append((f"{path.name}, person {number}", str(skip)))
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
    boxes = []
    if rows:
        side = annotations.PIXELS_OF_SCALE * columns.pop("bbox_scale")
        boxes = annotations.squares(columns.pop("bbox_center"), side)
        columns["parm_pose"] = rotations.to_vector(columns["parm_pose"]).astype(np.float32)
    frames = annotations.photos(sources, boxes)
    splits = {frame.sequence: split for frame in frames}
    return annotations.plan(settings, LAYOUT, frames, columns, splits, [path], skips)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, _labels)


def camera(theirs: np.ndarray) -> np.ndarray:
    """Returns EFT's cameras [..., 3], s * X + t, as ours, s * (X + t)."""
    scale = theirs[..., :1]
    return np.concatenate([scale, theirs[..., 1:] / scale], -1)


def _labels(frame: Frame, row: dict) -> dict:
    labels = {
        "crop": annotations.crop_of(frame.box),
        "model": str(row["smpltype"]),
        "gender": "neutral",
        "pose": row["parm_pose"],
        "betas": row["parm_shape"],
        "camera": camera(row["parm_cam"]),
    }
    if np.any(row["part"][:, 2] > 0):
        labels["keypoints"] = row["part"]
    return labels


def _people(path: pathlib.Path) -> list:
    """Returns the people of a file.

    Raises:
        ValueError: it is no such file, or not as long as the file of its name.
    """
    try:
        people = json.loads(path.read_bytes())["data"]
        if not isinstance(people, list):
            raise ValueError(f"data is a {type(people).__name__}, not a list")
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} holds no fits ({problem}). Expected:\n{LAYOUT}") from error
    expected = COUNTS.get(path.name, len(people))
    if len(people) != expected:
        part, everyone = COUNTS.values()
        raise ValueError(
            f"{path} has {len(people)} people, the file of this name {expected}: Part is the "
            f"{part} with all limbs annotated, All the {everyone} with six keypoints or more. "
            "EFT's README once gave the two names the wrong way round. If the file is whole and "
            "you want it, give it its right name, or one of your own (option file)."
        )
    return people


def _row(item: dict) -> dict[str, np.ndarray]:
    """Returns what is used of a person as arrays.

    Raises:
        crop.Skip: something is missing, of another shape, not finite or no rotation.
    """
    found = {}
    try:
        for name, shape in SHAPES.items():
            found[name] = np.array(item[name], np.float64)
            if found[name].shape != shape:
                raise crop.Skip(f"its {name} is {found[name].shape}, not {shape}")
            if not np.isfinite(found[name]).all():
                raise crop.Skip(f"its {name} holds numbers that are not finite")
        points = np.array(item.get("gt_keypoint_2d", np.zeros((24, 3))), np.float32)
        found["smpltype"] = np.array(item.get("smpltype", "smpl"), "U8")
        pathlib.PurePosixPath(item["imageName"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise crop.Skip(f"not a person as expected: {type(error).__name__}: {error}") from error
    pose = found["parm_pose"]
    if np.abs(pose @ pose.swapaxes(-1, -2) - np.eye(3)).max() > TOLERANCE:
        raise crop.Skip("its parm_pose are not rotations")
    if not found["parm_cam"][0] > 0:
        raise crop.Skip(f"its camera has a scale of {found['parm_cam'][0]:g}")
    if points.ndim != 2 or len(points) < 24 or points.shape[1] != 3:
        raise crop.Skip(f"its gt_keypoint_2d is {points.shape}, not (49, 3)")
    part = points[-24:].copy()  # after the 25 of OpenPose
    part[~(part[:, 2] > 0)] = 0
    return found | {"part": part}

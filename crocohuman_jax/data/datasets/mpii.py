"""Reads MPII Human Pose: photographs with 16 joints, from the JSON lists that pose networks use."""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample

OPTIONS = {
    "file": "annot/train.json",
    "split": "auto",  # train, validation or test; "auto" derives it from the file's name
    "images": "images",
}
LAYOUT = """\
DIR/annot/train.json          (option file) a list of people: image, joints [16, 2] and center [2]
                              in pixels counted from 1, joints_vis [16], scale (height / 200)
DIR/images/<image>            the pictures (option images)"""
KEYPOINTS = joint_names.PEOPLE
# MPII's 16 joints, by the names that SPIN has for them.
ORDER = (
    *("right_ankle", "right_knee", "right_hip_lsp", "left_hip_lsp", "left_knee", "left_ankle"),
    *("pelvis_mpii", "thorax_mpii", "neck_lsp", "head_top"),
    *("right_wrist", "right_elbow", "right_shoulder"),
    *("left_shoulder", "left_elbow", "left_wrist"),
)
# By convention the square's centre is lowered and the square enlarged, so that it shows the feet.
LOWER, LARGER = 15, 1.25


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    path = annotations.locate(settings, LAYOUT)
    split = annotations.split_of(settings.options["split"], path.name)
    folder = pathlib.PurePosixPath(settings.options["images"])
    sources, centers, sides, part, skips = [], [], [], [], []
    for number, item in enumerate(_people(path)):
        try:
            name, center, scale, points = _person(item)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"not a person as expected: {type(error).__name__}: {error}"
            skips.append((f"{path.name}, person {number}", reason))
            continue
        sources.append((folder / name).as_posix())
        centers.append(center)
        sides.append(scale * LARGER * annotations.PIXELS_OF_SCALE)
        part.append(points)
    frames = annotations.photos(sources, annotations.squares(np.array(centers), np.array(sides)))
    splits = {frame.sequence: split for frame in frames}
    columns = {"part": np.array(part)}
    return annotations.plan(settings, LAYOUT, frames, columns, splits, [path], skips)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, _labels)


def _labels(frame: Frame, row: dict) -> dict:
    if not np.any(row["part"][:, 2]):
        raise crop.Skip("none of its joints is seen")
    return annotations.spin_labels(frame, row)


def _people(path: pathlib.Path) -> list:
    try:
        people = json.loads(path.read_bytes())
        if not isinstance(people, list):
            raise ValueError(f"it holds a {type(people).__name__}, not a list")
    except ValueError as error:
        raise ValueError(f"{path} holds no list of people: {error}. Expected:\n{LAYOUT}") from error
    return people


def _person(item: dict) -> tuple[str, np.ndarray, float, np.ndarray]:
    """Returns a person's picture name, centre, scale, and joints [24, 3], in pixels from 0."""
    scale = float(item["scale"])
    center = np.array(item["center"], np.float64).reshape(2) - 1
    center[1] += LOWER * scale
    seen = np.array(item["joints_vis"], np.float64).reshape(len(ORDER), 1) > 0
    points = np.array(item["joints"], np.float64).reshape(len(ORDER), 2) - 1
    part = np.zeros((len(KEYPOINTS), 3))
    rows = joint_names.positions(ORDER, KEYPOINTS)
    part[rows] = np.where(seen, np.hstack([points, seen]), 0)
    return str(item["image"]), center, scale, part

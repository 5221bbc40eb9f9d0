"""Reads Human3.6M's extracted pictures, with joints, and pose and shape if the file has them."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample

OPTIONS = {
    "file": "h36m_train.npz",
    "images": "",  # the folder that imgname is relative to
    "protocol": 1,  # 2 keeps only the frontal camera and the test subjects
}
LAYOUT = """\
DIR/NAME.npz (option file)    imgname [N], center [N, 2], scale [N] (the square's side / 200); S
                              [N, J, 4] (metres, known) and part [N, J, 3] (J: 24 joints of SPIN or
                              17 of mmpose); optionally pose [N, 72], shape [N, 10]
DIR/<imgname>                 the pictures, <subject>_<action>.<camera>_<frame>.jpg in any folder;
                              in DIR/FOLDER with option images=FOLDER"""
KEYPOINTS = joint_names.PEOPLE
# mmpose's 17 joints, by the names that SPIN has for the same points.
ORDER = (
    *("pelvis_mpii", "right_hip_lsp", "right_knee", "right_ankle", "left_hip_lsp", "left_knee"),
    *("left_ankle", "spine_h36m", "neck_lsp", "jaw_h36m", "head_h36m"),
    *("left_shoulder", "left_elbow", "left_wrist"),
    *("right_shoulder", "right_elbow", "right_wrist"),
)
NAME = re.compile(r"(S\d+)_(.+)\.(\d{8})_(\d+)\.\w+")
SUBJECTS = dict.fromkeys(("S1", "S5", "S6", "S7", "S8"), "train") | {"S9": "test", "S11": "test"}
FRONTAL = "60457274"


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    protocol = settings.options["protocol"]
    if protocol not in (1, 2):
        raise ValueError(f"Option protocol is {protocol}, but must be 1 or 2.")
    path = annotations.locate(settings, LAYOUT)
    names, boxes, columns = annotations.spin(path, LAYOUT, ORDER)
    folder = pathlib.PurePosixPath(settings.options["images"])
    frames, skips, kept, splits = [], [], [], {}
    for row, (name, box) in enumerate(zip(names, boxes, strict=True)):
        found = NAME.fullmatch(name.rpartition("/")[2])
        if not found or found[1] not in SUBJECTS:
            skips.append(
                (name, "not <subject>_<action>.<camera>_<frame>, of S1, 5, 6, 7, 8, 9, 11")
            )
            continue
        subject, action, camera, instant = found.groups()
        if protocol == 2 and (camera != FRONTAL or SUBJECTS[subject] != "test"):
            continue
        take = f"{subject}_{action}"
        splits[take] = SUBJECTS[subject]
        kept.append(row)
        frames.append(
            Frame(
                source=(folder / name).as_posix(),
                sequence=take,
                subject=subject,
                camera=camera,
                instant=int(instant),
                view_group=f"{take}@{int(instant)}",
                pose_group=f"{take}.{camera}",
                box=box,
            )
        )
    if names and not frames and not skips:
        raise ValueError(
            f"{path} has {len(names)} frames, but none of protocol 2: camera {FRONTAL}, subjects "
            "S9 and S11. Choose a file with such frames (option file), or set protocol=1."
        )
    columns = {name: values[kept] for name, values in columns.items()}
    plan_ = annotations.plan(settings, LAYOUT, frames, columns, splits, [path], skips)
    # If the user holds out a share, all pictures of a person go into the same split.
    owners = {frame.sequence: frame.subject for frame in frames}
    return dataclasses.replace(plan_, owners=owners)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, annotations.spin_labels)

"""Reads MPI-INF-3DHP's extracted pictures, with joints, and fits of SMPL if the file has them."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample

OPTIONS = {
    "file": "mpi_inf_3dhp_train.npz",
    "images": "",  # the folder that imgname is relative to
}
LAYOUT = """\
DIR/NAME.npz (option file)    imgname [N], center [N, 2], scale [N] (the square's side / 200); S
                              [N, J, 4] (metres, known) and part [N, J, 3] (J: 24 joints of SPIN or
                              17 of mmpose); optionally pose [N, 72], shape [N, 10]
DIR/<imgname>                 the pictures (in DIR/FOLDER with option images=FOLDER), one of
  S1/Seq1/imageFrames/video_0/frame_000001.jpg    S1_Seq1_Cam0_000001.jpg    to train
  mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg    TS1_000001.jpg   to test"""
KEYPOINTS = joint_names.PEOPLE
# mmpose's 17 joints (those of the test set), by the names that SPIN has for the same points.
ORDER = (
    *("head_h36m", "neck_lsp", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_hip_lsp", "right_knee", "right_ankle"),
    *("left_hip_lsp", "left_knee", "left_ankle", "pelvis_mpii", "spine_h36m", "jaw_h36m"),
)
NAMES = (
    re.compile(r"(?:.*/)?(S\d)/(Seq\d)/imageFrames/video_(\d+)/frame_(\d+)\.\w+"),
    re.compile(r"(?:.*/)?(S\d)_(Seq\d)_Cam(\d+)_(\d+)\.\w+"),
    re.compile(r"(?:.*/)?(TS\d)()()(?:/imageSequence/img)?_(\d+)\.\w+"),
)


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    path = annotations.locate(settings, LAYOUT)
    names, boxes, columns = annotations.spin(path, LAYOUT, ORDER)
    folder = pathlib.PurePosixPath(settings.options["images"])
    frames, skips, kept, splits = [], [], [], {}
    for row, (name, box) in enumerate(zip(names, boxes, strict=True)):
        found = next(filter(None, (form.fullmatch(name) for form in NAMES)), None)
        if not found:
            skips.append((name, "its name does not say whose take it is of: see the layout"))
            continue
        subject, take, camera, instant = found.groups()
        sequence = f"{subject}/{take}" if take else subject
        splits[sequence] = "train" if take else "test"
        kept.append(row)
        frames.append(
            Frame(
                source=(folder / name).as_posix(),
                sequence=sequence,
                subject=subject,
                camera=camera,
                instant=int(instant),
                view_group=f"{sequence}@{int(instant)}" if take else "",  # test: one camera
                pose_group=f"{sequence}.{camera}",
                box=box,
            )
        )
    columns = {name: values[kept] for name, values in columns.items()}
    plan_ = annotations.plan(settings, LAYOUT, frames, columns, splits, [path], skips)
    # If the user holds out a share, all pictures of a person go into the same split.
    owners = {frame.sequence: frame.subject for frame in frames}
    return dataclasses.replace(plan_, owners=owners)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, annotations.spin_labels)

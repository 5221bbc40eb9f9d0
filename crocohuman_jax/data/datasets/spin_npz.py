"""Reads people listed in a file in SPIN's format: squares, 24 joints, SMPL's pose and shape."""

import pathlib
from collections.abc import Iterator

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Job, Plan, Sample

OPTIONS = {
    "file": "",  # the annotations, as coco_2014_train.npz
    "split": "auto",  # train, validation or test; "auto" derives it from the file's name
    "images": "",  # the folder that imgname is relative to
    "fits": "",  # .npy file of poses and shapes [N, 82], for people without them
}
LAYOUT = """\
DIR/NAME.npz (option file)    imgname [N], center [N, 2], scale [N] (the square's side / 200); and
                              optionally part [N, 24, 3] (x, y, seen), S [N, 24, 4] (metres, seen),
                              pose [N, 72], shape [N, 10], has_smpl [N], gender [N]
DIR/<imgname>                 the pictures; in DIR/FOLDER with option images=FOLDER
DIR/NAME.npy (option fits)    poses and shapes [N, 82] for rows without their own"""
KEYPOINTS = joint_names.PEOPLE


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    path = annotations.locate(settings, LAYOUT)
    split = annotations.split_of(settings.options["split"], path.name)
    names, boxes, columns = annotations.spin(path, LAYOUT)
    files = [path]
    if settings.options["fits"]:
        files.append(settings.source / settings.options["fits"])
        columns |= _fitted(files[-1], columns, len(names))
    folder = pathlib.PurePosixPath(settings.options["images"])
    frames = annotations.photos([(folder / name).as_posix() for name in names], boxes)
    splits = {frame.sequence: split for frame in frames}
    return annotations.plan(settings, LAYOUT, frames, columns, splits, files)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, annotations.spin_labels)


def _fitted(path: pathlib.Path, columns: dict, count: int) -> dict[str, np.ndarray]:
    """Returns pose, shape and has_smpl; those that the columns lack come from the file of fits."""
    try:
        fits = np.load(path, allow_pickle=False)
        if fits.shape != (count, 82):
            raise ValueError(f"it is {list(fits.shape)}, not [{count}, 82]")
    except (ValueError, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{path} holds no fits: {error}. Expected:\n{LAYOUT}") from error
    had = columns.get("has_smpl", np.full(count, "pose" in columns)) > 0
    pose, shape = fits[:, :72].copy(), fits[:, 72:].copy()
    if "pose" in columns:
        pose[had] = columns["pose"][had]
        shape[had] = columns["shape"][had] if "shape" in columns else 0
    has_fit = np.any(fits != 0, axis=1)  # rows of zeros stand for no fit
    return {"pose": pose, "shape": shape, "has_smpl": had | has_fit}

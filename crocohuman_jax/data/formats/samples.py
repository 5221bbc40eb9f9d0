"""Defines what a dataset yields: people in pictures, before they are cropped."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import files
from crocohuman_jax.data import crop


@dataclasses.dataclass(frozen=True)
class Frame:
    """One person in one picture that has not been read yet.

    Attributes:
        source: path of the picture or video, relative to the source folder.
        sequence: name of the take or recording.
        subject: name of the person if a sequence shows several, else "".
        camera: name of the camera.
        instant: time, in the dataset's own units.
        view_group: name shared by the frames of one instant; "" for no group.
        pose_group: name shared by the frames of one camera and person; "" for no group.
        box: bounding box of the person; None for the whole picture.
    """

    source: str
    sequence: str
    subject: str
    camera: str
    instant: int
    view_group: str
    pose_group: str
    box: crop.Box | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """Frames that are read together; `extra` holds whatever the dataset needs to read them."""

    frames: tuple[Frame, ...]
    extra: Any = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """A frame with its picture and labels, or with the reason why it cannot be used.

    Attributes:
        frame: the frame.
        picture: the whole picture that contains the frame's box.
        silhouette: as large as the picture, 255 where there is a person; None if unknown.
        truth: ground truth, as `data.storage.synthetic_truth` writes it; None if there is none.
        labels: annotations, as `data.storage.labels` writes them, in pixels of the picture.
        fault: the reason why the frame is skipped; None if it is used.
    """

    frame: Frame
    picture: PIL.Image.Image | None = None
    silhouette: PIL.Image.Image | None = None
    truth: Mapping[str, np.ndarray] | None = None
    labels: Mapping[str, Any] | None = None
    fault: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Lists everything that a preparation will read.

    Attributes:
        jobs: the frames to read, in jobs.
        skips: (name, reason) of frames that are already known to be unusable.
        owners: {sequence: owner}; sequences of one owner are held out together. A sequence without
            an entry is held out on its own.
        splits: {sequence: split}, if the dataset defines its own splits.
        mark: a text that changes when the same list of frames would have other content.
        remarks: notes about missing data for which no frame is skipped; the manifest lists them.
    """

    jobs: tuple[Job, ...]
    skips: tuple[tuple[str, str], ...] = ()
    owners: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mark: str = ""
    remarks: tuple[str, ...] = ()


def people(entry: Any) -> dict[str, crop.Box]:
    """Returns {name: box} from the entry of a boxes file for one frame.

    Args:
        entry: a box [x0, y0, x1, y1], a list of boxes, or {name: box}.

    Raises:
        crop.Skip: there is no box, or several without names, which cannot be followed over time.
    """
    if isinstance(entry, dict):
        boxes = entry
    elif isinstance(entry, list) and entry and not isinstance(entry[0], list):
        boxes = {"": entry}
    elif isinstance(entry, list) and len(entry) <= 1:
        boxes = dict(zip([""], entry, strict=False))
    elif isinstance(entry, list):
        raise crop.Skip(
            f"{len(entry)} boxes without names: who is who from frame to frame is ambiguous. "
            'Name them, {"anna": [x0, y0, x1, y1], ...}'
        )
    else:
        raise crop.Skip(f"a box is [x0, y0, x1, y1] or {{name: box}}, not {entry!r}")
    if not boxes:
        raise crop.Skip("an empty list of boxes: nobody is there")
    for name, box in boxes.items():
        numbers = isinstance(box, list) and all(isinstance(v, int | float) for v in box)
        if not numbers or len(box) != 4:
            raise crop.Skip(f"the box of {name or 'the person'} is {box!r}, not [x0, y0, x1, y1]")
        if files.printable(str(name)) != str(name):
            raise crop.Skip(f"the name {name!r} holds half a character, which cannot be stored")
    return {str(name): tuple(map(float, box)) for name, box in boxes.items()}

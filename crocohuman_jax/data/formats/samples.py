"""What a dataset yields: people in pictures, before they are cropped."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import filenames
from crocohuman_jax.data import crop


@dataclasses.dataclass(frozen=True)
class Frame:
    """One person in one picture, before it is read.

    Attributes:
        source: the picture or video, relative to the source folder.
        sequence: the take or recording.
        subject: who, where several people have a track in one sequence.
        camera: which camera.
        instant: when, in units of the dataset.
        view_group: names the frames of the same instant; "" for none.
        pose_group: names the frames of the same camera and person; "" for none.
        box: the person in the picture, None for the whole picture.
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
    """Frames that are read together, from one file or several; `extra` is the dataset's own."""

    frames: tuple[Frame, ...]
    extra: Any = None


@dataclasses.dataclass(frozen=True)
class Sample:
    """What was read of a frame.

    Attributes:
        frame: of which one.
        picture: the whole picture, in which the frame's box lies.
        silhouette: of the picture's size, 255 where there is a person; None for unknown.
        truth: what else is known, as `data.storage.synthetic_truth` writes it; None for nothing.
        labels: what is annotated, as `data.storage.labels` writes it, in the picture's pixels.
        fault: the reason why the frame is skipped; None if it is not.
    """

    frame: Frame
    picture: PIL.Image.Image | None = None
    silhouette: PIL.Image.Image | None = None
    truth: Mapping[str, np.ndarray] | None = None
    labels: Mapping[str, Any] | None = None
    fault: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The jobs of a preparation.

    Attributes:
        jobs: what to read.
        skips: the frames given up before it, (name, reason).
        owners: {sequence: what is held out with it}; empty where each sequence stands alone.
        splits: {sequence: split}, if the dataset defines its own splits.
        mark: changes with what the same list of frames would show.
        remarks: what is missing without frames being skipped for it; the manifest lists them.
    """

    jobs: tuple[Job, ...]
    skips: tuple[tuple[str, str], ...] = ()
    owners: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mark: str = ""
    remarks: tuple[str, ...] = ()


def people(entry: Any) -> dict[str, crop.Box]:
    """Returns {name: box} from what a boxes file says of one frame.

    Args:
        entry: a box [x0, y0, x1, y1], a list of boxes, or {name: box}.

    Raises:
        crop.Skip: several boxes without names (nobody can tell whose track is whose), or no box.
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
        if filenames.printable(str(name)) != str(name):
            raise crop.Skip(f"the name {name!r} holds half a character, which cannot be stored")
    return {str(name): tuple(map(float, box)) for name, box in boxes.items()}

"""One module per dataset: where it lies and how its frames are read.

A dataset module has `OPTIONS` ({name: default}, what a user may set), `LAYOUT` (what it expects
to find in the source folder; "" if it needs none) and two functions, of `shards.Settings`:

    plan(settings) -> Plan               lists the jobs, cheaply; ValueError if there are none
    read(settings, job) -> iterator of Sample

It may have `LICENCE`, a text for the cards of models that learn from it, and `KEYPOINTS`, the names
of the joints it annotates: then its samples have labels. `SIZE` is the size of frames of whole
pictures where `prepare` names none and the usual one does not fit; it does not hold where an option
`box` asks for another crop than "picture".

`read` yields once for each of the job's frames, in their order. Everything else (crops, shards,
splits, progress, checks) is the same for all of them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image

from crocohuman_jax import filenames
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
        truth: what else is known, as `data.truth` writes it; None for nothing.
        labels: what is annotated, as `data.labels` writes it, in pixels of the whole picture.
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


# Size of frames and factor on boxes by default: to pre-train on; with labels, to fine-tune on
# pictures of 224. There, a crop that is scaled by 1.25 and turned by 45 degrees reaches
# 1.25 * 1.414 of the square.
_PAIRS = ("256", 1.25)
_LABELLED = ("400", 1.77)


def defaults(dataset, options: Mapping[str, Any]) -> tuple[str, float]:
    """Returns a dataset module's size of frames and factor on boxes where the user names none."""
    size, enlarge = _LABELLED if hasattr(dataset, "KEYPOINTS") else _PAIRS
    if options.get("box", "picture") == "picture":  # a smaller box is enlarged as any other
        size = getattr(dataset, "SIZE", size)
    return size, enlarge


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

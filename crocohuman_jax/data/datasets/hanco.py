"""Reads HanCo: hands seen by eight cameras, with joints and MANO's pose and shape."""

import functools
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.data.storage import records
from crocohuman_jax.synthetic.graphics import rotations

OPTIONS = {
    "images": "rgb",  # or the same hands with other backgrounds, see IMAGES
    "valid": True,  # use only frames whose fit of MANO was validated
    "masks": "mask_hand",  # folder of the masks; "" reads no masks
    "shapes": "shape",  # folder of MANO's fits; "" reads no fits
}
LAYOUT = """\
DIR/meta.json                         {is_train, subject_id, is_valid, has_fit}: for each sequence a
                                      list with one value for each frame
DIR/rgb/0000/cam0/00000000.jpg        the pictures by sequence, camera, frame; option images: rgb,
                                      rgb_merged, rgb_homo, rgb_color_auto, rgb_color_sample
DIR/mask_hand/0000/cam0/00000000.jpg  the masks (option masks)
DIR/calib/0000/00000000.json          {K: [8, 3, 3], M: [8, 4, 4] camera from world}
DIR/xyz/0000/00000000.json            [21, 3] metres in the world
DIR/shape/0000/cam0/00000000.json     61 numbers, MANO in the camera's axes; if it is missing,
DIR/shape/0000/00000000.json          {poses [48], shapes [10]} in the world's (option shapes)"""
KEYPOINTS = joint_names.HAND
SIZE = "224"  # the published pictures are crops of this size
IMAGES = ("rgb", "rgb_merged", "rgb_homo", "rgb_color_auto", "rgb_color_sample")
CAMERAS = 8
META = ("is_train", "subject_id", "is_valid", "has_fit")


def plan(settings) -> Plan:
    """Lists all frames that have a fit according to meta.json; see `datasets`."""
    options = settings.options
    if options["images"] not in IMAGES:
        raise ValueError(f"Unknown option images={options['images']}. Known: {', '.join(IMAGES)}.")
    path = settings.source / "meta.json"
    meta = _meta(path)
    for name in filter(None, (options["masks"], options["shapes"])):
        if not (settings.source / name).is_dir():
            raise ValueError(
                f"There is no folder {settings.source / name}. To read no masks or no fits, set "
                f"options masks= or shapes=. Expected:\n{LAYOUT}"
            )
    jobs, skips, owners = [], [], {}
    for number, known in enumerate(zip(*(meta[name] for name in META), strict=True)):
        sequence = f"{number:04d}"
        if not (settings.source / options["images"] / sequence).is_dir():
            skips.append((sequence, f"its folder in {options['images']} is missing"))
            continue
        kept, left_out = _kept(options, known)
        skips += [(sequence, f"{count} frames {why}") for why, count in left_out.items() if count]
        subjects = known[META.index("subject_id")]
        if subjects and subjects[0] is not None:
            owners[sequence] = str(subjects[0])
        jobs += [Job(_frames(options, sequence, instant, subjects[instant])) for instant in kept]
    if not jobs:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skips[:10])
        raise ValueError(f"No frame of {path} can be used.{reasons}\nExpected:\n{LAYOUT}")
    return Plan(tuple(jobs), tuple(skips), owners=owners, mark=records.digest(path))


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the pictures of all cameras at one instant; see `datasets`."""
    masks = settings.options["masks"]
    # All cameras of an instant share the same annotation files.
    load = functools.cache(lambda name: _content(settings.source / name))
    labels = functools.partial(_labels, settings.options["shapes"], load)

    def mask(frame: Frame) -> pathlib.Path | None:
        return settings.source / masks / _place(frame, True, "jpg") if masks else None

    return annotations.read_hands(settings, Job(job.frames, {}), labels, mask)


def _meta(path: pathlib.Path) -> dict[str, list[list]]:
    """Returns the lists of meta.json, {name: [value of each frame] of each sequence}."""
    try:
        content = json.loads(path.read_text())
        missing = [name for name in META if name not in content]
        if missing:
            raise ValueError(f"it has no {', '.join(missing)}")
        lengths = {name: [len(frames) for frames in content[name]] for name in META}
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}. Expected:\n{LAYOUT}") from error
    for name, mine in lengths.items():
        first = lengths[META[0]]
        if len(mine) != len(first):
            raise ValueError(
                f"{path}: {META[0]} has {len(first)} sequences, {name} {len(mine)}, but both must "
                "list the same sequences. Download it again."
            )
        odd = next((i for i in range(len(mine)) if mine[i] != first[i]), None)
        if odd is not None:
            raise ValueError(
                f"{path}: sequence {odd} has {first[odd]} frames in {META[0]}, {mine[odd]} in "
                f"{name}, but both must list the same frames. Download it again."
            )
    return content


def _kept(options, known: tuple[list, ...]) -> tuple[list[int], dict[str, int]]:
    """Returns the instants of a sequence that are used, and {reason: number of unused instants}."""
    is_train, _, is_valid, has_fit = known
    fits, why = (is_valid, "without a validated fit")
    if not options["valid"]:
        fits, why = (has_fit, "without a fit")
    pictured = [True] * len(fits) if options["images"] == IMAGES[0] else is_train
    kept = [i for i in range(len(fits)) if fits[i] and pictured[i]]
    plain = sum(bool(fits[i] and not pictured[i]) for i in range(len(fits)))
    none = sum(not fit for fit in fits)
    return kept, {why: none, "not before a green screen, so only in rgb": plain}


def _frames(options, sequence: str, instant: int, subject) -> tuple[Frame, ...]:
    """Returns the frames of all cameras at one instant."""
    return tuple(
        Frame(
            source=f"{options['images']}/{sequence}/cam{camera}/{instant:08d}.jpg",
            sequence=sequence,
            subject=str(subject),
            camera=str(camera),
            instant=instant,
            view_group=f"{sequence}@{instant}",
            pose_group=f"{sequence}.{camera}",
        )
        for camera in range(CAMERAS)
    )


def _place(frame: Frame, of_camera: bool, ending: str) -> str:
    """Returns the path, within a folder, of the file of a frame or of its instant."""
    camera = f"cam{frame.camera}/" if of_camera else ""
    return f"{frame.sequence}/{camera}{frame.instant:08d}.{ending}"


def _labels(shapes: str, load: Callable[[str], Any], frame: Frame, row: dict) -> dict:
    camera, instant = int(frame.camera), _place(frame, False, "json")
    name = f"calib/{instant}"
    calibration = load(name)
    intrinsics = _numbers(name, calibration, "K", (CAMERAS, 3, 3))[camera]
    turn, move = np.split(_numbers(name, calibration, "M", (CAMERAS, 4, 4))[camera, :3], [3], 1)
    name = f"xyz/{instant}"
    points = _numbers(name, load(name), None, (21, 3))
    labels = annotations.hand_labels(intrinsics, points @ turn.T + move.T)
    if not shapes:
        return labels
    name = f"{shapes}/{_place(frame, True, 'json')}"
    if load(name) is not None:
        fit = _numbers(name, load(name), None, (61,))
        return labels | annotations.mano_labels(fit[:48], fit[48:58])
    name = f"{shapes}/{instant}"
    pose = _numbers(name, load(name), "poses", (48,))
    pose[:3] = rotations.to_vector(turn @ rotations.from_vector(pose[:3]))
    return labels | annotations.mano_labels(pose, _numbers(name, load(name), "shapes", (10,)))


def _content(path: pathlib.Path) -> Any:
    """Returns the content of a JSON file, or None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise crop.Skip(f"{path.name} of {path.parent} cannot be read: {error}") from error


def _numbers(name: str, content: Any, key: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a file's array of the given shape, under a key or as a whole; drops axes of length 1.

    Raises:
        crop.Skip: there is no array, its shape is another, or its numbers are not all finite.
    """
    if content is None:
        raise crop.Skip(f"{name} is missing")
    try:
        values = np.array(content if key is None else content[key], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise crop.Skip(f"{name} holds no {key or 'array'}: {error}") from error
    if values.squeeze().shape != shape:
        raise crop.Skip(f"{name}: its {key or 'array'} is {list(values.shape)}, not {list(shape)}")
    if not np.isfinite(values).all():
        raise crop.Skip(f"{name}: its {key or 'array'} holds numbers that are not finite")
    return values.reshape(shape)

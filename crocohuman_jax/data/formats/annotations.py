"""Reads annotation files: squares around people, SPIN's arrays of joints and poses, and hands.

Positions are used as the files give them, in pictures as they are stored, without applying any EXIF
orientation. The same is done by pycocotools' example for COCO (scikit-image's imread) and by HRNet,
whose lists are in use, for COCO and MPII (OpenCV's IMREAD_IGNORE_ORIENTATION). Datasets differ in
whether a pixel's centre has whole or half coordinates and rarely say so; half a pixel is less than
the accuracy of annotations.
"""

import dataclasses
import itertools
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import PIL.Image

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.data.storage import records

SPLITS = {"train": "train", "val": "validation", "valid": "validation"}
SPLITS |= {name: name for name in ("validation", "test")}
PER_JOB = 32
LOOKED_FOR = 16  # number of pictures looked for before reading; at least one must exist
PIXELS_OF_SCALE = 200  # MPII's unit, which most datasets use: side = 200 * scale
LARGEST_SCALE = 50  # a larger median means that the file gives scales in pixels
COLUMNS = {  # arrays of SPIN's files: number of axes after the first
    "center": 1,
    "scale": 0,
    "part": 2,
    "S": 2,
    "pose": 1,
    "shape": 1,
    "has_smpl": 0,
    "gender": 0,
}
MASK_ABOVE = 127  # masks are lossy JPEG, so that black is not quite 0
GENDERS = {"m": "male", "f": "female", "male": "male", "female": "female"}


def locate(settings, layout: str) -> pathlib.Path:
    """Returns the path of the file that the option `file` names, in the source folder.

    Raises:
        ValueError: the option is empty, or there is no such file.
    """
    name = settings.options["file"]
    path = settings.source / name
    if name and path.is_file():
        return path
    found = sorted(
        path.relative_to(settings.source).as_posix()
        for pattern in ("*.npz", "*.json", "*/*.npz", "*/*.json")
        for path in settings.source.glob(pattern)
    )
    there = f" Found: {', '.join(found[:20])}." if found else ""
    problem = f"There is no {path}." if name else "Option file must name the annotation file."
    raise ValueError(f"{problem}{there} Expected:\n{layout}")


def split_of(option: str, name: str) -> str:
    """Returns the split that the option `split` names; "auto" derives it from the file's name.

    Raises:
        ValueError: the option is neither "auto" nor a split.
    """
    if option == "auto":
        words = re.split(r"[^a-z]+", pathlib.PurePath(name).stem.lower())
        return next((SPLITS[word] for word in words if word in SPLITS), "train")
    if option not in records.SPLITS:
        known = ", ".join(records.SPLITS)
        raise ValueError(f"Option split is {option!r}, but must be auto, {known}.")
    return option


def squares(centers: np.ndarray, sides: np.ndarray) -> list[crop.Box]:
    """Returns squares as boxes, given their centers [N, 2] and sides [N] in pixels."""
    half = np.asarray(sides, np.float64)[:, None] / 2
    centers = np.asarray(centers, np.float64).reshape(-1, 2)
    return [tuple(box) for box in np.hstack([centers - half, centers + half]).tolist()]


def photos(sources: Sequence[str], boxes: Sequence[crop.Box]) -> list[Frame]:
    """Returns frames of people in unrelated pictures; several people in a picture get numbers.

    Args:
        sources: the picture of each person, relative to the source folder.
        boxes: the square around each person.
    """
    seen: dict[str, int] = {}
    frames = []
    for source, box in zip(sources, boxes, strict=True):
        number = seen[source] = seen.get(source, 0) + 1
        subject = str(number) if number > 1 else ""
        frames.append(Frame(source, source, subject, "", 0, "", "", box))
    return frames


def plan(
    settings,
    layout: str,
    frames: Sequence[Frame],
    columns: Mapping[str, np.ndarray],
    splits: Mapping[str, str],
    files: Sequence[pathlib.Path],
    skips: Sequence[tuple[str, str]] = (),
    remarks: Sequence[str] = (),
) -> Plan:
    """Packs people into jobs; all people of one picture go into the same job.

    Args:
        settings: `pipeline.Settings`.
        layout: description of the source folder, for errors.
        frames: one for each person.
        columns: {name: [N, ...]} annotations of the people; `extra` of a job holds its rows.
        splits: {sequence: split}.
        files: the files that the annotations were read from.
        skips: (name, reason) of people who are already known to be unusable.
        remarks: see `Plan`.

    Raises:
        ValueError: nobody can be used, or none of LOOKED_FOR evenly spread pictures exists.
    """
    if not frames:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skips[:10])
        raise ValueError(f"No person in {files[0]} can be used.{reasons}\nExpected:\n{layout}")
    spread = frames[:: -(-len(frames) // LOOKED_FOR)]
    paths = [settings.source / frame.source for frame in spread]
    if not any(_exists(path) for path in paths):
        raise ValueError(
            f"None of {len(paths)} pictures named in {files[0]} exists, for example {paths[0]}. "
            f"Set option images to the folder that contains them. Expected:\n{layout}"
        )
    first: dict[str, int] = {}
    for i, frame in enumerate(frames):
        first.setdefault(frame.source, i)
    order = np.array(sorted(range(len(frames)), key=lambda i: first[frames[i].source]))
    sorted_frames = [frames[i] for i in order]
    rows = {name: values[order] for name, values in columns.items()}
    jobs = []
    for start, end in itertools.pairwise(_cuts(sorted_frames)):
        extra = {name: values[start:end] for name, values in rows.items()}
        jobs.append(Job(tuple(sorted_frames[start:end]), extra))
    mark = " ".join(records.digest(path) for path in files)
    return Plan(tuple(jobs), tuple(skips), splits=splits, mark=mark, remarks=tuple(remarks))


def _exists(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long for a file; the person is skipped later
        return False


def _cuts(frames: list[Frame]) -> list[int]:
    """Returns the first index of each job, and the end; no job ends within a picture."""
    cuts = [0]
    for i in range(1, len(frames)):
        if i - cuts[-1] >= PER_JOB and frames[i].source != frames[i - 1].source:
            cuts.append(i)
    return [*cuts, len(frames)]


def read(
    settings, job: Job, labels: Callable[[Frame, dict], dict], named: bool = True
) -> Iterator[Sample]:
    """Reads the people of a job, opening each picture once.

    Args:
        settings: `pipeline.Settings`.
        job: see `plan`.
        labels: makes the labels of a frame from its row of the columns.
        named: whether file names come from the annotations; then the pictures must lie in the
            folder of the option `images`. False if the dataset numbers its pictures.
    """
    people = enumerate(job.frames)
    for source, group in itertools.groupby(people, key=lambda pair: pair[1].source):
        picture, fault = None, None
        try:
            path = _within_images(settings, source) if named else settings.source / source
            picture = crop.open_picture(path, upright=False)
        except crop.Skip as skip:
            fault = str(skip)
        for i, frame in group:
            if fault:
                yield Sample(frame, fault=fault)
                continue
            row = {name: values[i] for name, values in job.extra.items()}
            try:
                yield Sample(frame, picture, labels=labels(frame, row))
            except crop.Skip as skip:
                yield Sample(frame, fault=str(skip))


def _within_images(settings, source: str) -> pathlib.Path:
    images = pathlib.PurePosixPath(settings.options["images"])
    name = pathlib.PurePosixPath(source)
    name = name.relative_to(images) if name.is_relative_to(images) else name
    return crop.inside(settings, settings.source / images, str(name))


def crop_of(box: crop.Box) -> tuple[float, float, float]:
    """Returns centre x, y and side of a square box, which is how labels store it."""
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0


def arrays(path: pathlib.Path, needed: Sequence[str], wanted: Sequence[str], layout: str) -> dict:
    """Returns arrays of an npz file by their names; it never unpickles.

    Args:
        path: the file.
        needed: names of required arrays.
        wanted: names of optional arrays.
        layout: description of the source folder, for errors.

    Raises:
        ValueError: it is not an npz file, an array is missing, or one holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in needed if name not in file.files]
            if missing:
                raise ValueError(f"no {', '.join(missing)}. Found: {', '.join(file.files)}")
            return {name: file[name] for name in (*needed, *wanted) if name in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}. Expected:\n{layout}") from error


def spin(
    path: pathlib.Path, layout: str, order: Sequence[str] = ()
) -> tuple[list[str], list[crop.Box], dict[str, np.ndarray]]:
    """Reads an npz file in SPIN's format, or one with the same keys but fewer or reordered joints.

    Args:
        path: the npz file.
        layout: description of the source folder, for errors.
        order: names of the joints' rows, from `joint_names.PEOPLE`; () if the rows are all 24.

    Returns:
        The pictures' names, the squares, and the columns that `spin_labels` reads.

    Raises:
        ValueError: arrays are missing or have other shapes or lengths, or scales are in pixels.
    """
    found = arrays(path, ("imgname", "center", "scale"), tuple(COLUMNS)[2:], layout)
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in found["imgname"]]
    for name, axes in COLUMNS.items():
        if name in found and (found[name].ndim != 1 + axes or len(found[name]) != len(names)):
            raise ValueError(
                f"{path}: {name} is {list(found[name].shape)}, but must have {axes + 1} axes and "
                f"{len(names)} rows, one for each picture's name. Expected:\n{layout}"
            )
    typical = np.nanmedian(found["scale"]) if len(names) else 0
    if typical > LARGEST_SCALE:
        raise ValueError(
            f"{path}: its scales are about {typical:g}, so squares would have sides of "
            f"{PIXELS_OF_SCALE * typical:g} pixels. A scale must be the side / {PIXELS_OF_SCALE}. "
            "Files of 4D-Humans give scales in pixels and are not supported."
        )
    boxes = squares(found.pop("center"), PIXELS_OF_SCALE * found.pop("scale"))
    for name, columns in (("part", 3), ("S", 4)):
        if name in found:
            found[name] = _people(path, name, found[name], columns, order)
    for name, columns in (("pose", 72), ("shape", 10)):
        if name in found and found[name].shape[1] != columns:
            raise ValueError(f"{path}: {name} is {list(found[name].shape)}, not [N, {columns}].")
    del found["imgname"]
    return names, boxes, found


def _people(path: pathlib.Path, name: str, values: np.ndarray, columns: int, order) -> np.ndarray:
    """Returns joints [N, 24, columns] in the order of PEOPLE, zeros for joints without a row."""
    count = len(joint_names.PEOPLE)
    if values.shape[1:] == (count, columns):
        arranged = values.astype(np.float32)
    elif order and values.shape[1:] == (len(order), columns):
        arranged = np.zeros((len(values), count, columns), np.float32)
        arranged[:, joint_names.positions(tuple(order), joint_names.PEOPLE)] = values
    else:
        known = " or ".join(str(n) for n in sorted({count, len(order)} - {0}))
        raise ValueError(
            f"{path}: {name} is {list(values.shape)}, not [N, {columns}] for {known} joints each."
        )
    arranged[~(arranged[..., -1] > 0)] = 0  # unseen joints may have any position, even NaN
    return arranged


def spin_labels(frame: Frame, row: Mapping[str, np.ndarray]) -> dict:
    """Returns the labels of a row of `spin`; they have no pose if has_smpl is 0."""
    labels = {"crop": crop_of(frame.box)}
    for name, theirs in (("keypoints", "part"), ("joints", "S")):
        if theirs in row:
            labels[name] = row[theirs]
    if "pose" in row and row.get("has_smpl", 1):
        labels |= {"model": "smpl", "pose": row["pose"].reshape(-1, 3)}
        labels["betas"] = row.get("shape", np.zeros(0))
        gender = row.get("gender", "")
        gender = gender.decode() if isinstance(gender, bytes) else str(gender)
        labels["gender"] = GENDERS.get(gender, "neutral")
    return labels


def projected(points: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Returns pixels [..., n, 2] of points [..., n, 3] in cameras' axes; cameras are K [..., 3, 3].

    The pixels of points that are not in front of the camera are meaningless.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        found = points @ np.swapaxes(cameras, -1, -2)
        return found[..., :2] / found[..., 2:]


def hand_labels(camera: np.ndarray, points: np.ndarray) -> dict:
    """Returns the labels of a hand with all 21 joints annotated.

    Args:
        camera: K [3, 3].
        points: [21, 3] metres in the camera's axes.

    Raises:
        crop.Skip: a joint is not in front of the camera.
    """
    if np.any(points[:, 2] <= 0):
        raise crop.Skip("its joints are not all before the camera")
    seen = np.ones((len(points), 1))
    return {
        "joints": np.hstack([points, seen]),
        "keypoints": np.hstack([projected(points, camera), seen]),
        "intrinsics": camera[[0, 1, 0, 1], [0, 1, 2, 2]],
    }


def mano_labels(pose: np.ndarray, betas: np.ndarray) -> dict:
    """Returns the labels for MANO's pose [48], without its mean pose added, and shape [10]."""
    return {"model": "mano_right", "gender": "", "pose": pose.reshape(16, 3), "betas": betas}


def read_hands(
    settings,
    job: Job,
    labels: Callable[[Frame, dict], dict],
    mask: Callable[[Frame], pathlib.Path | None],
) -> Iterator[Sample]:
    """Reads the hands of a job; a hand without a box is cropped as its whole picture.

    Args:
        settings: `pipeline.Settings`.
        job: see `plan`.
        labels: see `read`; the entry `crop` is added here.
        mask: returns the path of the silhouette, or None if there is none.
    """
    for sample in read(settings, job, labels, named=False):
        if sample.fault:
            yield sample
            continue
        size = sample.picture.size
        box = sample.frame.box or crop.whole(size, 1.0, settings.fit)
        try:
            path = mask(sample.frame)
            silhouette = path and _mask(path, size)
        except crop.Skip as skip:
            yield Sample(sample.frame, fault=f"its mask {path.name}: {skip}")
            continue
        known = {**sample.labels, "crop": crop_of(box)}
        yield dataclasses.replace(sample, silhouette=silhouette, labels=known)


def _mask(path: pathlib.Path, size: tuple[int, int]) -> PIL.Image.Image:
    grey = crop.open_picture(path, upright=False).convert("L")
    if grey.size != size:
        raise crop.Skip(f"it is {grey.size} pixels, the picture {size}")
    return grey.point(lambda value: 255 if value > MASK_ABOVE else 0)

"""Reads EFT's fits of SMPL to people in the pictures of COCO, MPII, LSP and other datasets."""

import json
import logging
import pathlib
from collections.abc import Iterator

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.synthetic.graphics import rotations

log = logging.getLogger(__name__)

OPTIONS = {
    "file": "COCO2014-Part-ver01.json",
    "split": "auto",  # train, validation or test; "auto" derives it from the file's name
    "images": "train2014",
    "annotations": "",  # COCO's person_keypoints_train2014.json, for files without keypoints
}
LAYOUT = """\
DIR/COCO2014-Part-ver01.json  (option file, e.g. eft_fit/MPII_ver01.json) {"ver": ..., "data": [
                              {"imageName", "bbox_center" [2], "bbox_scale", "parm_pose"
                              [24, 3, 3], "parm_shape" [10], "parm_cam" [s, tx, ty], "annotId",
                              ...}]}, some with "gt_keypoint_2d" [49, 3]
DIR/annotations/person_keypoints_train2014.json   (option annotations) COCO's annotations, with the
                              keypoints of the people by annotId, if the file of fits has none
DIR/train2014/<imageName>     the pictures (option images)"""
KEYPOINTS = joint_names.PEOPLE
# Number of people in each file, as counted by its users. EFT's README gives other numbers, and once
# had the two names the wrong way round.
COUNTS = {"COCO2014-Part-ver01.json": 28_062, "COCO2014-All-ver01.json": 74_834}
SHAPES = {
    "bbox_center": (2,),
    "bbox_scale": (),
    "parm_pose": (24, 3, 3),
    "parm_shape": (10,),
    "parm_cam": (3,),
}
# COCO's 17 keypoints, by the names that SPIN has for them.
COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip_lsp", "right_hip_lsp"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
TOLERANCE = 1e-2  # largest accepted entry of |R R^T - I|


def plan(settings) -> Plan:
    """Lists the people of the file; see `datasets`."""
    path = annotations.locate(settings, LAYOUT)
    split = annotations.split_of(settings.options["split"], path.name)
    folder = pathlib.PurePosixPath(settings.options["images"])
    people, files = _people(path), [path]
    annotated = {}
    if settings.options["annotations"]:
        files.append(settings.source / settings.options["annotations"])
        annotated = _annotated(files[1], people)
    sources, rows, skips = [], [], []
    for number, item in enumerate(people):
        try:
            rows.append(_row(item, annotated))
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
    remarks = _remarks(path, rows)
    for remark in remarks:
        log.warning("%s", remark)
    return annotations.plan(settings, LAYOUT, frames, columns, splits, files, skips, remarks)


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the people of a job; see `datasets`."""
    return annotations.read(settings, job, _labels)


def camera(theirs: np.ndarray) -> np.ndarray:
    """Returns EFT's cameras [..., 3], which map X to s * X + t, in our form s * (X + t)."""
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
    """Returns the list of people in a file of fits.

    Raises:
        ValueError: it is not a file of fits, or its length is not the one expected for its name.
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
            f"{path} has {len(people)} people, but the file of this name should have {expected}: "
            f"Part has the {part} people with all limbs annotated, All the {everyone} with six "
            "keypoints or more. EFT's README once swapped the two names. If the file is complete, "
            "rename it to the other name or to one of your own (option file)."
        )
    return people


def _annotated(path: pathlib.Path, people: list) -> dict[int, np.ndarray]:
    """Returns {id: keypoints [24, 3]} of those COCO annotations that the people refer to.

    Raises:
        ValueError: it is not a file of COCO's keypoints, or none of the people refers to it.
    """
    wanted = {p["annotId"] for p in people if isinstance(p, dict) and _is_id(p.get("annotId"))}
    rows, found = joint_names.positions(COCO, KEYPOINTS), {}
    try:
        for item in json.loads(path.read_bytes())["annotations"]:
            if item["id"] not in wanted:
                continue
            points = np.array(item["keypoints"], np.float32).reshape(len(COCO), 3)
            part = np.zeros((len(KEYPOINTS), 3), np.float32)
            # 1 means annotated but hidden, 2 means visible; SPIN uses both.
            part[rows] = np.where(points[:, 2:] > 0, np.minimum(points, [np.inf, np.inf, 1]), 0)
            found[item["id"]] = part
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} holds no keypoints of COCO ({problem}). Set option annotations to the path of "
            f"person_keypoints_train2014.json, relative to the source folder. Expected:\n{LAYOUT}"
        ) from error
    if not found:
        raise ValueError(
            f"{path} has none of the {len(wanted)} annotations that the fits refer to by annotId. "
            "For fits to COCO2014, take person_keypoints_train2014.json."
        )
    return found


def _is_id(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _remarks(path: pathlib.Path, rows: list[dict]) -> list[str]:
    """Returns one line that counts the people without keypoints, or nothing if all have some."""
    silent = sum(not np.any(row["part"][:, 2] > 0) for row in rows)
    if not silent:
        return []
    return [
        f"{silent} of {len(rows)} people in {path.name} have no keypoints, so no term of keypoints "
        "in the picture: they are learned from by pose, shape and mesh alone. The fits to COCO "
        "refer to its annotations, which have keypoints: "
        "--options=annotations=annotations/person_keypoints_train2014.json."
    ]


def _row(item: dict, annotated: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns a person's arrays that are used; `annotated` is {id: COCO's keypoints}.

    Raises:
        crop.Skip: an array is missing, has another shape, is not finite or is not a rotation.
    """
    found = {}
    try:
        for name, shape in SHAPES.items():
            found[name] = np.array(item[name], np.float64)
            if found[name].shape != shape:
                raise crop.Skip(f"its {name} is {found[name].shape}, not {shape}")
            if not np.isfinite(found[name]).all():
                raise crop.Skip(f"its {name} holds numbers that are not finite")
        theirs = item.get("annotId") if _is_id(item.get("annotId")) else None
        points = item.get("gt_keypoint_2d", annotated.get(theirs, np.zeros((24, 3))))
        points = np.array(points, np.float32)
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
    part = points[-24:].copy()  # OpenPose's 25 keypoints come first
    part[~(part[:, 2] > 0)] = 0
    return found | {"part": part}

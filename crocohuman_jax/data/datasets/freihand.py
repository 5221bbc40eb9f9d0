"""Reads FreiHAND: single pictures of right hands, with joints and MANO's pose, shape and mesh."""

import json
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample

OPTIONS = {
    "versions": "gs+hom+sample+auto",  # versions of the training pictures' backgrounds
    "box": "picture",  # or "hull", a square around the joints
    "masks": "mask",  # folder of the training masks; "" reads no masks
    "evaluation": ".",  # folder of the evaluation set
}
LAYOUT = """\
DIR/training_{K,xyz,mano,verts}.json      lists of N: [3, 3]; [21, 3] and [778, 3] metres in the
                                          camera's axes; 61 numbers, the pose without MANO's mean
DIR/training/rgb/00000000.jpg             N pictures of each version: gs, hom, sample, auto
DIR/training/mask/00000000.jpg            N masks, the same for all versions (option masks)
DIR/evaluation_K.json                     and, optionally, evaluation_{xyz,mano,verts}.json
DIR/evaluation/rgb/00000000.jpg           pictures to test; if they and their JSON files lie in
                                          another folder: evaluation=../FreiHAND_pub_v2_eval"""
KEYPOINTS = joint_names.HAND
SIZE = "224"  # the published pictures are crops of this size
VERSIONS = ("gs", "hom", "sample", "auto")  # in the order of the files in training/rgb
BOXES = ("picture", "hull")
ENLARGE = 1.5  # side of the square / side of the joints' hull, to leave room for the flesh
SHAPES = {"K": (3, 3), "xyz": (21, 3), "mano": (61,), "verts": (778, 3)}
GAP = re.compile(r"[\s,]*")


def plan(settings) -> Plan:
    """Lists the training hands, each in all chosen versions, and the test hands; see `datasets`."""
    options, source = settings.options, settings.source
    chosen = options["versions"].split("+")
    unknown = [name for name in chosen if name not in VERSIONS]
    if unknown or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"Option versions is {options['versions']!r}, but must be different names joined by +, "
            f"as {'+'.join(VERSIONS)}. Known: {', '.join(VERSIONS)}."
        )
    if options["box"] not in BOXES:
        raise ValueError(f"Unknown option box={options['box']}. Known: {', '.join(BOXES)}.")
    evaluation = pathlib.PurePosixPath(options["evaluation"])
    path = source / evaluation / "evaluation_K.json"
    if options["evaluation"] != OPTIONS["evaluation"] and not path.exists():
        raise ValueError(f"There is no {path} (option evaluation). Expected:\n{LAYOUT}")
    plans = []
    if (source / "training_K.json").exists():
        masks = source / "training" / options["masks"]
        if options["masks"] and not masks.is_dir():
            raise ValueError(f"There is no folder {masks}. To read no masks, set option masks=")
        plans.append(_training(settings, sorted(map(VERSIONS.index, chosen))))
    if path.exists():
        plans.append(_evaluation(settings, evaluation))
    if not plans:
        raise ValueError(
            f"{source} has neither training_K.json nor evaluation_K.json. Expected:\n{LAYOUT}"
        )
    return Plan(
        jobs=tuple(job for part in plans for job in part.jobs),
        splits={name: split for part in plans for name, split in part.splits.items()},
        mark=" ".join(part.mark for part in plans),
    )


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the hands of a job; see `datasets`."""
    row, tables = job.extra
    folder = settings.options["masks"] and settings.source / "training" / settings.options["masks"]

    def mask(frame: Frame) -> pathlib.Path | None:
        part, _, number = frame.sequence.partition("/")
        return folder / f"{number}.jpg" if folder and part == "training" else None

    here = Job(job.frames, {name: values[row] for name, values in tables.items()})
    return annotations.read_hands(settings, here, _labels, mask)


def _labels(frame: Frame, row: dict) -> dict:
    camera = row["K"]
    labels = {"intrinsics": camera[[0, 1, 0, 1], [0, 1, 2, 2]]}
    if "xyz" in row:
        labels |= annotations.hand_labels(camera, row["xyz"])
    if "mano" in row:
        labels |= annotations.mano_labels(row["mano"][:48], row["mano"][48:58])
    if "verts" in row:
        labels["vertices"] = row["verts"]
    return labels


def _training(settings, versions: list[int]) -> Plan:
    """Lists the training hands; all versions of a hand share a sequence, and so a split."""
    tables, files = _tables(settings.source, "training", tuple(SHAPES))
    count, boxes = len(tables["K"]), _boxes(settings, tables, files[0])
    frames = [
        _frame(f"training/rgb/{i + count * version:08d}.jpg", f"training/{i:08d}", 0, boxes[i])
        for i in range(count)
        for version in versions
    ]
    return _packed(settings, frames, np.repeat(np.arange(count), len(versions)), tables, {}, files)


def _evaluation(settings, folder: pathlib.PurePosixPath) -> Plan:
    """Lists the test hands in the published order, which files of predictions have too."""
    tables, files = _tables(settings.source / folder, "evaluation", ("K",))
    boxes = _boxes(settings, tables, files[0])
    frames = [
        _frame(f"{folder / 'evaluation/rgb'}/{i:08d}.jpg", "evaluation", i, box)
        for i, box in enumerate(boxes)
    ]
    splits = {"evaluation": "test"}
    return _packed(settings, frames, np.arange(len(frames)), tables, splits, files)


def _frame(source: str, sequence: str, instant: int, box) -> Frame:
    return Frame(source, sequence, "", "", instant, "", "", box)


def _boxes(settings, tables: dict, file: pathlib.Path) -> list:
    """Returns each hand's box, or None for the whole picture."""
    if settings.options["box"] == "picture":
        return [None] * len(tables["K"])
    if "xyz" not in tables:
        raise ValueError(
            f"Option box=hull needs joints, but {file} comes without evaluation_xyz.json. Add that "
            "file or set box=picture."
        )
    points = annotations.projected(tables["xyz"], tables["K"])
    low, high = points.min(1), points.max(1)
    return annotations.squares((low + high) / 2, ENLARGE * (high - low).max(1))


def _packed(settings, frames: list, rows: np.ndarray, tables: dict, splits: dict, files) -> Plan:
    """Returns a plan whose jobs hold slices of the tables; all versions of a hand share a row."""
    found = annotations.plan(settings, LAYOUT, frames, {"row": rows}, splits, files)
    jobs = []
    for job in found.jobs:
        mine = job.extra["row"]
        few = {name: values[mine[0] : mine[-1] + 1] for name, values in tables.items()}
        jobs.append(Job(job.frames, (mine - mine[0], few)))
    return Plan(tuple(jobs), splits=splits, mark=found.mark)


def _tables(
    folder: pathlib.Path, part: str, needed: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], list[pathlib.Path]]:
    """Returns the tables {name: [N, ...]} of "training" or "evaluation", and their files."""
    paths = {name: folder / f"{part}_{name}.json" for name in SHAPES}
    missing = [path.name for name, path in paths.items() if name in needed and not path.exists()]
    if missing:
        raise ValueError(f"{folder} has no {', '.join(missing)}. Expected:\n{LAYOUT}")
    there = {name: path for name, path in paths.items() if path.exists()}
    tables = {name: _rows(path, SHAPES[name]) for name, path in there.items()}
    for name, values in tables.items():
        if len(values) != len(tables["K"]):
            raise ValueError(
                f"{paths['K']} has {len(tables['K'])} entries, {paths[name]} {len(values)}, but "
                "both must describe the same hands. Use files of the same release."
            )
    return tables, list(there.values())


def _rows(path: pathlib.Path, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a JSON list of arrays, decoded one by one because lists of meshes would fill 6 GB."""
    decode, rows = json.JSONDecoder().raw_decode, []
    try:
        text = path.read_text()
        at = GAP.match(text).end() + 1
        if text[at - 1 : at] != "[":
            raise ValueError(f"it begins with {text[:20]!r}, not with a list")
        while text[at := GAP.match(text, at).end()] != "]":
            value, at = decode(text, at)
            row = np.array(value, np.float32)
            if row.shape not in (shape, (1, *shape)):
                raise ValueError(f"entry {len(rows)} is {list(row.shape)}, not {list(shape)}")
            rows.append(row.reshape(shape))
    except IndexError as error:
        raise ValueError(f"{path} is cut off after {len(rows)} entries.") from error
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, at entry {len(rows)}: {error}.") from error
    return np.array(rows, np.float32).reshape(-1, *shape)

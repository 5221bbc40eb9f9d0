"""Prepares a folder: worker processes crop people and write parts, which are then put together.

A part is complete once its list of index rows exists, which is written last. So an interrupted
preparation continues with the missing parts and never writes a part twice.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet

from crocohuman_jax.configuration import files as files_lib
from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.configuration import registry
from crocohuman_jax.data import workers as workers_lib
from crocohuman_jax.data.formats.samples import Job, Plan
from crocohuman_jax.data.preparation import shard_writer
from crocohuman_jax.data.storage import labels, records, synthetic_truth

LARGEST_PART = 2048
MOST_ENLARGED = 100  # beyond this factor a person fills only a few pixels of the frame
HELD_OUT = 0.1
MANY = 20  # with at least this many sequences, whole sequences are held out
# Records besides the frames; each kind has its own folder.
ABOUT = {
    synthetic_truth.NAME: "What is known of the frames, in their order.",
    labels.NAME: "What is annotated of the people in the frames, in their order.",
}
WHO = ("source", "subject", "instant")  # together they identify a frame of the folder
MANIFEST_LISTS = 1000  # the manifest names this many skips and lone groups, and counts all


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a preparation: everything that it depends on, besides the files of the source.

    Attributes:
        dataset: name of a module in `data.datasets`.
        source: the folder to read.
        options: the dataset's own options.
        size: (height, width) of the frames.
        enlarge: factor by which a bounding box is enlarged.
        fit: crop of a picture without a box: "contain" (all of it, padded) or "cover" (no padding).
        quality: JPEG quality.
        held_out: share of the sequences or instants that is kept for validation. By default
            HELD_OUT, but 0 for a dataset with labels, because its published splits stay whole.
        held_out_by: "sequence", "instant", or "auto", see `assign_splits`.
        seed: random seed: selects the held-out sequences, and makes the synthetic people.
        follow_links: whether to read files outside the source folder that its links point to.

    Raises:
        ValueError: a value is out of range.
    """

    dataset: str
    source: pathlib.Path | None
    options: dict
    size: tuple[int, int] = (256, 256)
    enlarge: float = 1.25
    fit: str = "contain"
    quality: int = 90
    held_out: float | None = None
    held_out_by: str = "auto"
    seed: int = 0
    follow_links: bool = False

    def __post_init__(self):
        if self.held_out is None:
            object.__setattr__(self, "held_out", 0.0 if labelled(self.dataset) else HELD_OUT)
        if self.fit not in ("cover", "contain"):
            raise ValueError(f"--fit is {self.fit!r}, but must be 'cover' or 'contain'.")
        if self.held_out_by not in ("auto", "sequence", "instant"):
            raise ValueError(
                f"--held_out_by={self.held_out_by!r} must be 'auto', 'sequence' or 'instant'."
            )
        if not 0 <= self.held_out < 1:
            raise ValueError(f"--held_out is {self.held_out}, but must be in [0, 1).")
        if min(self.size) < 16:
            raise ValueError(f"--size is {self.size}, but each side needs 16 pixels or more.")
        options_lib.check_number("--quality", self.quality, least=1, most=100, whole=True)
        options_lib.check_number("--enlarge", self.enlarge, above=0, most=MOST_ENLARGED)
        options_lib.check_number("--seed", self.seed, least=0, whole=True)

    def as_json(self) -> dict:
        found = dataclasses.asdict(self) | {
            "source": self.source and str(self.source),
            "size": list(self.size),
        }
        if not self.follow_links:  # left out, as in folders prepared before this setting existed
            del found["follow_links"]
        return found


def prepare(
    settings: Settings, output: pathlib.Path, workers: int, progress: Callable[[int, int], None]
) -> dict:
    """Prepares a folder, or finishes a preparation that was interrupted.

    Args:
        settings: what to prepare.
        output: the folder to write.
        workers: number of processes; the frames are the same for any number.
        progress: called with (frames done since the last call, total number of frames).

    Returns:
        The manifest.

    Raises:
        ValueError: no frame of the source is usable, or the output folder is used for other data.
    """
    dataset = registry.find("data.datasets", settings.dataset)
    if dataset.LAYOUT and (settings.source is None or not settings.source.is_dir()):
        raise ValueError(f"--source={settings.source} is not a folder. Expected:\n{dataset.LAYOUT}")
    if not dataset.LAYOUT and settings.source is not None:
        raise ValueError(f"--dataset={settings.dataset} reads no folder: remove --source.")
    plan = dataset.plan(settings)
    splits = assign_splits(plan, settings)
    parts = _parts(plan.jobs)
    _claim(output, settings, plan)
    if (output / "manifest.json").exists():
        manifest = records.read_manifest(output)
        if "unboxed" not in manifest["counts"]:  # finished by an earlier version
            rows = pyarrow.parquet.read_table(output / "index.parquet", columns=list(WHO))
            manifest["counts"]["unboxed"] = _unboxed(settings, plan, rows.to_pylist())
        return manifest
    total = sum(len(job.frames) for job in plan.jobs)
    todo = [i for i in range(len(parts)) if not shard_writer.rows_path(output, i).exists()]
    progress(
        sum(len(job.frames) for i in set(range(len(parts))) - set(todo) for job in parts[i]), total
    )
    if workers > 1 and len(todo) > 1:
        with workers_lib.pool(workers) as pool:
            futures = [
                pool.submit(shard_writer.write, settings, output, i, parts[i], splits) for i in todo
            ]
            try:
                for future in concurrent.futures.as_completed(futures):
                    progress(future.result(), total)
            except concurrent.futures.BrokenExecutor as error:
                raise OSError(
                    "A worker was killed, perhaps because memory ran out. The finished parts are "
                    "kept: run the same command again with fewer --workers to continue."
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    else:
        for i in todo:
            progress(shard_writer.write(settings, output, i, parts[i], splits), total)
    return _assemble(settings, output, plan, len(parts))


def assign_splits(plan: Plan, settings: Settings) -> dict[str, str | int]:
    """Assigns a split to every sequence, and so decides what is kept for validation.

    "sequence" holds out whole sequences, together with those of the same owner in `Plan.owners`
    (as the takes of one person), so that held-out people are new. "instant" holds out the last
    instants of each sequence that has four or more (or one whole sequence, if none has). "auto"
    holds out sequences if there are MANY, else instants, so that training sees every sequence.

    If a dataset defines its own splits, they stay; --held_out takes a share of its training split.
    For datasets with labels "auto" holds out sequences.

    Returns:
        {sequence: "train", "validation", "test", or the first instant that is held out}.
    """
    instants: dict[str, set[int]] = {}
    members: dict[tuple[str, str], int] = {}
    for job in plan.jobs:
        for frame in job.frames:
            instants.setdefault(frame.sequence, set()).add(frame.instant)
            for group in {frame.view_group, frame.pose_group} - {""}:
                members[frame.sequence, group] = members.get((frame.sequence, group), 0) + 1
    splits: dict[str, str | int] = dict.fromkeys(instants, "train") | dict(plan.splits)
    published = labelled(settings.dataset)
    for name, split in plan.splits.items():
        if split != "train" or not published:
            instants.pop(name, None)
    if settings.held_out == 0 or not instants:
        return splits
    by_instant = settings.held_out_by == "instant" or (
        settings.held_out_by == "auto" and len(instants) < MANY and not published
    )
    if by_instant:
        for name, when in instants.items():
            last = max(2, math.ceil(settings.held_out * len(when)))
            if len(when) >= last + 2:
                splits[name] = sorted(when)[-last]
    if by_instant and {splits[name] for name in instants} != {"train"}:
        return splits
    paired = {name for (name, _), count in members.items() if count > 1 and name in instants}
    paired = paired or set(instants)  # no pairs: single pictures with labels
    owners = sorted({plan.owners.get(name, name) for name in paired})
    owners.sort(key=lambda name: hashlib.sha256(f"{settings.seed}/{name}".encode()).digest())
    count = 1 if by_instant else math.ceil(settings.held_out * len(owners))
    chosen = owners[: max(min(count, len(owners) - 1), 0)]  # leaves at least one to train on
    return {
        name: "validation" if plan.owners.get(name, name) in chosen and name in instants else split
        for name, split in splits.items()
    }


def labelled(dataset: str) -> bool:
    """Returns whether a dataset comes with labels, and so with published splits."""
    return hasattr(registry.find("data.datasets", dataset, "--dataset"), "KEYPOINTS")


def _parts(jobs: tuple[Job, ...]) -> list[list[Job]]:
    """Packs jobs into parts of similar size, the same for any number of workers."""
    total = sum(len(job.frames) for job in jobs)
    size = min(LARGEST_PART, max(16, math.ceil(total / 64)))
    parts: list[list[Job]] = []
    filled = size
    for job in jobs:
        if filled >= size:
            parts.append([])
            filled = 0
        parts[-1].append(job)
        filled += len(job.frames)
    return parts


def _claim(output: pathlib.Path, settings: Settings, plan: Plan) -> None:
    """Records the settings in the output folder, or checks that they match those recorded there."""
    listing = [repr(dataclasses.astuple(frame)) for job in plan.jobs for frame in job.frames]
    if not listing:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in plan.skips[:20])
        raise ValueError(f"No frame of {_origin(settings)} can be used:\n{reasons}")
    mine = settings.as_json() | {
        "frames": len(listing),
        "listing": hashlib.sha256("\n".join([*listing, plan.mark]).encode()).hexdigest(),
    }
    path = output / "preparation.json"
    if path.exists():
        theirs = json.loads(path.read_text())
        if settings.source is None:  # --fit has no effect on synthetic pictures
            theirs["fit"] = settings.fit
        changes = [
            f"{k}: {theirs.get(k)!r} -> {mine[k]!r}" for k in mine if theirs.get(k) != mine[k]
        ]
        if changes:
            raise ValueError(
                f"{output} holds another preparation, with other settings:\n  "
                + "\n  ".join(changes)
                + "\nChoose another --output, or remove that folder."
            )
    elif output.exists() and any(output.iterdir()):
        raise ValueError(
            f"{output} is not empty and holds no preparation. Choose another --output."
        )
    if (output / "manifest.json").exists():
        return
    (output / "parts").mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=2) + "\n")


def _assemble(settings: Settings, output: pathlib.Path, plan: Plan, count: int) -> dict:
    """Gives the shards the names that TFDS expects and writes index, metadata and manifest."""
    parts = [json.loads(shard_writer.rows_path(output, i).read_text()) for i in range(count)]
    skips = [list(skip) for skip in plan.skips] + [skip for part in parts for skip in part["skips"]]
    rows = [
        row for split in records.SPLITS for part in parts for row in part["rows"].get(split, [])
    ]
    if not rows:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in skips[:20])
        raise ValueError(f"No frame of {_origin(settings)} can be used:\n{reasons}")
    lone, unboxed = _number_groups(rows), {"unboxed": _unboxed(settings, plan, rows)}
    pyarrow.parquet.write_table(
        pa.Table.from_pylist(rows, schema=records.COLUMNS), output / "index.parquet"
    )
    files = {"index.parquet": _about(output / "index.parquet")}
    lengths = _lengths(parts)
    for name, features in shard_writer.kinds(settings).items():
        folder = output if name == records.NAME else output / name
        files |= _take_in(parts, output, folder, name)
        options = {} if name == records.NAME else {"name": name, "description": ABOUT[name]}
        records.write_metadata(folder, features, lengths[name], **options)
    for path in sorted(output.rglob("*.json")):
        if path.name in ("dataset_info.json", "features.json"):
            files[path.relative_to(output).as_posix()] = _about(path)
    content = "".join(
        files[name]["sha256"] for name in sorted(files) if not name.endswith("dataset_info.json")
    )
    manifest = {
        "settings": settings.as_json(),
        "size": list(settings.size),
        # Only for synthetic data: users know the licence of their own pictures.
        "licence": getattr(registry.find("data.datasets", settings.dataset), "LICENCE", ""),
        "keypoints": list(shard_writer.keypoints(settings)),
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
        "counts": _counts(rows) | {"skipped": len(skips), "lone groups": len(lone)} | unboxed,
        "skips": skips[:MANIFEST_LISTS],
        "lone_groups": lone[:MANIFEST_LISTS],
        "remarks": list(plan.remarks),
        "files": files,
    }
    with files_lib.whole(output / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.rmtree(output / "parts")
    return manifest


def _take_in(parts: list[dict], output: pathlib.Path, folder: pathlib.Path, name: str) -> dict:
    """Moves the parts' shards of one kind of records to where TFDS expects them.

    Returns:
        {path relative to the output: entry for the manifest}.
    """
    folder.mkdir(exist_ok=True)
    files = {}
    for split in records.SPLITS:
        filled = [i for i, part in enumerate(parts) if split in part["rows"]]
        for number, i in enumerate(filled):
            path = folder / records.shard_name(split, number, len(filled), name)
            part = shard_writer.shard_path(output, i, split, name)
            if part.exists():  # if not, an interrupted call has already moved it
                part.replace(path)
            files[path.relative_to(output).as_posix()] = parts[i]["files"][f"{split}.{name}"]
    return files


def _lengths(parts: list[dict]) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Returns {kind of records: {split: [(number of records, bytes) of each shard]}}."""
    found: dict[str, dict] = {name: {} for name in (records.NAME, *ABOUT)}
    for split in records.SPLITS:
        for name, lengths in found.items():
            shards = [
                (len(part["rows"][split]), part["files"][f"{split}.{name}"]["bytes"])
                for part in parts
                if f"{split}.{name}" in part["files"]
            ]
            if shards:
                lengths[split] = shards
    return found


def _about(path: pathlib.Path) -> dict:
    return {"sha256": records.digest(path), "bytes": path.stat().st_size}


def _origin(settings: Settings) -> str:
    return str(settings.source) if settings.source else f"--dataset={settings.dataset}"


def _number_groups(rows: list[dict]) -> list[str]:
    """Replaces groups' names by numbers, or -1 for groups of one frame, whose names it returns."""
    lone = []
    for kind in ("view_group", "pose_group"):
        sizes: dict[str, int] = {}
        for row in rows:
            if row[kind]:
                sizes[row[kind]] = sizes.get(row[kind], 0) + 1
        numbers = {}
        for name, size in sizes.items():
            if size > 1:
                numbers[name] = len(numbers)
            else:
                lone.append(f"{kind.removesuffix('_group')} {name.removesuffix('#')}")
        for row in rows:
            row[kind] = numbers.get(row[kind], -1)
    return lone


def _unboxed(settings: Settings, plan: Plan, rows: list[dict]) -> int:
    """Returns the number of frames whose picture has no bounding box for the person.

    Returns 0 for synthetic data and datasets with labels: their pictures are crops of a person.
    """
    if settings.source is None or shard_writer.keypoints(settings):
        return 0
    frames = (frame for job in plan.jobs for frame in job.frames if frame.box is None)
    whole = {tuple(getattr(frame, name) for name in WHO) for frame in frames}
    return sum(tuple(row[name] for name in WHO) in whole for row in rows)


def _counts(rows: list[dict]) -> dict:
    """Returns the numbers of frames and sequences, and of ordered pairs by kind and split."""
    counts: dict[str, int | dict] = {"frames": len(rows)}
    counts["sequences"] = len({row["sequence"] for row in rows})
    counts["silhouettes"] = sum(row["silhouette"] for row in rows)
    for split in records.SPLITS:
        mine = [row for row in rows if row["split"] == split]
        counts[split] = {"frames": len(mine)}
        for kind in ("view", "pose"):
            apart = "camera" if kind == "view" else "instant"  # must differ within a pair
            grouped = [row for row in mine if row[f"{kind}_group"] >= 0]
            alike = collections.Counter((row[f"{kind}_group"], row[apart]) for row in grouped)
            sizes = collections.Counter(row[f"{kind}_group"] for row in grouped)
            pairs = sum(n**2 for n in sizes.values()) - sum(n**2 for n in alike.values())
            counts[split][f"{kind} pairs"] = pairs
    return counts

"""Crops and writes the frames of one part of a preparation, completely or not at all."""

import dataclasses
import json
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from crocohuman_jax.configuration import registry
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import Frame, Job, Sample
from crocohuman_jax.data.storage import labels, records, synthetic_truth


def rows_path(output: pathlib.Path, number: int) -> pathlib.Path:
    """Returns the path of a part's list of index rows; it exists only if the part is complete."""
    return output / "parts" / f"{number:05d}.rows.json"


def shard_path(output: pathlib.Path, number: int, split: str, name: str) -> pathlib.Path:
    """Returns the path of a part's shard for one split; `name` is that of its kind of records."""
    return output / "parts" / f"{number:05d}.{split}.{name}"


def maps(settings) -> bool | None:
    """Returns True if ground truth is written with maps, False if without, None if not at all."""
    choice = settings.options.get("truth", "none")
    return None if choice == "none" else choice == "all"


def kinds(settings) -> dict[str, tfds.features.FeaturesDict]:
    """Returns {name: features} of each kind of records that a preparation writes, frames first."""
    found = {records.NAME: records.features(settings.size)}
    if maps(settings) is not None:
        found[synthetic_truth.NAME] = synthetic_truth.features(settings.size, maps(settings))
    if keypoints(settings):
        found[labels.NAME] = labels.features()
    return found


def keypoints(settings) -> tuple[str, ...]:
    """Returns the names of the joints that a dataset annotates, () for one without labels."""
    return getattr(registry.find("data.datasets", settings.dataset), "KEYPOINTS", ())


class Writers:
    """Writes the shards of a part: one for each kind of records and each split."""

    def __init__(self, settings, output: pathlib.Path, number: int):
        self.settings, self.output, self.number = settings, output, number
        self.kinds = kinds(settings)
        self.open: dict[tuple[str, str], records.ShardWriter] = {}

    def write(self, split: str, sample: Sample, box: crop.Box, row: dict) -> None:
        """Crops a frame and adds it to the shards of its split."""
        size, mask = self.settings.size, None
        if sample.silhouette is not None:
            mask = crop.cut(sample.silhouette, box, size) > 127
        image = crop.cut(sample.picture, box, size)
        frame = records.example(image, mask, self.settings.quality, row)
        self._shard(split, records.NAME).write(frame)
        if synthetic_truth.NAME in self.kinds:
            known = synthetic_truth.example(sample.truth, size, maps(self.settings))
            self._shard(split, synthetic_truth.NAME).write(known)
        if labels.NAME in self.kinds:
            here = labels.moved(sample.labels, box, size)
            self._shard(split, labels.NAME).write(labels.example(here))

    def _shard(self, split: str, name: str) -> records.ShardWriter:
        if (split, name) not in self.open:
            path = shard_path(self.output, self.number, split, name)
            self.open[split, name] = records.ShardWriter(_unfinished(path), self.kinds[name])
        return self.open[split, name]

    def close(self) -> None:
        for writer in self.open.values():
            writer.close()

    def finish(self) -> dict[str, dict]:
        """Gives the shards their final names; returns each one's entry for the manifest."""
        files = {}
        for split, name in self.open:
            path = shard_path(self.output, self.number, split, name)
            _unfinished(path).replace(path)
            about = {"sha256": records.digest(path), "bytes": path.stat().st_size}
            files[f"{split}.{name}"] = about
        return files


def write(
    settings, output: pathlib.Path, number: int, jobs: list[Job], splits: dict[str, str | int]
) -> int:
    """Writes the shards and rows of one part; returns the number of frames read.

    Args:
        settings: `pipeline.Settings`.
        output: the folder being prepared.
        number: number of the part.
        jobs: the jobs whose frames make up the part.
        splits: what `pipeline.assign_splits` returned.

    Raises:
        OSError: the part cannot be written, for example because the disk is full. Finished parts
            are kept.
    """
    writers = Writers(settings, output, number)
    try:
        try:
            rows, skips = _fill(writers, jobs, splits)
        finally:
            writers.close()
        content = {"files": writers.finish(), "rows": rows, "skips": skips}
        temporary = _unfinished(rows_path(output, number))
        temporary.write_text(json.dumps(content))
        temporary.replace(rows_path(output, number))
    except OSError as error:
        raise OSError(
            f"Part {number} cannot be written in {output / 'parts'}: {error}. The finished parts "
            "are kept: run the same command again to continue."
        ) from error
    return sum(map(len, rows.values())) + len(skips)


def _fill(writers: Writers, jobs: list[Job], splits: dict) -> tuple[dict[str, list], list]:
    """Writes the jobs' frames; returns the index rows of each split, and the skipped frames."""
    settings = writers.settings
    dataset = registry.find("data.datasets", settings.dataset)
    rows: dict[str, list] = {}
    skips = []
    for job in jobs:
        for sample in dataset.read(settings, job):
            frame = sample.frame
            try:
                fault = sample.fault or _label_fault(settings, sample)
                if fault:
                    raise crop.Skip(fault)
                box = _crop_box(settings, frame, sample.picture.size)
            except crop.Skip as skip:
                skips.append([_frame_name(frame), str(skip)])
                continue
            split = _split(splits[frame.sequence], frame.instant)
            row = _row(settings, frame, split, sample, box)
            writers.write(split, sample, box, row)
            rows.setdefault(split, []).append(row)
    return rows, skips


def _label_fault(settings, sample: Sample) -> str | None:
    if sample.labels is None:
        return "it has no labels" if keypoints(settings) else None
    return labels.fault(sample.labels, keypoints(settings))


def _unfinished(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name}.tmp")


def _crop_box(settings, frame: Frame, size: tuple[int, int]) -> crop.Box:
    aspect = settings.size[1] / settings.size[0]
    if frame.box is None:
        return crop.whole(size, aspect, settings.fit)
    return crop.around(frame.box, size, aspect, settings.enlarge)


def _frame_name(frame: Frame) -> str:
    return f"{frame.source} at {frame.instant}" + (f" ({frame.subject})" if frame.subject else "")


def _split(rule: str | int, instant: int) -> str:
    if isinstance(rule, str):
        return rule
    return "validation" if instant >= rule else "train"


def _row(settings, frame: Frame, split: str, sample: Sample, box: crop.Box) -> dict:
    row = dataclasses.asdict(frame)
    shown = crop.shown(box, sample.picture.size, settings.size)
    return row | {
        "dataset": settings.dataset,
        "split": split,
        "silhouette": sample.silhouette is not None,
        "box": np.asarray(box, np.float32).tolist(),
        "shown": np.asarray(shown, np.float32).tolist(),
    }

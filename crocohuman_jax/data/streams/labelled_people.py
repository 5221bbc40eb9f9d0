"""Streams of people with pose and shape, with one picture or two pictures of each person.

Folders hold either built-in people, with exact ground truth, or people of datasets with labels.
"""

import dataclasses
import functools
import logging
from collections.abc import Sequence

import grain
import numpy as np

from crocohuman_jax.body_models import form as form_lib
from crocohuman_jax.configuration import options
from crocohuman_jax.data import loader
from crocohuman_jax.data.storage import labels, records, synthetic_truth
from crocohuman_jax.data.streams import groups as groups_lib
from crocohuman_jax.data.streams import pairs, person_augmentation, person_labels

log = logging.getLogger(__name__)

LOOKED_AT = 16  # number of frames of a folder that are read to measure how large people are
SECONDS = ("none", "view", "pose", "same")
HELD_OUT_GAP = 5  # desired number of instants between the two pictures of a held-out pair


@dataclasses.dataclass(frozen=True)
class Source:
    """A prepared folder with the ground truth or labels of its frames."""

    frames: records.Frames
    notes: person_labels.Notes
    rows: np.ndarray  # rows of the frames that are used
    groups: groups_lib.Groups | None  # finds the second picture; None if it needs no group
    split: str


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one folder, as a random-access source."""

    folder: int
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[int, int]:
        return self.folder, int(self.rows[i])


class Draw(grain.transforms.RandomMap):
    """Makes all random choices about an element: its second picture, crops, colours and flip."""

    def __init__(
        self, sources: list[Source], change: person_augmentation.Change | None, second: str
    ):
        self.sources, self.change, self.second = sources, change, second

    def random_map(self, element: tuple[int, int], rng: np.random.Generator) -> dict:
        folder, row = element
        drawn = {"folder": folder, "row": row, "second": self._second(folder, row, rng)}
        count = 1 if drawn["second"] is None else 2
        if self.change is None:
            return drawn | {"flip": False, "changes": [person_augmentation.UNCHANGED] * count}
        flip = bool(rng.random() < self.change.flip)
        return drawn | {"flip": flip, "changes": [self.change.draw(rng) for _ in range(count)]}

    def _second(self, folder: int, row: int, rng: np.random.Generator) -> int | None:
        if self.second == "none":
            return None
        source, partners = self.sources[folder], np.zeros(0, int)
        if source.groups and source.groups.group[row] >= 0:
            partners = source.groups.partners(row)
        if not len(partners):  # as in COCO: the same picture with another augmentation
            return row
        if self.change is not None:
            return int(partners[rng.integers(len(partners))])
        if self.second == "view":
            return source.groups.other_camera(row)
        instant = source.frames.index["instant"]
        apart = np.abs(np.abs(instant[partners] - instant[row]) - HELD_OUT_GAP)
        return int(partners[apart.argmin()])


class Read(grain.transforms.Map):
    """Decodes and crops the pictures of an element, and transforms its labels to match."""

    def __init__(self, sources: list[Source], form: form_lib.Form, side: int):
        self.sources, self.form, self.side = sources, form, side

    def map(self, drawn: dict) -> dict:
        source = self.sources[drawn["folder"]]
        known = source.notes.read(drawn["row"])
        flipped = drawn["flip"] != known["mirrored"]
        placed = person_augmentation.place(known["crop"], drawn["changes"][0], flipped)
        element = person_labels.moved(known, placed, self.form)
        element["image"] = placed.picture(source.frames.read(drawn["row"], False)[0], self.side)
        element["color"] = np.stack([change["color"] for change in drawn["changes"]])
        element["row"] = np.int32(drawn["row"])
        element["folder"] = np.int32(drawn["folder"])
        if drawn["second"] is not None:
            other = source.notes.read(drawn["second"])
            placed = person_augmentation.place(other["crop"], drawn["changes"][1], flipped)
            frame = source.frames.read(drawn["second"], False)[0]
            element["second"] = placed.picture(frame, self.side)
        return element


def stack(elements: list[dict]) -> dict[str, np.ndarray]:
    """Returns the batch of some elements."""
    return {name: np.stack([e[name] for e in elements]) for name in elements[0]}


def open_sources(
    folders: Sequence[str],
    *,
    split: str,
    form: form_lib.Form,
    second: str,
    gap: tuple[int, int],
    fraction: float = 1.0,
    seed: int = 0,
) -> list[Source]:
    """Opens prepared folders for people of one body model.

    Args:
        folders: paths of the prepared folders.
        split: "train", "validation" or "test".
        form: the form of the body model.
        second: kind of the second picture: "none", "view" (another camera), "pose" (another
            instant) or "same" (the same picture).
        gap: smallest and largest distance of two instants.
        fraction: share of the frames that is used; with one seed, larger shares contain smaller.
        seed: random seed that selects these frames.

    Raises:
        ValueError: a folder has no ground truth or labels, or those of another body model, or a
            setting is invalid.
    """
    if second not in SECONDS:
        raise ValueError(f"Unknown config.data.second {second!r}. Known: {', '.join(SECONDS)}.")
    options.check_number("config.data.fraction", fraction, above=0, most=1)
    pairs.check_gap(gap)
    if not folders:
        raise ValueError(
            "config.data.folders is empty. Prepare a folder, for example with `python -m "
            "crocohuman_jax.prepare --dataset=synthetic`, and set --config.data.folders=DIR."
        )
    found = []
    for folder in folders:
        try:
            frames = records.Frames(folder)
            known = open_notes(frames, form)
        except ValueError as error:
            raise ValueError(f"config.data.folders: {error}") from error
        rows = np.flatnonzero((frames.index["split"] == split) & known.wanted(frames))
        groups = None
        if second in groups_lib.KINDS:
            groups = groups_lib.Groups(frames.index, split, second, gap)
        chosen = np.random.default_rng(seed).permutation(len(rows))
        chosen = np.sort(chosen[: max(round(fraction * len(rows)), min(1, len(rows)))])
        found.append(Source(frames, known, rows[chosen], groups, split))
    return found


def open_notes(frames: records.Frames, form: form_lib.Form) -> person_labels.Notes:
    """Returns the ground truth or labels of a folder's frames.

    Raises:
        ValueError: the folder has neither, or they are of another body model.
    """
    if (frames.folder / synthetic_truth.NAME).is_dir():
        return person_labels.Known(frames, form)
    if (frames.folder / labels.NAME).is_dir():
        return person_labels.Labelled(frames, form)
    raise ValueError(
        f"{frames.folder} has pictures of people, but neither ground truth nor labels. Prepare a "
        "dataset with labels, or --dataset=synthetic without --options=truth=none."
    )


def stream(
    sources: list[Source],
    *,
    form: form_lib.Form,
    side: int,
    change: person_augmentation.Change | None,
    second: str,
    weights: tuple[float, ...] = (),
    seed: int,
    count: int | None = None,
) -> loader.Stream:
    """Returns a stream of people from one or more folders, mixed.

    Args:
        sources: the folders, from `open_sources`.
        form: the form of the body model.
        side: side of the square pictures, in pixels.
        change: augmentation of the pictures; None for no augmentation.
        second: see `open_sources`.
        weights: weight of each folder; () weights folders by their numbers of frames.
        seed: random seed.
        count: None for an endless stream; else the number of frames (0 for all), which come once
            each. They are chosen at random, but are always the same.

    Raises:
        ValueError: no frame can be used, the weights are invalid, or hands would be mirrored.
    """
    pairs.check_weights(weights, len(sources))
    if count is not None:
        options.check_number("config.data.held_out_people", count, least=0, whole=True)
    if form.is_hand and change is not None and change.flip:
        raise ValueError(
            f"config.data.augment.flip is {change.flip}, but a mirrored right hand is a left hand, "
            "which the body model cannot represent. Set it to 0."
        )
    if not sum(_sizes(sources)):
        raise ValueError(_nobody(sources))
    for source in sources:
        if len(source.rows):
            _warn_of_room(source, side, change)
    ordered, total = _mixed(sources, weights, seed) if count is None else _some(sources, count)
    elements = ordered.seed(seed).random_map(Draw(sources, change, second))
    return loader.Stream(
        elements=elements.map(Read(sources, form, side)),
        collate=stack,
        epoch=total,
        fingerprint=loader.fingerprint(
            [source.frames.fingerprint for source in sources],
            [(i, "people", share) for i, share in enumerate(weights or _sizes(sources))],
        ),
    )


def _warn_of_room(source: Source, side: int, change: person_augmentation.Change | None) -> None:
    """Warns if frames have too few pixels, or too little margin, for the crops made from them."""
    frames = source.frames
    some = source.rows[np.linspace(0, len(source.rows) - 1, LOOKED_AT).astype(int)]
    square = float(np.median([source.notes.read(int(row))["crop"][2] for row in np.unique(some)]))
    margin = change.reach if change else 1.0
    room = max(frames.size) / square
    # If the square fills the whole frame, the source has no margin to offer.
    cornered = 1.01 < room < 0.99 * margin
    if square > 0.99 * side and not cornered:
        return
    # If the square fills the whole frame, only a larger --size can help.
    enlarge = max(margin, 1.0) if room > 1.01 else 1.0
    _warn_once(
        f"{frames.folder}: the squares around people are {square:.0f} px in frames of "
        f"{max(frames.size)} px, the pictures cut out of them {side} px: "
        + ("squares are enlarged" if square <= 0.99 * side else "")
        + (" and " if square <= 0.99 * side and cornered else "")
        + ("rotated and scaled crops have black corners" if cornered else "")
        + f". To avoid that: `prepare --size={-(-round(side * enlarge * 1.005) // 16) * 16}"
        + (f" --enlarge={enlarge:.2f}`" if enlarge > 1 else "`")
        + "."
    )


@functools.cache  # warns once, even if training and held-out people are in the same folder
def _warn_once(text: str) -> None:
    log.warning("%s", text)


def _sizes(sources: list[Source]) -> list[int]:
    return [len(source.rows) for source in sources]


def _nobody(sources: list[Source]) -> str:
    """Returns the error text for folders of which no frame in the split can be used."""
    folders = []
    for source in sources:
        splits, counts = np.unique(source.frames.index["split"], return_counts=True)
        there = ", ".join(f"{split} {n}" for split, n in zip(splits, counts, strict=True))
        folders.append(f"{source.frames.folder} (frames: {there})")
    return (
        f"{', '.join(folders)}: no frame of the split {sources[0].split!r} can be used. Choose "
        "another split, in `evaluate` with --split, or another folder."
    )


def _mixed(sources: list[Source], weights, seed: int) -> tuple[grain.MapDataset, int]:
    """Returns an endless stream of all folders' frames, and the number of frames."""
    parts = [Rows(i, source.rows) for i, source in enumerate(sources)]
    shares = list(weights) or [len(part) for part in parts]
    used = [(part, share) for part, share in zip(parts, shares, strict=True) if share * len(part)]
    if not used:
        raise ValueError(
            f"config.data.weights={tuple(weights)} leaves out every folder that has frames. Set "
            "the weight of such a folder above 0."
        )
    mixed = [
        grain.MapDataset.source(part).seed(seed + part.folder).shuffle().repeat()
        for part, _ in used
    ]
    total = sum(len(part) for part, _ in used)
    if len(mixed) == 1:
        return mixed[0], total
    return grain.MapDataset.mix(mixed, weights=[share for _, share in used]), total


def _some(sources: list[Source], count: int) -> tuple[grain.MapDataset, int]:
    """Returns at most `count` frames of all folders, each once, and the number of frames."""
    everyone = [(i, int(row)) for i, source in enumerate(sources) for row in source.rows]
    if 0 < count < len(everyone):
        chosen = np.sort(np.random.default_rng(0).permutation(len(everyone))[:count])
        everyone = [everyone[i] for i in chosen]
    return grain.MapDataset.source(everyone), len(everyone)

"""Streams of pairs of pictures: one instant from two cameras, or two instants from one camera.

Pairs are not stored. Each element is a frame, the target, which is masked and completed; its
reference is drawn from the frames of its group, so every epoch has new pairs in both directions.
"""

import dataclasses
import functools
import logging

import grain
import numpy as np

from crocohuman_jax.configuration import options
from crocohuman_jax.data import loader
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import groups as groups_lib
from crocohuman_jax.data.streams import held_out, live, masking, pair_augmentation

log = logging.getLogger(__name__)

# In frames this many times larger than the picture, two random crops may show different parts.
LARGE = 1.5


class NoPairs(ValueError):
    """Raised when a split has no pair."""


@dataclasses.dataclass(frozen=True)
class Targets:
    """The frames of one folder that have a partner of one kind, as a random-access source."""

    folder: int
    kind: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[int, str, int]:
        return self.folder, self.kind, int(self.rows[i])


class Draw(grain.transforms.RandomMap):
    """Makes all random choices about an element: reference, crops, colours, order of patches."""

    def __init__(
        self, groups, change: pair_augmentation.Augment, patches: int, strangers, aspect: float
    ):
        self.groups, self.change, self.patches = groups, change, patches
        self.strangers, self.aspect = strangers, aspect

    def random_map(self, element: tuple, rng: np.random.Generator) -> dict:
        folder, kind, row, *other = element  # only held-out elements include a reference
        if not other:
            partners = self.groups[folder, kind].partners(row)
            other = [int(partners[rng.integers(len(partners))])]
        drawn = {
            "folder": folder,
            "rows": (row, other[0]),
            "changes": [self.change.draw(rng, self.aspect) for _ in range(2)],
            "order": rng.random(self.patches),
        }
        if self.strangers is not None:
            drawn["stranger"] = self.strangers(folder, row, rng)
        return drawn


class Read(grain.transforms.Map):
    """Decodes and crops the pictures of an element, and finds the human patches of the target."""

    def __init__(
        self, folders: list, size: tuple[int, int], patch: int, min_fraction: float, moves
    ):
        self.folders, self.size, self.patch = folders, size, patch
        self.min_fraction, self.moves = min_fraction, moves

    def map(self, drawn: dict) -> dict:
        folder, (row, other) = drawn["folder"], drawn["rows"]
        first, second = drawn["changes"]
        target, silhouette = self._picture(folder, row, first)
        human = np.zeros(len(drawn["order"]), bool)
        if silhouette is not None:
            human = masking.human_patches(silhouette, self.patch, self.min_fraction)
        element = {
            "target": target,
            "reference": self._picture(folder, other, second, False)[0],
            "color": np.stack([first["color"], second["color"]]),
            "human": human,
            "known": silhouette is not None,
            "valid": self._valid(folder, row, first),
            "order": drawn["order"],
        }
        if "stranger" in drawn:
            element["unrelated"] = self._picture(*drawn["stranger"], second, False)[0]
        return element

    def _valid(self, folder: int, row: int, change: dict) -> np.ndarray:
        """Returns [N] bool: whether more than half of each patch shows the picture, not padding."""
        count = (self.size[0] // self.patch) * (self.size[1] // self.patch)
        index, (height, width) = self.folders[folder].index, self.folders[folder].size
        # Old folders have no column `shown` and count as unpadded; live frames have no padding.
        left, top, right, bottom = (
            index["shown"][row] if "shown" in index else (0, 0, width, height)
        )
        if left <= 0 and top <= 0 and right >= width and bottom >= height:
            return np.ones(count, bool)
        inside = np.zeros((height, width), bool)
        inside[round(top) : round(bottom), round(left) : round(right)] = True
        if self.moves:
            inside = pair_augmentation.warp(inside, change["corners"])
        inside = pair_augmentation.cut(inside, change["where"], self.size)
        return masking.human_patches(inside, self.patch, 0.5)

    def _picture(self, folder: int, row: int, change: dict, silhouette: bool = True):
        image, silhouette = self.folders[folder].read(row, silhouette)
        parts = [image] if silhouette is None else [image, silhouette]
        if self.moves:
            parts = [pair_augmentation.warp(part, change["corners"]) for part in parts]
        parts = [pair_augmentation.cut(part, change["where"], self.size) for part in parts]
        return parts[0], None if silhouette is None else parts[1]


def stream(
    folders: str,
    *,
    split: str,
    size: tuple[int, int],
    patch: int,
    mask: dict,
    change: pair_augmentation.Augment,
    kinds: dict[str, float],
    weights: tuple[float, ...],
    gap: tuple[int, int],
    min_fraction: float,
    seed: int,
    count: int | None = None,
) -> loader.Stream:
    """Returns a stream of pairs from one or more prepared folders, mixed.

    Args:
        folders: paths, comma-separated; PATH:view or PATH:pose takes only one kind of pairs from a
            folder; live?OPTIONS renders frames when they are needed, see `data.streams.live`.
        split: "train" or "validation".
        size: (height, width) of the pictures.
        patch: side of a patch in pixels.
        mask: arguments of `masking.Masking`.
        change: augmentation of the pictures.
        kinds: {"view": ..., "pose": ...}, weights of the kinds within a folder; 0 is off.
        weights: weight of each folder; () weights them by their numbers of frames with a partner.
        gap: smallest and largest distance of two instants of a pose pair; largest 0 is no limit.
        min_fraction: share of human pixels above which a patch is human.
        seed: random seed.
        count: number of `held_out` pairs, which ignore kinds, weights, gap and seed and have an
            `unrelated` picture of another sequence if there is one; None for an endless stream.

    Raises:
        NoPairs: no pair can be drawn.
        ValueError: frames are smaller than the pictures, or a setting is invalid.
    """
    options.check_number("config.data.min_fraction", min_fraction, least=0, below=1)
    frames, only = _open(folders, size, patch)
    groups, strangers = {}, None
    if count is None:
        groups, parts, shares, epoch = _parts(frames, only, split, kinds, weights, gap)
        ordered, drawn = _mixed(parts, shares, seed)
    else:
        # Held-out pairs depend on no setting of the run but their number.
        ordered, strangers = _held_out(frames, split, count), _strangers(frames, split)
        seed, epoch, drawn = 0, count, []
    grid, aspect = (size[0] // patch) * (size[1] // patch), frames[0].size[1] / frames[0].size[0]
    elements = ordered.seed(seed).random_map(Draw(groups, change, grid, strangers, aspect))
    elements = elements.map(Read(frames, size, patch, min_fraction, change.moves))
    collate = Collate(masking.Masking(grid, **mask))
    return loader.Stream(
        elements=elements,
        collate=collate,
        halves=(collate.begin, collate.finish) if collate.mask.varies else None,
        epoch=epoch,
        fingerprint=loader.fingerprint([folder.fingerprint for folder in frames], drawn),
    )


def _open(folders: str, size: tuple[int, int], patch: int) -> tuple[list, list[str]]:
    """Returns the opened folders, and for each the only kind of pairs to take, or "" for both."""
    named = [path.rpartition(":") for path in folders.split(",") if path]
    only = [kind if kind in groups_lib.KINDS else "" for _, _, kind in named]
    paths = [p if o else p + c + k for (p, c, k), o in zip(named, only, strict=True)]
    if not paths:
        raise ValueError(
            "config.data.folders is empty. Prepare a folder with `python -m "
            "crocohuman_jax.prepare` and set --config.data.folders=PREPARED."
        )
    # Live frames are a little larger than the pictures, which are random crops of them.
    larger = tuple(-(-side * 8 // (7 * patch)) * patch for side in size)
    try:
        frames = [
            live.open_frames(path, larger) if path.startswith(live.PREFIX) else records.Frames(path)
            for path in paths
        ]
    except ValueError as error:
        raise ValueError(f"config.data.folders: {error}") from error
    for folder in frames:
        if folder.size[0] < size[0] or folder.size[1] < size[1]:
            raise ValueError(
                f"The frames of {folder.folder} are {folder.size[0]}x{folder.size[1]} pixels, "
                f"smaller than the {size[0]}x{size[1]} of the model. Prepare them with "
                f"--size={max(size)} or more."
            )
        if folder.size[0] > LARGE * size[0] or folder.size[1] > LARGE * size[1]:
            _warn_of_size(folder.folder, folder.size, tuple(size))
    return frames, only


@functools.cache  # warns once, even if training and held-out pairs are in the same folder
def _warn_of_size(folder, frames: tuple[int, int], pictures: tuple[int, int]) -> None:
    log.warning(
        "The frames of %s are %dx%d pixels, the pictures cut from them only %dx%d, so the two "
        "pictures of a pair may hardly overlap. Prepare smaller frames: `prepare --size=%dx%d`.",
        *(folder, *frames, *pictures),
        *(round(1.14 * side) for side in pictures),
    )


def _parts(frames: list, only: list, split: str, kinds: dict, weights: tuple, gap: tuple):
    """Returns {(folder, kind): groups}, the sources of targets, their weights, and epoch length."""
    for kind in kinds:
        if kind not in groups_lib.KINDS:
            raise ValueError(
                f"config.data.kinds is {dict(kinds)}, but may only have weights for "
                f"{', '.join(groups_lib.KINDS)}."
            )
        options.check_number(f"config.data.kinds.{kind}", kinds[kind], least=0)
    check_weights(weights, len(frames))
    check_gap(gap)
    used = [kind for kind in groups_lib.KINDS if kinds.get(kind, 0) > 0]
    groups, parts, epoch = {}, [], 0
    for number, folder in enumerate(frames):
        mine = {}
        for kind in (kind for kind in used if only[number] in ("", kind)):
            groups[number, kind] = groups_lib.Groups(folder.index, split, kind, gap)
            rows = groups[number, kind].eligible()
            if len(rows):
                mine[kind] = Targets(number, kind, rows)
        paired = len(np.unique(np.concatenate([t.rows for t in mine.values()]))) if mine else 0
        share = weights[number] if weights else paired
        whole = sum(kinds[kind] for kind in mine)
        parts += [(target, share * kinds[kind] / whole) for kind, target in mine.items()]
        epoch += paired if share else 0
    parts = [(target, share) for target, share in parts if share > 0]
    if not parts:
        paths = ", ".join(str(folder.folder) for folder in frames)
        raise NoPairs(
            f"No {split} pair can be drawn from {paths} (kinds in use: {', '.join(used) or 'none'}"
            f"; gap {tuple(gap)}). A pair needs two frames of one group. `counts` in manifest.json "
            "has the numbers of pairs."
        )
    return groups, [target for target, _ in parts], [share for _, share in parts], epoch


def check_weights(weights: tuple, folders: int) -> None:
    """Raises a ValueError unless config.data.weights is empty or has a weight for each folder."""
    if not weights:
        return
    if len(weights) != folders:
        raise ValueError(
            f"config.data.weights has {len(weights)} weights for {folders} folders. Give one for "
            "each, or () to weight folders by their numbers of frames."
        )
    options.check_numbers("config.data.weights", weights, least=0)
    if not any(weights):
        raise ValueError(
            f"config.data.weights={tuple(weights)} leaves out every folder. Set one above 0."
        )


def check_gap(gap: tuple) -> None:
    """Raises a ValueError unless config.data.gap is a smallest and a largest distance in time."""
    options.check_numbers("config.data.gap", gap, 2, least=0, whole=True)
    if gap[0] < 1 or (gap[1] and gap[1] < gap[0]):
        raise ValueError(
            f"config.data.gap is {tuple(gap)}, but must be (smallest, largest), with smallest >= 1 "
            "and largest >= smallest, or 0 for no limit."
        )


def _mixed(parts: list[Targets], shares: list[float], seed: int) -> tuple[grain.MapDataset, list]:
    """Returns an endless mix of all parts' targets, and (folder, kind, weight) of each part."""
    drawn = [(p.folder, p.kind, share) for p, share in zip(parts, shares, strict=True)]
    mixed = [
        grain.MapDataset.source(part).seed(seed + i).shuffle().repeat()
        for i, part in enumerate(parts)
    ]
    return grain.MapDataset.mix(mixed, weights=shares) if len(mixed) > 1 else mixed[0], drawn


def _held_out(frames: list, split: str, count: int) -> grain.MapDataset:
    """Returns the held-out pairs, each as (folder, kind, target, reference)."""
    options.check_number("config.data.held_out_pairs", count, least=0, whole=True)
    if count == 0:
        raise NoPairs("config.data.held_out_pairs is 0, so nothing is measured on held-out pairs.")
    groups = {
        (number, kind): groups_lib.Groups(folder.index, split, kind, (1, 0))
        for number, folder in enumerate(frames)
        for kind in groups_lib.KINDS
    }
    found = held_out.pairs(groups, [folder.index["camera"] for folder in frames], count)
    if not found:
        paths = ", ".join(str(folder.folder) for folder in frames)
        raise NoPairs(f"{paths} have no {split} pair. `counts` in manifest.json has the numbers.")
    return grain.MapDataset.source(found)


class Collate:
    """Stacks elements into a batch, and selects equally many visible patches for each of them."""

    def __init__(self, mask: masking.Masking):
        self.mask = mask

    def __call__(self, elements: list) -> dict[str, np.ndarray]:
        """Returns the batch.

        Returns:
            target, reference (and unrelated): [B, H, W, 3] uint8. visible: [B, K] int32 and
            hidden: [B, N - K] int32, sorted. human: [B, N] bool, all True without a silhouette.
            valid: [B, N] bool, False where the target is padding, which no loss counts.
            color: [B, 2, 3, 2] float32, see `pixels.jitter`. counted: [B] float32, 0 for pairs
            that the loss leaves out; only with the mask's shortage "drop_pair".
        """
        return self.finish(*self.begin(elements))

    def begin(self, elements: list, devices: int = 1) -> tuple[dict, np.ndarray]:
        """Returns the batch before its visible patches are known, and its `Masking.measure`."""
        stacked = {name: np.stack([e[name] for e in elements]) for name in elements[0]}
        drawn = stacked["human"], stacked.pop("known"), stacked.pop("order")
        table = self.mask.measure(*drawn, devices)
        stacked |= {"ranked": self.mask.ranked(*drawn), "room": self.mask.room(*drawn[:2])}
        stacked["least"] = self.mask.least(*drawn[:2])
        stacked["human"][~drawn[1]] = True  # without a silhouette any patch may be human
        return stacked, table

    def finish(self, batch: dict[str, np.ndarray], table: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the complete batch; `table` has the rows of every host's `measure`."""
        ranked, room, least = (batch.pop(name) for name in ("ranked", "room", "least"))
        visible = masking.visible(ranked, self.mask.length(table))
        batch["visible"] = visible
        batch["hidden"] = masking.complement(visible, ranked.shape[1])
        if self.mask.shortage == "drop_pair":
            length = visible.shape[1]
            batch["counted"] = ((least <= length) & (length <= room)).astype(np.float32)
        return batch


def _strangers(frames: list[records.Frames], split: str):
    """Returns a function that draws a frame of another sequence, or None if there is only one."""
    rows = [np.flatnonzero(folder.index["split"] == split) for folder in frames]
    names = {
        (i, name)
        for i, (folder, mine) in enumerate(zip(frames, rows, strict=True))
        for name in folder.index["sequence"][mine]
    }
    if len(names) < 2:
        return None
    owner = np.repeat(np.arange(len(frames)), [len(mine) for mine in rows])
    everyone = np.concatenate(rows)

    def draw(folder: int, row: int, rng: np.random.Generator) -> tuple[int, int]:
        mine = frames[folder].index["sequence"][row]
        while True:
            i = rng.integers(len(everyone))
            other, candidate = int(owner[i]), int(everyone[i])
            if other != folder or frames[other].index["sequence"][candidate] != mine:
                return other, candidate

    return draw

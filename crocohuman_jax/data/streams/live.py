"""Renders frames at the moment they are needed: unlimited data for hosts with many cores.

`live?people=100000&views=8` in `config.data.folders` replaces a prepared folder of that many
people. Its options are those of `prepare --dataset=synthetic`, and seed, held_out and workers.
"""

import collections
import concurrent.futures
import functools
import hashlib
import os
import threading

import numpy as np

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.data import workers
from crocohuman_jax.data.datasets import synthetic
from crocohuman_jax.synthetic import takes

PREFIX = "live?"
DEFAULTS = synthetic.OPTIONS | {
    "people": 100000,
    "truth": "none",
    "patch": 1,  # frames need no whole patches, because smaller pictures are cut from them
    "seed": 0,
    "held_out": 0.01,  # share of the people kept for validation
    "workers": 0,  # rendering processes; 0 for one per core, 1 for none: loader threads render
}
CACHED = 8  # takes that a process keeps in memory, because their frames come in any order


class Frames:
    """Renders frames on request, with the interface of `records.Frames`.

    Args:
        text: "live?" and options joined by &, see DEFAULTS.
        size: (height, width) of the frames.

    Attributes:
        folder, size, index, fingerprint: as in `records.Frames`.

    Raises:
        ValueError: an option is unknown or out of range.
    """

    def __init__(self, text: str, size: tuple[int, int]):
        if not text.startswith(PREFIX):
            raise ValueError(f"{text!r} must have the form {PREFIX}people=1000&views=4.")
        words = text.removeprefix(PREFIX).replace("&", ",")
        options = vars(options_lib.parse(words, **DEFAULTS))
        seed, count = options.pop("seed"), options.pop("workers")
        held_out = options.pop("held_out")
        if not 0 <= held_out < 1:
            raise ValueError(f"Option held_out is {held_out}, but must be in [0, 1).")
        if count < 0:
            raise ValueError(f"Option workers is {count}, but must be 0 or more.")
        self.folder, self.size = text, tuple(size)
        self.recipe = synthetic.recipe(options, self.size, seed)
        takes.check_sources(self.recipe)
        self.index = _index(self.recipe, options["pairs"], held_out)
        about = repr((self.recipe, options["pairs"], held_out, takes.mark(self.recipe)))
        self.fingerprint = hashlib.sha256(about.encode()).hexdigest()
        self._workers, self._pool, self._lock = count or os.cpu_count(), None, threading.Lock()

    def __len__(self) -> int:
        return len(self.index["instant"])

    def read(self, row: int, silhouette: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns picture [H, W, 3] uint8 and silhouette [H, W] bool of a frame."""
        per_take = self.recipe.instants * self.recipe.views
        number, i = divmod(int(row), per_take)
        instant, view = divmod(i, self.recipe.views)
        if self._workers == 1:
            picture, mask = _render(self.recipe, number, instant, view)
        else:
            try:
                work = self._processes().submit(_render, self.recipe, number, instant, view)
                picture, mask = work.result()
            except concurrent.futures.BrokenExecutor as error:
                raise OSError(
                    f"A process that renders {self.folder} was killed, perhaps because memory ran "
                    "out. Use fewer processes, for example workers=4."
                ) from error
        return picture, mask if silhouette else None

    def _processes(self) -> concurrent.futures.ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = workers.pool(self._workers)
            return self._pool


@functools.lru_cache(4)
def open_frames(text: str, size: tuple[int, int]) -> Frames:
    """Returns the frames of a text; all callers share one object, with its index and processes."""
    return Frames(text, size)


def _render(recipe: takes.Recipe, number: int, instant: int, view: int):
    sequence = _sequences(recipe)[number]
    picture, truth = _record(recipe, sequence).frame(instant, view)
    return picture, truth["part"] > 0


_sequences = functools.lru_cache(4)(takes.Recipe.sequences)
_held: dict[tuple, takes.Take] = collections.OrderedDict()
_held_lock = threading.Lock()


def _record(recipe: takes.Recipe, sequence: tuple[int, int, str]) -> takes.Take:
    """Returns a take from the cache, or makes it and caches it for its other frames."""
    key = (recipe, sequence)
    with _held_lock:
        if key in _held:
            _held.move_to_end(key)
            return _held[key]
    recorded = takes.record(recipe, *sequence)
    with _held_lock:
        _held[key] = recorded
        while len(_held) > CACHED:
            _held.popitem(last=False)
    return recorded


def _index(recipe: takes.Recipe, pairs: str, held_out: float) -> dict[str, np.ndarray]:
    """Returns the columns of the index that `pairs` needs, one row per frame."""
    sequences = recipe.sequences()
    views, instants = recipe.views, recipe.instants
    number = np.repeat(np.arange(len(sequences)), instants * views)
    instant = np.tile(np.repeat(np.arange(instants), views), len(sequences))
    view = np.tile(np.arange(views), len(sequences) * instants)
    persons = np.array([person for person, _, _ in sequences])
    # The last people are held out, so that with more people those in training stay in training.
    first_held_out = recipe.people - int(np.ceil(held_out * recipe.people))
    split = np.where(persons >= first_held_out, "validation", "train").astype(object)
    none = np.full(len(number), -1)
    names = np.array([synthetic.name(*sequence) for sequence in sequences], object)
    return {
        "sequence": names[number],
        "camera": view,
        "instant": instant,
        "split": split[number],
        "view_group": none if pairs == "pose" or views < 2 else number * instants + instant,
        "pose_group": none if pairs == "view" or instants < 2 else number * views + view,
        "silhouette": np.ones(len(number), bool),
    }

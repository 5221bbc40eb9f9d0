"""Frames that are rendered when they are asked for: data without end for hosts of many cores.

`live?people=100000&views=8` in `config.data.folders` stands for a prepared folder of that many
people; the options are those of `prepare --dataset=synthetic`, with seed and workers besides.
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
from crocohuman_jax.synthetic import recording

PREFIX = "live?"
DEFAULTS = synthetic.OPTIONS | {
    "people": 100000,
    "truth": "none",
    "patch": 1,  # the frames are larger than the pictures that are cut from them
    "seed": 0,
    "held_out": 0.01,  # share of the people
    "workers": 0,  # processes that render; 0 for one per core, 1 for the loader's own threads
}
CACHED = 8  # takes that a process keeps; their frames are asked for in any order


class Frames:
    """What `records.Frames` is for a prepared folder, without the folder.

    Args:
        text: "live?" and options joined by &, see DEFAULTS.
        size: (height, width) of the frames.

    Attributes:
        folder, size, index, fingerprint: as in `records.Frames`.

    Raises:
        ValueError: an unknown option, or one out of range.
    """

    def __init__(self, text: str, size: tuple[int, int]):
        if not text.startswith(PREFIX):
            raise ValueError(f"Live frames are written {PREFIX}people=1000&views=4, not {text!r}.")
        words = text.removeprefix(PREFIX).replace("&", ",")
        options = vars(options_lib.parse(words, **DEFAULTS))
        seed, count = options.pop("seed"), options.pop("workers")
        held_out = options.pop("held_out")
        if not 0 <= held_out < 1:
            raise ValueError(f"Option held_out lies in [0, 1), not at {held_out}.")
        if count < 0:
            raise ValueError(f"Option workers is 0 or more, not {count}.")
        self.folder, self.size = text, tuple(size)
        self.recipe = synthetic.recipe(options, self.size, seed)
        recording.check_sources(self.recipe)
        self.index = _index(self.recipe, options["pairs"], held_out)
        about = repr((self.recipe, options["pairs"], held_out, recording.mark(self.recipe)))
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
                    f"A process that renders {self.folder} was killed, perhaps for want of memory: "
                    "use fewer, as workers=4."
                ) from error
        return picture, mask if silhouette else None

    def _processes(self) -> concurrent.futures.ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = workers.pool(self._workers)
            return self._pool


@functools.lru_cache(4)
def open_frames(text: str, size: tuple[int, int]) -> Frames:
    """Returns the frames of a text, the same to all who ask: one index, one pool of processes."""
    return Frames(text, size)


def _render(recipe: recording.Recipe, number: int, instant: int, view: int):
    sequence = _sequences(recipe)[number]
    picture, truth = _record(recipe, sequence).frame(instant, view)
    return picture, truth["part"] > 0


_sequences = functools.lru_cache(4)(recording.Recipe.sequences)
_held: dict[tuple, recording.Take] = collections.OrderedDict()
_held_lock = threading.Lock()


def _record(recipe: recording.Recipe, sequence: tuple[int, int, str]) -> recording.Take:
    """Returns a take, kept for the frames of it that are still to come."""
    key = (recipe, sequence)
    with _held_lock:
        if key in _held:
            _held.move_to_end(key)
            return _held[key]
    recorded = recording.record(recipe, *sequence)
    with _held_lock:
        _held[key] = recorded
        while len(_held) > CACHED:
            _held.popitem(last=False)
    return recorded


def _index(recipe: recording.Recipe, pairs: str, held_out: float) -> dict[str, np.ndarray]:
    """Returns the columns that `pairs` draws from, one row a frame."""
    sequences = recipe.sequences()
    views, instants = recipe.views, recipe.instants
    number = np.repeat(np.arange(len(sequences)), instants * views)
    instant = np.tile(np.repeat(np.arange(instants), views), len(sequences))
    view = np.tile(np.arange(views), len(sequences) * instants)
    persons = np.array([person for person, _, _ in sequences])
    # The last ones: a larger number of people then holds out other ones, but keeps the rest.
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

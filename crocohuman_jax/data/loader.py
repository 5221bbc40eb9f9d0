"""Turns a stream of examples into batches that are split over hosts and can resume anywhere."""

import concurrent.futures
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Iterator

import grain
import numpy as np

from crocohuman_jax.configuration import options as options_lib

MOST_THREADS = 1024  # a larger number is a typing error, and a host may not allow it
MOST_PREFETCHED = 1024  # batches; more do not fit into memory


@dataclasses.dataclass(frozen=True)
class Stream:
    """Examples ("elements") in their global order, and the function that makes a batch of them.

    Attributes:
        elements: a grain MapDataset: endless for training, of fixed length for evaluation. It makes
            every random choice about an element, so hosts only have to split it.
        collate: elements -> {name: array}, where the arrays' first axis is the batch.
        epoch: the number of elements after which each one was seen about once.
        fingerprint: changes when a folder's data or the share drawn from a folder changes.
        halves: None, or two functions that replace `collate` if the arrays' lengths depend on the
            elements of all hosts: (elements, number of devices that share them) -> (unfinished
            batch, [devices, C] small numbers), and (unfinished batch, [all devices, C]) -> batch.
    """

    elements: grain.MapDataset
    collate: Callable[[list], dict[str, np.ndarray]]
    epoch: int
    fingerprint: str
    halves: tuple[Callable, Callable] | None = None


def check_batch(batch_size: int, devices: int, hosts: int, accumulate: int = 1) -> None:
    """Raises a ValueError if the devices and hosts cannot share a global batch equally."""
    options_lib.check_number("config.accumulate", accumulate, least=1, whole=True)
    options_lib.check_number("config.batch_size", batch_size, least=1, whole=True)
    for count, what in ((devices * accumulate, "devices x accumulation"), (hosts, "hosts")):
        if batch_size % count:
            below, above = batch_size // count * count, (batch_size // count + 1) * count
            raise ValueError(
                f"A batch of {batch_size} does not divide over {count} {what} "
                f"(config.batch_size={batch_size}, config.accumulate={accumulate}). "
                f"The nearest sizes that do: {f'{below} and ' if below else ''}{above}."
            )


def check_reading(threads: int, prefetch: int) -> None:
    """Raises a ValueError if the number of threads or of prefetched batches is out of range."""
    options_lib.check_number("config.data.threads", threads, least=0, most=MOST_THREADS, whole=True)
    options_lib.check_number(
        "config.data.prefetch", prefetch, least=1, most=MOST_PREFETCHED, whole=True
    )


def check_epoch(batch_size: int, stream: Stream) -> None:
    """Raises a ValueError if a batch is larger than an epoch, so that it would repeat elements."""
    if batch_size > stream.epoch:
        raise ValueError(
            f"config.batch_size is {batch_size}, but an epoch of config.data.folders has "
            f"{stream.epoch} examples, so a batch would hold the same ones several times. Set "
            f"config.batch_size to {stream.epoch} or less, or prepare more data."
        )


class Interrupted(Exception):
    """Raised when reading was told to stop before a batch was complete."""


class Unless(grain.transforms.Map):
    """Passes elements on until an event is set, then raises `Interrupted`."""

    def __init__(self, *events: threading.Event):
        self.events = events

    def map(self, element):
        if any(event.is_set() for event in self.events):
            raise Interrupted
        return element


def fingerprint(folders: list[str], shares: list[tuple[int, str, float]]) -> str:
    """Returns the text for `Stream.fingerprint`: "FOLDER view=12 pose=12 + FOLDER pose=5".

    Args:
        folders: fingerprint of each folder.
        shares: (number of the folder, what is drawn from it, weight relative to the others).
    """
    return " + ".join(
        " ".join([one, *(f"{what}={share:g}" for n, what, share in shares if n == number)])
        for number, one in enumerate(folders)
    )


class Batches(Iterator):
    """Iterates endlessly over batches; each is this host's share of a global batch.

    Args:
        stream: the examples to batch.
        batch_size: number of elements in a global batch.
        host: this host's number.
        hosts: number of hosts that share each batch; batch k holds the same elements for any number
            of hosts.
        threads: number of decoding threads; 0 for one per core.
        prefetch: number of batches kept ready. One thread makes each batch, so at most this many
            threads run.
        start: number of batches to skip; skipping takes no time.
        stop: once it is set, no further element is read, and `next` raises `Interrupted` if the
            next batch is not ready. Without it the threads would finish their batches first.
        devices: number of this host's devices that split its share.
        gather: [devices, C] of this host -> the rows of all hosts, as an array whose transfer may
            still be running; needed with several hosts for a stream with `halves`.
    """

    def __init__(
        self,
        stream: Stream,
        batch_size: int,
        *,
        host: int = 0,
        hosts: int = 1,
        threads: int = 0,
        prefetch: int = 8,
        start: int = 0,
        stop: threading.Event | None = None,
        devices: int = 1,
        gather: Callable[[np.ndarray], np.ndarray] | None = None,
    ):
        self._closed = threading.Event()
        events = [self._closed] if stop is None else [self._closed, stop]
        local, collate = stream.elements[host::hosts].map(Unless(*events)), stream.collate
        self._finish, self._gather, self._ahead = None, gather, None
        if stream.halves:
            begin, finish = stream.halves
            if hosts == 1:  # no other host to ask: the threads finish their batches
                collate = functools.partial(_collate, begin, finish, devices)
            elif gather is None:
                raise ValueError(f"{hosts} hosts need `gather` to agree on the lengths in a batch.")
            else:
                collate, self._finish = functools.partial(begin, devices=devices), finish
        batched = local.batch(batch_size // hosts, drop_remainder=True, batch_fn=collate)
        threads = min(threads or os.cpu_count(), prefetch)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        self._iterator = iter(batched.to_iter_dataset(options))
        if start:
            self._iterator.set_state({"next_index": start})
        self.position = start

    def __next__(self) -> dict[str, np.ndarray]:
        if self._finish is None:
            batch = next(self._iterator)
        else:
            unfinished, gathered = self._ahead or self._begun()
            self._ahead = self._begun()
            batch = self._finish(unfinished, np.asarray(gathered))
        self.position += 1
        return batch

    def close(self) -> None:
        """Ends each thread after the element that it is reading."""
        self._closed.set()

    def _begun(self) -> tuple[dict, np.ndarray]:
        """Returns the next unfinished batch, and the numbers of all hosts, still being gathered.

        Devices run what they are given in order. Gathering starts one batch ahead, so it is queued
        before the current training step, and reading its result does not wait for that step. It is
        not started from the loader's threads, because all hosts must gather in the same order.
        """
        unfinished, own = next(self._iterator)
        return unfinished, self._gather(own)


def _collate(begin: Callable, finish: Callable, devices: int, elements: list) -> dict:
    return finish(*begin(elements, devices))


def evaluation(
    stream: Stream, batch_size: int, *, host: int = 0, hosts: int = 1, threads: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's share of a finite stream once, in batches of one size.

    Repeated elements fill up the last batch; `weight` [B] is 0 for repeated elements, else 1.
    """
    count = len(stream.elements)
    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for first in range(0, count, batch_size):
            mine = range(first + host, first + batch_size, hosts)
            chosen = list(pool.map(lambda i: stream.elements[i % count], mine))
            weight = np.array([i < count for i in mine], np.float32)
            yield stream.collate(chosen) | {"weight": weight}

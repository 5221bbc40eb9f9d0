"""Turns a stream of elements into batches, split over hosts, at a position that can be saved."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator

import grain
import numpy as np


@dataclasses.dataclass(frozen=True)
class Stream:
    """Elements in their global order, and how they become a batch.

    Attributes:
        elements: a grain MapDataset: endless for training, of fixed length for evaluation. Every
            random choice about an element is made in it, so that hosts only split it.
        collate: elements -> {name: array}, the arrays' first axis being the batch.
        epoch: the number of elements after which each one was seen about once.
        fingerprint: changes with the data.
    """

    elements: grain.MapDataset
    collate: Callable[[list], dict[str, np.ndarray]]
    epoch: int
    fingerprint: str


def check_batch(batch_size: int, devices: int, hosts: int, accumulate: int = 1) -> None:
    """Raises a ValueError if a global batch does not divide over what shares it."""
    if accumulate < 1:
        raise ValueError(f"config.accumulate is at least 1, not {accumulate}.")
    for count, what in ((devices * accumulate, "devices x accumulation"), (hosts, "hosts")):
        if batch_size < 1 or batch_size % count:
            below, above = batch_size // count * count, (batch_size // count + 1) * count
            raise ValueError(
                f"A batch of {batch_size} does not divide over {count} {what}. "
                f"The nearest that do: {f'{below} and ' if below else ''}{above}."
            )


class Batches(Iterator):
    """Endless batches of this host's share of every global batch.

    Args:
        stream: what to batch.
        batch_size: elements in a global batch.
        host: this host's number.
        hosts: how many share each batch; batch k holds the same elements for any number.
        threads: decoding threads; 0 for one per core.
        prefetch: batches kept ready; each is made by one thread, so no more threads than these.
        start: the number of batches to skip, found at once wherever it lies.
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
    ):
        local = stream.elements[host::hosts]
        batched = local.batch(batch_size // hosts, drop_remainder=True, batch_fn=stream.collate)
        threads = min(threads or os.cpu_count(), prefetch)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        self._iterator = iter(batched.to_iter_dataset(options))
        if start:
            self._iterator.set_state({"next_index": start})
        self.position = start

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._iterator)
        self.position += 1
        return batch


def evaluation(
    stream: Stream, batch_size: int, *, host: int = 0, hosts: int = 1, threads: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this host's share of a finite stream once, in batches of one size.

    The last batch is filled up by repeating elements; `weight` [B] is 0 for these, else 1.
    """
    count = len(stream.elements)
    with concurrent.futures.ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for first in range(0, count, batch_size):
            mine = range(first + host, first + batch_size, hosts)
            chosen = list(pool.map(lambda i: stream.elements[i % count], mine))
            weight = np.array([i < count for i in mine], np.float32)
            yield stream.collate(chosen) | {"weight": weight}

"""Evaluates a task on its held-out elements and draws predictions for the first of them."""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.data import loader
from crocohuman_jax.training import sharding


class Judge:
    """Computes metrics of the held-out elements and draws predictions for the first of them.

    Args:
        task: the task to evaluate.
        mesh: the device mesh.
        stream: the held-out elements.
        batch_size: largest number of elements in a batch.
        threads: number of decoding threads; 0 for one per core.
    """

    def __init__(self, task, mesh, stream: loader.Stream, *, batch_size: int, threads: int):
        self.task, self.mesh, self.stream, self.threads = task, mesh, stream, threads
        devices = sharding.batch_devices(mesh)
        fitting = min(batch_size, len(stream.elements))
        self.batch_size = math.ceil(fitting / devices) * devices
        whole = sharding.replicated(mesh)

        def sums(params, batch):
            batch = dict(batch)
            weight = batch.pop("weight")
            found = {}
            for name, value in task.metrics(params, batch).items():
                value, counts = value if isinstance(value, tuple) else (value, 1.0)
                counts = counts * weight
                found[name] = jnp.sum(jnp.where(counts > 0, value, 0) * counts), jnp.sum(counts)
            return found

        self._sums = jax.jit(sums, out_shardings=whole)
        self._predict = jax.jit(task.predict, out_shardings=whole)

    def _batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields this host's share of the held-out batches of the given size."""
        return loader.evaluation(
            self.stream,
            size,
            host=jax.process_index(),
            hosts=jax.process_count(),
            threads=self.threads,
        )

    def measure(self, params) -> dict[str, float]:
        """Returns the mean of each metric over the held-out elements that have it."""
        totals: dict[str, np.ndarray] = {}
        for batch in self._batches(self.batch_size):
            sums = jax.device_get(self._sums(params, sharding.put_batch(batch, self.mesh)))
            for name, (value, count) in sums.items():
                totals[name] = totals.get(name, 0.0) + np.array([value, count], np.float64)
        return {name: float(value / count) for name, (value, count) in totals.items() if count}

    def draw(self, params, count: int) -> np.ndarray | None:
        """Returns the picture of the first held-out elements, [H, W, 3] uint8, or None."""
        count = min(count, len(self.stream.elements))
        if not (self.task.picture and count):
            return None
        devices, hosts = sharding.batch_devices(self.mesh), jax.process_count()
        size = math.ceil(count / devices) * devices
        batch = next(self._batches(size))
        del batch["weight"]
        shown = jax.device_get(self._predict(params, sharding.put_batch(batch, self.mesh)))
        # Host h holds the elements h, h + hosts, ...; the batch lists one host after the other.
        order = np.arange(size).reshape(hosts, -1).T.reshape(-1)[:count]
        return self.task.picture({name: value[order] for name, value in shown.items()})

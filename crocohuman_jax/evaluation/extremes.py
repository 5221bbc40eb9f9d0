"""Keeps the examples with the largest and the smallest errors for drawing."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.tasks import Found


class Extremes:
    """The worst and best examples so far.

    The arrays that a picture needs are large, so they are copied from the device only for examples
    that are among the worst or best so far.

    Args:
        error: results of examples -> their errors [B]; NaN for examples without an error.
        count: number of worst and of best examples that are kept.
    """

    def __init__(self, error: Callable[[Found], np.ndarray], count: int):
        self.error, self.count = error, count
        self._sides: dict[str, list[tuple[float, Found]]] = {"worst": [], "best": []}
        self._rows = jax.jit(lambda shown, rows: jax.tree.map(lambda x: x[rows], shown))

    def take(self, found: Found, shown: dict[str, Any], left: int) -> None:
        """Adds the examples of a batch.

        Args:
            found: {name: [B, ...]}, results of the batch.
            shown: {name: [B, ...]}, inputs of `Task.picture`, on the device.
            left: number of examples not yet measured before this batch; rows after them are
                padding.
        """
        if not self.count:
            return
        every = np.asarray(self.error(found), np.float64)
        errors = every[:left]
        order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
        for side, rows in (("worst", order[::-1][: self.count]), ("best", order[: self.count])):
            kept, sign = self._sides[side], -1 if side == "worst" else 1
            if len(kept) == self.count:
                rows = [row for row in rows if sign * errors[row] < sign * kept[-1][0]]
            if not len(rows):
                continue
            # Always as many rows, repeated if there are fewer, so one program serves all calls.
            padded = np.resize(np.asarray(rows), min(self.count, len(every)))
            there = jax.device_get(self._rows(shown, jnp.asarray(padded)))
            for i, row in enumerate(rows):
                kept.append((float(errors[row]), {name: x[i] for name, x in there.items()}))
            kept.sort(key=lambda one: sign * one[0])
            del kept[self.count :]

    def _stacked(self, side: str) -> Found | None:
        kept = [shown for _, shown in self._sides[side]]
        return {name: np.stack([one[name] for one in kept]) for name in kept[0]} if kept else None

    @property
    def worst(self) -> Found | None:
        """Inputs of `Task.picture` for the worst examples, the worst first; None if none."""
        return self._stacked("worst")

    @property
    def best(self) -> Found | None:
        """Inputs of `Task.picture` for the best examples, the best first; None if none."""
        return self._stacked("best")

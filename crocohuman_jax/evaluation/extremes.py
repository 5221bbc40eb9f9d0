"""Keeps the examples with the largest and the smallest errors, to be drawn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.tasks import Found


class Extremes:
    """The worst and best examples among those that were taken so far.

    What pictures show of an example is large, so it is brought from the device only where the
    example is among the worst or best of those before it.

    Args:
        error: what was found of examples -> [B], their errors; NaN for examples without.
        count: how many of each are kept.
    """

    def __init__(self, error: Callable[[Found], np.ndarray], count: int):
        self.error, self.count = error, count
        self._sides: dict[str, list[tuple[float, Found]]] = {"worst": [], "best": []}
        self._rows = jax.jit(lambda shown, rows: jax.tree.map(lambda x: x[rows], shown))

    def take(self, found: Found, shown: dict[str, Any], left: int) -> None:
        """Takes in a batch.

        Args:
            found: [B, ...] what was found of the batch.
            shown: [B, ...] what pictures show of it, on the device.
            left: how many examples were left when the batch began; what follows them is padding.
        """
        if not self.count:
            return
        errors = np.asarray(self.error(found), np.float64)[:left]
        order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
        for side, rows in (("worst", order[::-1][: self.count]), ("best", order[: self.count])):
            kept, sign = self._sides[side], -1 if side == "worst" else 1
            if len(kept) == self.count:
                rows = [row for row in rows if sign * errors[row] < sign * kept[-1][0]]
            if not len(rows):
                continue
            padded = np.resize(np.asarray(rows), self.count)  # one program for any number of rows
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
        """What pictures show of the worst, the worst first; None where there is none."""
        return self._stacked("worst")

    @property
    def best(self) -> Found | None:
        """What pictures show of the best, the best first; None where there is none."""
        return self._stacked("best")

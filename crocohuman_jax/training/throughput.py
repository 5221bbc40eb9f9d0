"""Averages a run's scalars, measures its speed and checks that its numbers are finite."""

import collections
import logging
import math
import time

import jax
import numpy as np

from crocohuman_jax.training import peaks

log = logging.getLogger(__name__)


class Meter:
    """Averages scalars and measures speed between two progress lines."""

    def __init__(self, batch_size: int, total: int, dtype: str, unit: str = "pairs"):
        self.batch_size, self.total, self.unit = batch_size, total, unit
        known = peaks.data_sheet(jax.devices()[0]) if dtype == "bfloat16" else None
        self.peak = known[1] * jax.device_count() if known else None
        self.values: dict[str, list[float]] = {}
        self.seconds = self.waited = self.flops = 0.0
        self.steps = 0
        self.since: float | None = None
        self.visible: list[int] = []
        self.last: dict[str, float] = {}
        self.lengths: collections.Counter[int] = collections.Counter()  # of the visible set

    def met(self, batch) -> None:
        """Counts a batch's number of visible patches; each number compiles its own program."""
        if "visible" in batch:
            self.lengths[batch["visible"].shape[1]] += 1
            self.visible.append(batch["visible"].shape[1])

    def say_lengths(self) -> None:
        """Logs the numbers of visible patches so far with their shares, if there are several."""
        if len(self.lengths) > 1:
            total = self.lengths.total()
            shares = (f"{k} in {100 * n / total:.0f} %" for k, n in sorted(self.lengths.items()))
            log.info("%d numbers of visible patches: %s.", len(self.lengths), ", ".join(shares))

    def started(self, flops: float) -> None:
        """Counts a step sent to the device; the clock starts when the first step has ended."""
        if self.since is None:
            return
        self.steps += 1
        self.flops += flops

    def pause(self) -> None:
        """Stops the clock until the next step has ended, so that evaluation is not timed."""
        if self.since is not None:
            self.seconds += time.perf_counter() - self.since
        self.since = None

    def settle(self, waiting: list, leave: int = 0) -> None:
        """Reads the scalars of finished steps, all but the newest `leave`.

        Raises:
            FloatingPointError: a scalar is not finite.
        """
        while len(waiting) > leave:
            step, scalars = waiting.pop(0)
            values = {name: float(value) for name, value in jax.device_get(scalars).items()}
            wrong = [f"{name} is {v}" for name, v in values.items() if not math.isfinite(v)]
            if wrong:
                raise FloatingPointError(
                    f"At step {step}, {' and '.join(wrong)}. All values: {values}. The checkpoints "
                    "hold earlier steps. A lower optimizer.base_lr, optimizer.clip=1.0 or "
                    "model.dtype=float32 may help."
                )
            for name, value in values.items():
                self.values.setdefault(name, []).append(value)
            if self.since is None:
                self.since = time.perf_counter()

    def waited_for_data(self, seconds: float) -> None:
        if self.since is not None:
            self.waited += seconds

    def read(self, step: int) -> dict[str, float]:
        """Returns the means of the scalars and the speed since the last call."""
        self.pause()
        out = {f"train/{name}": float(np.mean(v)) for name, v in self.values.items()}
        out["train/lr"] = self.values["lr"][-1]
        if self.steps and self.seconds:
            rate = self.steps / self.seconds
            out |= {
                f"perf/{self.unit}_per_second": rate * self.batch_size,
                "perf/data_wait": self.waited / self.seconds,
                "perf/tflops": self.flops / self.seconds / 1e12,
                "perf/seconds_left": (self.total - step) / rate,
            }
            if self.peak:
                out["perf/mfu"] = self.flops / self.seconds / self.peak
        if self.visible:
            out["train/visible"] = float(np.mean(self.visible))
            out["perf/lengths"] = len(self.lengths)
        self.values, self.visible = {}, []
        self.seconds = self.waited = self.flops = 0.0
        self.steps, self.since, self.last = 0, time.perf_counter(), out
        return out

    def line(self, step: int) -> dict[str, str]:
        """Returns the parts of a progress line, from the values last read."""
        parts = {"loss": f"{self.last['train/loss']:.4f}"}
        if "perf/tflops" in self.last:
            parts[f"{self.unit}/s"] = f"{self.last[f'perf/{self.unit}_per_second']:.1f}"
            parts["data wait"] = f"{100 * self.last['perf/data_wait']:.0f}%"
            if "perf/mfu" in self.last:
                parts["MFU"] = f"{100 * self.last['perf/mfu']:.1f}%"
            parts["left"] = clock(self.last["perf/seconds_left"])
        return parts


def clock(seconds: float) -> str:
    """Returns a time as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

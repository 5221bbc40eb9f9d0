"""What every figure has beside it: the machine, and the spread of its repetitions."""

import statistics
import time
from collections.abc import Callable

import jax


def about() -> dict:
    """Returns what a figure needs beside it."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "devices": jax.device_count(), "jax": jax.__version__}


def spread(seconds: list[float]) -> dict:
    """Returns median, least and greatest of some times."""
    return {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}


def timed(call: Callable[[], object], warmup: int, repeats: int) -> dict:
    """Returns `spread` of the seconds that a call takes until its result is there.

    Args:
        call: returns arrays.
        warmup: calls before those that are timed.
        repeats: calls that are timed.
    """
    times = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return spread(times[warmup:])

"""Times calls, and describes the device that a measurement ran on."""

import statistics
import time
from collections.abc import Callable

import jax


def about() -> dict:
    """Returns the device, the number of devices and the version of jax."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "devices": jax.device_count(), "jax": jax.__version__}


def spread(seconds: list[float]) -> dict:
    """Returns the median, and the smallest and largest, of times in seconds."""
    return {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}


def timed(call: Callable[[], object], warmup: int, repeats: int) -> dict:
    """Returns `spread` of the seconds until the result of a call is computed.

    Args:
        call: the function to time; it returns arrays.
        warmup: number of calls before those that are timed.
        repeats: number of calls that are timed.
    """
    times = []
    for _ in range(warmup + repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return spread(times[warmup:])

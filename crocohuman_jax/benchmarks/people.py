"""Measures how fast built-in people are rendered; each measurement runs in its own process."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from crocohuman_jax.synthetic import takes
from crocohuman_jax.synthetic.graphics import kernels

PER_TAKE = 4  # pictures of each person: two instants, two cameras


def both_ways(warmup: int, people: int) -> Iterator[dict]:
    """Yields the speed of one core, for bodies and hands, with numba and without."""
    for numba in ("1", "0"):
        for kind in ("body", "hand"):
            numbers = map(str, (people, warmup, 256, 2))
            done = subprocess.run(
                [sys.executable, "-m", "crocohuman_jax.benchmarks.people", kind, *numbers],
                env=os.environ | {"CROCOHUMAN_NUMBA": numba},
                stdout=subprocess.PIPE,
                check=True,
            )
            yield json.loads(done.stdout)


def measure(kind: str, people: int, warmup: int, size: int, supersample: int) -> dict:
    """Returns the pictures per second of one process, including the making of people and scenes.

    Args:
        kind: "body" or "hand".
        people: number of persons that are timed, each with four pictures and their ground truth.
        warmup: number of persons before these.
        size: side of the pictures in pixels.
        supersample: each pixel is the mean of supersample x supersample rendered ones.

    Returns:
        pictures_per_second, seconds per picture (median and spread over persons), peak_mb, and the
        settings.
    """
    recipe = takes.Recipe(
        kinds=(kind,),
        people=warmup + people,
        instants=2,
        views=2,
        size=(size, size),
        supersample=supersample,
    )
    times = []
    for sequence in recipe.sequences():
        start = time.perf_counter()
        recorded = takes.record(recipe, *sequence)
        for number in range(PER_TAKE):
            recorded.frame(*divmod(number, 2))
        times.append((time.perf_counter() - start) / PER_TAKE)
    times = sorted(times[warmup:])
    return {
        "kind": kind,
        "size": size,
        "supersample": supersample,
        "numba": kernels.AVAILABLE,
        "pictures_per_second": len(times) / sum(times),
        "seconds": times[len(times) // 2],
        "spread": [times[0], times[-1]],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    kind, *numbers = sys.argv[1:]
    print(json.dumps(measure(kind, *map(int, numbers))))

"""Processes that make frames side by side."""

import concurrent.futures
import multiprocessing
import os


def pool(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Returns a pool of fresh processes, each with one thread of linear algebra.

    Thin products, as those of skinning, take ten times as long when the threads of several
    processes compete. What this process has loaded already keeps its threads.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(count, mp_context=context)

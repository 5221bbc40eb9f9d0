"""Processes that make frames side by side."""

import concurrent.futures
import multiprocessing


def pool(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Returns a pool of fresh processes, which share neither state nor devices with this one."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(count, mp_context=context)

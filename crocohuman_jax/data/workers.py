"""Processes that make frames side by side."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading


def pool(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Returns a pool of fresh processes, which share neither state nor devices with this one.

    They end when this process does, however it ends.
    """
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(
        count, mp_context=context, initializer=_end_with_parent
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # a killed parent leaves nobody to report to

    threading.Thread(target=watch, daemon=True).start()

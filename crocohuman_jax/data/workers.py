"""A pool of worker processes that prepare or render frames in parallel."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading


def pool(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Returns a pool of new processes, which share neither state nor devices with this process.

    They end when this process ends, even if it is killed.
    """
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(
        count, mp_context=context, initializer=_end_with_parent
    )


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()

    def watch():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)  # the parent is gone, so there is nobody to report to

    threading.Thread(target=watch, daemon=True).start()

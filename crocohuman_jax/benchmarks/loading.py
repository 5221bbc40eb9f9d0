"""Measures how fast prepared frames are read into batches of numpy arrays."""

import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import PIL.Image

from crocohuman_jax.benchmarks import figures
from crocohuman_jax.configuration import registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records


def measure(config, folders: str, cores: int, warmup: int, steps: int) -> Iterator[dict]:
    """Yields one row: examples per second from prepared frames to batches of numpy arrays.

    Args:
        config: config of any task.
        folders: prepared folders; "" for temporary frames of noise.
        cores: number of cores to use; 0 for all.
        warmup: number of batches before those that are timed.
        steps: number of batches that are timed.
    """
    used = range(cores or os.cpu_count())
    if hasattr(os, "sched_setaffinity"):
        used = sorted(os.sched_getaffinity(0))[: cores or None]
        os.sched_setaffinity(0, used)
    with tempfile.TemporaryDirectory() as made:
        folders = folders or make_frames(pathlib.Path(made))
        config.data.folders = folders
        stream = registry.find("tasks", config.task).make(config).train()
        batch_size = min(config.batch_size, 128)
        batches = loader.Batches(stream, batch_size, threads=len(used))
        for _ in range(warmup):
            next(batches)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            next(batches)
            times.append(time.perf_counter() - start)
        frames = [records.Frames(folder) for folder in folders.split(",")]
        rate = steps * batch_size / sum(times)
        yield {
            "cores": len(used),
            "frames": [folder.size for folder in frames],
            "jpeg_bytes": statistics.mean(f.jpeg_size(i) for f in frames for i in range(64)),
            "picture": list(config.model.image),
            "pairs_per_second": rate,
            "pairs_per_second_per_core": rate / len(used),
        } | figures.spread(times)


def make_frames(folder: pathlib.Path, count: int = 256, side: int = 256) -> str:
    """Prepares noise with silhouettes and the spectrum of photographs; returns the folder."""
    rng = np.random.default_rng(0)
    source, output = folder / "source", folder / "prepared"
    for i in range(count):
        path = source / f"s{i // 8:03d}" / f"t{i // 4 % 2}" / f"cam{i % 4}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Amplitudes falling with frequency and little colour, as in photographs.
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
        noise = np.fft.fft2(rng.standard_normal((4, side, side))) / (frequency + 1 / side) ** 1.5
        noise = np.fft.ifft2(noise).real.transpose(1, 2, 0)
        noise /= noise.std((0, 1))
        image = 120 + 50 * noise[..., :1] + 8 * noise[..., 1:]
        PIL.Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)
        mask = np.zeros((side, side), np.uint8)
        mask[40:220, 90:170] = 255
        PIL.Image.fromarray(mask).save(path.with_name(f"{path.stem}.mask.png"))
    settings = pipeline.Settings("pairs_folder", source, {}, size=(side, side), held_out=0.0)
    pipeline.prepare(settings, output, 1, lambda done, total: None)
    return str(output)

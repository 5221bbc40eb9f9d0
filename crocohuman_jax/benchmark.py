"""Measures speed on this machine: python -m crocohuman_jax.benchmark KIND."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
from absl import flags
from ml_collections import config_flags

from crocohuman_jax.body_models import supervision
from crocohuman_jax.configuration import command_line, options, registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import augmentation, masking
from crocohuman_jax.evaluation import runner
from crocohuman_jax.models import attention
from crocohuman_jax.training import loop, metric_writer, peaks, sharding

config_flags.DEFINE_config_file("config", "configs/pretrain.py:base", "What to measure.")
flags.DEFINE_integer("steps", 10, "Steps, batches, calls or persons that are timed.", lower_bound=1)
flags.DEFINE_integer("warmup", 3, "Steps before these.", lower_bound=0)
flags.DEFINE_integer(
    "visible", 0, "step: visible patches; 0 for what the ratio leaves.", lower_bound=0
)
flags.DEFINE_list("attentions", None, "step: implementations to compare, as xla,cudnn.")
flags.DEFINE_list("unrolls", None, "step: blocks per turn of the scan to compare, as 1,4,12.")
flags.DEFINE_string("folders", "", "loader: prepared folders; by default made for the occasion.")
flags.DEFINE_integer("cores", 1, "loader: cores to use; 0 for all.", lower_bound=0)


def main(argv) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    kinds = {
        "step": bench_step,
        "loader": bench_loader,
        "attention": bench_attention,
        "people": bench_people,
        "evaluation": bench_evaluation,
    }
    try:
        if len(argv) != 2:
            raise ValueError(f"Name what to measure: {', '.join(kinds)}.")
        for row in options.choose("benchmark", kinds, argv[1])(args):
            print(json.dumps(row))
            sys.stdout.flush()
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark: {error}")


def about() -> dict:
    """Returns what a figure needs beside it."""
    device = jax.devices()[0]
    return {"device": device.device_kind, "devices": jax.device_count(), "jax": jax.__version__}


def spread(seconds: list[float]) -> dict:
    """Returns median, least and greatest of some times."""
    return {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}


def bench_step(args):
    """Yields the speed of whole training steps (forward, backward, AdamW), one row a variant."""
    config = args.config
    unrolls = args.unrolls or [str(config.model.unroll)]
    if not all(unroll.isdecimal() for unroll in unrolls):
        raise ValueError(f"--unrolls are whole numbers with commas between, not {unrolls}.")
    config.model.dtype = options.compute_type(config.model.dtype, jax.default_backend())
    peak_name, peak = peaks.measure(config.model.dtype)
    sheet = peaks.data_sheet(jax.devices()[0])
    for impl in args.attentions or [config.model.attention]:
        for unroll in unrolls:
            config.model.attention, config.model.unroll = impl, int(unroll)
            row = time_step(config, args.visible, args.warmup, args.steps)
            each = row["tflops"] * 1e12 / jax.device_count()
            row["mfu"] = {peak_name: each / peak}
            if sheet:
                row["mfu"][sheet[0]] = each / sheet[1]
            yield about() | {"attention": impl, "unroll": int(unroll)} | row


def time_step(config, visible: int, warmup: int, steps: int) -> dict:
    """Returns the speed of a config's training step on random pictures."""
    mesh = sharding.make_mesh(config.mesh)
    loader.check_batch(config.batch_size, sharding.batch_devices(mesh), 1, config.accumulate)
    task = registry.find("tasks", config.task).make(config)
    init, step, _ = loop.build(config, task, mesh, loop.Durations(config, config.batch_size))
    batch = (random_people if config.task == "mesh" else random_batch)(config, visible)
    flops = task.flops(batch)
    with jax.set_mesh(mesh):
        state, batch = init(), sharding.put_batch(batch, mesh)
        start = time.perf_counter()
        compiled = step.lower(state, batch).compile()
        compile_seconds = time.perf_counter() - start
        times = []
        for _ in range(warmup + steps):
            start = time.perf_counter()
            state, scalars = compiled(state, batch)
            scalars["loss"].block_until_ready()
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
    times = spread(times[warmup:])
    memory = jax.devices()[0].memory_stats() or {}
    return times | {
        "batch": config.batch_size,
        **({"visible": batch["visible"].shape[1]} if "visible" in batch else {}),
        "dtype": options.compute_type(config.model.dtype, mesh.devices.flat[0].platform),
        f"{task.unit}_per_second": config.batch_size / times["seconds"],
        "tflops": flops / times["seconds"] / 1e12,
        "gflop_per_example": flops / config.batch_size / 1e9,
        "compile_seconds": compile_seconds,
        "peak_gib": memory.get("peak_bytes_in_use", 0) / 2**30 or None,
    }


def random_batch(config, visible: int) -> dict[str, np.ndarray]:
    """Returns a batch of noise with the shapes of completion."""
    rng = np.random.default_rng(0)
    (height, width), patch, count = config.model.image, config.model.patch, config.batch_size
    patches = (height // patch) * (width // patch)
    mask = dict(config.data.mask) | {"rule": "fixed", "visible": visible, "scope": "global"}
    draw = masking.Masking(patches, **mask)
    nobody = np.zeros((count, patches), bool)
    shown = draw(nobody, nobody[:, 0], rng.random((count, patches)))
    images = rng.integers(0, 256, (2, count, height, width, 3), np.uint8)
    color = [augmentation.Augment(brightness=0.4).draw(rng)["color"] for _ in range(2 * count)]
    return {
        "target": images[0],
        "reference": images[1],
        "visible": shown,
        "hidden": masking.complement(shown, patches),
        "human": nobody,
        "color": np.stack(color).reshape(count, 2, 3, 2),
    }


def random_people(config, visible: int = 0) -> dict[str, np.ndarray]:
    """Returns a batch of noise with the shapes of mesh recovery; nothing is known of anybody."""
    del visible
    rng, count = np.random.default_rng(0), config.batch_size
    body = supervision.Bodies(**config.body)
    unknown = body.unknown(count)
    pictures = ("image",) if config.data.second == "none" else ("image", "second")
    shape = (count, *config.model.image, 3)
    unknown |= {name: rng.integers(0, 256, shape, np.uint8) for name in pictures}
    return unknown | {"color": np.ones((count, len(pictures), 3), np.float32)}


def bench_evaluation(args):
    """Yields how fast a prepared folder is evaluated, and how fast the forward pass alone runs."""
    config = args.config
    if config.task != "mesh" or not args.folders:
        raise ValueError(
            "benchmark evaluation needs --config=configs/mesh.py:... and --folders=PREPARED."
        )
    config.data.folders = args.folders
    mesh = sharding.make_mesh(config.mesh)
    task = registry.find("tasks", config.task).make(config)
    stream, body = task.everyone("validation"), supervision.Bodies(**config.body)
    batch = min(config.batch_size, len(stream.elements))
    with jax.set_mesh(mesh):
        params = task.init(jax.random.key(0)) | task.from_data()
        run = runner.Run(task, params, mesh, body, "similarity")
        one = stream.collate([stream.elements[i] for i in range(batch)])
        one = sharding.put_batch(one, mesh)
        times = []
        for _ in range(args.warmup + args.steps):
            start = time.perf_counter()
            jax.block_until_ready(run.measure(run.params, one))
            times.append(time.perf_counter() - start)
        times = spread(times[args.warmup :])
        run.everyone(stream, batch, config.data.threads, False)
    yield (
        about()
        | times
        | {
            "batch": batch,
            "people": len(stream.elements),
            "people_per_second": len(stream.elements) / run.seconds,
            "forward_people_per_second": batch / times["seconds"],
            "data_wait": run.waited / run.seconds,
        }
    )


def bench_loader(args):
    """Yields pairs per second from prepared frames to batches of numpy arrays."""
    cores = range(args.cores or os.cpu_count())
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[: args.cores or None]
        os.sched_setaffinity(0, cores)
    config = args.config
    with tempfile.TemporaryDirectory() as made:
        folders = args.folders or make_frames(pathlib.Path(made))
        config.data.folders = folders
        stream = registry.find("tasks", config.task).make(config).train()
        batch_size = min(config.batch_size, 128)
        batches = loader.Batches(stream, batch_size, threads=len(cores))
        for _ in range(args.warmup):
            next(batches)
        times = []
        for _ in range(args.steps):
            start = time.perf_counter()
            next(batches)
            times.append(time.perf_counter() - start)
        frames = [records.Frames(folder) for folder in folders.split(",")]
        size = [folder.size for folder in frames]
        rate = args.steps * batch_size / sum(times)
        yield {
            "cores": len(cores),
            "frames": size,
            "jpeg_bytes": statistics.mean(f.jpeg_size(i) for f in frames for i in range(64)),
            "picture": list(config.model.image),
            "pairs_per_second": rate,
            "pairs_per_second_per_core": rate / len(cores),
        } | spread(times)


def make_frames(folder: pathlib.Path, count: int = 256, side: int = 256) -> str:
    """Prepares frames of natural spectrum and silhouettes; returns their folder."""
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


def bench_people(args):
    """Yields how many pictures of built-in people one core makes, with numba and without."""
    for numba in ("1", "0"):
        for kind in ("body", "hand"):
            numbers = map(str, (args.steps, args.warmup, 256, 2))
            done = subprocess.run(
                [sys.executable, "-m", "crocohuman_jax.benchmarks.people", kind, *numbers],
                env=os.environ | {"CROCOHUMAN_NUMBA": numba},
                stdout=subprocess.PIPE,
                check=True,
            )
            yield json.loads(done.stdout)


def bench_attention(args):
    """Yields the time of attention forward and backward, for the network's shapes."""
    config = args.config
    dtype = jnp.dtype(options.compute_type(config.model.dtype, jax.default_backend()))
    patches = (config.model.image[0] // config.model.patch) * (
        config.model.image[1] // config.model.patch
    )
    seen = args.visible or patches // 4
    for part, queries, keys in (
        ("encoder", seen, seen),
        ("encoder", patches, patches),
        ("decoder", patches, patches),
    ):
        shape = config.model[part]
        for impl in attention.IMPLEMENTATIONS[1:]:
            size = (config.batch_size, queries, shape.heads, shape.width // shape.heads)
            q, k, v = (
                jax.random.normal(jax.random.key(i), (size[0], n, *size[2:]), dtype)
                for i, n in enumerate((queries, keys, keys))
            )

            def total(q, k, v, impl=impl):
                return attention.attend(q, k, v, impl).astype(jnp.float32).sum()

            row = {"part": part, "queries": queries, "keys": keys, "attention": impl}
            try:
                run = jax.jit(jax.grad(total, (0, 1, 2))).lower(q, k, v).compile()
            except ValueError as error:
                yield row | {"cannot": str(error)}
                continue
            times = []
            for _ in range(args.warmup + args.steps):
                start = time.perf_counter()
                jax.block_until_ready(run(q, k, v))
                times.append(time.perf_counter() - start)
            yield about() | row | spread(times[args.warmup :])


if __name__ == "__main__":
    command_line.run(main)

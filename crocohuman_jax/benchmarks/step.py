"""Measures the speed of whole training steps: forward, backward, AdamW."""

import time
from collections.abc import Iterator, Sequence

import jax

from crocohuman_jax.benchmarks import figures
from crocohuman_jax.configuration import durations, options, registry
from crocohuman_jax.data import loader
from crocohuman_jax.training import loop, peaks, sharding


def variants(
    config,
    *,
    attentions: Sequence[str] = (),
    unrolls: Sequence[str] = (),
    visible: int = 0,
    warmup: int = 3,
    steps: int = 10,
) -> Iterator[dict]:
    """Yields the speed of a config's training step, one row per variant.

    Args:
        config: config of any task; it is changed.
        attentions: implementations of attention to compare; by default the config's.
        unrolls: numbers of blocks per turn of the scan to compare; by default the config's.
        visible: number of visible patches in completion; 0 for the config's.
        warmup: number of steps before those that are timed.
        steps: number of steps that are timed.

    Raises:
        ValueError: `unrolls` holds no whole number, or an argument does not fit the config.
    """
    unrolls = unrolls or [str(config.model.unroll)]
    if not all(unroll.isdecimal() for unroll in unrolls):
        raise ValueError(f"--unrolls={','.join(unrolls)}: give whole numbers separated by commas.")
    if visible and "mask" not in config.data:
        raise ValueError(f"--visible={visible}: task {config.task!r} hides no patches: omit it.")
    if visible:
        config.data.mask.update(rule="fixed", visible=visible)
    config.model.dtype = options.compute_type(config.model.dtype, jax.default_backend())
    peak_name, peak = peaks.measure(config.model.dtype)
    sheet = peaks.data_sheet(jax.devices()[0])
    for impl in attentions or [config.model.attention]:
        for unroll in unrolls:
            config.model.attention, config.model.unroll = impl, int(unroll)
            row = measure(config, warmup, steps)
            each = row["tflops"] * 1e12 / jax.device_count()
            row["mfu"] = {peak_name: each / peak}
            if sheet:
                row["mfu"][sheet[0]] = each / sheet[1]
            yield figures.about() | {"attention": impl, "unroll": int(unroll)} | row


def measure(config, warmup: int, steps: int) -> dict:
    """Returns the speed of a config's training step on a batch of noise."""
    mesh = sharding.make_mesh(config.mesh)
    loader.check_batch(config.batch_size, sharding.batch_devices(mesh), 1, config.accumulate)
    task = registry.find("tasks", config.task).make(config)
    init, step, _ = loop.build(config, task, mesh, durations.of(config, config.batch_size))
    batch = task.example_batch(config.batch_size)
    flops = task.flops(batch)
    with jax.set_mesh(mesh):
        state, batch = init(), sharding.put_batch(batch, mesh)
        start = time.perf_counter()
        compiled = step.lower(state, batch).compile()
        compile_seconds = time.perf_counter() - start

        def one():
            nonlocal state
            state, scalars = compiled(state, batch)
            return state, scalars

        times = figures.timed(one, warmup, steps)
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

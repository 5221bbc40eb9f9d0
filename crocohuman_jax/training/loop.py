"""Trains one task; `train` reads from top to bottom: checks, state, loop."""

import logging
import pathlib
import threading
import time
import types
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import multihost_utils

from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.data import loader
from crocohuman_jax.models import parameters
from crocohuman_jax.training import (
    checkpoint,
    initialization,
    learning_rate,
    metric_writer,
    precision,
    run_folder,
    sharding,
    throughput,
    validation,
)
from crocohuman_jax.training import optimizer as optimizer_lib

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The run was asked to stop, saved its state, and can be resumed."""


def train(config, workdir: pathlib.Path, stop: threading.Event | None = None) -> dict[str, Any]:
    """Trains `config.task` to its last step, from the newest checkpoint of `workdir` if it has one.

    Args:
        config: a complete config, as configs/pretrain.py and configs/mesh.py return it.
        workdir: the run's folder.
        stop: once this event is set, the run saves its state and raises `Stopped`.

    Returns:
        The last train state.

    Raises:
        ValueError: a value of the config does not fit, or `workdir` holds another run.
        FloatingPointError: the loss or the gradient is not finite.
        Stopped: the run was asked to stop.
    """
    # Errors in the config, the data and the workdir are found before the first side effect.
    host, hosts = jax.process_index(), jax.process_count()
    mesh = sharding.make_mesh(config.mesh)
    asked, config = config, precision.resolved(config, mesh)
    loader.check_batch(config.batch_size, sharding.batch_devices(mesh), hosts, config.accumulate)
    _check(config, mesh, hosts)
    task = registry.find("tasks", config.task, "config.task").make(config)
    stream, held_out = task.train(), task.held_out()
    loader.check_epoch(config.batch_size, stream)
    steps = durations.of(config, stream.epoch)
    init, step, abstract = build(config, task, mesh, steps)
    settings = {"config": asked.to_dict(), "data": {"fingerprint": stream.fingerprint}}
    settings["computed"] = precision.record(config, mesh)
    started = run_folder.holds_this_run(workdir, settings)
    if hosts > 1:  # no host writes before all have checked the workdir
        multihost_utils.sync_global_devices("looked at the workdir")

    # State: parameters, moments and step, from this run's newest checkpoint or from the start.
    def open_checkpoints():
        return checkpoint.Checkpoints(
            workdir / "checkpoints", keep=config.checkpoint.keep, keep_every=steps.keep_every
        )

    checkpoints = open_checkpoints() if started else None
    restored = checkpoints.restore(abstract) if started else None
    if restored:
        start, state, position = restored
        if start >= steps.total:
            log.info("%s is already complete at step %d of %d.", workdir, start, steps.total)
        else:
            log.info("Resuming %s at step %d.", workdir, start)
    else:
        start, state, position = 0, init(task.from_data()), {"batches": 0}
        if config.init_from:
            state = initialization.graft(state, config)
        log.info("Parameters:\n%s", parameters.parameter_table(state["params"]))
    if host == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        options_lib.save(settings, workdir / "config.json")
    checkpoints = checkpoints or open_checkpoints()
    judged = None
    if held_out is None:
        log.warning("No data is held out: there will be no held-out metrics or pictures.")
    else:
        judged = validation.Judge(
            task, mesh, held_out, batch_size=config.batch_size, threads=config.data.threads
        )

    # The loop evaluates, saves, then steps, so a checkpoint and its metrics have the same weights.
    batches = loader.Batches(
        stream,
        config.batch_size,
        host=host,
        hosts=hosts,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        start=position["batches"],
        stop=stop if hosts == 1 else None,  # several hosts read until all stop together
        devices=sharding.batch_devices(mesh) // hosts,
        gather=sharding.gather(mesh),
    )
    shown = metric_writer.Report(
        workdir,
        writes=host == 0,
        step=start if restored else -1,
        total=steps.total,
        tensorboard=config.report.tensorboard,
    )
    gauge = throughput.Meter(config.batch_size, steps.total, config.model.dtype, task.unit)
    waiting: list[tuple[int, dict]] = []  # scalars still on the device: (step, scalars)
    try:
        with jax.set_mesh(mesh):
            upcoming = _next(batches, task, mesh, gauge, waiting) if start < steps.total else None
            for now in range(start, steps.total + 1):
                stopping = _asked_to_stop(stop, now, hosts)
                last = now == steps.total
                fresh = not (restored and now == start)
                if fresh and (last or stopping or _due(now, steps.evaluate, steps.save)):
                    gauge.settle(waiting)
                if judged and fresh and (last or _due(now, steps.evaluate)):
                    gauge.pause()
                    _show_held_out(judged, state, now, shown, config.report.panel)
                if fresh and (last or stopping or (now and _due(now, steps.save))):
                    shown.flush()
                    consumed = batches.position - (upcoming is not None)
                    checkpoints.save(now, state, {"batches": consumed})
                if last:
                    break
                if stopping:
                    raise Stopped(f"Stopped at step {now} of {steps.total}; {workdir} is saved.")
                batch, flops = upcoming
                state, scalars = step(state, batch)
                waiting.append((now + 1, scalars))
                gauge.met(batch)
                gauge.started(flops)
                upcoming = (
                    _next(batches, task, mesh, gauge, waiting) if now + 1 < steps.total else None
                )
                gauge.settle(waiting, leave=1)
                shown.advance(now + 1)
                if _due(now + 1, steps.log) or now + 1 == steps.total:
                    gauge.settle(waiting)
                    shown.scalars(now + 1, gauge.read(now + 1))
                    shown.line(now + 1, gauge.line(now + 1))
    finally:
        batches.close()
        shown.close()
        checkpoints.close()
        gauge.say_lengths()
    return state


def build(config, task, mesh, steps: durations.Durations):
    """Builds the functions that train a task on a device mesh.

    Returns:
        init: (result of `Task.from_data`, or nothing) -> the initial train state: parameters,
            moments and step, created directly on its devices.
        step: (state, batch) -> (state, {name: scalar}), jitted; it donates the old state, which
            cannot be used afterwards.
        abstract: the shapes and shardings of the state.
    """
    options, rate = config.optimizer, learning_rate.of(config, steps)
    optimizer = optimizer_lib.make(
        rate,
        betas=tuple(options.betas),
        eps=options.eps,
        weight_decay=options.weight_decay,
        no_decay=options.no_decay,
        clip=options.clip,
        layer_decay=options.layer_decay,
        freeze=tuple(options.freeze),
    )
    keys = jax.random.split(jax.random.key(config.seed))

    def init(from_data=types.MappingProxyType({})):
        params = task.init(keys[0]) | from_data
        state = {"params": params, "optimizer": optimizer.init(params), "step": jnp.int32(0)}
        return state | ({"ema": jax.tree.map(jnp.copy, params)} if config.ema else {})

    def gradient(params, batch, key, counts):
        def loss(params):  # no gradients are computed for frozen parameters
            return task.loss(optimizer_lib.held(params, tuple(options.freeze)), batch, key, counts)

        return jax.value_and_grad(loss, has_aux=True)(params)

    whole = optimizer_lib.accumulated(gradient, task.counts, config.accumulate)

    def step(state, batch):
        key = jax.random.fold_in(keys[1], state["step"])
        (_, scalars), grads = whole(state["params"], batch, key)
        updates, moments = optimizer.update(grads, state["optimizer"], state["params"])
        new = {
            "params": optax.apply_updates(state["params"], updates),
            "optimizer": moments,
            "step": state["step"] + 1,
        }
        if config.ema:
            new["ema"] = optax.incremental_update(new["params"], state["ema"], 1 - config.ema)
        scalars |= {"grad_norm": optax.tree.norm(grads), "lr": rate(state["step"])}
        return new, scalars

    shapes = jax.eval_shape(init)
    places = sharding.place(shapes, mesh, task.axes, config.sharding)
    abstract = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places
    )
    step = jax.jit(step, donate_argnums=0, out_shardings=(places, sharding.replicated(mesh)))
    return jax.jit(init, out_shardings=places), step, abstract


def _check(config, mesh, hosts: int) -> None:
    """Raises a ValueError for settings that no other check covers before the first side effect."""
    if sharding.batch_devices(mesh) % hosts:
        raise ValueError(
            f"The mesh splits a batch over {sharding.batch_devices(mesh)} devices, but {hosts} "
            "hosts read it: make config.mesh.data * config.mesh.fsdp a multiple of the number of "
            "hosts."
        )
    options_lib.check_number("config.seed", config.seed, least=0, most=2**31 - 1, whole=True)
    options_lib.check_number("config.checkpoint.keep", config.checkpoint.keep, least=1, whole=True)
    options_lib.check_number("config.report.panel", config.report.panel, least=0, whole=True)
    options_lib.check_number("config.ema", config.ema, least=0, below=1)
    loader.check_reading(config.data.threads, config.data.prefetch)


def _next(batches: loader.Batches, task, mesh, gauge: throughput.Meter, waiting: list):
    """Returns the next batch, sent to the devices, and the operations of its step.

    Returns None if the run was asked to stop while it waited for the batch.
    """
    start = time.perf_counter()
    try:
        batch = next(batches)
    except loader.Interrupted:
        return None
    # Counted only if the devices have finished all their steps: otherwise they were busy.
    if not waiting or waiting[-1][1]["loss"].is_ready():
        gauge.waited_for_data(time.perf_counter() - start)
    return sharding.put_batch(batch, mesh), task.flops(batch)


def _show_held_out(
    judged: validation.Judge, state, step: int, shown: metric_writer.Report, panel: int
) -> None:
    params = state.get("ema", state["params"])
    values = judged.measure(params)
    shown.scalars(step, {f"held_out/{name}": value for name, value in values.items()})
    shown.line(step, {f"held-out {name}": f"{value:.4f}" for name, value in values.items()})
    picture = judged.draw(params, panel)
    if picture is not None:
        shown.picture(step, "panel", picture)


def _due(step: int, *every: int) -> bool:
    return any(interval and step % interval == 0 for interval in every)


def _asked_to_stop(stop: threading.Event | None, step: int, hosts: int) -> bool:
    if hosts > 1:  # all hosts must agree on the step; this also notices a SIGTERM from the cluster
        return multihost_utils.reached_preemption_sync_point(step)
    return stop is not None and stop.is_set()

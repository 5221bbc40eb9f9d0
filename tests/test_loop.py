"""The loop: resuming, sharding, accumulation, starting from other weights, and what it refuses."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from configs import pretrain
from crocohuman_jax import benchmark, checkpoint, loop, meter, registry, report, sharding, trees
from crocohuman_jax.data import loader

ONE = {"data": 1, "fsdp": 1, "tensor": 1}


def debug(prepared, **changes):
    """Returns the debug config on eight devices, with changes by name (__ for a dot)."""
    config = pretrain.get_config("debug")
    config.data.folders = str(prepared)
    config.mesh = {"data": 8, "fsdp": 1, "tensor": 1}
    config.report.tensorboard = False
    for name, value in changes.items():
        config.update_from_flattened_dict({name.replace("__", "."): value})
    return config


def lines(workdir):
    """Returns what a run wrote, without the measurements of speed."""
    every = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("perf/")} for line in every]


def losses(workdir):
    return {line["step"]: line["train/loss"] for line in lines(workdir) if "train/loss" in line}


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


@pytest.fixture(scope="session")
def straight(prepared, tmp_path_factory):
    """(workdir, last state) of an uninterrupted debug run."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    return workdir, loop.train(debug(prepared), workdir)


def test_a_run_leaves_what_it_promises(straight):
    workdir, state = straight
    assert int(state["step"]) == 6
    assert sorted(losses(workdir)) == [1, 2, 3, 4, 5, 6]
    held_out = {line["step"]: line for line in lines(workdir) if "held_out/masked_loss" in line}
    assert sorted(held_out) == [0, 3, 6]
    first = held_out[0]
    assert first["held_out/zero_loss"] < 1 and "held_out/reference_gain" in first
    for step in (0, 3, 6):
        picture = PIL.Image.open(workdir / f"pictures/panel_{step:07d}.png")
        assert picture.size == (4 * 64 + 4 * 4, 6 * 68)
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"3", "6"}
    assert json.loads((workdir / "config.json").read_text())["config"]["model"]["patch"] == 16


def test_a_stopped_run_goes_on_bit_for_bit(prepared, straight, tmp_path, monkeypatch):
    stop, put = threading.Event(), sharding.put_batch
    seen = []

    def put_and_stop(batch, mesh):
        if "unrelated" not in batch:
            seen.append(batch["target"])
        if len(seen) == 5:  # four steps, and one batch fetched ahead
            stop.set()
        return put(batch, mesh)

    monkeypatch.setattr(sharding, "put_batch", put_and_stop)
    with pytest.raises(loop.Stopped, match="Stopped at step 4 of 6"):
        loop.train(debug(prepared), tmp_path, stop)
    stop.clear()
    before, seen[:] = seen[:4], []
    resumed = loop.train(debug(prepared), tmp_path)
    equal(resumed, straight[1])
    assert lines(tmp_path) == lines(straight[0])
    order = loader.Batches(registry.find("tasks", "completion").make(debug(prepared)).train(), 8)
    for batch in before + seen:
        np.testing.assert_array_equal(batch, next(order)["target"])
    assert len(before + seen) == 6


def test_a_finished_run_is_left_alone(prepared, straight):
    workdir, state = straight
    files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    equal(loop.train(debug(prepared), workdir), state)
    changed = {p.name for p, t in files.items() if p.stat().st_mtime_ns != t}
    assert changed <= {"config.json", "metrics.jsonl"}
    assert losses(workdir).keys() == {1, 2, 3, 4, 5, 6}


OFTEN = {
    "checkpoint__save": "1",
    "report__evaluate": "100%",
    "total": "20",
    "data__mask__rule": "fixed",
}
# Twenty steps that learn; one length of the visible set, so that one program is compiled.
ONCE = {"checkpoint__save": "1", "report__evaluate": "100%"}
TWENTY = {"total": "20", "optimizer__base_lr": 0.03, "data__mask__rule": "fixed"}


@pytest.fixture(scope="session")
def often(prepared, tmp_path_factory):
    """(workdir, last state) of an uninterrupted run that saves after every step."""
    workdir = tmp_path_factory.mktemp("often") / "run"
    return workdir, loop.train(debug(prepared, **OFTEN), workdir)


def command(prepared, workdir, *more):
    """Returns the command line of the debug config on all devices."""
    return [
        *(sys.executable, "-m", "crocohuman_jax.train", "--config=configs/pretrain.py:debug"),
        *(f"--workdir={workdir}", f"--config.data.folders={prepared}", "--config.mesh.data=8"),
        *(f"--compile_cache={jax.config.jax_compilation_cache_dir}", *more),
    ]


@pytest.mark.parametrize("saved", [1, 3])
def test_a_killed_run_goes_on_bit_for_bit(prepared, often, tmp_path, saved):
    changes = [f"--config.{name.replace('__', '.')}={value}" for name, value in OFTEN.items()]
    changes += ["--config.report.tensorboard=False"]
    folder = tmp_path / "run/checkpoints"
    with subprocess.Popen(command(prepared, tmp_path / "run", *changes)) as running:
        while running.poll() is None:
            if sum(p.name.isdigit() for p in folder.glob("*")) >= saved:
                time.sleep(np.random.default_rng().uniform(0, 0.2))
                running.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
    assert running.returncode == -signal.SIGKILL
    resumed = loop.train(debug(prepared, **OFTEN), tmp_path / "run")
    equal(resumed, often[1])
    assert lines(tmp_path / "run") == lines(often[0])


def test_a_terminated_command_saves_and_asks_to_be_run_again(prepared, tmp_path):
    arguments = command(prepared, tmp_path / "run", "--config.total=100000")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if "step 2/" in line:
                break
        running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()
    assert running.returncode == 75
    assert "saving after this step" in rest and "The same command goes on" in rest
    assert checkpoint.Checkpoints(tmp_path / "run/checkpoints", keep=1).latest() >= 2


@pytest.mark.parametrize(
    "mesh",
    [
        {"data": 8, "fsdp": 1, "tensor": 1},
        {"data": 1, "fsdp": 8, "tensor": 1},
        {"data": 4, "fsdp": 1, "tensor": 2},
        {"data": 2, "fsdp": 2, "tensor": 2},
    ],
)
def test_eight_devices_have_the_losses_of_one(prepared, tmp_path, mesh, one_device):
    config = debug(prepared, **TWENTY)
    config.mesh = mesh
    state = loop.train(config, tmp_path)
    for step, loss in losses(tmp_path).items():
        assert loss == pytest.approx(one_device[step], abs=1e-5), step
    kernel = state["params"]["encoder"]["blocks"]["mlp"]["up"]["kernel"]
    moment = state["optimizer"][0].mu["encoder"]["blocks"]["mlp"]["up"]["kernel"]
    split = mesh["fsdp"] * mesh["tensor"]
    for leaf in (kernel, moment):
        assert leaf.addressable_shards[0].data.size * split == leaf.size


@pytest.fixture(scope="session")
def one_device(prepared, tmp_path_factory):
    """The losses of twenty steps on one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    config = debug(prepared, **TWENTY)
    config.mesh = ONE
    with pytest.MonkeyPatch.context() as patch:
        make = sharding.make_mesh
        patch.setattr(sharding, "make_mesh", lambda sizes: make(sizes, jax.devices()[:1]))
        loop.train(config, workdir)
    found = losses(workdir)
    assert found[20] < found[1] - 0.02  # it did train
    return found


def test_a_run_may_be_resumed_on_another_mesh(prepared, straight, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(loop.Stopped, match="step 0 of 6"):
        loop.train(debug(prepared), tmp_path, stop)
    config = debug(prepared)
    config.mesh = {"data": 2, "fsdp": 4, "tensor": 1}
    state = loop.train(config, tmp_path)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.device_get(state["params"]),
        jax.device_get(straight[1]["params"]),
    )


def test_accumulated_steps_are_whole_steps(prepared, tmp_path, one_device):
    config = debug(prepared, accumulate=2, **TWENTY)
    config.mesh = {"data": 4, "fsdp": 1, "tensor": 1}
    with pytest.MonkeyPatch.context() as patch:
        make = sharding.make_mesh
        patch.setattr(sharding, "make_mesh", lambda sizes: make(sizes, jax.devices()[:4]))
        loop.train(config, tmp_path)
    for step, loss in losses(tmp_path).items():
        assert loss == pytest.approx(one_device[step], abs=2e-5), step


def test_averaged_weights_follow_the_parameters(prepared, straight, tmp_path):
    state = loop.train(debug(prepared, ema=0.5), tmp_path)
    equal(state["params"], straight[1]["params"])
    first = checkpoint.load_params(tmp_path, state["params"], "ema")
    equal(first, state["ema"])
    a, b = (np.asarray(state[k]["head"]["kernel"]) for k in ("ema", "params"))
    assert 0 < np.abs(a - b).max() < 0.01


def test_named_parts_start_from_another_run(prepared, straight, tmp_path):
    config = debug(prepared, init_from=str(straight[0]), total="1", seed=5)
    config.init_parts = ("encoder",)
    config.optimizer.warmup = "0"
    config.optimizer.base_lr = 0.0
    state = loop.train(config, tmp_path / "new")
    equal(state["params"]["encoder"], straight[1]["params"]["encoder"])
    other = np.asarray(straight[1]["params"]["decoder"]["embed"]["kernel"])
    assert not np.array_equal(state["params"]["decoder"]["embed"]["kernel"], other)
    config.init_parts = ("encodr",)
    with pytest.raises(ValueError, match="names no part .* Known: decoder, encoder, head"):
        loop.train(config, tmp_path / "typo")
    config.init_parts = ("encoder",)
    config.model.encoder.depth = 3
    with pytest.raises(ValueError, match=r"(?s)do not fit .*\(2, 64\) there, \(3, 64\) here"):
        loop.train(config, tmp_path / "deeper")
    config.init_from = str(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not the workdir of a run"):
        loop.train(config, tmp_path / "absent")


@pytest.mark.parametrize(
    "change, line",
    [
        ({"model__encoder__width": 128}, "model.encoder.width: 64 -> 128"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"data__mask__ratio": 0.9}, "data.mask.ratio: 0.75 -> 0.9"),
    ],
)
def test_another_model_data_or_seed_is_refused_with_a_diff(prepared, straight, change, line):
    with pytest.raises(ValueError, match=f"(?s)another model, data or seed:\n  {line}\n"):
        loop.train(debug(prepared, **change), straight[0])


def test_another_prepared_folder_is_refused(prepared, straight, tmp_path):
    import pictures

    from crocohuman_jax.data import shards

    source = pictures.write(tmp_path / "source", sequences=5)
    settings = shards.Settings("pairs_folder", source, {}, size=(80, 80), held_out=0.4)
    shards.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    with pytest.raises(ValueError, match="fingerprint: "):
        loop.train(debug(tmp_path / "out"), straight[0])
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        loop.train(debug(prepared), tmp_path / "source")


def test_what_does_not_fit_is_refused_before_anything_is_written(prepared, tmp_path):
    for change, message in (
        ({"batch_size": 12}, "batch of 12 does not divide over 8 devices"),
        ({"task": "dreaming"}, "Unknown name 'dreaming' in tasks. Known: completion"),
        ({"total": "0"}, "is 0 steps of a batch of 8"),
        ({"total": "a while"}, "Duration 'a while' is none of"),
        ({"loss__region": "some"}, "Unknown loss region 'some'"),
        ({"model__image": (64, 60)}, "64x60 picture does not divide into 16x16 patches"),
        ({"model__encoder__heads": 5}, "Width 64 does not divide into 5 heads"),
        ({"mesh__fsdp": 3}, "data=8, fsdp=3, tensor=1 does not fill 8 devices"),
        ({"sharding__width": "rows"}, "config.sharding.width is 'rows'. Known: None, data"),
        ({"checkpoint__keep": 0}, "config.checkpoint.keep is at least 1"),
        ({"ema": 1.0}, r"config.ema lies in \[0, 1\), not at 1.0"),
        ({"init_from": "nowhere"}, "nowhere is not the workdir of a run"),
        ({"model__remat": "most"}, "Unknown model.remat 'most'"),
        ({"accumulate": 0}, "config.accumulate is at least 1, not 0"),
        (
            {"accumulate": 2, "batch_size": 16, "loss__region": "masked_human"},
            "needs config.accumulate=1",
        ),
        ({"data__gap": (0, 0)}, r"data.gap is \(least >= 1"),
        ({"data__mask__visible": 3}, "mask.visible=3 is for mask.rule='fixed'"),
    ):
        with pytest.raises(ValueError, match=message):
            loop.train(debug(prepared, **change), tmp_path / "run")
        assert not (tmp_path / "run").exists(), change
    config = debug(prepared)
    config.mesh = {"data": 2, "fsdp": 1, "tensor": 4}
    with pytest.raises(ValueError, match="has 2 heads, which tensor=4 does not divide"):
        loop.train(config, tmp_path / "run")


def test_several_hosts_accept_only_fixed_lengths(prepared):
    mesh = sharding.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    with pytest.raises(ValueError, match="mask.rule='max_human' needs the whole batch.*rule=fixed"):
        loop._check(debug(prepared), mesh, 2)
    loop._check(debug(prepared, data__mask__rule="fixed"), mesh, 2)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 8})
    with pytest.raises(ValueError, match="splits a batch over 1 devices, but 2 hosts read it"):
        loop._check(debug(prepared, data__mask__rule="fixed"), mesh, 2)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_itself(prepared, tmp_path):
    config = debug(prepared, total="50", optimizer__base_lr=1e12, optimizer__warmup="0", **ONCE)
    with pytest.raises(FloatingPointError, match=r"(loss|grad_norm) is (nan|inf)") as stopped:
        loop.train(config, tmp_path)
    step = int(re.search(r"At step (\d+)", str(stopped.value))[1])
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=99).latest()
    assert 0 < saved < step < 50


def test_lines_of_a_crash_are_taken_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1}\n{"step": 3, "a": 1}\n{"step": 2, "a"')
    shown = report.Report(tmp_path, writes=True, step=2, total=9, tensorboard=False)
    shown.scalars(4, {"a": np.float32(0.5)})
    shown.close()
    assert path.read_text() == '{"step": 1, "a": 1}\n{"step": 4, "a": 0.5}\n'


def test_tensorboard_is_written_without_tensorflow(tmp_path):
    shown = report.Report(tmp_path, writes=True, step=0, total=9, tensorboard=True)
    shown.scalars(1, {"train/loss": 0.5})
    shown.picture(1, "panel", np.zeros((4, 4, 3), np.uint8))
    shown.close()
    assert next(tmp_path.glob("events*")).stat().st_size > 100
    assert "tensorflow" not in sys.modules


def test_the_meter_averages_and_counts_only_training():
    gauge = meter.Meter(batch_size=4, total=10, dtype="float32")
    gauge.settle([(1, {"loss": jnp.float32(2.0), "lr": jnp.float32(0.1)})])
    gauge.started(1e9)
    gauge.settle([(2, {"loss": jnp.float32(4.0), "lr": jnp.float32(0.2)})])
    values = gauge.read(2)
    assert values["train/loss"] == 3.0 and values["train/lr"] == pytest.approx(0.2)
    assert values["perf/pairs_per_second"] > 0 and values["perf/data_wait"] == 0
    assert "loss 3.0000" in " ".join(f"{k} {v}" for k, v in gauge.line(2).items())
    assert meter.clock(3725) == "1:02:05"


def test_a_save_that_fails_is_an_error_and_costs_nothing_saved(prepared, tmp_path, monkeypatch):
    save, folder = checkpoint.Checkpoints.save, tmp_path / "run/checkpoints"

    def obstructed(self, step, state, position):
        if step == 6:  # the folder goes away, and a file takes its place
            self._checkpointer.wait()
            folder.rename(tmp_path / "away")
            folder.write_text("")
        save(self, step, state, position)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", obstructed)
    with pytest.raises(OSError, match="checkpoints"):
        loop.train(debug(prepared), tmp_path / "run")
    monkeypatch.undo()
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert checkpoint.Checkpoints(folder, keep=3).latest() == 3
    assert int(loop.train(debug(prepared), tmp_path / "run")["step"]) == 6


def steps_on_noise(config, count):
    """Returns the scalars of steps on one batch of noise, on one device."""
    mesh = sharding.make_mesh(ONE, jax.devices()[:1])
    task = registry.find("tasks", "completion").make(config)
    init, step, _ = loop.build(config, task, mesh, loop.Durations(config, 8))
    batch = benchmark.random_batch(config, 0)
    with jax.set_mesh(mesh):
        state, batch = init(), sharding.put_batch(batch, mesh)
        every = []
        for _ in range(count):
            state, scalars = step(state, batch)
            every.append({name: float(value) for name, value in scalars.items()})
    return every


GOLDEN = {"loss": [1.072991, 1.045557, 1.02039], "grad_norm": [0.129316, 0.113182, 0.089249]}


def test_three_steps_give_the_golden_numbers():
    config = pretrain.get_config("debug")
    config.optimizer.base_lr, config.optimizer.warmup = 0.1, "0"
    found = steps_on_noise(config, 3)
    for name, values in GOLDEN.items():
        assert [scalars[name] for scalars in found] == pytest.approx(values, rel=1e-4), (
            "The numbers of training changed. If that was intended, set the new ones here and say "
            f"why in the commit: {found}"
        )


def test_one_batch_is_learned_by_heart():
    config = pretrain.get_config("debug")
    config.model.decoder.update(width=128, depth=2, heads=4)
    config.batch_size, config.total = 4, "300"
    config.optimizer.base_lr, config.optimizer.weight_decay = 0.2, 0.0
    found = [scalars["loss"] for scalars in steps_on_noise(config, 300)]
    assert found[0] > 0.95 and found[-1] < 0.1


def test_two_hosts_train_as_one(prepared, tmp_path):
    changes = ["--config.total=4", "--config.data.mask.rule=fixed", "--config.report.log=1"]
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    together = [f"--coordinator=localhost:{port}", "--hosts=2"]
    running = [
        subprocess.Popen(
            command(prepared, tmp_path / "two", *changes, *together, f"--host={host}"),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    config = debug(prepared, total="4", data__mask__rule="fixed")
    loop.train(config, tmp_path / "one")
    two, one = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert two.keys() == one.keys() == {1, 2, 3, 4}
    for step, loss in two.items():
        assert loss == pytest.approx(one[step], abs=1e-5)
    resumed = loop.train(config, tmp_path / "two")  # by one host
    assert int(resumed["step"]) == 4


def test_names_of_leaves_read_as_paths():
    tree = {"a": {"b": np.zeros(2)}, "c": np.ones(1)}
    assert [path for path, _ in trees.named_leaves(tree)] == ["a/b", "c"]
    table = trees.parameter_table(tree)
    assert "a/b" in table and table.splitlines()[-1].split() == ["total", "3"]


def test_reconstruct_draws_held_out_pairs(straight, tmp_path):
    output = tmp_path / "p.png"
    command = [sys.executable, "-m", "crocohuman_jax.reconstruct", f"--workdir={straight[0]}"]

    def run(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True)

    done = run(f"--output={output}", "--pairs=3")
    assert done.returncode == 0, done.stderr
    assert PIL.Image.open(output).size == (4 * 64 + 16, 3 * 68)
    done = run(f"--output={output}", "--pairs=0")
    assert done.returncode == 1 and "--pairs is at least 1" in done.stderr
    done = run(f"--output={output}", f"--workdir={tmp_path}")
    assert "is not the workdir of a run" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_key_or_variant_is_named(tmp_path):
    command = [sys.executable, "-m", "crocohuman_jax.train", f"--workdir={tmp_path / 'run'}"]

    def run(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True)

    done = run("--config=configs/pretrain.py:debug", "--config.model.widht=3")
    assert done.returncode != 0 and "widht" in done.stderr
    done = run("--config=configs/pretrain.py:gigantic")
    assert done.returncode != 0
    assert "Unknown variant 'gigantic'. Known: tiny, small, base, large, huge" in done.stderr
    assert not pathlib.Path(tmp_path / "run").exists()

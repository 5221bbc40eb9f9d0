"""The loop: what a run leaves, meshes, accumulation, averaging, and what it refuses."""

import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import runs

from configs import pretrain
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.models import parameters
from crocohuman_jax.training import checkpoint, loop, metric_writer, sharding, throughput


def test_a_run_leaves_what_it_promises(straight):
    workdir, state = straight
    assert int(state["step"]) == 6
    assert sorted(runs.losses(workdir)) == [1, 2, 3, 4, 5, 6]
    held_out = {
        line["step"]: line for line in runs.lines(workdir) if "held_out/masked_loss" in line
    }
    assert sorted(held_out) == [0, 3, 6]
    first = held_out[0]
    assert first["held_out/zero_loss"] < 1 and "held_out/reference_gain" in first
    for step in (0, 3, 6):
        picture = PIL.Image.open(workdir / f"pictures/panel_{step:07d}.png")
        assert picture.size == (4 * 64 + 4 * 4, 6 * 68)
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"3", "6"}
    assert json.loads((workdir / "config.json").read_text())["config"]["model"]["patch"] == 16


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
    config = runs.debug(prepared, **runs.TWENTY)
    config.mesh = mesh
    state = loop.train(config, tmp_path)
    for step, loss in runs.losses(tmp_path).items():
        assert loss == pytest.approx(one_device[step], abs=1e-5), step
    kernel = state["params"]["encoder"]["blocks"]["mlp"]["up"]["kernel"]
    moment = state["optimizer"][0].mu["encoder"]["blocks"]["mlp"]["up"]["kernel"]
    split = mesh["fsdp"] * mesh["tensor"]
    for leaf in (kernel, moment):
        assert leaf.addressable_shards[0].data.size * split == leaf.size


def test_accumulated_steps_are_whole_steps(prepared, tmp_path, one_device):
    config = runs.debug(prepared, accumulate=2, **runs.TWENTY)
    config.mesh = {"data": 4, "fsdp": 1, "tensor": 1}
    with pytest.MonkeyPatch.context() as patch:
        make = sharding.make_mesh
        patch.setattr(sharding, "make_mesh", lambda sizes: make(sizes, jax.devices()[:4]))
        loop.train(config, tmp_path)
    for step, loss in runs.losses(tmp_path).items():
        assert loss == pytest.approx(one_device[step], abs=2e-5), step


def test_averaged_weights_follow_the_parameters(prepared, straight, tmp_path):
    state = loop.train(runs.debug(prepared, ema=0.5), tmp_path)
    runs.equal(state["params"], straight[1]["params"])
    first = checkpoint.load_params(tmp_path, state["params"], "ema")
    runs.equal(first, state["ema"])
    a, b = (np.asarray(state[k]["head"]["kernel"]) for k in ("ema", "params"))
    assert 0 < np.abs(a - b).max() < 0.01


def test_what_does_not_fit_is_refused_before_anything_is_written(prepared, tmp_path):
    for change, message in (
        ({"batch_size": 12}, "batch of 12 does not divide over 8 devices"),
        ({"task": "dreaming"}, "Unknown name 'dreaming' in tasks. Known: completion"),
        ({"total": "0"}, "is 0 steps of a batch of 8"),
        ({"total": "a while"}, "Duration 'a while' must have the form"),
        ({"loss__region": "some"}, "Unknown config.loss.region 'some'"),
        ({"model__image": (64, 60)}, "64x60 picture does not divide into 16x16 patches"),
        ({"model__encoder__heads": 5}, "Width 64 does not divide into 5 heads"),
        ({"mesh__fsdp": 3}, "data=8, fsdp=3, tensor=1 does not fill 8 devices"),
        ({"sharding__width": "rows"}, "config.sharding.width is 'rows'. Known: None, data"),
        (
            {"checkpoint__keep": 0},
            "config.checkpoint.keep is 0. Set it to a whole number",
        ),
        ({"ema": 1.0}, "config.ema is 1.0. Set it to a number of at least 0 and below 1"),
        ({"init_from": "nowhere"}, "nowhere is not the workdir of a run"),
        ({"model__remat": "most"}, "Unknown config.model.remat 'most'"),
        ({"accumulate": 0}, "config.accumulate is 0. Set it to a whole number of at least 1"),
        ({"data__gap": (0, 0)}, r"data.gap is \(0, 0\), but must be \(smallest"),
        ({"data__mask__visible": 3}, "mask.visible=3 works only with mask.rule='fixed'"),
    ):
        with pytest.raises(ValueError, match=message):
            loop.train(runs.debug(prepared, **change), tmp_path / "run")
        assert not (tmp_path / "run").exists(), change
    config = runs.debug(prepared)
    config.mesh = {"data": 2, "fsdp": 1, "tensor": 4}
    with pytest.raises(
        ValueError, match="has an axis 'heads' of size 2, which tensor=4 does not divide"
    ):
        loop.train(config, tmp_path / "run")


def test_several_hosts_need_a_batch_that_is_split_over_them(prepared):
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 8})
    with pytest.raises(ValueError, match="splits a batch over 1 devices, but 2 hosts read it"):
        loop._check(runs.debug(prepared), mesh, 2)


def test_rows_of_all_hosts_are_collected_without_being_waited_for():
    mesh = sharding.make_mesh({"data": 4, "fsdp": 2, "tensor": 1})
    rows = np.arange(24, dtype=np.float32).reshape(8, 3)
    found = sharding.gather(mesh)(rows)
    assert isinstance(found, jax.Array) and found.is_fully_replicated
    np.testing.assert_array_equal(np.asarray(found), rows)


def test_the_meter_says_how_often_each_length_was_met(caplog):
    gauge = throughput.Meter(batch_size=4, total=10, dtype="float32")
    for length in (48, 48, 56, 48):
        gauge.met({"visible": np.zeros((4, length))})
    gauge.settle([(1, {"loss": jnp.float32(2.0), "lr": jnp.float32(0.1)})])
    values = gauge.read(4)
    assert values["train/visible"] == 50 and values["perf/lengths"] == 2
    with caplog.at_level("INFO"):
        gauge.say_lengths()
    assert "2 numbers of visible patches: 48 in 75 %, 56 in 25 %." in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run_and_names_itself(prepared, tmp_path):
    config = runs.debug(
        prepared, total="50", optimizer__base_lr=1e12, optimizer__warmup="0", **runs.ONCE
    )
    with pytest.raises(FloatingPointError, match=r"(loss|grad_norm) is (nan|inf)") as stopped:
        loop.train(config, tmp_path)
    step = int(re.search(r"At step (\d+)", str(stopped.value))[1])
    saved = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=99).latest()
    assert 0 < saved < step < 50


def test_tensorboard_is_written_without_tensorflow(tmp_path):
    shown = metric_writer.Report(tmp_path, writes=True, step=0, total=9, tensorboard=True)
    shown.scalars(1, {"train/loss": 0.5})
    shown.picture(1, "panel", np.zeros((4, 4, 3), np.uint8))
    shown.close()
    assert next(tmp_path.glob("events*")).stat().st_size > 100
    assert "tensorflow" not in sys.modules


def test_the_meter_averages_and_counts_only_training():
    gauge = throughput.Meter(batch_size=4, total=10, dtype="float32")
    gauge.settle([(1, {"loss": jnp.float32(2.0), "lr": jnp.float32(0.1)})])
    gauge.started(1e9)
    gauge.settle([(2, {"loss": jnp.float32(4.0), "lr": jnp.float32(0.2)})])
    values = gauge.read(2)
    assert values["train/loss"] == 3.0 and values["train/lr"] == pytest.approx(0.2)
    assert values["perf/pairs_per_second"] > 0 and values["perf/data_wait"] == 0
    assert "loss 3.0000" in " ".join(f"{k} {v}" for k, v in gauge.line(2).items())
    assert throughput.clock(3725) == "1:02:05"


def steps_on_noise(config, count):
    """Returns the scalars of steps on one batch of noise, on one device."""
    mesh = sharding.make_mesh(runs.ONE, jax.devices()[:1])
    task = registry.find("tasks", "completion").make(config)
    init, step, _ = loop.build(config, task, mesh, durations.of(config, 8))
    batch = task.example_batch(config.batch_size)
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


def test_names_of_leaves_read_as_paths():
    tree = {"a": {"b": np.zeros(2)}, "c": np.ones(1)}
    assert [path for path, _ in parameters.named_leaves(tree)] == ["a/b", "c"]
    table = parameters.parameter_table(tree)
    assert "a/b" in table and table.splitlines()[-1].split() == ["total", "3"]


def test_reconstruct_draws_held_out_pairs(straight, tmp_path):
    output = tmp_path / "p.png"
    line = [sys.executable, "-m", "crocohuman_jax.reconstruct", f"--workdir={straight[0]}"]

    def run(*more):
        return subprocess.run([*line, *more], capture_output=True, text=True)

    done = run(f"--output={output}", "--pairs=3")
    assert done.returncode == 0, done.stderr
    assert PIL.Image.open(output).size == (4 * 64 + 16, 3 * 68)
    done = run(f"--output={output}", "--pairs=0")
    assert done.returncode == 1 and "--pairs must be at least 1" in done.stderr
    done = run(f"--output={tmp_path / 'p.txt'}")
    assert "has an unknown suffix: a picture's name ends in .png" in done.stderr
    done = run(f"--output={tmp_path / 'nowhere' / 'p.png'}")
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in done.stderr
    done = run(f"--output={output}", f"--workdir={tmp_path}")
    assert "is not the workdir of a run" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_key_or_variant_is_named(tmp_path):
    line = [sys.executable, "-m", "crocohuman_jax.train", f"--workdir={tmp_path / 'run'}"]

    def run(*more):
        return subprocess.run([*line, *more], capture_output=True, text=True)

    done = run("--config=configs/pretrain.py:debug", "--config.model.widht=3")
    assert done.returncode != 0 and "widht" in done.stderr
    done = run("--config=configs/pretrain.py:gigantic")
    assert done.returncode != 0
    assert "Unknown variant 'gigantic'. Known: micro, tiny, small, base, large, huge" in done.stderr
    assert not pathlib.Path(tmp_path / "run").exists()

"""Stopping, killing and going on; starting from other weights; workdirs of other runs."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import jax
import numpy as np
import pytest
import runs

from crocohuman_jax.configuration import registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.streams import pairs
from crocohuman_jax.training import checkpoint, loop, metric_writer, run_folder, sharding


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
        loop.train(runs.debug(prepared), tmp_path, stop)
    stop.clear()
    before, seen[:] = seen[:4], []
    resumed = loop.train(runs.debug(prepared), tmp_path)
    runs.equal(resumed, straight[1])
    assert runs.lines(tmp_path) == runs.lines(straight[0])
    order = loader.Batches(
        registry.find("tasks", "completion").make(runs.debug(prepared)).train(), 8
    )
    for batch in before + seen:
        np.testing.assert_array_equal(batch, next(order)["target"])
    assert len(before + seen) == 6


def test_a_finished_run_is_left_alone(prepared, straight):
    workdir, state = straight
    files = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}
    runs.equal(loop.train(runs.debug(prepared), workdir), state)
    changed = {p.name for p, t in files.items() if p.stat().st_mtime_ns != t}
    assert changed <= {"config.json", "metrics.jsonl"}
    assert runs.losses(workdir).keys() == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("saved", [1, 3])
def test_a_killed_run_goes_on_bit_for_bit(prepared, often, tmp_path, saved):
    changes = [f"--config.{name.replace('__', '.')}={value}" for name, value in runs.OFTEN.items()]
    changes += ["--config.report.tensorboard=False"]
    folder = tmp_path / "run/checkpoints"
    with subprocess.Popen(runs.command(prepared, tmp_path / "run", *changes)) as running:
        while running.poll() is None:
            if sum(p.name.isdigit() for p in folder.glob("*")) >= saved:
                time.sleep(np.random.default_rng().uniform(0, 0.2))
                running.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
    assert running.returncode == -signal.SIGKILL
    resumed = loop.train(runs.debug(prepared, **runs.OFTEN), tmp_path / "run")
    runs.equal(resumed, often[1])
    assert runs.lines(tmp_path / "run") == runs.lines(often[0])


def test_a_terminated_command_saves_and_asks_to_be_run_again(prepared, tmp_path):
    arguments = runs.command(prepared, tmp_path / "run", "--config.total=100000")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr:
            if "step 2/" in line:
                break
        running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()
    assert running.returncode == 75
    assert "saving after this step" in rest and "Run the same command to continue" in rest
    assert checkpoint.Checkpoints(tmp_path / "run/checkpoints", keep=1).latest() >= 2


def test_a_run_may_be_resumed_on_another_mesh(prepared, straight, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(loop.Stopped, match="step 0 of 6"):
        loop.train(runs.debug(prepared), tmp_path, stop)
    config = runs.debug(prepared)
    config.mesh = {"data": 2, "fsdp": 4, "tensor": 1}
    state = loop.train(config, tmp_path)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.device_get(state["params"]),
        jax.device_get(straight[1]["params"]),
    )


def test_named_parts_start_from_another_run(prepared, straight, tmp_path):
    config = runs.debug(prepared, init_from=str(straight[0]), total="1", seed=5)
    config.init_parts = ("encoder",)
    config.optimizer.warmup = "0"
    config.optimizer.base_lr = 0.0
    state = loop.train(config, tmp_path / "new")
    runs.equal(state["params"]["encoder"], straight[1]["params"]["encoder"])
    other = np.asarray(straight[1]["params"]["decoder"]["embed"]["kernel"])
    assert not np.array_equal(state["params"]["decoder"]["embed"]["kernel"], other)
    config.init_parts = ("encodr",)
    with pytest.raises(ValueError, match="does not name parts .* Known: decoder, encoder, head"):
        loop.train(config, tmp_path / "typo")
    config.init_parts = ("encoder",)
    config.model.encoder.depth = 3
    with pytest.raises(ValueError, match=r"(?s)do not fit .*saved \(2, 64\), needed \(3, 64\)"):
        loop.train(config, tmp_path / "deeper")
    config.init_from = str(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not the workdir of a run"):
        loop.train(config, tmp_path / "absent")


@pytest.mark.parametrize(
    "change, line",
    [
        ({"model__encoder__width": 128}, "model.encoder.width: 64 -> 128"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"data__mask__rule": "max_kept"}, "data.mask.rule: 'max_human' -> 'max_kept'"),
    ],
)
def test_another_model_data_or_seed_is_refused_with_a_diff(prepared, straight, change, line):
    with pytest.raises(ValueError, match=f"(?s)another model, data or seed:\n  {line}\n"):
        loop.train(runs.debug(prepared, **change), straight[0])


def test_another_prepared_folder_is_refused(prepared, straight, tmp_path):
    import pictures

    from crocohuman_jax.data.preparation import pipeline

    source = pictures.write(tmp_path / "source", sequences=5)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(80, 80), held_out=0.4)
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    with pytest.raises(ValueError, match="fingerprint: "):
        loop.train(runs.debug(tmp_path / "out"), straight[0])
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        loop.train(runs.debug(prepared), tmp_path / "source")


def test_other_kinds_of_pairs_are_refused_though_the_folders_may_move(prepared, straight):
    one_kind = "(?s)data or seed:\n  fingerprint: '(\\w+) view=12 pose=12' -> '\\1 view=24'"
    with pytest.raises(ValueError, match=one_kind):
        loop.train(runs.debug(f"{prepared}:view"), straight[0])


def test_a_run_of_an_earlier_version_goes_on_where_its_frames_are_the_same(prepared, tmp_path):
    config = runs.debug(prepared).to_dict()
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    saved = {"config": config, "data": {"fingerprint": "abc+def"}}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    now = {"config": config, "data": {"fingerprint": "abc view=2 + def pose=1 view=3"}}
    assert run_folder.holds_this_run(tmp_path, now)
    now["data"]["fingerprint"] = "abc view=2 + other pose=1"
    with pytest.raises(ValueError, match=r"fingerprint: 'abc\+def' -> 'abc\+other'"):
        run_folder.holds_this_run(tmp_path, now)


def test_lines_of_a_crash_are_taken_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1}\n{"step": 3, "a": 1}\n{"step": 2, "a"')
    shown = metric_writer.Report(tmp_path, writes=True, step=2, total=9, tensorboard=False)
    shown.scalars(4, {"a": np.float32(0.5)})
    shown.close()
    assert path.read_text() == '{"step": 1, "a": 1}\n{"step": 4, "a": 0.5}\n'


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
        loop.train(runs.debug(prepared), tmp_path / "run")
    monkeypatch.undo()
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert checkpoint.Checkpoints(folder, keep=3).latest() == 3
    assert int(loop.train(runs.debug(prepared), tmp_path / "run")["step"]) == 6


def test_two_hosts_train_as_one(prepared, tmp_path):
    changes = ["--config.total=4", "--config.report.log=1"]  # rule=max_human, whose lengths vary
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=4")}
    together = [f"--coordinator=localhost:{port}", "--hosts=2"]
    running = [
        subprocess.Popen(
            runs.command(prepared, tmp_path / "two", *changes, *together, f"--host={host}"),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    config = runs.debug(prepared, total="4")
    loop.train(config, tmp_path / "one")
    for line in runs.lines(tmp_path / "one"):
        if "train/visible" in line:  # the same lengths, more than one
            assert line in [{**two, **line} for two in runs.lines(tmp_path / "two")]
    two, one = runs.losses(tmp_path / "two"), runs.losses(tmp_path / "one")
    assert two.keys() == one.keys() == {1, 2, 3, 4}
    for step, loss in two.items():
        assert loss == pytest.approx(one[step], abs=1e-5)
    resumed = loop.train(config, tmp_path / "two")  # by one host
    assert int(resumed["step"]) == 4


def test_a_run_that_waits_for_its_data_stops_at_once(prepared, tmp_path, monkeypatch):
    stop, read, before, after = threading.Event(), pairs.Read.map, [], []

    def counted(self, drawn):
        (after if stop.is_set() else before).append(drawn)
        if len(before) == 20:  # in the middle of the third batch
            stop.set()
        return read(self, drawn)

    monkeypatch.setattr(pairs.Read, "map", counted)
    config = runs.debug(prepared, data__held_out_pairs=0, data__threads=1, **runs.OFTEN)
    with pytest.raises(loop.Stopped, match="Stopped at step [012] of 20"):
        loop.train(config, tmp_path / "run", stop)
    # Of each batch that is kept ready, the picture that is read next is finished, no more.
    assert len(after) <= config.data.prefetch < config.batch_size * config.data.prefetch
    assert list((tmp_path / "run/checkpoints").iterdir())


def test_a_run_whose_network_has_changed_since_is_refused_by_the_name_of_the_array(straight):
    workdir, state = straight
    checkpoints = checkpoint.Checkpoints(workdir / "checkpoints", keep=2)
    kernel = state["params"]["head"]["kernel"]
    other = jax.ShapeDtypeStruct((kernel.shape[0], 9), kernel.dtype, sharding=kernel.sharding)
    changed = state["params"] | {"head": state["params"]["head"] | {"kernel": other}}
    with pytest.raises(ValueError, match=r"head/kernel: saved \(32, 768\), needed \(32, 9\)"):
        checkpoints.restore(state | {"params": changed})
    checkpoints.close()

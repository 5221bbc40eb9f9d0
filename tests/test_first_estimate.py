"""Where a run's estimates begin: read once from the people learned from, and never again."""

import crowds
import jax
import runs

from configs import mesh
from crocohuman_jax import loop, registry, sharding
from crocohuman_jax.data import notes, truth


def test_the_mean_person_is_read_once_and_never_while_building_or_going_on(
    tmp_path_factory, tmp_path, monkeypatch
):
    reads, means, mean = [], [], notes.mean
    read = truth.Truths.read
    monkeypatch.setattr(truth.Truths, "read", lambda *a: reads.append(a) or read(*a))
    monkeypatch.setattr(notes, "mean", lambda *a: means.append(len(reads)) or mean(*a))
    changes = {"total": "1", "checkpoint.save": "1", "data.held_out_people": 0}
    config = mesh.get_config("debug,body=open_hand_right")
    config.data.folders = str(crowds.builtin(tmp_path_factory.getbasetemp()))
    config.report.tensorboard = False
    config.ema = 0.5
    config.update_from_flattened_dict(changes)
    task = registry.find("tasks", "mesh").make(config)
    devices = sharding.make_mesh(config.mesh)
    jax.eval_shape(task.init, jax.random.key(0))
    loop.build(config, task, devices, loop.Durations(config, 8))
    assert not reads and not means
    state = loop.train(config, tmp_path / "run")
    assert means == [0]  # once, before any batch
    for params in (state["params"], state["ema"]):
        runs.equal(params["mean"], task.from_data()["mean"])
    means.clear()
    reads.clear()
    again = loop.train(config, tmp_path / "run")
    assert not means and not reads
    runs.equal(again["params"]["mean"], state["params"]["mean"])

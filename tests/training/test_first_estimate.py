"""Where a run's estimates begin: read once from the people learned from, and never again."""

import crowds
import jax
import runs

from configs import mesh
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.streams import person_labels
from crocohuman_jax.training import loop, sharding


def test_the_mean_person_is_read_once_and_never_while_building_or_going_on(
    tmp_path_factory, tmp_path, monkeypatch
):
    happened, mean, batches = [], person_labels.mean, loader.Batches
    monkeypatch.setattr(person_labels, "mean", lambda *a: happened.append("mean") or mean(*a))
    monkeypatch.setattr(
        loader, "Batches", lambda *a, **k: happened.append("batches") or batches(*a, **k)
    )
    changes = {"total": "1", "checkpoint.save": "1", "data.held_out_people": 0}
    config = mesh.get_config("debug,body=open_hand_right")
    config.data.folders = str(crowds.builtin(tmp_path_factory.getbasetemp()))
    config.report.tensorboard = False
    config.ema = 0.5
    config.update_from_flattened_dict(changes)
    task = registry.find("tasks", "mesh").make(config)
    devices = sharding.make_mesh(config.mesh)
    jax.eval_shape(task.init, jax.random.key(0))
    loop.build(config, task, devices, durations.of(config, 8))
    assert not happened
    state = loop.train(config, tmp_path / "run")
    assert happened == ["mean", "batches"]
    for params in (state["params"], state["ema"]):
        runs.equal(params["mean"], task.from_data()["mean"])
    happened.clear()
    again = loop.train(config, tmp_path / "run")
    assert happened == ["batches"]
    runs.equal(again["params"]["mean"], state["params"]["mean"])

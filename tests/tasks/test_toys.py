"""A task is one file and one config: a new one trains, is evaluated and benchmarked at once."""

import importlib.util
import pathlib
import shutil

import crowds
import numpy as np
import pytest
import runs

from configs import pretrain
from crocohuman_jax import tasks
from crocohuman_jax.benchmarks import evaluation, step
from crocohuman_jax.configuration import registry
from crocohuman_jax.data.storage import synthetic_truth
from crocohuman_jax.evaluation import protocol, runner
from crocohuman_jax.inference import photographs
from crocohuman_jax.training import loop

TOYS = pathlib.Path(__file__).parent / "toys"


@pytest.fixture
def get_config(tmp_path, monkeypatch):
    """The config of a task whose file lies in a folder of a user's own."""
    mine = tmp_path / "mine"
    shutil.copytree(TOYS, mine)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(mine)])
    spec = importlib.util.spec_from_file_location("action_config", mine / "action_config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def test_a_task_in_one_file_trains_and_is_evaluated_and_benchmarked(
    get_config, tmp_path, tmp_path_factory
):
    folder = crowds.builtin(tmp_path_factory.getbasetemp())
    truths = synthetic_truth.Truths(folder)
    config = get_config("debug,batch=8")
    config.actions = tuple(sorted({truths.read(row)["action"] for row in range(len(truths))}))
    config.data.folders, config.report.tensorboard = str(folder), False
    config.update(total="20", optimizer={"base_lr": 3e-2})
    config.mesh = {"data": 8, "fsdp": 1, "tensor": 1}
    loop.train(config, tmp_path / "run")
    losses = runs.losses(tmp_path / "run")
    assert np.mean([losses[i] for i in (18, 19, 20)]) < 0.8 * losses[1]
    table = runner.evaluate(tmp_path / "run", output=str(tmp_path / "out"), batch=4)
    result = protocol.Result.load(tmp_path / "out/result.json")
    assert "accuracy" in table and result.protocol.task == "action"
    found = np.load(tmp_path / "out/people.npz")
    assert result.metrics["accuracy"] == pytest.approx(100 * (1 - found["wrong"].mean()))
    for option in ({"alignment": "freihand"}, {"root": "none"}, {"submission": "pred.json"}):
        ((flag, value),) = option.items()
        with pytest.raises(ValueError, match=f"--{flag}={value}: the task 'action' has no such"):
            runner.evaluate(tmp_path / "run", output=str(tmp_path / "no"), **option)
    assert not (tmp_path / "no").exists()
    with pytest.raises(ValueError, match="'action', which predicts nothing in photographs"):
        next(photographs.predict(tmp_path / "run", ["a.jpg"], tmp_path / "no"))
    assert step.measure(config, warmup=0, steps=1)["people_per_second"] > 0
    with pytest.raises(ValueError, match="--visible=3: task 'action' hides no patches"):
        next(step.variants(config, visible=3))
    with pytest.raises(ValueError, match=",b': one folder is evaluated"):
        next(evaluation.measure(get_config("debug"), str(folder) + ",b", warmup=0, steps=1))
    without = pretrain.get_config("debug")
    with pytest.raises(ValueError, match="config.task='completion' has no protocol"):
        next(evaluation.measure(without, str(folder), warmup=0, steps=1))
    (row,) = evaluation.measure(config, str(folder), warmup=0, steps=1)
    assert row["people"] == len(found["row"])


def test_an_unknown_task_is_named_with_those_there_are(get_config):
    assert callable(registry.find("tasks", "action").make)
    with pytest.raises(ValueError, match="Unknown name 'actoin' in tasks. Known: action, .*mesh"):
        registry.find("tasks", "actoin")

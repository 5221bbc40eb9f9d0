"""A run of an earlier version of this project goes on here, and is opened as any other."""

import json
import pathlib
import tarfile

import jax
import ml_collections
import numpy as np
import pytest

from crocohuman_jax.configuration import options
from crocohuman_jax.inference import model
from crocohuman_jax.training import loop, run_folder

# Six steps were planned; the checkpoint of step 3 and the log of all six are kept.
KEPT = pathlib.Path(__file__).with_name("earlier_run.tar.xz")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """The workdir, beside the folder that it learned from."""
    with tarfile.open(KEPT) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # the run's config names its folder by a relative path
    return tmp_path / "run"


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def test_an_earlier_run_goes_on_to_the_losses_that_it_had(workdir):
    before = losses(workdir)
    config = ml_collections.ConfigDict(options.load(workdir / "config.json")["config"])
    state = loop.train(config, workdir)
    after = losses(workdir)
    assert int(state["step"]) == 6 and after.keys() == before.keys() == set(range(1, 7))
    for step, loss in before.items():
        np.testing.assert_allclose(after[step], loss, rtol=1e-5)


def test_an_earlier_run_is_opened_and_used(workdir):
    run = run_folder.opened(workdir)
    params = run.params(ema=False)
    assert run.step == 3 and jax.tree.leaves(params)[0].size
    loaded = model.load(workdir)
    features = loaded.encode(np.zeros((1, 32, 32, 3), np.uint8))
    assert np.isfinite(features).all()

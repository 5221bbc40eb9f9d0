"""Kills a run again and again until it ends: python -m pytest -m drill tests/drills"""

import random
import signal
import subprocess
import time

import pytest
from runs import OFTEN, command, debug, equal, lines

from crocohuman_jax.training import loop


@pytest.mark.drill
@pytest.mark.parametrize("trial", range(5))
def test_a_run_killed_at_random_moments_ends_as_a_straight_one(prepared, tmp_path, trial):
    dice = random.Random(trial)
    # Evaluations and saves at every step: most kills fall into one of them.
    changes = OFTEN | {"report__evaluate": "1", "total": "200"}
    flags = [f"--config.{name.replace('__', '.')}={value}" for name, value in changes.items()]
    flags += ["--config.report.tensorboard=False"]
    kills = 0
    while True:
        with subprocess.Popen(command(prepared, tmp_path / "cut", *flags)) as running:
            try:
                assert running.wait(timeout=dice.uniform(1, 15)) == 0
                break
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                kills += 1
        assert kills < 100
        time.sleep(0.1)
    config = debug(prepared, **changes)
    last = loop.train(config, tmp_path / "cut")  # finished: only restores
    equal(last, loop.train(config, tmp_path / "straight"))
    assert lines(tmp_path / "cut") == lines(tmp_path / "straight")
    assert kills > 0

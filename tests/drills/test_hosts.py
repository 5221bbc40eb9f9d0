"""Stops one of two hosts, and both stop: python -m pytest -m drill tests/drills/test_hosts.py"""

import os
import signal
import socket
import subprocess

import pytest
from runs import command

from crocohuman_jax.training import checkpoint


@pytest.mark.drill
@pytest.mark.parametrize("heard_by", [0, 1])
def test_a_sigterm_of_one_host_saves_and_stops_both(prepared, tmp_path, heard_by):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    flags = ["--config.total=100000", "--config.data.mask.rule=fixed"]
    flags += ["--config.checkpoint.save=50000", "--config.report.evaluate=50000"]
    running = [
        subprocess.Popen(
            [
                *command(prepared, tmp_path / "run", *flags, f"--coordinator=localhost:{port}"),
                *("--hosts=2", f"--host={host}"),
            ],
            env=os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=4")},
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    for line in running[0].stderr:
        if "step 20/" in line:
            break
    running[heard_by].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [75, 75], said
    assert checkpoint.Checkpoints(tmp_path / "run/checkpoints", keep=1).latest() >= 20

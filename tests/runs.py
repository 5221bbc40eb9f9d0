"""What the tests of training runs share."""

import json
import sys

import jax
import numpy as np

from configs import pretrain

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


OFTEN = {
    "checkpoint__save": "1",
    "report__evaluate": "100%",
    "total": "20",
    "data__mask__rule": "fixed",
}


# Twenty steps that learn; one length of the visible set, so that one program is compiled.
ONCE = {"checkpoint__save": "1", "report__evaluate": "100%"}


TWENTY = {"total": "20", "optimizer__base_lr": 0.03, "data__mask__rule": "fixed"}


def command(prepared, workdir, *more):
    """Returns the command line of the debug config on all devices."""
    return [
        *(sys.executable, "-m", "crocohuman_jax.train", "--config=configs/pretrain.py:debug"),
        *(f"--workdir={workdir}", f"--config.data.folders={prepared}", "--config.mesh.data=8"),
        *(f"--compile_cache={jax.config.jax_compilation_cache_dir}", *more),
    ]

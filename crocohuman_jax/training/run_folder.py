"""The workdir of a run: what it holds, whether a run may go on in it, and how others open it."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from crocohuman_jax.configuration import options, registry
from crocohuman_jax.training import checkpoint, precision, sharding

# What may differ when a run is resumed: it changes neither the data nor the mathematics.
FREE = ("checkpoint", "report", "mesh", "data.threads", "data.prefetch", "data.folders")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run opened on one device, to be measured, drawn or used.

    Attributes:
        workdir: its folder.
        config: its config, for one device.
    """

    workdir: pathlib.Path
    config: ml_collections.ConfigDict

    @functools.cached_property
    def task(self):
        """The task, made of the config."""
        return registry.find("tasks", self.config.task, "config.task").make(self.config)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The mesh of one device."""
        return sharding.make_mesh(self.config.mesh, jax.devices()[:1])

    def params(self, ema: bool) -> Any:
        """Returns the newest parameters, or their running averages."""
        return checkpoint.load_whole(self.workdir, "ema" if ema else "params")

    @property
    def step(self) -> int:
        """The step of the newest checkpoint."""
        return checkpoint.newest(self.workdir)


def opened(workdir: pathlib.Path, change: Callable[[dict], None] = lambda saved: None) -> Finished:
    """Opens a run on one device.

    Args:
        workdir: its folder.
        change: edits the saved config in place, as to read other data.

    Raises:
        ValueError: it holds no run, or `change` found something wrong.
    """
    saved = options.load(workdir / "config.json")["config"]
    saved["mesh"] = dict.fromkeys(sharding.MESH, 1)
    change(saved)
    return Finished(workdir, ml_collections.ConfigDict(saved))


def holds_this_run(workdir: pathlib.Path, settings: dict) -> bool:
    """Returns whether a workdir holds a run of these settings; False if it holds nothing.

    Raises:
        ValueError: it holds another run (the message says what differs), or other files.
    """
    path = workdir / "config.json"
    if not path.exists():
        if workdir.exists() and any(workdir.iterdir()):
            raise ValueError(
                f"{workdir} is not empty and holds no run (no config.json): "
                "choose another --workdir."
            )
        return False
    if not any(child.name.isdigit() for child in workdir.glob("checkpoints/*")):
        return True  # nothing saved yet, so nothing to protect
    saved, data = options.load(path), settings["data"]
    if "=" not in saved["data"]["fingerprint"]:  # of an earlier version: it says no shares
        words = (part.split()[0] for part in data["fingerprint"].split(" + "))
        data = {"fingerprint": "+".join(words)}
    dtypes = precision.compared(saved, settings)
    changes = options.difference(
        options.without(saved["config"], FREE) | saved["data"] | dtypes[0],
        options.without(settings["config"], FREE) | data | dtypes[1],
    )
    if changes:
        raise ValueError(
            f"{workdir} holds a run with another model, data or seed:\n  "
            + "\n  ".join(changes)
            + "\nGo on with its own settings, or choose another --workdir."
        )
    return True

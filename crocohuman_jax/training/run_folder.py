"""Opens the workdir of a finished run, and checks whether a run may start or resume in one."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from crocohuman_jax.configuration import options, registry
from crocohuman_jax.training import checkpoint, precision, sharding

# Keys that may differ when a run is resumed: they change neither the data nor the mathematics.
FREE = ("checkpoint", "report", "mesh", "data.threads", "data.prefetch", "data.folders")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run opened on one device, for evaluation, drawing or prediction.

    Attributes:
        workdir: the run's folder.
        config: the run's config, with a mesh of one device.
    """

    workdir: pathlib.Path
    config: ml_collections.ConfigDict

    @functools.cached_property
    def task(self):
        """The run's task, made from its config."""
        return registry.find("tasks", self.config.task, "config.task").make(self.config)

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The device mesh, of one device."""
        return sharding.make_mesh(self.config.mesh, jax.devices()[:1])

    def params(self, ema: bool) -> Any:
        """Returns the newest parameters, or with `ema` their running averages."""
        return checkpoint.load_whole(self.workdir, "ema" if ema else "params")

    @property
    def step(self) -> int:
        """The step of the newest checkpoint."""
        return checkpoint.newest(self.workdir)


def opened(workdir: pathlib.Path, change: Callable[[dict], None] = lambda saved: None) -> Finished:
    """Opens a run on one device.

    Args:
        workdir: the run's folder.
        change: edits the saved config in place, for example to read other data.

    Raises:
        ValueError: the folder does not hold a run, or `change` raised it.
    """
    saved = options.load(workdir / "config.json")["config"]
    saved["mesh"] = dict.fromkeys(sharding.MESH, 1)
    change(saved)
    return Finished(workdir, ml_collections.ConfigDict(saved))


def holds_this_run(workdir: pathlib.Path, settings: dict) -> bool:
    """Returns True if a workdir holds a run of these settings, False if it is empty or missing.

    Raises:
        ValueError: it holds another run (the message says what differs), or other files.
    """
    path = workdir / "config.json"
    if not path.exists():
        if workdir.exists() and any(workdir.iterdir()):
            raise ValueError(
                f"{workdir} is not empty and holds no run (there is no config.json): "
                "choose another --workdir."
            )
        return False
    if not any(child.name.isdigit() for child in workdir.glob("checkpoints/*")):
        return True  # without a checkpoint nothing can be lost
    saved, data = options.load(path), settings["data"]
    if "=" not in saved["data"]["fingerprint"]:  # an earlier version wrote no shares of the folders
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
            + "\nUse the same settings to resume it, or choose another --workdir."
        )
    return True

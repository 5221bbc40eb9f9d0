"""Saves and restores the train state together with the position in the data."""

import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as orbax

from crocohuman_jax.models import parameters

# Keys of a checkpoint: the train state, and the loop's position in the data.
STATE, POSITION = "state", "position"


class Checkpoints:
    """The checkpoints of one run, written in the background.

    A checkpoint appears whole or not at all; an unfinished one is ignored and removed.

    Args:
        folder: folder of the checkpoints.
        keep: number of the newest checkpoints to keep.
        keep_every: also keep checkpoints at multiples of this step; 0 for none.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int, keep_every: int = 0):
        policies = orbax.training.preservation_policies
        kept = [policies.LatestN(keep)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        self._folder = folder
        self._checkpointer = orbax.training.Checkpointer(
            folder.absolute(),
            preservation_policy=policies.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
        )

    def latest(self) -> int | None:
        """Returns the newest step saved, or None."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any, position: dict[str, int]) -> None:
        """Starts to save in the background, after waiting for the previous save to end.

        Raises:
            OSError: the previous save failed. Other errors of that save are raised as well.
        """
        self._checkpointer.wait()
        self._checkpointer.save_checkpointables_async(
            step, {STATE: state, POSITION: position}, force=True
        )

    def restore(self, state: Any) -> tuple[int, Any, dict[str, int]] | None:
        """Returns the newest (step, state, position), placed like `state`, or None.

        Args:
            state: arrays, or their shapes with shardings.

        Raises:
            ValueError: a saved parameter has another shape, as after a change of the network.
        """
        step = self.latest()
        if step is None:
            return None
        saved = self._checkpointer.checkpointables_metadata(step).metadata[STATE]
        found = dict(parameters.named_leaves(saved["params"]))
        _compare(self._folder, dict(parameters.named_leaves(state["params"])), found)
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        saved = self._checkpointer.load_checkpointables(step, {STATE: wanted, POSITION: None})
        return step, saved[STATE], saved[POSITION]

    def close(self) -> None:
        """Waits for the last save; raises if it failed."""
        self._checkpointer.wait()
        self._checkpointer.close()


def load_params(run: pathlib.Path, wanted: Any, name: str = "params") -> Any:
    """Returns parameters of a run's newest checkpoint, placed like `wanted`.

    Args:
        run: a workdir, or its folder of checkpoints.
        wanted: a nested dict of arrays or their shapes with shardings; only these are read.
        name: "params" or "ema".

    Raises:
        ValueError: the run has no checkpoint, or a parameter is missing or has another shape.
    """
    folder = _folder(run)
    context = orbax.Context()
    context.pytree.loading.partial_load = True
    with context:
        with orbax.training.Checkpointer(folder.absolute()) as checkpointer:
            if checkpointer.latest is None:
                raise ValueError(f"{run} has no finished checkpoint.")
            step = checkpointer.latest.step
            saved = checkpointer.checkpointables_metadata(step).metadata[STATE]
            if name not in saved:
                raise ValueError(f"{run} has no {name!r}. It has: {', '.join(sorted(saved))}.")
            _compare(
                run,
                dict(parameters.named_leaves(wanted)),
                dict(parameters.named_leaves(saved[name])),
            )
            abstract = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), wanted
            )
            loaded = checkpointer.load_checkpointables(step, {STATE: {name: abstract}})
    return loaded[STATE][name]


def load_whole(run: pathlib.Path, name: str = "params") -> Any:
    """Returns all parameters of a run's newest checkpoint, on the first device.

    Args:
        run: a workdir, or its folder of checkpoints.
        name: "params" or "ema".

    Raises:
        ValueError: the run has no checkpoint, or the checkpoint has no such parameters.
    """
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with orbax.training.Checkpointer(_folder(run).absolute()) as checkpointer:
        if checkpointer.latest is None:
            raise ValueError(f"{run} has no finished checkpoint.")
        saved = checkpointer.checkpointables_metadata(checkpointer.latest.step).metadata[STATE]
    if name not in saved:
        raise ValueError(f"{run} has no {name!r}. It has: {', '.join(sorted(saved))}.")
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(tuple(x.shape), x.dtype, sharding=place), saved[name]
    )
    return load_params(run, wanted, name)


def newest(run: pathlib.Path) -> int:
    """Returns the step of a run's newest checkpoint.

    Raises:
        ValueError: the run has no checkpoint.
    """
    with orbax.training.Checkpointer(_folder(run).absolute()) as checkpointer:
        if checkpointer.latest is None:
            raise ValueError(f"{run} has no finished checkpoint.")
        return checkpointer.latest.step


def _folder(run: pathlib.Path) -> pathlib.Path:
    folder = run / "checkpoints" if (run / "checkpoints").is_dir() else run
    if not folder.is_dir():
        raise ValueError(f"{run} is not the workdir of a run: it has no folder 'checkpoints'.")
    return folder


def _compare(run: pathlib.Path, wanted: dict[str, Any], saved: dict[str, Any]) -> None:
    faults = []
    for path, leaf in wanted.items():
        if path not in saved:
            faults.append(f"{path}: not saved")
        elif tuple(saved[path].shape) != tuple(leaf.shape):
            faults.append(f"{path}: saved {tuple(saved[path].shape)}, needed {tuple(leaf.shape)}")
    if faults:
        parts = sorted({path.split("/")[0] for path in saved})
        raise ValueError(
            f"The weights of {run} do not fit this network (saved: {', '.join(parts)}):\n  "
            + "\n  ".join(faults[:20])
        )

"""Places parameters and batches on the mesh of devices."""

import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from crocohuman_jax.models import parameters

log = logging.getLogger(__name__)

MESH = ("data", "fsdp", "tensor")
BATCH = PartitionSpec(("data", "fsdp"))
LARGE = 2**20  # bytes from which the log says why an array is whole on every device


def make_mesh(sizes: Mapping[str, int], devices: list | None = None) -> jax.sharding.Mesh:
    """Returns the device mesh (data, fsdp, tensor); one size may be -1 for all devices left.

    Raises:
        ValueError: the sizes do not fill the devices.
    """
    devices = devices or jax.devices()
    if set(sizes) != set(MESH):
        raise ValueError(f"config.mesh must have the keys {', '.join(MESH)}, not {list(sizes)}.")
    shape = [sizes[name] for name in MESH]
    known = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and known > 0 and len(devices) % known == 0:
        shape[shape.index(-1)] = len(devices) // known
    if math.prod(shape) != len(devices) or min(shape) < 1:
        wanted = ", ".join(f"{name}={sizes[name]}" for name in MESH)
        raise ValueError(
            f"config.mesh: a mesh of {wanted} does not fill {len(devices)} devices. The product of "
            "the sizes must be the number of devices; one size may be -1 for all devices left."
        )
    return jax.make_mesh(tuple(shape), MESH, (AxisType.Auto,) * len(MESH), devices=devices)


def place(tree: Any, mesh: jax.sharding.Mesh, axes: tuple, rules: Mapping[str, str | None]) -> Any:
    """Returns the sharding of every leaf.

    Args:
        tree: arrays or their shapes; optimizer moments are placed like their parameters.
        mesh: the device mesh.
        axes: ((pattern of a path, names of the leaf's axes, other choices of names), ...). The
            first pattern that matches a leaf's path applies, with its first choice whose sizes the
            mesh divides. A leaf is whole on every device if that choice has only None, or if no
            pattern matches.
        rules: the mesh axis for each name; None does not split axes of that name.

    Raises:
        ValueError: a rule names an unknown mesh axis, or the mesh divides the sizes of no choice.
    """
    for name, axis in rules.items():
        if axis is not None and axis not in mesh.axis_names:
            raise ValueError(
                f"config.sharding.{name} is {axis!r}. Known: None, {', '.join(mesh.axis_names)}."
            )

    def spec(path, leaf):
        choices = next((choices for pattern, *choices in axes if re.search(pattern, path)), [])
        faults = []
        for names in choices:
            if len(names) != len(leaf.shape):
                break
            parts = [rules[name] if name else None for name in names]
            found = [_fault(*one, mesh) for one in zip(names, parts, leaf.shape, strict=True)]
            if not any(found):
                if faults and not any(parts) and 4 * leaf.size >= LARGE:
                    log.info("%s: it is whole on every device.", faults[0])
                return NamedSharding(mesh, PartitionSpec(*parts))
            faults += [f"{path} has {fault}" for fault in found if fault]
        if faults:
            raise ValueError(
                f"{faults[0]}: choose another config.mesh, or None in config.sharding."
            )
        return NamedSharding(mesh, PartitionSpec())

    return parameters.map_named(spec, tree)


def _fault(name: str, part: str | None, size: int, mesh: jax.sharding.Mesh) -> str:
    """Returns why an axis cannot be split over a mesh axis, or "" if it can."""
    if not part or size % mesh.shape[part] == 0:
        return ""
    return f"an axis '{name}' of size {size}, which {part}={mesh.shape[part]} does not divide"


def put_batch(batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh) -> dict[str, jax.Array]:
    """Returns this host's share of a batch as part of arrays over the whole mesh."""
    split = NamedSharding(mesh, BATCH)
    return {
        name: jax.make_array_from_process_local_data(split, value) for name, value in batch.items()
    }


def gather(mesh: jax.sharding.Mesh) -> Callable[[np.ndarray], jax.Array]:
    """Returns a function that starts to collect small rows from all hosts, without waiting.

    Returns:
        [devices of the batch on this host, C] -> [devices of the batch, C] on every host.
    """
    split = NamedSharding(mesh, BATCH)
    collect = jax.jit(lambda rows: rows, out_shardings=replicated(mesh))
    return lambda rows: collect(jax.make_array_from_process_local_data(split, rows))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Returns the sharding of arrays that are whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_devices(mesh: jax.sharding.Mesh) -> int:
    """Returns the number of devices over which a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]

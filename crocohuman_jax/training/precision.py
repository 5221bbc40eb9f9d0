"""Says what a run computes in: what "auto" comes to on its devices, and whether that changed."""

import logging
from collections.abc import Mapping
from typing import Any

import jax

from crocohuman_jax.configuration import options

log = logging.getLogger(__name__)


def resolved(config, mesh: jax.sharding.Mesh):
    """Returns a copy of the config whose model.dtype is what "auto" comes to on the mesh; logs it.

    Args:
        config: with `model.dtype`.
        mesh: its devices are all of one platform.
    """
    device, asked = mesh.devices.flat[0], config.model.dtype
    config = config.copy_and_resolve_references()
    config.model.dtype = options.compute_type(asked, device.platform)
    log.info(
        "Platform %s, %d x %s, computing in %s%s.",
        *(device.platform, mesh.devices.size, device.device_kind, config.model.dtype),
        " (config.model.dtype=auto)" if asked == "auto" else "",
    )
    return config


def record(config, mesh: jax.sharding.Mesh) -> dict[str, str]:
    """Returns what a run keeps beside its config: the platform, and the dtype of `resolved`."""
    return {"platform": mesh.devices.flat[0].platform, "dtype": config.model.dtype}


def compared(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns what a resume compares of both settings: equal where the change is allowed.

    "auto" may come to another dtype on another platform, which is logged; a dtype that was named
    may not change.
    """
    both = [options.computed_in(saved), options.computed_in(settings)]
    if both[0] != both[1] and all(
        s["config"]["model"]["dtype"] == "auto" for s in (saved, settings)
    ):
        log.warning(
            "The run was computed in %s on a %s and goes on in %s on a %s, as "
            "config.model.dtype=auto says: its numbers will differ from before by rounding. "
            "--config.model.dtype=%s goes on as it was.",
            *(both[0], saved["computed"]["platform"], both[1], settings["computed"]["platform"]),
            both[0],
        )
        both[0] = both[1]
    return [{"model.dtype": dtype} for dtype in both]

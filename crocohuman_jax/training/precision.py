"""Finds the dtype in which a run computes, also for "auto", and whether it changed on resuming."""

import logging
from collections.abc import Mapping
from typing import Any

import jax

from crocohuman_jax.configuration import options

log = logging.getLogger(__name__)


def resolved(config, mesh: jax.sharding.Mesh):
    """Returns a copy of the config with the dtype for the mesh in place of "auto", and logs it.

    Args:
        config: a config with `model.dtype`.
        mesh: the device mesh; its devices are all of one platform.
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
    """Returns the platform and the dtype of `resolved`, which a run stores beside its config."""
    return {"platform": mesh.devices.flat[0].platform, "dtype": config.model.dtype}


def compared(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the dtypes of both settings for a resume to compare; equal if a change is allowed.

    "auto" may mean another dtype on another platform; this change is allowed and logged. A dtype
    that the config names must not change.
    """
    both = [options.computed_in(saved), options.computed_in(settings)]
    if both[0] != both[1] and all(
        s["config"]["model"]["dtype"] == "auto" for s in (saved, settings)
    ):
        log.warning(
            "The run was computed in %s on a %s and continues in %s on a %s, because "
            "config.model.dtype is auto: its numbers will differ from before by rounding. "
            "Set --config.model.dtype=%s to continue as before.",
            *(both[0], saved["computed"]["platform"], both[1], settings["computed"]["platform"]),
            both[0],
        )
        both[0] = both[1]
    return [{"model.dtype": dtype} for dtype in both]

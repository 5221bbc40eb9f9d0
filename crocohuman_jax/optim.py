"""Builds the optimizer: AdamW with the reference's decay groups, warm-up and half a cosine."""

import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from crocohuman_jax import trees


def schedule(*, peak: float, least: float, warmup: int, cosine: int) -> Callable[[Any], Any]:
    """Returns the learning rate of a step: linear from 0 to `peak`, then half a cosine to `least`.

    Args:
        peak: the rate at the end of the warm-up.
        least: the rate at the end of the cosine.
        warmup: steps of the warm-up.
        cosine: step at which the cosine ends; it may lie beyond the run, which is then cut short.

    Raises:
        ValueError: the cosine ends before the warm-up.
    """
    if cosine < max(warmup, 1):
        raise ValueError(
            f"optimizer.cosine ends at step {cosine}, before the warm-up of {warmup} steps."
        )

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        rising = peak * step / max(warmup, 1)
        share = jnp.clip((step - warmup) / max(cosine - warmup, 1), 0, 1)
        falling = least + (peak - least) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        return jnp.where(step < warmup, rising, falling)

    return rate


def make(
    rate: Callable[[Any], Any],
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    no_decay: str,
    clip: float,
) -> optax.GradientTransformation:
    """Returns AdamW.

    Args:
        rate: learning rate of a step.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, times the learning rate.
        no_decay: pattern of the paths of parameters that are not decayed.
        clip: the largest global norm of the gradient; 0 for no limit.
    """

    def decayed(params):
        return trees.map_named(lambda path, _: not re.search(no_decay, path), params)

    adamw = optax.adamw(
        rate, b1=betas[0], b2=betas[1], eps=eps, weight_decay=weight_decay, mask=decayed
    )
    return optax.chain(optax.clip_by_global_norm(clip), adamw) if clip else adamw

"""Builds the optimizer (AdamW, learning rate, weight decay, freezing) and accumulates gradients."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from crocohuman_jax.configuration import options
from crocohuman_jax.models import parameters

ENCODER_BLOCKS = "encoder/blocks/"


def make(
    rate: Callable[[Any], Any],
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    no_decay: str,
    clip: float,
    layer_decay: float = 1.0,
    freeze: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """Returns AdamW.

    Args:
        rate: learning rate of a step.
        betas: decay rates of the moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled weight decay, multiplied by the learning rate.
        no_decay: pattern of the paths of parameters without weight decay.
        clip: the largest global norm of the gradient; 0 for no limit.
        layer_decay: factor on the learning rate from each block of the encoder to the one below it;
            the embedding lies below the first block. Other parameters keep the full rate.
        freeze: patterns of the paths of parameters that are not trained.

    Raises:
        ValueError: a value out of range or an invalid pattern. The optimizer's `init` raises it if
            a pattern of `freeze` matches no parameter.
    """
    options.check_numbers("config.optimizer.betas", betas, 2, least=0, below=1)
    options.check_number("config.optimizer.eps", eps, above=0)
    options.check_number("config.optimizer.weight_decay", weight_decay, least=0)
    options.check_number("config.optimizer.clip", clip, least=0)
    options.check_number("config.optimizer.layer_decay", layer_decay, above=0, most=1)
    _check_pattern("no_decay", no_decay)
    for pattern in freeze:
        _check_pattern("freeze", pattern)

    def decayed(params):
        return parameters.map_named(lambda path, _: not re.search(no_decay, path), params)

    adamw = optax.adamw(
        rate, b1=betas[0], b2=betas[1], eps=eps, weight_decay=weight_decay, mask=decayed
    )
    steps = [optax.clip_by_global_norm(clip), adamw] if clip else [adamw]
    if layer_decay < 1 or freeze:
        steps.append(_scaling(layer_decay, freeze))
    return optax.chain(*steps) if len(steps) > 1 else adamw


def accumulated(gradient, counts, count: int):
    """Returns a function that sums the gradient over `count` equal parts of a batch, in turn.

    Part i holds every count-th example, so each part is spread over the devices like the batch.

    Args:
        gradient: (parameters, part, key, counts of the whole batch) -> the part's contribution.
        counts: batch -> the sum of weights of each loss term over the batch.
        count: number of parts.

    Returns:
        (parameters, batch, key) -> the result of `gradient` for the whole batch.
    """

    def total(params, batch, key):
        whole = counts(batch)
        if count == 1:
            return gradient(params, batch, key, whole)
        parts = jax.tree.map(
            lambda x: jnp.moveaxis(x.reshape(len(x) // count, count, *x.shape[1:]), 1, 0), batch
        )

        def body(sums, part):
            i, part = part
            share = gradient(params, part, jax.random.fold_in(key, i), whole)
            return jax.tree.map(jnp.add, sums, share), None

        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(gradient, params, first, key, whole)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(body, zeros, (jnp.arange(count), parts))[0]

    return total


def held(params: Any, freeze: tuple[str, ...]) -> Any:
    """Returns the parameters, with gradients stopped for those whose path matches a pattern.

    Raises:
        ValueError: a pattern matches no parameter.
    """
    if not freeze:
        return params
    _check(params, freeze)
    return parameters.map_named(
        lambda path, x: jax.lax.stop_gradient(x) if _frozen(path, freeze) else x, params
    )


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
        fault = "" if pattern else "an empty pattern matches every parameter"
    except (re.error, TypeError) as error:
        fault = str(error)
    if fault:
        raise ValueError(
            f"config.optimizer.{name} has the invalid pattern {pattern!r}: {fault}. Write a "
            "regular expression for parameter paths, as encoder/ or (bias|scale)$."
        )


def _check(params: Any, freeze: tuple[str, ...]) -> None:
    paths = [path for path, _ in parameters.named_leaves(params)]
    for pattern in freeze:
        if not any(re.search(pattern, path) for path in paths):
            raise ValueError(
                f"config.optimizer.freeze: {pattern!r} matches no parameter. Paths begin with: "
                f"{', '.join(sorted({path.split('/')[0] for path in paths}))}."
            )


def _frozen(path: str, freeze: tuple[str, ...]) -> bool:
    return any(re.search(pattern, path) for pattern in freeze)


def _scaling(decay: float, freeze: tuple[str, ...]) -> optax.GradientTransformation:
    """Returns a transformation that scales updates by layer; its `init` checks the patterns."""

    def init(params):
        _check(params, freeze)
        return optax.EmptyState()

    return optax.GradientTransformation(
        init, lambda updates, state, params=None: (_scaled(updates, decay, freeze), state)
    )


def _scaled(updates: Any, decay: float, freeze: tuple[str, ...]) -> Any:
    """Returns updates times the factor of their layer, which is 0 for frozen parameters."""
    depth = {
        len(leaf)
        for path, leaf in parameters.named_leaves(updates)
        if path.startswith(ENCODER_BLOCKS)
    }

    def scale(path, update):
        if _frozen(path, freeze):
            return jnp.zeros_like(update)
        if not path.startswith("encoder/") or path.startswith("encoder/norm/"):
            return update
        (blocks,) = depth
        if not path.startswith(ENCODER_BLOCKS):  # the embedding
            return update * decay ** (blocks + 1)
        factors = decay ** (blocks - jnp.arange(blocks, dtype=update.dtype))
        return update * factors.reshape(-1, *(1,) * (update.ndim - 1))

    return parameters.map_named(scale, updates)

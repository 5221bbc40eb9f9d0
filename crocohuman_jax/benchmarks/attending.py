"""Measures the time of attention, forward and backward, for the shapes of a network."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from crocohuman_jax.benchmarks import figures
from crocohuman_jax.configuration import options
from crocohuman_jax.models import attention


def measure(config, visible: int, warmup: int, steps: int) -> Iterator[dict]:
    """Yields a row per implementation and shape: encoder (visible or all patches), decoder.

    Args:
        config: config of a run, with `model` and `batch_size`.
        visible: number of visible patches; 0 for a quarter of them.
        warmup: number of calls before those that are timed.
        steps: number of calls that are timed.
    """
    dtype = jnp.dtype(options.compute_type(config.model.dtype, jax.default_backend()))
    height, width = (side // config.model.patch for side in config.model.image)
    patches = height * width
    seen = visible or patches // 4
    for part, queries, keys in (
        ("encoder", seen, seen),
        ("encoder", patches, patches),
        ("decoder", patches, patches),
    ):
        shape = config.model[part]
        size = (config.batch_size, queries, shape.heads, shape.width // shape.heads)
        q, k, v = (
            jax.random.normal(jax.random.key(i), (size[0], n, *size[2:]), dtype)
            for i, n in enumerate((queries, keys, keys))
        )
        for impl in attention.IMPLEMENTATIONS[1:]:

            def total(q, k, v, impl=impl):
                return attention.attend(q, k, v, impl).astype(jnp.float32).sum()

            row = {"part": part, "queries": queries, "keys": keys, "attention": impl}
            try:
                run = jax.jit(jax.grad(total, (0, 1, 2))).lower(q, k, v).compile()
            except ValueError as error:
                yield row | {"cannot": str(error)}
                continue
            times = figures.timed(functools.partial(run, q, k, v), warmup, steps)
            yield figures.about() | row | times

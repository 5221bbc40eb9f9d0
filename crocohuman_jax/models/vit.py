"""The encoder of MAE and of vision transformers, with a class token and a table of positions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from crocohuman_jax.models import blocks, croco, layers, position_embeddings


class Encoder(nnx.Module):
    """Vision transformer over a class token and patches, all of them or only the visible ones.

    The table of positions is a parameter, with one row for the class token and one for each patch.
    It is initialised as in MAE: zeros for the class token, the cosine table for the patches.

    Args:
        shape: width, depth and heads.
        patch: side of a patch in pixels.
        grid: (rows, columns) of patches in a picture.
        compute: how the blocks are computed.

    Raises:
        ValueError: sizes that do not fit together, or attention "cudnn" with an odd number 1 + N of
            tokens.
    """

    def __init__(
        self,
        shape: croco.Shape,
        *,
        patch: int,
        grid: tuple[int, int],
        compute: croco.Compute,
        rngs: nnx.Rngs,
    ):
        croco.check(shape, "cosine", compute, 1 + math.prod(grid))
        dtype, width = jnp.dtype(compute.dtype), shape.width
        self.embed = layers.Linear(3 * patch**2, width, dtype=dtype, rngs=rngs)
        self.class_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (width,)))
        self.positions = nnx.Param(jnp.asarray(table(grid, width)))
        self.blocks = stack(shape, compute, rngs)
        self.norm = layers.LayerNorm(width, dtype=dtype)
        self.shape, self.compute = shape, compute

    def __call__(
        self,
        patches: jax.Array,
        visible: jax.Array | None = None,
        collect: bool = False,
        drop: tuple[float, jax.Array] | None = None,
    ):
        """Encodes patches [B, N, P*P*3]; with `visible` [B, K], only the patches at these indices.

        `drop` is as in `croco.Encoder`.

        Returns:
            [B, 1 + N or K, D], the class token first, normalised; with `collect`, also every
            block's output before the norm, [depth, B, 1 + N or K, D].
        """
        rows = self.positions[...]
        own = jnp.broadcast_to(rows[1:], (len(patches), *rows[1:].shape))
        if visible is not None:
            patches, own = layers.take(patches, visible), layers.take(own, visible)
        x = self.embed(patches)
        first = jnp.broadcast_to(self.class_token[...] + rows[0], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([first.astype(x.dtype), x + own.astype(x.dtype)], 1)
        if not collect:
            return self.norm(run(self, x, drop=drop))
        last, every = run(self, x, collect=True, drop=drop)
        return self.norm(last), every


def table(grid: tuple[int, int], width: int) -> np.ndarray:
    """Returns MAE's initial table, [1 + N, D]: a row of zeros and the cosine table of patches."""
    return np.concatenate(
        [np.zeros((1, width), np.float32), position_embeddings.cosine(grid, width)]
    )


def stack(shape: croco.Shape, compute: croco.Compute, rngs: nnx.Rngs) -> nnx.Module:
    """Returns the stacked blocks of an encoder or of MAE's decoder.

    Raises:
        ValueError: the heads do not divide the width.
    """
    if shape.width % shape.heads:
        raise ValueError(f"Width {shape.width} does not divide into {shape.heads} heads.")
    options = {"impl": compute.attention, "dtype": jnp.dtype(compute.dtype)}
    return blocks.stack(
        lambda rngs: blocks.EncoderBlock(shape.width, shape.heads, rngs=rngs, **options),
        shape.depth,
        rngs,
    )


def run(module: nnx.Module, x: jax.Array, collect: bool = False, drop=None):
    """Runs the blocks of a module with attributes `shape` and `compute`, see `blocks.run`."""
    unroll = min(module.compute.unroll, module.shape.depth)
    options = {"unroll": unroll, "remat": module.compute.remat, "collect": collect}
    options["drop"] = drop
    return blocks.run(module.blocks, x, None, 0, **options)

"""Transformer blocks, and stacks of them that run as one scan over their stacked parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from crocohuman_jax.models import attention, layers

REMAT = ("none", "dots", "full")
# The arrays that remat="dots" stores for the backward pass, by the names that `checkpoint_name`
# gives: "attention" is attention's output and one number per query, which its derivative needs;
# "hidden" is the input of the MLP's GELU.
KEPT = ("attention", "hidden")


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them; the hidden width is four times `width`."""

    def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
        self.up = layers.Linear(width, 4 * width, dtype=dtype, rngs=rngs)
        self.down = layers.Linear(4 * width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # [B, N, D]
        hidden = checkpoint_name(self.up(x), "hidden")
        return self.down(hidden, product=layers.gelu_product)


class EncoderBlock(nnx.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        self.norm1 = layers.LayerNorm(width, dtype=dtype)
        self.attention = attention.SelfAttention(width, heads, impl=impl, dtype=dtype, rngs=rngs)
        self.norm2 = layers.LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, angles: jax.Array | None, border: int, keep: jax.Array | None = None
    ) -> jax.Array:
        """Returns [B, N, D]; the first `border` tokens and the rest do not attend to each other.

        `keep` [3, B] holds the factors of each example's attention, cross-attention and MLP
        branches (stochastic depth); None keeps every branch.
        """
        x = x + _kept(self.attention(self.norm1(x), angles, border), keep, 0)
        return x + _kept(self.mlp(self.norm2(x)), keep, 2)


class DecoderBlock(nnx.Module):
    """Pre-norm self-attention, cross-attention to a memory that all blocks share, and MLP."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        options = {"impl": impl, "dtype": dtype, "rngs": rngs}
        self.norm1 = layers.LayerNorm(width, dtype=dtype)
        self.attention = attention.SelfAttention(width, heads, **options)
        self.norm2 = layers.LayerNorm(width, dtype=dtype)
        self.norm_memory = layers.LayerNorm(width, dtype=dtype)
        self.cross_attention = attention.CrossAttention(width, heads, **options)
        self.norm3 = layers.LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array,
        angles: jax.Array | None,
        keep: jax.Array | None = None,
    ) -> jax.Array:  # [B, N, D], [B, M, D] -> [B, N, D]
        x = x + _kept(self.attention(self.norm1(x), angles), keep, 0)
        seen = self.cross_attention(self.norm2(x), self.norm_memory(memory), angles)
        x = x + _kept(seen, keep, 1)
        return x + _kept(self.mlp(self.norm3(x)), keep, 2)


def _kept(branch: jax.Array, keep: jax.Array | None, which: int) -> jax.Array:
    if keep is None:
        return branch
    return branch * keep[which, :, None, None].astype(branch.dtype)


def stack(make: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """Returns `depth` blocks as one module whose parameters have a leading axis of that length."""
    return nnx.split_rngs(splits=depth)(nnx.vmap(make, in_axes=0, out_axes=0))(rngs)


def run(
    stacked: nnx.Module,
    x: jax.Array,
    *context,
    unroll: int = 1,
    remat: str = "none",
    collect: bool = False,
    drop: tuple[float, jax.Array] | None = None,
):
    """Runs stacked blocks one after the other, in one scan.

    Args:
        stacked: a module that `stack` returned.
        x: [B, N, D].
        context: further inputs, the same for every block.
        unroll: blocks per iteration of the scan; the number of all blocks removes the loop.
        remat: what the backward pass computes again instead of storing it. "none": almost nothing.
            "dots": the norms, the GELU and the products around attention; the input of each block,
            the output of attention and the MLP's first product are stored. "full": everything but
            the input of each block.
        collect: also return every block's output.
        drop: (rate, random key) of stochastic depth, or None. Each residual branch of an example is
            dropped with a probability that rises linearly from 0 in the first block to the rate in
            the last; branches that are kept are scaled up so that the mean stays the same.

    Returns:
        The last block's output [B, N, D]; with `collect`, (that output, every block's output
        [depth, B, N, D]).

    Raises:
        ValueError: an unknown remat.
    """
    graph, params = nnx.split(stacked)

    def body(x, inputs):
        params, *keep = inputs
        x = keep_batch_split(nnx.merge(graph, params)(x, *context, *keep))
        return x, x if collect else None

    if remat == "dots":
        # A policy that stores all products would also store attention's scores, the largest array.
        policy = jax.checkpoint_policies.save_only_these_names(*KEPT)
        body = jax.checkpoint(body, policy=policy)
    elif remat == "full":
        body = jax.checkpoint(body)
    elif remat != "none":
        raise ValueError(f"Unknown remat {remat!r}. Known: {', '.join(REMAT)}.")
    inputs = (params,) if drop is None else (params, _branches(*drop, params, len(x)))
    x, every = jax.lax.scan(body, keep_batch_split(x), inputs, unroll=unroll)
    return (x, every) if collect else x


def _branches(share: float, key: jax.Array, params, batch: int) -> jax.Array:
    """Returns the factors of every block's three branches, [depth, 3, B]."""
    depth = len(jax.tree.leaves(params)[0])
    kept = 1 - share * jnp.arange(depth) / max(depth - 1, 1)
    kept = kept[:, None, None]
    return jax.random.bernoulli(key, kept, (depth, 3, batch)) / kept


def keep_batch_split(x: jax.Array) -> jax.Array:
    """Returns x [B, ...] with its examples split over the devices of the mesh in use, if any.

    Without this constraint the partitioner may split activations along their width where a
    parameter is split, which costs an exchange between devices in every layer.
    """
    axes = tuple(a for a in jax.sharding.get_abstract_mesh().axis_names if a in ("data", "fsdp"))
    if not axes or jnp.ndim(x) == 0:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))

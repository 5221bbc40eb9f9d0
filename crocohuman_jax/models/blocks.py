"""Transformer blocks, and stacks of them that run as one scan over their stacked parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from crocohuman_jax.models import attention, layers

REMAT = ("none", "dots", "full")


class Mlp(nnx.Module):
    """Two linear layers around an exact GELU, four times as wide inside."""

    def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
        self.up = layers.Linear(width, 4 * width, dtype=dtype, rngs=rngs)
        self.down = layers.Linear(4 * width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # [B, N, D]
        return self.down(self.up(x), product=layers.gelu_product)


class EncoderBlock(nnx.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        self.norm1 = layers.LayerNorm(width, dtype=dtype)
        self.attention = attention.SelfAttention(width, heads, impl=impl, dtype=dtype, rngs=rngs)
        self.norm2 = layers.LayerNorm(width, dtype=dtype)
        self.mlp = Mlp(width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, angles: jax.Array | None, border: int) -> jax.Array:
        """Returns [B, N, D]; tokens before and after the `border` do not see each other."""
        x = x + self.attention(self.norm1(x), angles, border)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nnx.Module):
    """Pre-norm self-attention, cross-attention to a memory that never changes, and MLP."""

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
        self, x: jax.Array, memory: jax.Array, angles: jax.Array | None
    ) -> jax.Array:  # [B, N, D], [B, M, D] -> [B, N, D]
        x = x + self.attention(self.norm1(x), angles)
        x = x + self.cross_attention(self.norm2(x), self.norm_memory(memory), angles)
        return x + self.mlp(self.norm3(x))


def stack(make: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """Builds `depth` equal blocks as one module whose leaves have a leading axis of that length."""
    return nnx.split_rngs(splits=depth)(nnx.vmap(make, in_axes=0, out_axes=0))(rngs)


def run(
    stacked: nnx.Module,
    x: jax.Array,
    *context,
    unroll: int = 1,
    remat: str = "none",
    collect: bool = False,
):
    """Runs stacked blocks one after the other, in one scan.

    Args:
        stacked: what `stack` built.
        x: [B, N, D].
        context: further inputs, the same for every block.
        unroll: blocks per turn of the scan; their number leaves no loop at all.
        remat: what the backward pass computes again: "none", "dots" (all but matrix products)
            or "full" (everything but the input of each block).
        collect: also return every block's output.

    Returns:
        The last output [B, N, D], or (that, every block's output [depth, B, N, D]).

    Raises:
        ValueError: an unknown remat.
    """
    graph, params = nnx.split(stacked)

    def body(x, params):
        x = keep_batch_split(nnx.merge(graph, params)(x, *context))
        return x, x if collect else None

    if remat == "dots":
        body = jax.checkpoint(body, policy=jax.checkpoint_policies.dots_saveable)
    elif remat == "full":
        body = jax.checkpoint(body)
    elif remat != "none":
        raise ValueError(f"Unknown remat {remat!r}. Known: {', '.join(REMAT)}.")
    x, every = jax.lax.scan(body, keep_batch_split(x), params, unroll=unroll)
    return (x, every) if collect else x


def keep_batch_split(x: jax.Array) -> jax.Array:
    """Keeps the examples of x [B, ...] split over the devices of the mesh in use, if there is one.

    Without it the partitioner may split the width where a parameter is split, which costs an
    exchange of activations in every layer.
    """
    axes = tuple(a for a in jax.sharding.get_abstract_mesh().axis_names if a in ("data", "fsdp"))
    if not axes or jnp.ndim(x) == 0:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))

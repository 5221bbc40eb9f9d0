"""The small parts every block is made of: linear layers, LayerNorm, picking tokens."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


def xavier_uniform(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """Returns [fan_in, fan_out] drawn uniformly within sqrt(6 / (fan_in + fan_out))."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return jax.random.uniform(key, (fan_in, fan_out), jnp.float32, -limit, limit)


class Linear(nnx.Module):
    """x @ kernel + bias over the last axis; `shape` may have several axes, as (3, heads, width).

    The kernel is drawn as one [fan_in, prod(shape)] matrix, so a fused projection has the fan
    of all its parts. Parameters are float32, the product runs in `dtype`.
    """

    def __init__(self, fan_in: int, shape: int | tuple[int, ...], *, dtype, rngs: nnx.Rngs):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        matrix = xavier_uniform(rngs.params(), fan_in, math.prod(shape))
        self.kernel = nnx.Param(matrix.reshape(fan_in, *shape))
        self.bias = nnx.Param(jnp.zeros(shape))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:  # [..., fan_in] -> [..., *shape]
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        return jnp.tensordot(x.astype(self.dtype), kernel, 1) + bias


class LayerNorm(nnx.Module):
    """LayerNorm with epsilon 1e-6; statistics in float32, the result in `dtype`."""

    def __init__(self, width: int, *, dtype):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:  # [..., width] -> [..., width]
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(centred**2, -1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + 1e-6)
        return (normal * self.scale[...] + self.bias[...]).astype(self.dtype)


def take(tokens: jax.Array, index: jax.Array) -> jax.Array:
    """Picks tokens of each example: [B, N, D], [B, K] -> [B, K, D]."""
    return jnp.take_along_axis(tokens, index[..., None], 1, mode="promise_in_bounds")


def place(tokens: jax.Array, index: jax.Array, background: jax.Array, count: int) -> jax.Array:
    """Puts tokens at their places among `count`, and `background` everywhere else.

    Args:
        tokens: [B, K, D].
        index: [B, K], each below `count`, no two alike in an example.
        background: [D].
        count: N.

    Returns:
        [B, N, D].
    """
    batch = len(tokens)
    canvas = jnp.broadcast_to(background.astype(tokens.dtype), (batch, count, tokens.shape[-1]))
    return canvas.at[jnp.arange(batch)[:, None], index].set(
        tokens, mode="promise_in_bounds", unique_indices=True
    )

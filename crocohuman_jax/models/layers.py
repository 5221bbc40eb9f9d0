"""Small parts of every network: linear layers, LayerNorm, GELU, selecting and placing tokens."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


def xavier_uniform(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
    """Returns [fan_in, fan_out], uniform within +-sqrt(6 / (fan_in + fan_out))."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return jax.random.uniform(key, (fan_in, fan_out), jnp.float32, -limit, limit)


def apart(x: jax.Array) -> jax.Array:
    """Returns x, and keeps XLA's CPU compiler from computing it again in every use of it.

    Other compilers fuse well without help, so elsewhere this does nothing.
    """
    return jax.lax.optimization_barrier(x) if jax.default_backend() == "cpu" else x


class Linear(nnx.Module):
    """x @ kernel + bias over the last axis; `shape` may have several axes, as (3, heads, width).

    The kernel is initialised as one [fan_in, prod(shape)] matrix, so the fan-out of a fused
    projection is that of all its parts together. Parameters are float32; the product runs in
    `dtype`.
    """

    def __init__(self, fan_in: int, shape: int | tuple[int, ...], *, dtype, rngs: nnx.Rngs):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        matrix = xavier_uniform(rngs.params(), fan_in, math.prod(shape))
        self.kernel = nnx.Param(matrix.reshape(fan_in, *shape))
        self.bias = nnx.Param(jnp.zeros(shape))
        self.dtype = dtype

    def __call__(self, x: jax.Array, product=None) -> jax.Array:  # [..., fan_in] -> [..., *shape]
        """Returns the layer's output; `product(rows, kernel)`, if given, replaces rows @ kernel."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...].astype(self.dtype)
        # One product of all rows: a batch of products is slower on CPUs and no faster elsewhere.
        rows = x.astype(self.dtype).reshape(-1, x.shape[-1])
        out = (product or _product)(rows, kernel) + bias
        return out.reshape(*x.shape[:-1], *bias.shape)


def _product(rows: jax.Array, kernel: jax.Array) -> jax.Array:  # [R, D], [D, ...] -> [R, ...]
    return jnp.tensordot(rows, kernel, 1)


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


@jax.custom_vjp
def gelu_product(x: jax.Array, kernel: jax.Array) -> jax.Array:  # [R, D], [D, E] -> [R, E]
    """Returns gelu(x) @ kernel with the exact GELU; of the activations only x is stored."""
    return _gelu_product_forward(x, kernel)[0]


def _gelu_product_forward(x, kernel):
    return _product(apart(exact_gelu(x)), kernel), (x, kernel)


def _gelu_product_backward(kept, d):
    x, kernel = kept
    d = apart(d)
    value, slope = jax.vjp(exact_gelu, x)
    return slope(d @ kernel.T)[0], apart(value).T @ d


def exact_gelu(x: jax.Array) -> jax.Array:
    """Returns x times the normal cumulative distribution at x, not the tanh approximation."""
    return jax.nn.gelu(x, approximate=False)


gelu_product.defvjp(_gelu_product_forward, _gelu_product_backward)


def take(tokens: jax.Array, index: jax.Array) -> jax.Array:
    """Returns the tokens of each example at the given indices: [B, N, D], [B, K] -> [B, K, D]."""
    return jnp.take_along_axis(tokens, index[..., None], 1, mode="promise_in_bounds")


def place(tokens: jax.Array, index: jax.Array, background: jax.Array, count: int) -> jax.Array:
    """Returns sequences with the tokens at the given indices and `background` everywhere else.

    Args:
        tokens: [B, K, D].
        index: [B, K], each below `count`, without duplicates in an example.
        background: [D], the token for all other places.
        count: N, length of the sequences.

    Returns:
        [B, N, D].
    """
    # The scatter of one example, vmapped, shows the partitioner that examples are independent.
    canvas = jnp.broadcast_to(background.astype(tokens.dtype), (count, tokens.shape[-1]))

    def place_one(tokens, index):
        return canvas.at[index].set(tokens, mode="promise_in_bounds", unique_indices=True)

    return jax.vmap(place_one)(tokens, index)

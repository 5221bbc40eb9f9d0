"""Multi-head attention, of tokens among themselves or towards a memory."""

import jax
import jax.numpy as jnp
from flax import nnx

from crocohuman_jax.models import layers, positions

IMPLEMENTATIONS = ("auto", "xla", "cudnn")


def attend(q: jax.Array, k: jax.Array, v: jax.Array, impl: str = "auto") -> jax.Array:
    """Returns softmax(q k^T / sqrt(d)) v; the softmax runs in float32.

    Args:
        q: [B, N, H, d].
        k: [B, M, H, d].
        v: [B, M, H, d].
        impl: "xla" (any device and type), "cudnn" (fused, NVIDIA, 16 bit) or "auto": cudnn where
            it can run, else xla.

    Returns:
        [B, N, H, d].

    Raises:
        ValueError: an unknown implementation, or cudnn where it cannot run.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"Unknown attention {impl!r}. Known: {', '.join(IMPLEMENTATIONS)}.")
    obstacle = _cudnn_obstacle(q)
    if impl == "cudnn" and obstacle:
        raise ValueError(f"Attention 'cudnn' cannot run here: {obstacle}. Use 'xla' or 'auto'.")
    if impl == "cudnn" or (impl == "auto" and not obstacle):
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    # Head-major: each head's product is one matrix product of contiguous rows.
    q, k, v = (jnp.swapaxes(t, 1, 2) for t in (q, k, v))  # [B, H, N, d]
    scores = jnp.einsum("bhnd,bhmd->bhnm", q * q.shape[-1] ** -0.5, k)
    weights = jax.nn.softmax(scores.astype(jnp.float32), -1).astype(v.dtype)
    return jnp.swapaxes(jnp.einsum("bhnm,bhmd->bhnd", weights, v), 1, 2)


def _cudnn_obstacle(q: jax.Array) -> str:
    """Returns why cuDNN's fused attention cannot take these heads, or an empty text."""
    if jax.default_backend() != "gpu":
        return f"the device is a {jax.default_backend()}, not an NVIDIA GPU"
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"the heads are {q.dtype}, not bfloat16 or float16"
    if q.shape[-1] % 8:
        return f"the heads are {q.shape[-1]} wide, not a multiple of 8"
    return ""


class SelfAttention(nnx.Module):
    """Attention of tokens among themselves, queries, keys and values in one product."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        self.qkv = layers.Linear(width, (3, heads, width // heads), dtype=dtype, rngs=rngs)
        self.out = layers.Linear(width, width, dtype=dtype, rngs=rngs)
        self.impl = impl

    def __call__(self, x: jax.Array, angles: jax.Array | None = None) -> jax.Array:  # [B, N, D]
        q, k, v = jnp.moveaxis(self.qkv(x), 2, 0)  # [B, N, H, d] each
        if angles is not None:
            q, k = positions.rotate(q, angles), positions.rotate(k, angles)
        return self.out(attend(q, k, v, self.impl).reshape(x.shape))


class CrossAttention(nnx.Module):
    """Attention of tokens towards a memory, each with its own rotary angles."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        shape = (heads, width // heads)
        self.query = layers.Linear(width, shape, dtype=dtype, rngs=rngs)
        self.key = layers.Linear(width, shape, dtype=dtype, rngs=rngs)
        self.value = layers.Linear(width, shape, dtype=dtype, rngs=rngs)
        self.out = layers.Linear(width, width, dtype=dtype, rngs=rngs)
        self.impl = impl

    def __call__(
        self, x: jax.Array, memory: jax.Array, angles: jax.Array | None = None
    ) -> jax.Array:  # [B, N, D], [B, M, D] -> [B, N, D]
        q, k, v = self.query(x), self.key(memory), self.value(memory)
        if angles is not None:  # both pictures lie on the same grid
            q, k = positions.rotate(q, angles), positions.rotate(k, angles)
        return self.out(attend(q, k, v, self.impl).reshape(x.shape))

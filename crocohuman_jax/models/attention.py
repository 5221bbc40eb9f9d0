"""Multi-head self-attention and cross-attention."""

import functools
import logging

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from crocohuman_jax.models import layers, position_embeddings

log = logging.getLogger(__name__)

IMPLEMENTATIONS = ("auto", "xla", "cudnn")


def attend(q: jax.Array, k: jax.Array, v: jax.Array, impl: str = "auto") -> jax.Array:
    """Returns softmax(q k^T / sqrt(d)) v; the softmax runs in float32.

    Args:
        q: [B, N, H, d].
        k: [B, M, H, d].
        v: [B, M, H, d].
        impl: "xla" (any device and dtype), "cudnn" (fused kernel: NVIDIA GPU, 16 bit, even lengths)
            or "auto": cudnn where it can run, else xla. Each call decides from its own lengths.

    Returns:
        [B, N, H, d].

    Raises:
        ValueError: an unknown implementation, or cudnn where it cannot run.
    """
    if choose(impl, q.dtype, q.shape[-1], (q.shape[1], k.shape[1])) == "cudnn":
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")
    return _attend(q, k, v)


# The derivative is written by hand so that the backward pass stores q, k, v, the output and one
# number per query, as fused kernels do, instead of the scores. Heads come before tokens because
# each head is then one matrix product.


@jax.custom_vjp
def _attend(q, k, v):
    return _attend_forward(q, k, v)[0]


def _attend_forward(q, k, v):
    q, k, v = (jnp.swapaxes(t, 1, 2) for t in (q * q.shape[-1] ** -0.5, k, v))  # [B, H, N, d]
    scores = _scores(q, k)
    top = jnp.max(scores, -1, keepdims=True)
    weights = layers.apart(jnp.exp(scores - top))
    total = jnp.sum(weights, -1, keepdims=True)
    out = jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v)
    out = checkpoint_name(jnp.swapaxes((out / total).astype(v.dtype), 1, 2), "attention")
    log_total = checkpoint_name((top + jnp.log(total))[..., 0], "attention")  # [B, H, N]
    return out, (q, k, v, out, log_total)


def _attend_backward(kept, d):
    q, k, v, out, log_total = kept
    along = jnp.sum(out.astype(jnp.float32) * d, -1, keepdims=True)
    along = jnp.swapaxes(along, 1, 2)
    d = jnp.swapaxes(d, 1, 2)
    weights = layers.apart(jnp.exp(_scores(q, k) - log_total[..., None]))
    change = layers.apart((weights * (_scores(d, v) - along)).astype(q.dtype))
    dq = jnp.einsum("bhnm,bhmd->bhnd", change, k) * q.shape[-1] ** -0.5
    dk = jnp.einsum("bhnm,bhnd->bhmd", change, q)
    dv = jnp.einsum("bhnm,bhnd->bhmd", weights.astype(d.dtype), d)
    return tuple(jnp.swapaxes(t, 1, 2) for t in (dq, dk, dv))


def _scores(a, b):  # [B, H, N, d], [B, H, M, d] -> [B, H, N, M], float32
    return jnp.einsum("bhnd,bhmd->bhnm", a, b, preferred_element_type=jnp.float32)


_attend.defvjp(_attend_forward, _attend_backward)


def choose(impl: str, dtype, head_width: int, lengths: tuple[int, ...] = ()) -> str:
    """Returns the implementation, "xla" or "cudnn", for heads of a dtype and width.

    Args:
        impl: see `attend`.
        dtype: dtype of the heads.
        head_width: d.
        lengths: numbers of (queries, keys) in one call; () to check the heads alone. With lengths,
            the choice that "auto" makes is logged once.

    Raises:
        ValueError: an unknown implementation, or cudnn where it cannot run.
    """
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"Unknown attention {impl!r}. Known: {', '.join(IMPLEMENTATIONS)}.")
    if impl == "xla":
        return "xla"
    obstacle, about = _cudnn_obstacle(dtype, head_width), ""
    if not obstacle and lengths:
        obstacle, about = _odd_length(lengths), " of {} queries to {} keys".format(*lengths)
    if impl == "cudnn" and obstacle:
        raise ValueError(f"Attention 'cudnn' cannot run here: {obstacle}. Use 'xla' or 'auto'.")
    found, reason = ("xla", f", because {obstacle}") if obstacle else ("cudnn", "")
    if lengths and impl == "auto":
        _say(f"Attention{about} runs by {found}{reason}.")
    return found


@functools.cache  # logs each sentence once
def _say(sentence: str) -> None:
    log.info("%s", sentence)


def _odd_length(lengths: tuple[int, ...]) -> str:
    """Returns why cuDNN's backward pass cannot take these lengths, or "" if it can."""
    odd = [length for length in lengths if length % 2]
    if not odd:
        return ""
    return (
        f"its backward pass takes even lengths only, not {odd[0]}; config.data.mask.visible and "
        "config.model.image set the lengths (multiples of 8 are best), and config.model.keep_cls "
        "adds one token to those of the encoder"
    )


def _cudnn_obstacle(dtype, head_width: int) -> str:
    """Returns why cuDNN's fused attention cannot take these heads, or "" if it can."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        return f"the device is a {device.platform}, not an NVIDIA GPU"
    try:
        capability = float(device.compute_capability)
    except (AttributeError, ValueError):
        return "the device is not an NVIDIA GPU"
    if capability < 8:
        return f"it needs compute capability 8.0, the device has {capability}"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"the heads are {jnp.dtype(dtype)}, not bfloat16 or float16"
    if head_width % 8 or head_width > 128:
        return f"the heads are {head_width} wide, not a multiple of 8 up to 128"
    return ""


class SelfAttention(nnx.Module):
    """Self-attention; one matrix product computes queries, keys and values."""

    def __init__(self, width: int, heads: int, *, impl: str, dtype, rngs: nnx.Rngs):
        self.qkv = layers.Linear(width, (3, heads, width // heads), dtype=dtype, rngs=rngs)
        self.out = layers.Linear(width, width, dtype=dtype, rngs=rngs)
        self.impl = impl

    def __call__(
        self, x: jax.Array, angles: jax.Array | None = None, border: int = 0
    ) -> jax.Array:  # [B, N, D]
        """Returns [B, N, D]; the first `border` tokens and the rest do not attend to each other."""
        q, k, v = jnp.moveaxis(self.qkv(x), 2, 0)  # [B, N, H, d] each
        if angles is not None:
            q, k = position_embeddings.rotate(q, angles), position_embeddings.rotate(k, angles)
        parts = [slice(0, border), slice(border, None)] if border else [slice(None)]
        out = [attend(q[:, part], k[:, part], v[:, part], self.impl) for part in parts]
        out = jnp.concatenate(out, 1) if border else out[0]
        return self.out(out.reshape(x.shape))


class CrossAttention(nnx.Module):
    """Cross-attention from the tokens of one picture to a memory, the tokens of another."""

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
        if angles is not None:  # both pictures have the same grid of patches
            q, k = position_embeddings.rotate(q, angles), position_embeddings.rotate(k, angles)
        return self.out(attend(q, k, v, self.impl).reshape(x.shape))

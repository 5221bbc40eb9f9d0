"""The dense prediction head (DPT): predicts values per pixel from the tokens of four blocks."""

import functools
import math

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Conv(nnx.Module):
    """Convolution of [B, H, W, C] that keeps the size, or halves it with a stride of 2.

    The kernel is [k, k, in, out], initialised as in PyTorch: uniform within +-1 / sqrt(k * k * in).
    """

    def __init__(
        self, size: int, fan_in: int, out: int, *, rngs: nnx.Rngs, stride: int = 1, bias=True
    ):
        limit = 1 / math.sqrt(size**2 * fan_in)
        shape = (size, size, fan_in, out)
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -limit, limit)
        )
        if bias:
            self.bias = nnx.Param(
                jax.random.uniform(rngs.params(), (out,), jnp.float32, -limit, limit)
            )
        self.stride, self.with_bias = stride, bias

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        edge = kernel.shape[0] // 2
        out = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            ((edge, edge), (edge, edge)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return out + self.bias[...].astype(x.dtype) if self.with_bias else out


class Spread(Conv):
    """Transposed convolution whose stride is its size: each pixel becomes size x size pixels."""

    def __call__(self, x: jax.Array) -> jax.Array:
        spread = jnp.einsum("bhwi,pqio->bhpwqo", x, self.kernel[...].astype(x.dtype))
        out = einops.rearrange(spread, "b h p w q o -> b (h p) (w q) o")
        return out + self.bias[...].astype(x.dtype)


class Unit(nnx.Module):
    """Residual unit: two convolutions, each after a ReLU, added to the input."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.conv1 = Conv(3, width, width, rngs=rngs)
        self.conv2 = Conv(3, width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # [B, H, W, C]
        return x + self.conv2(jax.nn.relu(self.conv1(jax.nn.relu(x))))


class Fuse(nnx.Module):
    """Adds a level to the result of the coarser levels and doubles the resolution."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.unit1, self.unit2 = Unit(width, rngs=rngs), Unit(width, rngs=rngs)
        self.out = Conv(1, width, width, rngs=rngs)

    def __call__(self, coarse: jax.Array | None, level: jax.Array) -> jax.Array:
        """Returns [B, 2 H, 2 W, C] for a level [B, H, W, C]; `coarse` is None for the coarsest."""
        # The coarsest level has an unused unit1, as in the reference implementation.
        x = level if coarse is None else coarse + self.unit1(level)
        return self.out(double(self.unit2(x)))


class Dense(nnx.Module):
    """The DPT head.

    Args:
        fans: widths of the four sets of tokens.
        widths: channels of the four levels before their projection to one width.
        features: that width, an even number.
        last: input channels of the last layer.
        channels: number of values predicted per pixel.
    """

    def __init__(
        self,
        fans: tuple[int, ...],
        *,
        widths: tuple[int, ...] = (96, 192, 384, 768),
        features: int = 256,
        last: int = 32,
        channels: int,
        rngs: nnx.Rngs,
    ):
        if not len(fans) == len(widths) == 4:
            raise ValueError(f"A dense head has four levels, not {len(fans)} and {len(widths)}.")
        for i, (fan_in, width) in enumerate(zip(fans, widths, strict=True), 1):
            setattr(self, f"project{i}", Conv(1, fan_in, width, rngs=rngs))
            setattr(self, f"level{i}", Conv(3, width, features, bias=False, rngs=rngs))
            setattr(self, f"fuse{i}", Fuse(features, rngs=rngs))
        self.resize1 = Spread(4, widths[0], widths[0], rngs=rngs)
        self.resize2 = Spread(2, widths[1], widths[1], rngs=rngs)
        self.resize4 = Conv(3, widths[3], widths[3], stride=2, rngs=rngs)
        self.head1 = Conv(3, features, features // 2, rngs=rngs)
        self.head2 = Conv(3, features // 2, last, rngs=rngs)
        self.head3 = Conv(1, last, channels, rngs=rngs)

    def __call__(self, tokens: list[jax.Array], grid: tuple[int, int]) -> jax.Array:
        """Returns a map of predictions from four sets of tokens.

        Args:
            tokens: four arrays [B, N, D], the outputs of blocks from early to late.
            grid: (rows, columns) of the N patches.

        Returns:
            [B, 16 rows, 16 columns, channels].
        """
        resize = (self.resize1, self.resize2, lambda x: x, self.resize4)
        levels = []
        for i, x in enumerate(tokens):
            maps = x.reshape(len(x), *grid, x.shape[-1])
            maps = getattr(self, f"project{i + 1}")(maps)
            levels.append(getattr(self, f"level{i + 1}")(resize[i](maps)))
        path = None
        for i in (4, 3, 2, 1):
            level = levels[i - 1]
            if path is not None:  # halving and doubling an odd number of patches adds one
                path = path[:, : level.shape[1], : level.shape[2]]
            path = getattr(self, f"fuse{i}")(path, level)
        x = self.head2(double(self.head1(path)))
        return self.head3(jax.nn.relu(x))


def double(x: jax.Array) -> jax.Array:
    """Returns [B, 2 H, 2 W, C], interpolated bilinearly with aligned corners."""
    rows, columns = (_corners(side) for side in x.shape[1:3])
    options = {"precision": "highest"}
    x = jnp.einsum("ph,bhwc->bpwc", rows.astype(x.dtype), x, **options)
    return jnp.einsum("qw,bpwc->bpqc", columns.astype(x.dtype), x, **options)


@functools.cache
def _corners(side: int) -> np.ndarray:  # [2 * side, side]
    at = np.arange(2 * side) * (side - 1) / (2 * side - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)

"""The network of cross-view completion: siamese encoder, cross-attention decoder, pixel head."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.models import attention, blocks, layers, parameters, position_embeddings

POSITIONS = ("cosine", "rope100")
DTYPES = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Shape:
    """Width, depth and number of attention heads of a stack of transformer blocks."""

    width: int
    depth: int
    heads: int


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the blocks are computed; these settings change results by rounding only.

    The dtype "auto" is replaced by that of the default platform, see `options.compute_type`.
    """

    dtype: str = "float32"
    attention: str = "auto"
    remat: str = "none"
    unroll: int = 1

    def __post_init__(self):
        for name, value, known in (
            ("dtype", self.dtype, DTYPES),
            ("attention", self.attention, attention.IMPLEMENTATIONS),
            ("remat", self.remat, blocks.REMAT),
        ):
            if value not in known:
                raise ValueError(
                    f"Unknown config.model.{name} {value!r}. Known: {', '.join(known)}."
                )
        options_lib.check_number("config.model.unroll", self.unroll, least=1, whole=True)
        if self.dtype == "auto":
            found = options_lib.compute_type(self.dtype, jax.default_backend())
            object.__setattr__(self, "dtype", found)  # frozen


class Encoder(nnx.Module):
    """Vision transformer over patches, all of them or only the visible ones.

    Args:
        shape: width, depth and heads.
        patch: side of a patch in pixels.
        grid: (rows, columns) of patches in a picture.
        position: "cosine" (a table added to the tokens once) or "rope100" (rotary: turns queries
            and keys in every block).
        compute: how the blocks are computed.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        patch: int,
        grid: tuple[int, int],
        position: str,
        compute: Compute,
        rngs: nnx.Rngs,
    ):
        check(shape, position, compute, math.prod(grid))
        pixels, dtype = 3 * patch**2, jnp.dtype(compute.dtype)
        self.embed = layers.Linear(pixels, shape.width, dtype=dtype, rngs=rngs)
        # The only bias that is not initialised with zeros, as in the reference implementation.
        limit = 1 / math.sqrt(pixels)
        self.embed.bias = nnx.Param(
            jax.random.uniform(rngs.params(), (shape.width,), jnp.float32, -limit, limit)
        )
        self.blocks = _stack(blocks.EncoderBlock, shape, compute, rngs)
        self.norm = layers.LayerNorm(shape.width, dtype=dtype)
        self.shape, self.grid, self.position, self.compute = shape, grid, position, compute

    def __call__(
        self,
        patches: jax.Array,
        visible: jax.Array | None = None,
        collect: bool = False,
        drop: tuple[float, jax.Array] | None = None,
    ):
        """Encodes patches [B, N, P*P*3]; with `visible` [B, K], only the patches at these indices.

        `drop` is (rate of stochastic depth, random key), see `blocks.run`.

        Returns:
            [B, N or K, D], normalised; with `collect`, also every block's output before the norm.
        """
        table, angles = self._positions(visible)
        if visible is not None:
            patches = layers.take(patches, visible)
        x = self.embed(patches)
        if table is not None:
            x = x + table.astype(x.dtype)
        return _run(self, x, angles, 0, collect=collect, drop=drop)

    def pair(
        self, target: jax.Array, reference: jax.Array, visible: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes the visible patches of one picture and all patches of another.

        The result equals that of two calls, but both sets of tokens pass through the blocks
        together, so each linear layer is one matrix product. Attention treats them separately.

        Returns:
            [B, K, D] and [B, N, D], normalised.
        """
        count = visible.shape[1]
        x = self.embed(jnp.concatenate([layers.take(target, visible), reference], 1))
        (table, angles), (every_table, every_angles) = self._positions(visible), self._positions()
        if table is not None:
            x = x + _side_by_side(table, every_table).astype(x.dtype)
        else:
            angles = _side_by_side(angles, every_angles)
        x = _run(self, x, angles, count, collect=False)
        return x[:, :count], x[:, count:]

    def _positions(self, visible=None):
        """Returns (table, angles) of all or of the visible patches; one of the two is None."""
        found = _positions(self.position, self.grid, self.shape)
        if visible is None:
            return found
        return tuple(None if t is None else jnp.asarray(t)[visible] for t in found)


def _side_by_side(some: jax.Array, every: jax.Array) -> jax.Array:  # [B, K, ...], [N, ...]
    every = jnp.broadcast_to(every, (len(some), *every.shape))
    return jnp.concatenate([some, every], 1)  # [B, K + N, ...]


class Decoder(nnx.Module):
    """Completes the tokens of one picture from those of another.

    Args: as for `Encoder`; `memory_width` is the width of the encoder's tokens.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        memory_width: int,
        grid: tuple[int, int],
        position: str,
        compute: Compute,
        rngs: nnx.Rngs,
    ):
        check(shape, position, compute, math.prod(grid))
        dtype = jnp.dtype(compute.dtype)
        self.embed = layers.Linear(memory_width, shape.width, dtype=dtype, rngs=rngs)
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (shape.width,)))
        self.blocks = _stack(blocks.DecoderBlock, shape, compute, rngs)
        self.norm = layers.LayerNorm(shape.width, dtype=dtype)
        self.shape, self.grid, self.position, self.compute = shape, grid, position, compute

    def __call__(
        self,
        seen: jax.Array,
        memory: jax.Array,
        visible: jax.Array | None = None,
        collect: bool = False,
        drop: tuple[float, jax.Array] | None = None,
    ):
        """Decodes encoder tokens.

        Args:
            seen: [B, K, D_e], the first picture's tokens.
            memory: [B, N, D_e], the second picture's tokens.
            visible: [B, K], patch indices of `seen`; the mask token fills all other places. None
                if `seen` has all N tokens.
            collect: also return every block's output before the norm.
            drop: see `Encoder`.

        Returns:
            [B, N, D_d], normalised.
        """
        table, angles = _positions(self.position, self.grid, self.shape)
        x, memory = self.embed(seen), self.embed(memory)
        if visible is not None:
            x = layers.place(x, visible, self.mask_token[...], math.prod(self.grid))
        if table is not None:
            x, memory = x + table.astype(x.dtype), memory + table.astype(x.dtype)
        return _run(self, x, memory, angles, collect=collect, drop=drop)


class CroCo(nnx.Module):
    """Encoder, decoder and pixel head.

    Each part draws its initial weights from its own random key, so they do not depend on which
    other parts the network has.

    Args:
        encoder: size of the encoder.
        decoder: size of the decoder.
        image: (height, width) of the pictures in pixels.
        patch: side of a patch in pixels.
        position: "cosine" (v1) or "rope100" (v2).
        compute: how the blocks are computed.
        key: random key.

    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        encoder: Shape,
        decoder: Shape,
        *,
        image: tuple[int, int],
        patch: int,
        position: str,
        compute: Compute,
        key: jax.Array,
    ):
        self.patch, self.grid = patch, patch_grid(image, patch)
        options = {"grid": self.grid, "position": position, "compute": compute}
        rngs = {part: nnx.Rngs(params=parameters.fold_name(key, part)) for part in PARTS}
        self.encoder = Encoder(encoder, patch=patch, rngs=rngs["encoder"], **options)
        self.decoder = Decoder(decoder, memory_width=encoder.width, rngs=rngs["decoder"], **options)
        self.head = layers.Linear(
            decoder.width, 3 * patch**2, dtype=jnp.dtype(compute.dtype), rngs=rngs["head"]
        )

    def __call__(
        self, target: jax.Array, reference: jax.Array, visible: jax.Array, wanted: jax.Array | None
    ) -> jax.Array:
        """Predicts patches of the target picture.

        Args:
            target: [B, N, P*P*3], normalised patches, of which only the visible ones are used.
            reference: [B, N, P*P*3], normalised patches, all of which are used.
            visible: [B, K], indices of the visible patches, sorted.
            wanted: [B, M], the patches to predict; None for all.

        Returns:
            [B, M or N, P*P*3].
        """
        seen, memory = self.encoder.pair(target, reference, visible)
        x = self.decoder(seen, memory, visible)
        return self.head(x if wanted is None else layers.take(x, wanted))


PARTS = ("encoder", "decoder", "head")


def patch_grid(image: tuple[int, int], patch: int) -> tuple[int, int]:
    """Returns (rows, columns) of patches.

    Raises:
        ValueError: the patch does not divide the picture.
    """
    height, width = image
    if height % patch or width % patch or min(height, width) < patch:
        raise ValueError(
            f"A {height}x{width} picture does not divide into {patch}x{patch} patches. "
            f"The nearest size that does is {_nearest(height, patch)}x{_nearest(width, patch)}."
        )
    return height // patch, width // patch


def shapes(
    image: tuple[int, int],
    patch: int,
    position: str,
    encoder: Mapping[str, int],
    decoder: Mapping[str, int],
) -> tuple[Shape, Shape]:
    """Returns the sizes of encoder and decoder, checked to give a network that can be built.

    Args: the values of the same names in config.model.

    Raises:
        ValueError: no network can be built; the message names the config key.
    """
    found = {"encoder": Shape(**encoder), "decoder": Shape(**decoder)}
    options_lib.check_number("config.model.patch", patch, least=1, whole=True)
    options_lib.check_numbers("config.model.image", image, 2, least=1, whole=True)
    if position not in POSITIONS:
        raise ValueError(
            f"Unknown config.model.position {position!r}. Known: {', '.join(POSITIONS)}."
        )
    for part, shape in found.items():
        name = f"config.model.{part}"
        for key, value in dataclasses.asdict(shape).items():
            options_lib.check_number(f"{name}.{key}", value, least=1, whole=True)
    name = "config.model.image, config.model.patch"
    try:
        patch_grid(image, patch)
        for part, shape in found.items():
            name = f"config.model.{part}.width, config.model.{part}.heads"
            check(shape, position, Compute(attention="xla"))
            _positions(position, (1, 1), shape)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return found["encoder"], found["decoder"]


def _nearest(side: int, patch: int) -> int:
    return max(1, round(side / patch)) * patch


def check(shape: Shape, position: str, compute: Compute, patches: int = 0) -> None:
    """Raises a ValueError if the sizes do not fit or the chosen attention cannot run here."""
    if shape.width % shape.heads:
        raise ValueError(f"Width {shape.width} does not divide into {shape.heads} heads.")
    if position not in POSITIONS:
        raise ValueError(f"Unknown positions {position!r}. Known: {', '.join(POSITIONS)}.")
    if compute.attention == "cudnn":
        heads = jnp.dtype(compute.dtype), shape.width // shape.heads
        attention.choose(compute.attention, *heads, (patches, patches))


def _stack(block, shape: Shape, compute: Compute, rngs: nnx.Rngs) -> nnx.Module:
    options = {"impl": compute.attention, "dtype": jnp.dtype(compute.dtype)}
    return blocks.stack(
        lambda rngs: block(shape.width, shape.heads, rngs=rngs, **options), shape.depth, rngs
    )


def _run(module, x, *context, collect: bool, drop=None):
    """Runs the blocks of an encoder or decoder and normalises the last output."""
    unroll = min(module.compute.unroll, module.shape.depth)
    options = {"unroll": unroll, "remat": module.compute.remat, "collect": collect}
    out = blocks.run(module.blocks, x, *context, drop=drop, **options)
    return (module.norm(out[0]), out[1]) if collect else module.norm(out)


def _positions(position: str, grid: tuple[int, int], shape: Shape):
    """Returns (table of positions or None, rotary angles or None)."""
    if position == "cosine":
        return position_embeddings.cosine(grid, shape.width), None
    return None, position_embeddings.rotary(grid, shape.width // shape.heads, 100.0)


# What each axis of a parameter means, by a pattern of the parameter's path; config.sharding says
# over which axis of the device mesh a meaning is split. A parameter that matches no pattern is kept
# whole on every device. The leading axis of a stack of blocks is never split.
AXES = (
    (r"blocks/attention/qkv/kernel$", (None, "width", None, "heads", None)),
    (r"blocks/attention/qkv/bias$", (None, None, "heads", None)),
    (r"blocks/cross_attention/(query|key|value)/kernel$", (None, "width", "heads", None)),
    (r"blocks/cross_attention/(query|key|value)/bias$", (None, "heads", None)),
    (r"blocks/(cross_)?attention/out/kernel$", (None, "heads", "width")),
    (r"blocks/mlp/up/kernel$", (None, "width", "hidden")),
    (r"blocks/mlp/up/bias$", (None, "hidden")),
    (r"blocks/mlp/down/kernel$", (None, "hidden", "width")),
    (r"(encoder|decoder)/embed/kernel$", (None, "width")),
    (r"head/kernel$", ("width", None)),
)

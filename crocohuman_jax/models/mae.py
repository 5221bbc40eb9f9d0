"""The masked autoencoder (MAE) of single pictures: `vit`'s encoder, a decoder, a pixel head."""

import jax
import jax.numpy as jnp
from flax import nnx

from crocohuman_jax.models import croco, layers, parameters, vit


class Decoder(nnx.Module):
    """Completes the tokens of a picture from the visible ones.

    Args: as for `vit.Encoder`; `memory_width` is the width of the encoder's tokens.
    """

    def __init__(
        self,
        shape: croco.Shape,
        *,
        memory_width: int,
        grid: tuple[int, int],
        compute: croco.Compute,
        rngs: nnx.Rngs,
    ):
        dtype, width = jnp.dtype(compute.dtype), shape.width
        self.embed = layers.Linear(memory_width, width, dtype=dtype, rngs=rngs)
        self.mask_token = nnx.Param(0.02 * jax.random.normal(rngs.params(), (width,)))
        self.positions = nnx.Param(jnp.asarray(vit.table(grid, width)))
        self.blocks = vit.stack(shape, compute, rngs)
        self.norm = layers.LayerNorm(width, dtype=dtype)
        self.shape, self.grid, self.compute = shape, grid, compute

    def __call__(self, seen: jax.Array, visible: jax.Array) -> jax.Array:
        """Decodes encoder tokens [B, 1 + K, D_e] of the patches `visible` [B, K].

        Returns:
            [B, 1 + N, D_d], the class token first, normalised.
        """
        x, table = self.embed(seen), self.positions[...]
        rest = layers.place(x[:, 1:], visible, self.mask_token[...], len(table) - 1)
        x = jnp.concatenate([x[:, :1], rest], 1) + table.astype(x.dtype)
        return self.norm(vit.run(self, x))


class MAE(nnx.Module):
    """Encoder, decoder and pixel head; each part draws its weights from its own random key.

    Args:
        encoder: size of the encoder.
        decoder: size of the decoder.
        image: (height, width) of the pictures in pixels.
        patch: side of a patch in pixels.
        compute: how the blocks are computed.
        key: random key.

    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        encoder: croco.Shape,
        decoder: croco.Shape,
        *,
        image: tuple[int, int],
        patch: int,
        compute: croco.Compute,
        key: jax.Array,
    ):
        grid = croco.patch_grid(image, patch)
        rngs = {part: nnx.Rngs(params=parameters.fold_name(key, part)) for part in croco.PARTS}
        options = {"grid": grid, "compute": compute}
        self.encoder = vit.Encoder(encoder, patch=patch, rngs=rngs["encoder"], **options)
        self.decoder = Decoder(decoder, memory_width=encoder.width, rngs=rngs["decoder"], **options)
        self.head = layers.Linear(
            decoder.width, 3 * patch**2, dtype=jnp.dtype(compute.dtype), rngs=rngs["head"]
        )

    def __call__(
        self, target: jax.Array, visible: jax.Array, wanted: jax.Array | None
    ) -> jax.Array:
        """Predicts patches of a picture from some of them.

        Args:
            target: [B, N, P*P*3], normalised patches, of which only the visible ones are used.
            visible: [B, K], indices of the visible patches.
            wanted: [B, M], the patches to predict; None for all.

        Returns:
            [B, M or N, P*P*3].
        """
        x = self.decoder(self.encoder(target, visible), visible)[:, 1:]
        return self.head(x if wanted is None else layers.take(x, wanted))

"""The network of mesh recovery: an encoder, a decoder if there are two pictures, and a head."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.models import croco, parameters, vit

PARTS = ("encoder", "decoder", "head", "mean")
HEADS = ("iterative", "metro")
SUPERVISED = ("last", "all")  # the estimates of the iterative head that have a loss


def checked(head: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns config.head unchanged; raises a ValueError that names an unknown value in it."""
    for name, known in (("kind", HEADS), ("supervise", SUPERVISED)):
        if name in head and head[name] not in known:
            raise ValueError(
                f"Unknown config.head.{name} {head[name]!r}. Known: {', '.join(known)}."
            )
    return head


class MeshNet(nnx.Module):
    """Predicts a person's mesh, or the body model's parameters that give it.

    Each part draws its initial weights from its own random key, so those of the encoder do not
    depend on the head.

    Args:
        encoder: size of the encoder.
        decoder: size of the decoder for two pictures; None for a network of one picture.
        head: (width of the tokens, random keys) -> the head.
        mean: number of values in the mean estimate, at which the head's estimates start.
        image: (height, width) of the pictures in pixels.
        patch: side of a patch in pixels.
        position: "cosine" or "rope100".
        compute: how the blocks are computed.
        drop_path: rate of stochastic depth: share of residual branches that training drops in the
            last block; it falls linearly to 0 in the first.
        keep_cls: use MAE's encoder, which has a class token; head and decoder do not see the token.
        key: random key.

    Raises:
        ValueError: sizes that do not fit together, a rate out of range, or a class token with
            rotary positions.
    """

    def __init__(
        self,
        encoder: croco.Shape,
        decoder: croco.Shape | None,
        head: Callable[[int, nnx.Rngs], nnx.Module],
        *,
        mean: int,
        image: tuple[int, int],
        patch: int,
        position: str,
        compute: croco.Compute,
        drop_path: float,
        keep_cls: bool = False,
        key: jax.Array,
    ):
        options_lib.check_number("config.model.drop_path", drop_path, least=0, below=1)
        if keep_cls and position != "cosine":
            raise ValueError(
                f"config.model.keep_cls uses MAE's encoder, which adds a table of positions: set "
                f"config.model.position=cosine, not {position}."
            )
        grid = croco.patch_grid(image, patch)
        options = {"grid": grid, "position": position, "compute": compute}
        rngs = {part: nnx.Rngs(params=parameters.fold_name(key, part)) for part in PARTS}
        if keep_cls:
            of_patches = {"patch": patch, "grid": grid, "compute": compute}
            self.encoder = vit.Encoder(encoder, rngs=rngs["encoder"], **of_patches)
        else:
            self.encoder = croco.Encoder(encoder, patch=patch, rngs=rngs["encoder"], **options)
        if decoder is not None:
            self.decoder = croco.Decoder(
                decoder, memory_width=encoder.width, rngs=rngs["decoder"], **options
            )
        self.two, self.special = decoder is not None, int(keep_cls)
        self.head = head((decoder or encoder).width, rngs["head"])
        # Pose, shape and camera at which estimates start. They come from data and are not learned.
        self.mean = nnx.Param(jnp.zeros(mean))
        self.drop_path = drop_path

    def __call__(self, first: jax.Array, second: jax.Array | None, key: jax.Array | None = None):
        """Returns the head's prediction for the first picture.

        Args:
            first: [B, N, P*P*3] normalised patches.
            second: [B, N, P*P*3], normalised patches; None for a network of one picture.
            key: random key in training; None otherwise.
        """
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        if self.two:
            both = self.encoder(jnp.concatenate([first, second]), drop=self._drop(keys[0]))
            both = both[:, self.special :]
            seen, memory = jnp.split(both, 2)
            tokens = self.decoder(seen, memory, drop=self._drop(keys[1]))
        else:
            tokens = self.encoder(first, drop=self._drop(keys[0]))[:, self.special :]
        return self.head(tokens, jax.lax.stop_gradient(self.mean[...]), keys[2])

    def _drop(self, key: jax.Array | None):
        return None if key is None or not self.drop_path else (self.drop_path, key)

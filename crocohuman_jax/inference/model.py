"""Loads a trained model and computes tokens, features or completed patches of images."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from crocohuman_jax import models
from crocohuman_jax.models import croco, pixels, position_embeddings, vit
from crocohuman_jax.weights.names import architectures, leaf_names
from crocohuman_jax.weights.sharing import hub, model_folder


def load(
    source: str | pathlib.Path,
    *,
    ema: bool = False,
    revision: str | None = None,
    dtype: str = "float32",
    attention: str = "auto",
) -> "Model":
    """Returns a model, loaded onto the first device.

    Args:
        source: a folder that `convert` wrote, the workdir of a run, or a name on the Hugging
            Face hub (owner/name).
        ema: for a run: whether to load the averaged weights.
        revision: for the hub: a branch, tag or commit.
        dtype: type in which the blocks compute: "float32", "bfloat16", or "auto" for bfloat16 on
            GPUs and TPUs and float32 elsewhere.
        attention: implementation of attention: "auto", "xla" or "cudnn".

    Raises:
        ValueError: `source` holds no model, or an incomplete one.
    """
    path = pathlib.Path(source)
    if not path.exists() and hub.is_name(str(source)):
        path = hub.fetch(str(source), revision)
    place = SingleDeviceSharding(jax.devices()[0])
    if model_folder.holds_model(path):
        if ema:
            raise ValueError(f"ema=True is for a run; {source} holds one set of weights.")
        description, found = model_folder.read(path)
        params = leaf_names.nested(jax.device_put(found, place))
    else:
        # Imported here, since the checkpoint library takes seconds and only runs need it.
        from crocohuman_jax.training import checkpoint

        description = model_folder.describe(path)
        shapes = {
            leaf.path: jax.ShapeDtypeStruct(leaf.shape_here(), jnp.float32, sharding=place)
            for leaf in architectures.leaves(description)
        }
        params = checkpoint.load_params(path, leaf_names.nested(shapes), "ema" if ema else "params")
    return Model(description, params, croco.Compute(dtype=dtype, attention=attention))


class Model:
    """A model and its parameters.

    Images are [B, H, W, 3], RGB: uint8, or floating point in [0, 1], or with `normalized` already
    normalised by the mean and deviation of ImageNet. H and W may be any multiples of the patch's
    side; the position embeddings adapt. One program is compiled for each shape.

    Attributes:
        description: kind, sizes and position embeddings of the model.
        params: a nested dict of arrays, as in training.
    """

    def __init__(self, description: architectures.Description, params: Any, compute: croco.Compute):
        self.description, self.params = description, params
        self._network = _Network(description, compute)

    def __repr__(self) -> str:
        d = self.description
        return f"Model({d.kind}, {d.encoder}, decoder={d.decoder}, image={d.image})"

    def encode(self, images, *, normalized: bool = False, class_token: bool = False) -> jax.Array:
        """Returns the tokens of every patch after the last norm, [B, N, D], row by row.

        With `class_token`, returns [B, 1 + N, D], where the class token comes first.

        Raises:
            ValueError: the images have a wrong shape, type or range, the patch's side does not
                divide their size, or the model has no class token.
        """
        self._look(images, "images", normalized)
        if class_token and self.description.kind == "croco":
            raise ValueError("This model has no class token: set class_token=False.")
        tokens = _encode(self._network, self.params["encoder"], images, normalized)
        return tokens[:, self._first(class_token) :]

    def features(self, images, layers: Sequence[int], reference=None, *, normalized: bool = False):
        """Returns the tokens after the chosen blocks, as inputs for dense heads.

        Args:
            images: [B, H, W, 3].
            layers: indices of blocks, counted from 0 through the encoder and, with a reference,
                on through the decoder.
            reference: [B, H, W, 3], a second image, to which the decoder attends.
            normalized: see `Model`.

        Returns:
            A list of [B, N, D], one for each layer. After the last block of the encoder or the
            decoder, its norm is applied too.

        Raises:
            ValueError: a block does not exist, or the images have a wrong shape, type or range.
        """
        self._look(images, "images", normalized)
        depth = self.description.encoder.depth
        params = {"encoder": self.params["encoder"]}
        if reference is not None:
            self._needs("decoder", "features() with a reference")
            self._look(reference, "reference", normalized, like=images)
            depth += self.description.decoder.depth
            params["decoder"] = self.params["decoder"]
        odd = [layer for layer in layers if not 0 <= layer < depth]
        if odd or not len(layers):
            raise ValueError(
                f"layers={list(layers)} must name one or more blocks from 0 to {depth - 1}."
            )
        found = _features(self._network, params, images, reference, tuple(layers), normalized)
        return [tokens[:, self._first(False) :] for tokens in found]

    def complete(self, target, reference, visible, *, normalized: bool = False) -> jax.Array:
        """Returns predictions of all patches of the target, from its visible ones and a reference.

        Args:
            target: [B, H, W, 3]; only its visible patches are used.
            reference: [B, H, W, 3], a second image.
            visible: [B, K] int, indices of the target's visible patches, counted row by row.
            normalized: see `Model`.

        Returns:
            [B, N, P * P * 3]. The pixels of a patch are ordered row by row, colours fastest. They
            are normalised pixels and, with `description.norm_pix`, also normalised by the mean
            and deviation of each patch.

        Raises:
            ValueError: the model is not a croco with a head, the images have a wrong shape, type or
                range, or `visible` holds patches that do not exist.
        """
        self._needs("head", "complete()")
        self._look(target, "target", normalized)
        self._look(reference, "reference", normalized, like=target)
        rows, columns = croco.patch_grid(target.shape[1:3], self.description.patch)
        _look_at_visible(visible, len(target), rows * columns)
        return _complete(self._network, self.params, target, reference, visible, normalized)

    def _first(self, class_token: bool) -> int:
        """Returns the number of leading tokens to skip: 1 for an unwanted class token, else 0."""
        return 0 if class_token or self.description.kind == "croco" else 1

    def _needs(self, part: str, what: str) -> None:
        if part not in self.params or self.description.kind != "croco":
            kind, parts = self.description.kind, ", ".join(self.params)
            raise ValueError(
                f"{what} needs a croco model with the part {part!r}, but this is a {kind} model of "
                f"{parts}. Load another model."
            )

    def _look(self, images, name: str, normalized: bool, like=None) -> None:
        """Raises a ValueError for images that the network would misread."""
        shape, dtype = np.shape(images), getattr(images, "dtype", None)
        if len(shape) != 4 or shape[-1] != 3 or not shape[0]:
            raise ValueError(f"{name} must be [B, H, W, 3], not {list(shape)}.")
        if like is not None and shape != np.shape(like):
            raise ValueError(
                f"{name} is {list(shape)}, but must have the shape of the first images, "
                f"{list(np.shape(like))}."
            )
        croco.patch_grid(shape[1:3], self.description.patch)
        whole = dtype == np.uint8
        if dtype is None or not (whole or jnp.issubdtype(dtype, jnp.floating)):
            raise ValueError(
                f"{name} must be uint8 or floating point, not {dtype or type(images)}."
            )
        if normalized and whole:
            raise ValueError(f"{name} are uint8, but normalized=True needs floating point.")
        if not (normalized or whole or isinstance(images, jax.core.Tracer)):
            least, greatest = float(images.min()), float(images.max())
            if not (least >= -1e-3 and greatest <= 1 + 1e-3):
                raise ValueError(
                    f"{name} lie in [{least:.3g}, {greatest:.3g}], not in [0, 1]: pass uint8, "
                    "divide by 255, or set normalized=True if they are normalised already."
                )


def _look_at_visible(visible, count: int, patches: int) -> None:
    shape, dtype = np.shape(visible), getattr(visible, "dtype", None)
    if len(shape) != 2 or shape[0] != count or not 0 < shape[1] <= patches:
        raise ValueError(
            f"visible must be [B, K] with B = {count} and K from 1 to {patches}, not {list(shape)}."
        )
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"visible must hold integers, not {dtype or type(visible)}.")
    if isinstance(visible, jax.core.Tracer):  # inside a caller's jit the values are unknown
        return
    ordered = np.sort(np.asarray(visible), 1)
    if ordered.min() < 0 or ordered.max() >= patches:
        raise ValueError(
            f"visible lies in [{ordered.min()}, {ordered.max()}], but the {patches} patches are "
            f"counted from 0 to {patches - 1}."
        )
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("visible lists a patch of one image twice.")


@dataclasses.dataclass(frozen=True)
class _Network:
    """Builds the parts of a model for an image size, with the given compute settings."""

    description: architectures.Description
    compute: croco.Compute

    def encoder(self, params, image):
        d, grid = self.description, croco.patch_grid(image, self.description.patch)
        sizes = {"shape": d.encoder, "patch": d.patch, "grid": grid, "compute": self.compute}
        if d.kind == "croco":
            return models.bound(croco.Encoder, params, position=d.position, **sizes)
        table = params["positions"]
        others = position_embeddings.resize(table[1:], d.grid, grid)
        table = jnp.concatenate([table[:1], others])
        return models.bound(vit.Encoder, params | {"positions": table}, **sizes)

    def decoder(self, params, image):
        d = self.description
        width = d.encoder.width
        # A dense model's decoder may have no mask token; no patches are hidden here.
        params = {"mask_token": jnp.zeros(d.decoder.width)} | params
        return models.bound(
            croco.Decoder,
            params,
            shape=d.decoder,
            memory_width=width,
            grid=croco.patch_grid(image, d.patch),
            position=d.position,
            compute=self.compute,
        )

    def whole(self, params, image):
        d = self.description
        _, bind = models.functional(
            lambda key: croco.CroCo(
                d.encoder,
                d.decoder,
                image=image,
                patch=d.patch,
                position=d.position,
                compute=self.compute,
                key=key,
            )
        )
        return bind({part: params[part] for part in croco.PARTS})

    def patches(self, images, normalized):  # [B, H, W, 3] -> [B, N, P * P * 3]
        if images.dtype == jnp.uint8:
            images = pixels.to_float(images)
        images = images.astype(jnp.float32)
        images = images if normalized else pixels.normalize(images)
        return pixels.patchify(images, self.description.patch)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _encode(network, params, images, normalized):
    encoder = network.encoder(params, images.shape[1:3])
    return encoder(network.patches(images, normalized)).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _features(network, params, images, reference, layers, normalized):
    image = images.shape[1:3]
    encoder = network.encoder(params["encoder"], image)
    last, every = encoder(network.patches(images, normalized), collect=True)
    found = [*every[:-1], last]
    if reference is not None:
        memory = encoder(network.patches(reference, normalized))
        decoder = network.decoder(params["decoder"], image)
        last, every = decoder(last, memory, collect=True)
        found += [*every[:-1], last]
    return [found[layer].astype(jnp.float32) for layer in layers]


@functools.partial(jax.jit, static_argnums=(0, 5))
def _complete(network, params, target, reference, visible, normalized):
    pictures = [network.patches(x, normalized) for x in (target, reference)]
    whole = network.whole(params, target.shape[1:3])
    return whole(*pictures, visible, None).astype(jnp.float32)

"""A trained model in three lines: load it, give it pictures, get tokens."""

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
    """Loads a model onto the first device.

    Args:
        source: a folder that `convert` wrote, the workdir of a run, or a name on the Hugging
            Face hub (owner/name).
        ema: of a run, take the averaged weights.
        revision: of the hub, a branch, tag or commit.
        dtype: "float32" or "bfloat16", what the blocks compute in; or "auto", bfloat16 on GPUs and
            TPUs and float32 elsewhere.
        attention: "auto", "xla" or "cudnn".

    Raises:
        ValueError: there is no model, or it is not whole.
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
        # The library of checkpoints takes seconds to import and is not needed above.
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

    Pictures are [B, H, W, 3], RGB: uint8, or floating point in [0, 1], or with `normalized` as
    the network sees them (the ImageNet mean and deviation taken out). H and W are any multiples
    of the patch; positions follow. One program is compiled for each shape.

    Attributes:
        description: kind, sizes, positions.
        params: a nested dict of arrays, as training has it.
    """

    def __init__(self, description: architectures.Description, params: Any, compute: croco.Compute):
        self.description, self.params = description, params
        self._network = _Network(description, compute)

    def __repr__(self) -> str:
        d = self.description
        return f"Model({d.kind}, {d.encoder}, decoder={d.decoder}, image={d.image})"

    def encode(self, images, *, normalized: bool = False, class_token: bool = False) -> jax.Array:
        """Returns the tokens of every patch after the last norm, [B, N, D], row by row.

        With `class_token` [B, 1 + N, D], for the models that have one; it comes first.

        Raises:
            ValueError: pictures of another form, or that the patch does not divide.
        """
        self._look(images, "images", normalized)
        if class_token and self.description.kind == "croco":
            raise ValueError("This model has no class token.")
        tokens = _encode(self._network, self.params["encoder"], images, normalized)
        return tokens[:, self._first(class_token) :]

    def features(self, images, layers: Sequence[int], reference=None, *, normalized: bool = False):
        """Returns the tokens after some blocks, as dense heads want them.

        Args:
            images: [B, H, W, 3].
            layers: which blocks, counted from 0 through the encoder and, with a reference, on
                through the decoder.
            reference: [B, H, W, 3], the other picture the decoder looks at.
            normalized: see `Model`.

        Returns:
            [B, N, D] of each; the last block's of encoder and decoder with the norm that follows.

        Raises:
            ValueError: no such block, or pictures of another form.
        """
        self._look(images, "images", normalized)
        depth = self.description.encoder.depth
        params = {"encoder": self.params["encoder"]}
        if reference is not None:
            self._needs("decoder", "features with a reference")
            self._look(reference, "reference", normalized, like=images)
            depth += self.description.decoder.depth
            params["decoder"] = self.params["decoder"]
        odd = [layer for layer in layers if not 0 <= layer < depth]
        if odd or not len(layers):
            raise ValueError(f"layers={list(layers)}: blocks are counted from 0 to {depth - 1}.")
        found = _features(self._network, params, images, reference, tuple(layers), normalized)
        return [tokens[:, self._first(False) :] for tokens in found]

    def complete(self, target, reference, visible, *, normalized: bool = False) -> jax.Array:
        """Predicts every patch of the target from some of them and another picture.

        Args:
            target: [B, H, W, 3]; only the visible patches are looked at.
            reference: [B, H, W, 3].
            visible: [B, K] int, which patches of the target are kept, counted row by row.
            normalized: see `Model`.

        Returns:
            [B, N, P * P * 3], in each patch row by row, colours fastest; as the network predicts
            them: of normalised pixels, and with `description.norm_pix` each patch with its own
            mean and deviation taken out.

        Raises:
            ValueError: the model has no decoder, pictures of another form, or no such patches.
        """
        self._needs("head", "complete")
        self._look(target, "target", normalized)
        self._look(reference, "reference", normalized, like=target)
        rows, columns = croco.patch_grid(target.shape[1:3], self.description.patch)
        _look_at_visible(visible, len(target), rows * columns)
        return _complete(self._network, self.params, target, reference, visible, normalized)

    def _first(self, class_token: bool) -> int:
        """Returns the number of tokens before those asked for."""
        return 0 if class_token or self.description.kind == "croco" else 1

    def _needs(self, part: str, what: str) -> None:
        if part not in self.params or self.description.kind != "croco":
            kind, parts = self.description.kind, ", ".join(self.params)
            raise ValueError(f"A {kind} of {parts} has not what it takes: no {what}.")

    def _look(self, images, name: str, normalized: bool, like=None) -> None:
        """Raises a ValueError for pictures that the network would misread."""
        shape, dtype = np.shape(images), getattr(images, "dtype", None)
        if len(shape) != 4 or shape[-1] != 3 or not shape[0]:
            raise ValueError(f"{name} are [B, H, W, 3], not {list(shape)}.")
        if like is not None and shape != np.shape(like):
            raise ValueError(f"{name} is {list(shape)}, the first picture {list(np.shape(like))}.")
        croco.patch_grid(shape[1:3], self.description.patch)
        whole = dtype == np.uint8
        if dtype is None or not (whole or jnp.issubdtype(dtype, jnp.floating)):
            raise ValueError(f"{name} are uint8 or floating point, not {dtype or type(images)}.")
        if normalized and whole:
            raise ValueError(f"{name} are uint8, which is never normalized=True.")
        if not (normalized or whole or isinstance(images, jax.core.Tracer)):
            least, greatest = float(images.min()), float(images.max())
            if not (least >= -1e-3 and greatest <= 1 + 1e-3):
                raise ValueError(
                    f"{name} lie in [{least:.3g}, {greatest:.3g}], not in [0, 1]: pass uint8, "
                    "divide by 255, or say normalized=True if mean and deviation are taken out."
                )


def _look_at_visible(visible, count: int, patches: int) -> None:
    shape, dtype = np.shape(visible), getattr(visible, "dtype", None)
    if len(shape) != 2 or shape[0] != count or not 0 < shape[1] <= patches:
        raise ValueError(f"visible is [B, K] for {count} pictures, not {list(shape)}.")
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(f"visible are whole numbers, not {dtype or type(visible)}.")
    if isinstance(visible, jax.core.Tracer):  # inside a caller's jit there is nothing to look at
        return
    ordered = np.sort(np.asarray(visible), 1)
    if ordered.min() < 0 or ordered.max() >= patches:
        raise ValueError(
            f"visible lies in [{ordered.min()}, {ordered.max()}]; the {patches} patches are "
            f"counted from 0 to {patches - 1}."
        )
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("visible names a patch twice in one picture.")


@dataclasses.dataclass(frozen=True)
class _Network:
    """Builds the parts of a model for pictures of a size, and says how they are computed."""

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
        # A decoder of complete pictures may have no token of what is hidden; nothing is.
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

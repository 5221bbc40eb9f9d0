"""Pre-training: complete the hidden patches of one picture of a person from another picture."""

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax import models, pixels
from crocohuman_jax.data import augment, pairs
from crocohuman_jax.models import croco, layers
from crocohuman_jax.tasks import Task

REGIONS = ("masked", "masked_human", "all")
GREY = 0.5  # shown in place of hidden patches


def make(config) -> Task:
    """Returns the task of `config.model`, `config.loss` and `config.data`."""
    model, data = config.model, config.data
    image, patch = tuple(model.image), model.patch
    sizes = {"encoder": croco.Shape(**model.encoder), "decoder": croco.Shape(**model.decoder)}
    compute = croco.Compute(
        dtype=model.dtype, attention=model.attention, remat=model.remat, unroll=model.unroll
    )
    grid = croco.patch_grid(image, patch)
    init, bind = models.functional(
        lambda key: croco.CroCo(
            **sizes, image=image, patch=patch, position=model.position, compute=compute, key=key
        )
    )
    region, norm_pix = config.loss.region, config.loss.norm_pix
    if region not in REGIONS:
        raise ValueError(f"Unknown loss region {region!r}. Known: {', '.join(REGIONS)}.")

    def patches(images, color):
        images = pixels.to_float(images)
        if color is not None:
            images = pixels.jitter(images, color)
        return pixels.patchify(pixels.normalize(images), patch)

    def errors(params, target, reference, visible, wanted):
        """Returns the squared error of every wanted patch, [B, M]."""
        predicted = bind(params)(target, reference, visible, wanted)
        truth = target if wanted is None else layers.take(target, wanted)
        return patch_errors(predicted, truth, norm_pix)

    def loss(params, batch, key):
        del key  # everything random was drawn with the batch
        target = patches(batch["target"], batch["color"][:, 0])
        reference = patches(batch["reference"], batch["color"][:, 1])
        wanted = None if region == "all" else batch["hidden"]
        each = errors(params, target, reference, batch["visible"], wanted)
        weight = jnp.ones_like(each)
        if region == "masked_human":
            weight = jnp.take_along_axis(batch["human"], batch["hidden"], 1).astype(each.dtype)
        value = jnp.sum(weight * each) / jnp.maximum(jnp.sum(weight), 1)
        return value, {"loss": value}

    def metrics(params, batch):
        target = patches(batch["target"], None)
        hidden = batch["hidden"]

        def masked(name):
            other = patches(batch[name], None)
            return errors(params, target, other, batch["visible"], hidden).mean(-1)

        truth = layers.take(target, hidden)
        values = {
            "masked_loss": masked("reference"),
            "zero_loss": patch_errors(jnp.zeros_like(truth), truth, norm_pix).mean(-1),
        }
        if "unrelated" in batch:
            values["reference_gain"] = masked("unrelated") - values["masked_loss"]
        return values

    def predict(params, batch):
        """Returns the four pictures of each pair, [B, H, W, 3] in [0, 1]."""
        target, reference = patches(batch["target"], None), patches(batch["reference"], None)
        out = bind(params)(target, reference, batch["visible"], None).astype(jnp.float32)
        if norm_pix:
            mean, deviation = pixels.patch_statistics(target)
            out = out * deviation + mean
        seen = jnp.zeros(target.shape[:2], bool)
        seen = seen.at[jnp.arange(len(seen))[:, None], batch["visible"]].set(True)[..., None]
        grey = (GREY - pixels.MEAN) / pixels.STD
        grey = jnp.tile(grey, patch**2)
        shown = {
            "hidden": jnp.where(seen, target, grey),
            "reference": reference,
            "completed": jnp.where(seen, target, out),
            "truth": target,
        }
        return {
            name: jnp.clip(pixels.denormalize(pixels.unpatchify(x, patch, grid)), 0, 1)
            for name, x in shown.items()
        }

    def flops(batch):
        (count, visible), hidden = batch["visible"].shape, batch["hidden"].shape[1]
        wanted = grid[0] * grid[1] if region == "all" else hidden
        return count * croco.training_flops(
            **sizes,
            patches=grid[0] * grid[1],
            visible=visible,
            wanted=wanted,
            pixels=3 * patch**2,
        )

    def stream(split, mask, change, count):
        return pairs.stream(
            data.folders,
            split=split,
            size=image,
            patch=patch,
            mask=mask,
            change=change,
            kinds=dict(data.kinds),
            weights=tuple(data.weights),
            gap=tuple(data.gap),
            min_fraction=data.min_fraction,
            seed=config.seed,
            count=count,
        )

    # Held-out pairs are masked alike in every run, whatever the rule of training.
    still = dict(data.mask) | {"rule": "fixed", "visible": 0}
    center = augment.Augment(crop="center")
    return Task(
        init=init,
        loss=loss,
        metrics=metrics,
        predict=predict,
        picture=picture,
        flops=flops,
        train=lambda: stream("train", dict(data.mask), augment.Augment(**data.augment), 0),
        held_out=lambda: stream("validation", still, center, data.held_out_pairs),
        axes=croco.AXES,
    )


def patch_errors(predicted: jax.Array, truth: jax.Array, norm_pix: bool) -> jax.Array:
    """Returns the mean squared error of each patch, [B, M, P*P*3] twice -> [B, M].

    With `norm_pix`, the truth has its own mean and deviation taken out first.
    """
    if norm_pix:
        mean, deviation = pixels.patch_statistics(truth)
        truth = (truth - mean) / deviation
    return jnp.mean((predicted.astype(jnp.float32) - truth) ** 2, -1)


def picture(shown: dict[str, np.ndarray]) -> np.ndarray:
    """Returns one row a pair: hidden | reference | completed | truth, [H, W, 3] uint8."""
    columns = [shown[name] for name in ("hidden", "reference", "completed", "truth")]
    gap = ((0, 0), (0, 4), (0, 4), (0, 0))
    padded = [np.pad(column, gap, constant_values=1) for column in columns]
    rows = np.concatenate(padded, 2)  # [B, H, 4 W, 3]
    return np.round(255 * rows.reshape(-1, *rows.shape[2:])).astype(np.uint8)

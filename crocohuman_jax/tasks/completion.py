"""Pre-training: completes the hidden patches of one picture of a person from another picture."""

import logging

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax import models
from crocohuman_jax.data.streams import masking, pair_augmentation, pairs
from crocohuman_jax.metrics import losses
from crocohuman_jax.models import attention, croco, flops, layers, pixels
from crocohuman_jax.tasks import Task

log = logging.getLogger(__name__)

REGIONS = ("masked", "masked_human", "all")
GREY = 0.5  # shown in place of hidden patches


def make(config) -> Task:
    """Returns the task that `config.model`, `config.loss` and `config.data` describe."""
    model, data, seed = config.model, config.data, config.seed
    sizes = croco.shapes(model.image, model.patch, model.position, model.encoder, model.decoder)
    options = {name: model[name] for name in ("dtype", "attention", "remat", "unroll")}
    compute = croco.Compute(**options)
    completion = Completion(
        encoder=sizes[0],
        decoder=sizes[1],
        image=tuple(model.image),
        patch=model.patch,
        position=model.position,
        compute=compute,
        norm_pix=config.loss.norm_pix,
        region=config.loss.region,
    )
    # Configs of earlier versions have `buckets`, which did not affect held-out pairs.
    mask = {name: value for name, value in data.mask.items() if name != "buckets"}
    _check_visible(completion, compute, mask)

    def stream(split, drawn, change, count):
        return pairs.stream(
            data.folders,
            split=split,
            size=tuple(model.image),
            patch=model.patch,
            mask=drawn,
            change=change,
            kinds=dict(data.kinds),
            weights=tuple(data.weights),
            gap=tuple(data.gap),
            min_fraction=data.min_fraction,
            seed=seed,
            count=count,
        )

    def held_out():
        # Every run masks held-out pairs in the same way, whatever the rule in training.
        still = mask | {"rule": "fixed", "visible": 0, "scope": "global"}
        center = pair_augmentation.Augment(crop="center")
        try:
            return stream("validation", still, center, data.held_out_pairs)
        except pairs.NoPairs as reason:
            log.warning("%s", reason)
            return None

    return Task(
        init=completion.init,
        counts=completion.counts,
        loss=completion.loss,
        metrics=completion.metrics,
        predict=completion.predict,
        picture=picture,
        flops=completion.flops,
        train=lambda: stream("train", mask, pair_augmentation.Augment(**data.augment), None),
        held_out=held_out,
        axes=croco.AXES,
        example_batch=lambda count: completion.example_batch(count, mask),
    )


def _check_visible(completion: "Completion", compute: croco.Compute, mask) -> None:
    """Raises a ValueError if the chosen attention cannot take the number of visible patches."""
    if compute.attention != "cudnn":
        return
    nobody = np.zeros((1, completion.grid[0] * completion.grid[1]), bool)
    rule = masking.Masking(nobody.size, **mask)
    if rule.varies and rule.multiple % 2:
        raise ValueError(
            f"config.data.mask.multiple={rule.multiple} makes lengths of the visible set odd, but "
            "the backward pass of attention 'cudnn' takes even lengths only: set an even multiple "
            "(8 is best) or config.model.attention=auto."
        )
    drawn = rule(nobody, nobody[:, 0], np.zeros(nobody.shape))
    width = completion.encoder.width // completion.encoder.heads
    lengths = (drawn.shape[1],) * 2
    attention.choose(compute.attention, jnp.dtype(compute.dtype), width, lengths)


class Completion:
    """Loss, metrics and predictions of the network.

    Args:
        encoder, decoder, image, patch, position, compute: see `croco.CroCo`.
        norm_pix: predict patches that are normalised by their own mean and deviation.
        region: the patches over which the loss is averaged: "masked", "masked_human" or "all".

    Raises:
        ValueError: an unknown region, or sizes that do not fit together.
    """

    def __init__(self, encoder, decoder, *, image, patch, norm_pix, region, **options):
        if region not in REGIONS:
            raise ValueError(f"Unknown config.loss.region {region!r}. Known: {', '.join(REGIONS)}.")
        self.encoder, self.decoder = encoder, decoder
        self.image, self.patch, self.grid = image, patch, croco.patch_grid(image, patch)
        self.norm_pix, self.region = norm_pix, region
        self.init, self.bind = models.functional(
            lambda key: croco.CroCo(encoder, decoder, image=image, patch=patch, key=key, **options)
        )

    def counts(self, batch):
        """Returns the number of patches over which the loss is averaged, and that of pairs."""
        return {"patches": jnp.sum(self._counted(batch)), "pairs": len(batch["hidden"])}

    def _counted(self, batch):
        """Returns the weight of each predicted patch in the loss, [B, M]."""
        hidden = batch["hidden"]
        count = self.grid[0] * self.grid[1] if self.region == "all" else hidden.shape[1]
        weight = jnp.ones((len(hidden), count))
        if self.region == "masked_human":
            weight = jnp.take_along_axis(batch["human"], hidden, 1).astype(weight.dtype)
        if "valid" in batch:  # padding is black, so predicting it teaches nothing
            valid = batch["valid"]
            if self.region != "all":
                valid = jnp.take_along_axis(valid, hidden, 1)
            weight = weight * valid
        return weight * batch["counted"][:, None] if "counted" in batch else weight

    def loss(self, params, batch, key, counts):
        """Returns the contribution of these pairs to the mean error over the region's patches."""
        del key  # everything random was drawn with the batch
        target = self._patches(batch["target"], batch["color"][:, 0])
        reference = self._patches(batch["reference"], batch["color"][:, 1])
        wanted = None if self.region == "all" else batch["hidden"]
        each = self._errors(params, target, reference, batch["visible"], wanted)
        value = losses.share(each, self._counted(batch), counts["patches"])
        scalars = {"loss": value}
        if "counted" in batch:
            scalars["left_out"] = jnp.sum(1 - batch["counted"]) / counts["pairs"]
        return value, scalars

    def metrics(self, params, batch):
        """Returns errors of each pair's hidden patches, [B] each.

        masked_loss is the error with the true reference and zero_loss the error of predicting
        zeros. reference_gain is the increase of the error with an unrelated reference, which only
        some batches have.
        """
        target, hidden = self._patches(batch["target"]), batch["hidden"]

        def masked(name):
            other = self._patches(batch[name])
            return mean(self._errors(params, target, other, batch["visible"], hidden))

        def mean(errors):  # of the patches that show the picture, not its padding
            if "valid" not in batch:
                return errors.mean(-1)
            valid = jnp.take_along_axis(batch["valid"], hidden, 1).astype(errors.dtype)
            return jnp.sum(valid * errors, -1) / jnp.maximum(jnp.sum(valid, -1), 1)

        truth = layers.take(target, hidden)
        values = {
            "masked_loss": masked("reference"),
            "zero_loss": mean(patch_errors(jnp.zeros_like(truth), truth, self.norm_pix)),
        }
        if "unrelated" in batch:
            values["reference_gain"] = masked("unrelated") - values["masked_loss"]
        return values

    def predict(self, params, batch):
        """Returns the pictures hidden, reference, completed, truth, [B, H, W, 3] in [0, 1]."""
        target, reference = self._patches(batch["target"]), self._patches(batch["reference"])
        out = self.bind(params)(target, reference, batch["visible"], None).astype(jnp.float32)
        if self.norm_pix:
            mean, deviation = pixels.patch_statistics(target)
            out = out * deviation + mean
        nothing = jnp.zeros(target.shape[1], bool)
        seen = jax.vmap(lambda at: nothing.at[at].set(True))(batch["visible"])[..., None]
        grey = jnp.tile((GREY - pixels.MEAN) / pixels.STD, self.patch**2)
        shown = {
            "hidden": jnp.where(seen, target, grey),
            "reference": reference,
            "completed": jnp.where(seen, target, out),
            "truth": target,
        }
        return {
            name: pixels.denormalize(pixels.unpatchify(x, self.patch, self.grid)).clip(0, 1)
            for name, x in shown.items()
        }

    def example_batch(self, count: int, mask: dict) -> dict[str, np.ndarray]:
        """Returns a batch of random pictures without people.

        Args:
            count: number of pairs.
            mask: config.data.mask; for rules other than "fixed" the ratio gives the number of
                visible patches.
        """
        rng, patches = np.random.default_rng(0), self.grid[0] * self.grid[1]
        draw = masking.Masking(patches, **mask | {"rule": "fixed", "scope": "global"})
        nobody = np.zeros((count, patches), bool)
        shown = draw(nobody, nobody[:, 0], rng.random((count, patches)))
        images = rng.integers(0, 256, (2, count, *self.image, 3), np.uint8)
        color = [
            pair_augmentation.Augment(brightness=0.4).draw(rng)["color"] for _ in range(2 * count)
        ]
        return {
            "target": images[0],
            "reference": images[1],
            "visible": shown,
            "hidden": masking.complement(shown, patches),
            "human": nobody,
            "color": np.stack(color).reshape(count, 2, 3, 2),
        }

    def flops(self, batch):
        """Returns the floating-point operations of a batch's forward and backward pass."""
        (count, visible), hidden = batch["visible"].shape, batch["hidden"].shape[1]
        patches = self.grid[0] * self.grid[1]
        return count * flops.completion(
            self.encoder,
            self.decoder,
            patches=patches,
            visible=visible,
            wanted=patches if self.region == "all" else hidden,
            pixels=3 * self.patch**2,
        )

    def _patches(self, images, color=None):  # [B, H, W, 3] uint8 -> [B, N, P*P*3], normalised
        images = pixels.to_float(images)
        if color is not None:
            images = pixels.jitter(images, color)
        return pixels.patchify(pixels.normalize(images), self.patch)

    def _errors(self, params, target, reference, visible, wanted):
        """Returns the squared error of every wanted patch, [B, M]."""
        predicted = self.bind(params)(target, reference, visible, wanted)
        truth = target if wanted is None else layers.take(target, wanted)
        return patch_errors(predicted, truth, self.norm_pix)


def patch_errors(predicted: jax.Array, truth: jax.Array, norm_pix: bool) -> jax.Array:
    """Returns the mean squared error of each patch, [B, M, P*P*3] twice -> [B, M].

    With `norm_pix`, each true patch is first normalised by its own mean and deviation.
    """
    if norm_pix:
        mean, deviation = pixels.patch_statistics(truth)
        truth = (truth - mean) / deviation
    return jnp.mean((predicted.astype(jnp.float32) - truth) ** 2, -1)


def picture(shown: dict[str, np.ndarray]) -> np.ndarray:
    """Returns one row per pair: hidden | reference | completed | truth, [H, W, 3] uint8."""
    columns = [shown[name] for name in ("hidden", "reference", "completed", "truth")]
    gap = ((0, 0), (0, 4), (0, 4), (0, 0))
    padded = [np.pad(column, gap, constant_values=1) for column in columns]
    rows = np.concatenate(padded, 2)  # [B, H, 4 W, 3]
    return np.round(255 * rows.reshape(-1, *rows.shape[2:])).astype(np.uint8)

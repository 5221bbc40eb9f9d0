"""Computes loss, metrics and predictions of mesh recovery, with any of its heads."""

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax import models
from crocohuman_jax.body_models import cameras, lbs, rotations
from crocohuman_jax.metrics import losses, pose
from crocohuman_jax.models import croco, finetune_net, flops, pixels
from crocohuman_jax.tasks.mesh import metro_head, pictures, regressor_head, results, supervision

HEADS = {"iterative": regressor_head.RegressorHead, "metro": metro_head.MetroHead}


class Mesh:
    """The mesh-recovery network as functions of its parameters.

    Args:
        encoder, decoder, image, patch, options: see `finetune_net.MeshNet`.
        head: config.head: its kind, and the options of that kind.
        loss: config.loss, the weights of the terms.
        bodies: the body model.

    Raises:
        ValueError: the kind of head is unknown, or sizes do not fit together.
    """

    def __init__(self, *, encoder, decoder, image, patch, head, loss, bodies, **options):
        self.encoder, self.decoder, self.image, self.patch = encoder, decoder, image, patch
        self.bodies, self.weights, grid = bodies, loss, croco.patch_grid(image, patch)
        self.patches = grid[0] * grid[1]
        kind = finetune_net.checked(head)["kind"]
        self.head = HEADS[kind](head, loss, bodies, self.patches)
        missing = [name for name in self.head.TERMS if name not in loss]
        if missing:
            raise ValueError(
                f"config.loss has no {', '.join(missing)}. head.kind={kind!r} needs the weights of "
                f"{', '.join(self.head.TERMS)}; 0 leaves a term out."
            )
        bodies.hips(bodies.trained.names)
        self._init, self.bind = models.functional(
            lambda key: finetune_net.MeshNet(
                encoder,
                decoder,
                self.head.build,
                mean=sum(bodies.sizes),
                image=image,
                patch=patch,
                key=key,
                **options,
            )
        )

    def init(self, key):
        """Returns initial parameters; `from_data` later replaces the mean, here the zero pose."""
        return self._init(key) | {"mean": jnp.asarray(self.bodies.zero)}

    def counts(self, batch):
        """Returns the number of people in each term's mean, for terms with a weight above zero."""
        counted = self.head.counted(batch)
        return {name: jnp.sum(each) for name, each in counted.items() if self.weights[name]}

    def loss(self, params, batch, key, counts):
        """Returns these people's contribution to the batch's loss, and to each of its terms."""
        out = self.bind(params)(*self._patches(batch, True), key)
        terms = self.head.terms(out, self.targets(batch))
        counted = self.head.counted(batch)
        # A term of weight zero is left out: NaN or infinity times zero would still be NaN.
        shares = {n: losses.share(terms[n], counted[n], whole) for n, whole in counts.items()}
        total = self.weights["total"] * sum(self.weights[n] * v for n, v in shares.items())
        return total, {"loss": total} | {f"loss_{name}": value for name, value in shares.items()}

    def targets(self, batch) -> dict:
        """Returns the targets of the loss, see `supervision.targets`."""
        return supervision.targets(batch, self.head.true_models, self.head.learned[1])

    def predicted(self, params, batch) -> dict:
        """Returns vertices [B, V, 3], measured points and camera; a regressor's pose and betas."""
        return self.head.predicted(self.bind(params)(*self._patches(batch, False)))

    def metrics(self, params, batch):
        """Returns {name: (errors [B] in mm, weights [B])}; the weight is 0 without ground truth.

        mpjpe and mpvpe are relative to the root (pelvis or wrist); pa_ errors follow a similarity
        alignment; mean_ errors are those of a constant prediction, the mean pose and shape.
        """
        truth, skip = supervision.truth(batch, self.bodies), self.bodies.only_root
        found = results.errors(self.predicted(params, batch), truth, skip)
        turns, betas, _ = jnp.split(params["mean"], np.cumsum(self.bodies.sizes)[:2])
        turns = rotations.from_6d(turns.reshape(1, -1, 6))
        vertices, places = lbs.pose(self.bodies.body, betas[None], turns)
        mean = {"vertices": vertices, "points": self.bodies.measured(vertices, places)}
        mean = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(batch["pose"]), *x.shape[1:])), mean)
        answers = results.errors(mean, truth, skip)
        found |= {f"mean_{name}": answers[name] for name in ("mpjpe", "pa_mpjpe", "mpvpe")}
        return {
            name: (value, truth["has_mesh" if "vpe" in name else "has_points"])
            for name, value in found.items()
        }

    def predict(self, params, batch):
        """Returns the prediction, ground truth and errors of each person.

        Returns:
            the first value of `shown`, and `results.MEASURES` in mm.
        """
        shown, predicted, truth = self.shown(params, batch)
        return shown | results.errors(predicted, truth, self.bodies.only_root)

    def shown(self, params, batch):
        """Returns the prediction and ground truth of each person, in metres.

        Returns:
            shown: image [B, H, W, 3] in [0, 1]; vertices [B, V, 3] relative to the body's own
                origin, and translation [B, 3], the position of that origin in camera space; points
                [B, P, 3]; camera [B, 3]; pose [B, K, 3, 3] and betas [B, S] of the iterative head;
                true_vertices, true_points, true_translation and matrix; offsets [B, V], errors of
                the vertices relative to the root, in mm; labels that evaluations need.
            predicted, truth: dicts for `results.errors`.
        """
        predicted, truth = self.predicted(params, batch), supervision.truth(batch, self.bodies)
        roots = [x["points"][:, :1] for x in (predicted, truth)]
        offsets = pose.distances(predicted["vertices"] - roots[0], truth["vertices"] - roots[1])
        shown = {"image": pixels.to_float(batch["image"]), "offsets": offsets}
        shown |= {f"true_{name}": truth[name] for name in ("vertices", "points")}
        shown |= {name: truth[name] for name in ("has_mesh", "has_points", "annotated")}
        shown |= {"true_translation": batch["translation"], "matrix": batch["matrix"]}
        shown |= {name: batch[name] for name in ("row", "folder", "exact", "crop")}
        shown["translation"] = cameras.translation(predicted["camera"])
        return shown | predicted, predicted, truth

    def picture(self, shown: dict[str, np.ndarray]) -> np.ndarray:
        """Returns a picture with one row per person, see `pictures.page`, [H, W, 3] uint8."""
        return pictures.page(shown, self.bodies.body.faces.array)

    def flops(self, batch):
        """Returns the operations of a forward and backward pass, without the body model's."""
        each = flops.encoding(self.encoder, patches=self.patches, pixels=3 * self.patch**2)
        if self.decoder:
            each = 2 * each + flops.decoding(self.encoder, self.decoder, patches=self.patches)
        width = (self.decoder or self.encoder).width
        return len(batch["pose"]) * (each + self.head.flops(width))

    def example_batch(self, count: int) -> dict[str, np.ndarray]:
        """Returns a batch of noise without annotations."""
        rng, names = np.random.default_rng(0), ("image", "second")[: 2 if self.decoder else 1]
        shape = (count, *self.image, 3)
        unknown = self.bodies.unknown(count)
        unknown |= {name: rng.integers(0, 256, shape, np.uint8) for name in names}
        return unknown | {"color": np.ones((count, len(names), 3), np.float32)}

    def _patches(self, batch, train: bool):
        """Returns the patches of both pictures; those of a missing second picture are None."""
        found = []
        for i, name in enumerate(("image", "second")):
            if name not in batch or (i and not self.decoder):
                found.append(None)
                continue
            image = pixels.to_float(batch[name])
            if train:
                image = jnp.clip(image * batch["color"][:, i, None, None], 0, 1)
            found.append(pixels.patchify(pixels.normalize(image), self.patch))
        return found

"""Adapts the iterative regressor, which predicts pose, shape and camera, to mesh recovery."""

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.body_models import lbs, rotations, run_body
from crocohuman_jax.metrics import losses
from crocohuman_jax.models import flops
from crocohuman_jax.models.heads import regressor

NOT_OF_THE_MODULE = ("kind", "supervise")


class RegressorHead:
    """The iterative regressor in mesh recovery; `metro_head.MetroHead` has the same methods.

    Args:
        head: config.head.
        loss: config.loss: the weights of the terms, frame and unit.
        bodies: the body model.
        patches: N, number of patches of a picture; unused.

    Attributes:
        learned: the body model, and the points on it that the loss compares.
        true_models: the body models that pose the ground truth.
    """

    TERMS = ("keypoints_2d", "keypoints_3d", "vertices", "pose", "root", "betas", "depth")

    def __init__(self, head: dict, loss: dict, bodies: run_body.Bodies, patches: int):
        del patches
        self.head, self.bodies, self.body = head, bodies, bodies.body
        self.sizes, self.frame = bodies.sizes, loss["frame"]
        self.unit = bodies.size if loss["unit"] == "size" else 1.0
        self.learned, self.true_models = (self.body, bodies.trained), bodies
        if not loss["vertices"]:  # then the loss needs few vertices
            used = bodies.trained.used()
            self.learned = (lbs.part(self.body, used), bodies.trained.within(used))
            self.true_models = bodies.part(used)

    def build(self, width, rngs):
        """Returns the head as a module for tokens of the given width."""
        options = {k: v for k, v in self.head.items() if k not in NOT_OF_THE_MODULE}
        joints, shapes = len(self.body.names), len(self.body.shapes)
        return regressor.Regressor(
            width, joints=joints, shapes=shapes, dtype=jnp.float32, rngs=rngs, **options
        )

    def counted(self, batch) -> dict:
        """Returns the weight of each person in each term, {name: [B]}, from labels alone."""
        everyone, has_mesh = jnp.ones(len(batch["pose"])), batch["has_mesh"]
        known = jnp.where(batch["joints"][..., 3].any(-1), 1.0, has_mesh)
        return {
            "keypoints_2d": everyone,
            "keypoints_3d": known,
            "vertices": has_mesh,
            "pose": batch["has_pose"],
            "root": batch["has_pose"],
            "betas": batch["has_shape"],
            "depth": everyone,
        }

    def terms(self, out, targets) -> dict:
        """Returns the terms of the loss, {name: [B]}, of the last estimate or averaged over all.

        Args:
            out: the module's predictions.
            targets: see `supervision.targets`.
        """
        body, trained = self.learned
        steps = range(1, len(out["pose"])) if self.head["supervise"] == "all" else [-1]
        found = [
            losses.regressor(
                {name: value[step] for name, value in out.items()},
                targets,
                body=body,
                landmarks=trained,
                hips=self.bodies.hips(trained.names),
                frame=self.frame,
                unit=self.unit,
            )
            for step in steps
        ]
        return jax.tree.map(lambda *x: sum(x) / len(x), *found)

    def predicted(self, out) -> dict:
        """Returns vertices [B, V, 3], measured points, camera, pose, betas of the last estimate."""
        last = {name: value[-1].astype(jnp.float32) for name, value in out.items()}
        turns = rotations.from_6d(last["pose"])
        vertices, places = lbs.pose(self.body, last["shape"], turns)
        found = {"vertices": vertices, "points": self.bodies.measured(vertices, places)}
        return found | {"camera": last["camera"], "pose": turns, "betas": last["shape"]}

    def flops(self, width: int) -> float:
        """Returns the operations of the head for one person, forward and backward."""
        sizes = int(np.sum(self.sizes))
        return flops.regressor(width, sizes, self.head["hidden"], self.head["steps"])

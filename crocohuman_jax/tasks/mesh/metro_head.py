"""Adapts METRO's head, which predicts joints and vertices, to mesh recovery."""

import jax.numpy as jnp
import numpy as np

from crocohuman_jax.body_models import cameras, mesh_downsampling, run_body
from crocohuman_jax.metrics import losses
from crocohuman_jax.models import flops
from crocohuman_jax.models.heads import metro
from crocohuman_jax.tasks.mesh import supervision

NOT_OF_THE_MODULE = ("kind", "levels", "sampling")


class MetroHead:
    """METRO's head in mesh recovery; `regressor_head.RegressorHead` has the same methods.

    Args:
        head: config.head.
        loss: config.loss; unused.
        bodies: the body model.
        patches: N, number of patches of a picture.

    Attributes:
        learned: the body model, and the points on it that the loss compares.
        true_models: the body models that pose the ground truth.
        coarse: the coarse meshes.
        template: positions of the points [J, 3] and coarse vertices [V0, 3] in the rest pose, from
            which the queries are made; metres.

    Raises:
        ValueError: the evaluated joints are those of the body model's kinematic chain, which a
            predicted mesh does not give.
    """

    TERMS = ("keypoints_2d", "keypoints_3d", "vertices")

    def __init__(self, head: dict, loss: dict, bodies: run_body.Bodies, patches: int):
        del loss
        if (bodies.measured.joints >= 0).any():
            raise ValueError(
                "config.body.joints='model' takes joints from the body model's kinematic chain, "
                "which the mesh of config.head.kind='metro' does not have. Set "
                "config.body.joints='mesh', which computes joints from the mesh."
            )
        self.head, self.bodies, self.patches = head, bodies, patches
        self.learned, self.true_models = (bodies.body, bodies.trained_from_mesh()), bodies
        rest = np.asarray(bodies.body.template)
        self.coarse = bodies.coarse(tuple(head["levels"]), head["sampling"])
        points = bodies.measured(rest[None], np.asarray(bodies.body.joints)[None])
        upright = np.array([1, -1, -1], np.float32)  # models have y up, cameras y down
        points = np.asarray(points[0])
        small = mesh_downsampling.pyramid(self.coarse, rest)[-1]
        self.template = [(x - points[0]) * upright for x in (points[bodies.only_root :], small)]

    def build(self, width, rngs):
        """Returns the head as a module for tokens of the given width."""
        options = {k: v for k, v in self.head.items() if k not in NOT_OF_THE_MODULE}
        options |= {"joints": self.template[0], "coarse": self.template[1]}
        options |= {"camera": self.bodies.camera, "dtype": jnp.float32}
        return metro.Metro(
            width, self.patches, sizes=self.coarse.levels[::-1], rngs=rngs, **options
        )

    def counted(self, batch) -> dict:
        """Returns the weight of each person in each term, {name: [B]}, from labels alone."""
        annotated = batch["joints"][..., 3].any(-1)
        used = supervision.measured(self.bodies, batch["joints"])[..., 3].any(-1)
        return {
            "keypoints_2d": jnp.ones(len(batch["pose"])),
            "keypoints_3d": jnp.where(annotated, used, batch["has_mesh"]),
            "vertices": batch["has_mesh"],
        }

    def terms(self, out, targets) -> dict:
        """Returns the terms of the loss, {name: [B]}.

        Args:
            out: the module's predictions.
            targets: see `supervision.targets`.
        """
        skip = self.bodies.only_root
        names = self.bodies.measured.names[skip:]
        hips = self.bodies.hips(names)
        keypoints, joints = (
            supervision.measured(self.bodies, targets[n]) for n in ("keypoints", "joints")
        )
        both = (out["joints"], self.bodies.measured(out["vertices"][-1], None)[:, skip:])
        root = self.bodies.measured(targets["vertices"], targets["places"])[:, :1]
        levels = mesh_downsampling.pyramid(self.coarse, targets["vertices"] - root)[::-1]
        pairs = zip(out["vertices"], levels, strict=True)
        shown = [losses.keypoints_2d(cameras.weak(p, out["camera"]), keypoints) for p in both]
        near = [losses.keypoints_3d(points, joints, hips) for points in both]
        return {
            "keypoints_2d": sum(shown),
            "keypoints_3d": sum(near),
            "vertices": sum(losses.absolute(*p) for p in pairs) / len(levels),
        }

    def predicted(self, out) -> dict:
        """Returns vertices [B, V, 3], the points that are measured, and the camera."""
        vertices = out["vertices"][-1]
        points = self.bodies.measured(vertices, None)
        return {"vertices": vertices, "camera": out["camera"], "points": points}

    def flops(self, width: int) -> float:
        """Returns the operations of the head for one person, forward and backward."""
        names = ("hidden", "outs", "depth", "feedforward", "feature_width")
        sizes = {"joints": len(self.template[0]), "sizes": self.coarse.levels[::-1]}
        options = {name: self.head[name] for name in names}
        return flops.metro(width, self.patches, **sizes, **options)

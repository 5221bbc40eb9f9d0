"""Describes a body model's parameters and points, so that data can be read without the model."""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.body_models import joint_names

GENDERS = ("neutral", "male", "female")


@dataclasses.dataclass(frozen=True)
class Form:
    """The layout of a body model's parameters and points, in numpy and without its mesh.

    Attributes:
        kind: kind of the body model: "open_body", "smpl", "mano_right", ...
        names: names of the points on which it is trained.
        aliases: {missing point: the model's point that replaces it}.
        joints: K, number of joints.
        betas: S, number of shape components.
        root: [3], root joint at rest of the mean shape, metres.
        root_shapes: [S, 3], change of the root joint per unit of each beta.
        mean_pose: [K, 3], rotation vectors added to annotated poses that exclude them (MANO).
        gender: gender of the model, as "neutral".
        genders: genders whose annotated shapes give true meshes, for training and evaluation.
        own: whether shapes annotated for any gender are used with this model.
        vertices: V if the true meshes that come with a dataset are wanted, else 0.
    """

    kind: str
    names: tuple[str, ...]
    aliases: dict[str, str]
    joints: int
    betas: int
    root: np.ndarray
    root_shapes: np.ndarray
    mean_pose: np.ndarray
    gender: str = "neutral"
    genders: tuple[str, ...] = GENDERS
    own: bool = False
    vertices: int = 0

    @property
    def is_hand(self) -> bool:
        return self.joints == len(joint_names.MANO)

    @functools.cached_property
    def mirror(self) -> tuple[int, ...]:
        """Index of each point's partner on the other side; for hands, the point itself."""
        return tuple(range(len(self.names))) if self.is_hand else joint_names.mirror(self.names)

    @functools.cached_property
    def pose_mirror(self) -> tuple[int, ...]:
        """Index of each joint's partner on the other side; for hands, the joint itself."""
        return tuple(range(self.joints)) if self.is_hand else joint_names.mirror(joint_names.SMPL)

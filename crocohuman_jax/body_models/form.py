"""How a body model's numbers are arranged, for data that is read without the model."""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.body_models import joint_names

GENDERS = ("neutral", "male", "female")


@dataclasses.dataclass(frozen=True)
class Form:
    """What a body model is trained with, in numpy: no mesh, only how its numbers are arranged.

    Attributes:
        kind: of the body model: "open_body", "smpl", "mano_right", ...
        names: of the points it is trained on.
        aliases: {name elsewhere: name here} for points that stand in for others.
        joints: K.
        betas: S.
        root: [3] the root joint at rest of mean shape, metres.
        root_shapes: [S, 3] what each beta adds to it.
        mean_pose: [K, 3] added to poses that labels give without (MANO's).
        gender: of the model, as "neutral".
        genders: those whose shape can be made a mesh of, to learn from and to be measured by.
        own: whether shapes of every gender are taken for the model's own.
        vertices: V, where true meshes are wanted as they come with a dataset; 0 where not.
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
        """Each point's partner on the other side; a hand's own, for it changes sides itself."""
        return tuple(range(len(self.names))) if self.is_hand else joint_names.mirror(self.names)

    @functools.cached_property
    def pose_mirror(self) -> tuple[int, ...]:
        """Each joint's partner."""
        return tuple(range(self.joints)) if self.is_hand else joint_names.mirror(joint_names.SMPL)

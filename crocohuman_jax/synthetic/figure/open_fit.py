"""From a posed person of the full body to the parameters of the open models, in closed form.

Parameters speak of the world: their mesh lies where the person stands, z up, so that the rotation
of the root holds the change from the models' axes to the world's, as in AMASS.

Fit errors over 240 adults, each at one moment of a motion of their own (seed 1), in millimetres, of
all vertices; `python -m crocohuman_jax.synthetic.open_models --output=DIR` prints them again:

    betas  what              mean    p99    max  mm
       10  rest              0.81   5.09   18.8
       10  posed             6.77  38.22  100.2
       10  posed, no hands   2.35  14.43   54.9
       10  right hand        0.39   2.82   15.6
       16  rest              0.34   2.07    8.3
       16  posed, no hands   2.09  14.19   45.4
       32  rest              0.00   0.01    0.0
       32  posed, no hands   2.03  14.14   45.0

A posed body is worse in its hands (20 mm), a quarter of its vertices: as in SMPL one joint bends
all fingers. Of its other parts head and feet, which are densely meshed, are within 2 mm on average,
trunk and legs within 5, upper arms 6, forearms 8: there are no pose directions. The joint regressor
of the body finds the bones' heads within 3.5 mm on average over adults it has not seen, worst
(13 mm) for spine3 in the depth of the chest.
"""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.synthetic.figure import open_models, smpl_joints, smpl_model
from crocohuman_jax.synthetic.graphics import rotations

# Skin between two joints blurs both their turns: a vertex counts by this power of its weight. A
# child's pivot counts by all vertices beyond it, but little, for they can still turn. Both numbers
# are those with the least error.
_POWER, _CHILD = 4, 0.05


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What `SmplBody.pose` takes: betas [S], pose [K, 3] axis-angles, transl [3] in metres.

    The first row of `pose` is global_orient, the others are body_pose or hand_pose.
    """

    betas: np.ndarray
    pose: np.ndarray
    transl: np.ndarray


def fit_body(coefficients: np.ndarray, skin: np.ndarray, components: int = 10) -> Parameters:
    """Returns the open body nearest to a posed person.

    Args:
        coefficients: [32] of the person's shape.
        skin: [13718, 3], the person's body in the world, such as `Posed.skin`.
        components: how many betas.
    """
    model, jointed = open_models.body(components), posable("body", components)
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    return _pose("body", jointed, betas, skin)


def fit_hand(
    coefficients: np.ndarray, skin: np.ndarray, side: str = "right", components: int = 10
) -> Parameters:
    """Returns the open hand nearest to one hand of a posed person; see `fit_body`."""
    model, jointed = open_models.hand(side, components), posable(side, components)
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    target = skin[model["vertices"]]
    first = _pose(side, jointed, betas, target)
    # Once more, with targets as far beyond as the skin fell short: fingers are mostly such skin.
    reached = jointed.pose(first.betas, first.pose, first.transl)[0]
    return _pose(side, jointed, betas, 2 * target - reached)


def seen(
    parameters: Parameters, root: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> Parameters:
    """Returns the parameters of the same mesh in other coordinates, such as a camera's.

    Args:
        parameters: in the world.
        root: [3], the model's root joint at rest for these betas.
        rotation, translation: camera_from_world.
    """
    pose = parameters.pose.copy()
    pose[0] = rotations.to_vector(rotation @ rotations.from_vector(pose[0]))
    # The root is the pivot of the first rotation, so it is what moves.
    transl = rotation @ (root + parameters.transl) + translation - root
    return Parameters(parameters.betas, pose, transl)


@functools.cache
def posable(kind: str, components: int) -> smpl_model.SmplBody:
    """Returns the open "body", or the "left" or "right" hand, ready to be posed."""
    if kind == "body":
        return smpl_model.SmplBody(open_models.body(components))
    return smpl_model.SmplBody(open_models.hand(kind, components))


@functools.cache
def _core(kind: str) -> np.ndarray:
    """Returns how much each vertex tells of each joint's turn, [K, V] float32."""
    return np.ascontiguousarray(posable(kind, 1).weights.T ** _POWER)


def _pose(kind: str, posable: smpl_model.SmplBody, betas, target) -> Parameters:
    """Returns, from the root outwards, the best turn of each joint towards a mesh [V, 3].

    Each joint is first fitted alone, as a rigid body with the vertices it moves: that tells where
    its pivot wants to be. Then, root first, it turns about the pivot that its parent left it, so as
    to bring its vertices and its children's pivots nearest to where they belong (Kabsch).
    """
    rest, joints = posable.rest(betas)
    origin = target.mean(0, dtype=np.float64)
    target = (target - origin).astype(np.float32)
    # Moments of the vertices that each joint moves.
    outer = (target[:, :, None] * rest[:, None]).reshape(-1, 9)
    moments = _core(kind) @ np.concatenate([rest, target, outer], 1)
    mass = _core(kind).sum(1, dtype=np.float64)
    source, goal, cross = moments[:, :3], moments[:, 3:6], moments[:, 6:].reshape(-1, 3, 3)
    alone = smpl_joints.nearest(cross - goal[:, :, None] * source[:, None] / mass[:, None, None])
    pivots = np.einsum("kab,kb->ka", alone, joints - source / mass[:, None]) + goal / mass[:, None]
    branch, parents = mass.copy(), posable.parents
    for k in range(len(joints) - 1, 0, -1):
        branch[parents[k]] += branch[k]
    turns, places = np.empty((len(joints), 3, 3)), pivots.copy()
    for k, parent in enumerate(parents):
        if parent >= 0:
            places[k] = places[parent] + turns[parent] @ (joints[k] - joints[parent])
        own = np.outer(places[k], source[k] - mass[k] * joints[k])
        covariance = cross[k] - np.outer(goal[k], joints[k]) - own
        for child in np.flatnonzero(parents == k):
            arms = pivots[child] - places[k], joints[child] - joints[k]
            covariance += _CHILD * branch[child] * np.outer(*arms)
        turns[k] = smpl_joints.nearest(covariance)
    pose = rotations.to_vector(smpl_joints.local(turns, parents))
    return Parameters(betas, pose, places[0] + origin - joints[0])

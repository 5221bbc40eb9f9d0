"""Fits the open models' parameters to a posed person of the full body, in closed form.

The parameters are in world coordinates (z up): their mesh lies where the person stands. The root
rotation therefore contains the change from the models' axes to the world's, as in AMASS.

Fit errors of all vertices in millimetres, over 240 adults, each at one time of their own motion
(seed 1); `python -m crocohuman_jax.synthetic.open_models --output=DIR` prints them again:

    betas  what              mean    p99    max  mm
       10  rest              0.81   5.09   18.8
       10  posed             6.77  38.22  100.2
       10  posed, no hands   2.35  14.43   54.9
       10  right hand        0.39   2.82   15.6
       16  rest              0.34   2.07    8.3
       16  posed, no hands   2.09  14.19   45.4
       32  rest              0.00   0.01    0.0
       32  posed, no hands   2.03  14.14   45.0

The hands, a quarter of a posed body's vertices, have the largest mean error (20 mm), because one
joint bends all fingers, as in SMPL. There are no pose directions, so the other parts have mean
errors of up to 2 mm (head and feet, which are densely meshed), 5 mm (trunk and legs), 6 mm (upper
arms) and 8 mm (forearms). On adults that it was not fitted to, the body's joint regressor finds the
bones' heads with a mean error of 3.5 mm; the worst is spine3, deep in the chest (13 mm).
"""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.synthetic.figure import open_models, smpl_joints, smpl_model
from crocohuman_jax.synthetic.graphics import rotations

# Skin between two joints mixes both rotations, so a vertex is weighted by the power _POWER of its
# skinning weight. A child's pivot has the weight of all vertices beyond it times _CHILD (small, as
# those vertices can still be rotated about it). Both values gave the smallest error.
_POWER, _CHILD = 4, 0.05


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The arguments of `SmplBody.pose`: betas [S], pose [K, 3] axis-angles, transl [3] in metres.

    The first row of `pose` is global_orient, the others are body_pose or hand_pose.
    """

    betas: np.ndarray
    pose: np.ndarray
    transl: np.ndarray


def fit_body(coefficients: np.ndarray, skin: np.ndarray, components: int = 10) -> Parameters:
    """Returns the parameters of the open body nearest to a posed person.

    Args:
        coefficients: [32], the person's shape.
        skin: [13718, 3], the person's body in the world, such as `Posed.skin`.
        components: number of betas.
    """
    model, jointed = open_models.body(components), posable("body", components)
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    return _pose("body", jointed, betas, skin)


def fit_hand(
    coefficients: np.ndarray, skin: np.ndarray, side: str = "right", components: int = 10
) -> Parameters:
    """Returns the parameters of the open hand nearest to a posed hand; see `fit_body`."""
    model, jointed = open_models.hand(side, components), posable(side, components)
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    target = skin[model["vertices"]]
    first = _pose(side, jointed, betas, target)
    # Fit again with the error of the first fit added to the target: in the fingers most skin
    # follows two joints and falls short of its target.
    reached = jointed.pose(first.betas, first.pose, first.transl)[0]
    return _pose(side, jointed, betas, 2 * target - reached)


def seen(
    parameters: Parameters, root: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> Parameters:
    """Returns the parameters of the same mesh in other coordinates, such as a camera's.

    Args:
        parameters: in world coordinates.
        root: [3], the model's root joint at rest for these betas.
        rotation, translation: camera_from_world.
    """
    pose = parameters.pose.copy()
    pose[0] = rotations.to_vector(rotation @ rotations.from_vector(pose[0]))
    # The first rotation turns about the root joint, so `transl` has to move that joint.
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
    """Returns the weight of each vertex in the fit of each joint's rotation, [K, V] float32."""
    return np.ascontiguousarray(posable(kind, 1).weights.T ** _POWER)


def _pose(kind: str, posable: smpl_model.SmplBody, betas, target) -> Parameters:
    """Returns the parameters whose mesh is nearest to `target` [V, 3], joint by joint.

    Each joint is first fitted alone, as a rigid body with the vertices that it moves; this gives
    the wanted position of its pivot. Then, from the root outwards, each joint is rotated about the
    pivot that its parent gives it, so that its vertices and its children's pivots come nearest to
    their targets (Kabsch).
    """
    rest, joints = posable.rest(betas)
    origin = target.mean(0, dtype=np.float64)
    target = (target - origin).astype(np.float32)
    # Weighted sums (moments) over the vertices that each joint moves.
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

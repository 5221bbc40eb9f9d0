"""Loss terms of predicted meshes, each with one value per example."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from crocohuman_jax.body_models import cameras, lbs, rotations
from crocohuman_jax.body_models import landmarks as landmarks_lib
from crocohuman_jax.configuration import options

FRAMES = ("root", "camera")
UNITS = ("size", "metre")
STEEPEST = 40.0  # exponent above which the depth term continues as a straight line


def regressor(
    estimate: dict[str, jax.Array],
    truth: dict[str, jax.Array],
    *,
    body: lbs.Body,
    landmarks: landmarks_lib.Landmarks,
    hips: tuple[int, ...],
    frame: str,
    unit: float,
) -> dict[str, jax.Array]:
    """Returns every loss term of an iterative regressor's estimate, {name: [B]}.

    In the frame "camera", points are compared in camera axes, as in SPIN. A network that is unsure
    which way a person faces then lowers its error by folding the limbs. In the frame "root", pose
    and global orientation are compared separately for people whose orientation is known: 3D points
    and vertices are those of the body without its global rotation, and 2D keypoints train only the
    orientation and the camera. Other people are compared in camera axes.

    Args:
        estimate: pose [B, K, 6], shape [B, S], camera [B, 3].
        truth: turns [B, K, 3, 3], betas [B, S], vertices [B, V, 3], keypoints [B, L, 3] and joints
            [B, L, 4] with confidences, has_pose [B].
        body: the body model, with the vertices that the loss compares.
        landmarks: its L landmarks.
        hips: indices of the landmarks whose mean is the origin of 3D points.
        frame: "root" or "camera".
        unit: length in metres that is the unit of 3D errors.
    """
    turns, betas = rotations.from_6d(estimate["pose"]), estimate["shape"]
    vertices, places = lbs.pose(body, betas, turns.at[:, 0].set(jnp.eye(3)))
    points, centre = landmarks(vertices, places), places[:, :1]  # the root rotates about its joint
    known = truth["has_pose"][:, None, None] > 0 if frame == "root" else False
    # The inverse of the true orientation: from camera axes to those of the unrotated body.
    back = jnp.where(known, jnp.swapaxes(truth["turns"][:, 0], 1, 2), jnp.eye(3))
    joints = jnp.concatenate([turned(truth["joints"][..., :3], back), truth["joints"][..., 3:]], -1)
    true_centre = truth["places"][:, :1]
    true_vertices = turned(truth["vertices"] - true_centre, back) + true_centre
    mine = jnp.where(known, jnp.eye(3), turns[:, 0])
    held, middle = (jnp.where(known, jax.lax.stop_gradient(x), x) for x in (points, centre))
    seen = turned(held - middle, turns[:, 0]) + middle
    compared = turned(vertices - centre, mine) + centre
    return {
        "keypoints_2d": keypoints_2d(cameras.project(seen, estimate["camera"]), truth["keypoints"]),
        "keypoints_3d": keypoints_3d(turned(points, mine), joints, hips) / unit**2,
        "root": squared(turns[:, 0], truth["turns"][:, 0]),
        "pose": squared(turns, truth["turns"]),
        "betas": squared(betas, truth["betas"]),
        "vertices": absolute(compared, true_vertices) / unit,
        "depth": depth_sign(estimate["camera"]),
    }


def turned(points: jax.Array, turns: jax.Array) -> jax.Array:  # [B, N, 3], [B, 3, 3]
    """Returns points rotated about the origin, [B, N, 3]."""
    return jnp.einsum("bac,bnc->bna", turns, points, precision=lbs.PRECISION)


def checked(weights: Mapping[str, float]) -> Mapping[str, float]:
    """Returns config.loss unchanged; raises a ValueError that names a wrong value in it.

    Weights are numbers of at least zero; `frame` and `unit`, if present, are names.
    """
    known = {"frame": FRAMES, "unit": UNITS}
    for name, weight in weights.items():
        if name in known:
            options.choose(f"config.loss.{name}", dict.fromkeys(known[name]), weight)
            continue
        options.check_number(f"config.loss.{name}", weight, least=0)
    return weights


def keypoints_2d(predicted: jax.Array, truth: jax.Array) -> jax.Array:
    """Returns confidence times squared error, the mean over coordinates, [B].

    Args:
        predicted: [B, K, 2] in a picture that spans [-1, 1].
        truth: [B, K, 3], the last column the confidence.
    """
    return jnp.mean(truth[..., 2:] * (predicted - truth[..., :2]) ** 2, (-2, -1))


def keypoints_3d(predicted: jax.Array, truth: jax.Array, root: tuple[int, ...]) -> jax.Array:
    """Returns confidence times squared error about a root, the mean over coordinates, [B].

    Args:
        predicted: [B, K, 3] metres.
        truth: [B, K, 4], the last column the confidence.
        root: indices of the points whose mean is the origin of both sides.
    """
    places, confidence = truth[..., :3], truth[..., 3:]
    error = centred(predicted, root) - centred(places, root)
    return jnp.mean(confidence * error**2, (-2, -1))


def centred(points: jax.Array, root: tuple[int, ...]) -> jax.Array:  # [..., N, 3]
    """Returns points relative to the mean of those that `root` lists; unchanged for ()."""
    if not root:
        return points
    return points - jnp.mean(points[..., jnp.array(root), :], -2, keepdims=True)


def squared(predicted: jax.Array, truth: jax.Array) -> jax.Array:
    """Returns the mean squared difference over all but the first axis, [B]."""
    return jnp.mean((predicted - truth) ** 2, range(1, predicted.ndim))


def absolute(predicted: jax.Array, truth: jax.Array) -> jax.Array:
    """Returns the mean absolute difference over all but the first axis, [B]."""
    return jnp.mean(jnp.abs(predicted - truth), range(1, predicted.ndim))


def depth_sign(camera: jax.Array) -> jax.Array:  # [B, 3] -> [B]
    """Returns exp(-10 s)^2, which keeps a weak-perspective camera's scale s above zero (SPIN).

    Below s = -2 it continues along its tangent. The formula itself overflows float32 below -4.4,
    and an infinite loss has no useful gradient.
    """
    exponent = -20 * camera[:, 0]
    near = jnp.minimum(exponent, STEEPEST)
    return jnp.exp(near) * (1 + exponent - near)


def share(each: jax.Array, counts: jax.Array, whole: jax.Array) -> jax.Array:
    """Returns the contribution of some values to the weighted mean over a batch.

    Args:
        each: values, of any shape.
        counts: weight of each value, of the same shape; if all are 0, the contribution is 0.
        whole: sum of the weights over the whole batch, of which these values may be a part.
    """
    counts = counts.astype(each.dtype)
    # Values of weight 0 may be NaN or infinite, and a product with zero would keep that.
    return jnp.sum(jnp.where(counts > 0, each, 0) * counts) / jnp.maximum(whole, 1)

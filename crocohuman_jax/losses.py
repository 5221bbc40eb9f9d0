"""What predictions of meshes are compared by: one value per example, nothing reduced further."""

import jax
import jax.numpy as jnp


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
        root: whose mean both sides are centred at.
    """
    places, confidence = truth[..., :3], truth[..., 3:]
    error = centred(predicted, root) - centred(places, root)
    return jnp.mean(confidence * error**2, (-2, -1))


def centred(points: jax.Array, root: tuple[int, ...]) -> jax.Array:  # [..., N, 3]
    """Returns points about the mean of some of them; as they are for no root."""
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
    """Returns what keeps a weak-perspective camera's scale above zero."""
    return jnp.exp(-10 * camera[:, 0]) ** 2


def share(each: jax.Array, counts: jax.Array, whole: jax.Array) -> jax.Array:
    """Returns what some examples add to the mean over a batch; zero if none of them counts.

    Args:
        each: values, of any shape.
        counts: how much each of them counts, of the same shape.
        whole: the sum of the counts over the whole batch, of which these may be a part.
    """
    counts = counts.astype(each.dtype)
    # What does not count may hold anything; a product with zero would keep what is not finite.
    return jnp.sum(jnp.where(counts > 0, each, 0) * counts) / jnp.maximum(whole, 1)

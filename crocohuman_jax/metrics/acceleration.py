"""The acceleration error of predicted motion."""

import jax
import jax.numpy as jnp

from crocohuman_jax.metrics import alignment as alignment_lib
from crocohuman_jax.metrics import pose


def acceleration_error(predicted, truth, *, fps: float | None = None, valid=None) -> jax.Array:
    """Returns the mean distance between predicted and true second differences in time, [...].

    Args:
        predicted: [..., T, J, 3] metres, the frames of one sequence in order.
        truth: [..., T, J, 3] metres.
        fps: frames per second, for mm/s^2; None for mm per frame^2, which published tables use,
            often labelled mm/s^2.
        valid: [..., T] bool; a second difference counts if its three frames are valid. The result
            is NaN if none counts.

    Raises:
        ValueError: fewer than three frames, or shapes that do not fit.
    """
    predicted, truth, _ = alignment_lib.paired(predicted, truth)
    frames = predicted.shape[-3] if predicted.ndim > 2 else 0
    if frames < 3:
        raise ValueError(
            f"Acceleration needs joints [..., T, J, 3] of at least 3 frames, not {predicted.shape}."
        )
    valid = jnp.ones(predicted.shape[:-2], bool) if valid is None else jnp.asarray(valid, bool)
    if valid.shape != predicted.shape[:-2]:
        raise ValueError(f"Valid frames {valid.shape} do not fit joints {predicted.shape}.")
    kept = valid[..., None, None]
    errors = jnp.where(kept, predicted, 0) - jnp.where(kept, truth, 0)
    errors = errors[..., 2:, :, :] - 2 * errors[..., 1:-1, :, :] + errors[..., :-2, :, :]
    norms = jnp.mean(pose.distances(errors, jnp.zeros_like(errors)), -1)
    counted = valid[..., 2:] & valid[..., 1:-1] & valid[..., :-2]
    return pose.mean(norms, counted.astype(jnp.float32)) * (1 if fps is None else fps**2)

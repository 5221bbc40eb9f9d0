"""Processes pictures on the device: colour jitter, normalisation, patches and back."""

import einops
import jax
import jax.numpy as jnp
import numpy as np

# ImageNet mean and deviation of pixels in [0, 1]; all released encoders were trained with them.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# Luma weights of ITU-R BT.601.
LUMA = np.array([0.2989, 0.587, 0.114], np.float32)


def to_float(image: jax.Array) -> jax.Array:
    """Returns a uint8 picture as float32 in [0, 1]."""
    return image.astype(jnp.float32) / 255.0


def normalize(image: jax.Array) -> jax.Array:
    """Returns a picture in [0, 1] normalised by the ImageNet mean and standard deviation."""
    return (image - MEAN) / STD


def denormalize(image: jax.Array) -> jax.Array:
    """Undoes `normalize`."""
    return image * STD + MEAN


def jitter(image: jax.Array, color: jax.Array) -> jax.Array:
    """Returns pictures with changed brightness, contrast and saturation.

    Each picture has its own factors and order. A change blends the picture with a second one and
    clips the result to [0, 1]. The second one is black for brightness, the mean grey for contrast
    and the greyscale picture for saturation.

    Args:
        image: [B, H, W, 3] in [0, 1].
        color: [B, 3, 2], the three changes in order, each as (which, factor); which is 0 for
            brightness, 1 for contrast, 2 for saturation.

    Returns:
        [B, H, W, 3] in [0, 1].
    """
    for turn in range(color.shape[1]):
        which, factor = (color[:, turn, i, None, None, None] for i in (0, 1))
        grey = jnp.sum(image * LUMA, -1, keepdims=True)  # [B, H, W, 1]
        mean = jnp.mean(grey, (1, 2), keepdims=True)
        reference = jnp.where(which == 0, 0.0, jnp.where(which == 1, mean, grey))
        image = jnp.clip(factor * image + (1 - factor) * reference, 0.0, 1.0)
    return image


def patchify(image: jax.Array, patch: int) -> jax.Array:
    """Cuts [B, H, W, C] into patches [B, N, patch * patch * C], row by row, channel fastest."""
    return einops.rearrange(image, "b (r p) (c q) d -> b (r c) (p q d)", p=patch, q=patch)


def unpatchify(patches: jax.Array, patch: int, grid: tuple[int, int]) -> jax.Array:
    """Undoes `patchify` for a (rows, columns) grid."""
    return einops.rearrange(
        patches, "b (r c) (p q d) -> b (r p) (c q) d", r=grid[0], c=grid[1], p=patch, q=patch
    )


def patch_statistics(patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns mean and sqrt(variance + 1e-6) of each patch over all its values, [..., 1] each.

    The variance is the unbiased one (divided by one less than the count), as in the reference
    implementation.
    """
    mean = jnp.mean(patches, -1, keepdims=True)
    variance = jnp.sum((patches - mean) ** 2, -1, keepdims=True) / (patches.shape[-1] - 1)
    return mean, jnp.sqrt(variance + 1e-6)

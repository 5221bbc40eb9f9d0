"""Colours, normalisation and patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.models import pixels


def picture(*shape):
    return jax.random.uniform(jax.random.key(0), (*shape, 3))


def test_patches_make_the_picture_again_and_keep_their_order():
    image = picture(2, 32, 48)
    patches = pixels.patchify(image, 16)
    assert patches.shape == (2, 6, 768)
    np.testing.assert_array_equal(pixels.unpatchify(patches, 16, (2, 3)), image)
    np.testing.assert_array_equal(patches[0, 4].reshape(16, 16, 3), image[0, 16:, 16:32])


def test_normalisation_is_undone():
    image = picture(1, 4, 4)
    np.testing.assert_allclose(pixels.denormalize(pixels.normalize(image)), image, atol=1e-6)
    grey = pixels.normalize(jnp.asarray(pixels.MEAN))
    np.testing.assert_allclose(grey, 0, atol=1e-7)


def test_the_variance_of_a_patch_is_the_unbiased_one():
    patches = jax.random.normal(jax.random.key(1), (3, 4, 768))
    mean, deviation = pixels.patch_statistics(patches)
    wanted = np.sqrt(np.var(patches, -1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(deviation, wanted, rtol=1e-5)
    np.testing.assert_allclose(mean, np.mean(patches, -1, keepdims=True), atol=1e-6)


def test_factors_of_one_change_nothing():
    image = picture(2, 8, 8)
    color = jnp.array([[[0, 1], [1, 1], [2, 1]]] * 2, jnp.float32)
    np.testing.assert_allclose(pixels.jitter(image, color), image, atol=1e-6)


@pytest.mark.parametrize("which, factor", [(0, 0.5), (1, 0.5), (2, 0.5), (0, 1.4), (1, 1.4)])
def test_each_change_is_a_blend_with_its_reference(which, factor):
    image = np.asarray(picture(2, 8, 8))
    grey = image @ pixels.LUMA
    reference = {0: 0 * grey, 1: np.broadcast_to(grey.mean((1, 2))[:, None, None], grey.shape)}
    reference = reference.get(which, grey)[..., None]
    wanted = (factor * image + (1 - factor) * reference).clip(0, 1)
    color = jnp.array([[[which, factor]]] * 2, jnp.float32)
    np.testing.assert_allclose(pixels.jitter(image, color), wanted, atol=1e-6)


def test_the_order_of_changes_matters_and_each_picture_has_its_own():
    image = jnp.repeat(picture(1, 8, 8), 2, 0)
    color = jnp.array([[[0, 1.4], [1, 0.6]], [[1, 0.6], [0, 1.4]]], jnp.float32)
    changed = pixels.jitter(image, color)
    assert np.abs(changed[0] - changed[1]).max() > 1e-3
    alone = pixels.jitter(image[1:], color[1:])
    np.testing.assert_allclose(alone[0], changed[1], atol=1e-6)

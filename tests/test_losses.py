"""Losses of meshes: values worked out by hand, what does not count, and finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax import losses


def test_keypoints_in_the_picture_count_by_their_confidence():
    predicted = jnp.array([[[0.5, 0.0], [1.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    truth = jnp.array([[[0.0, 0.0, 1.0], [0.0, 0.0, 0.5]], [[0.1, 0.2, 0.0], [3.0, 4.0, 1.0]]])
    # (1 * 0.25 + 0.5 * (1 + 1)) / 4 and (9 + 16) / 4: also what does not count is divided by.
    np.testing.assert_allclose(losses.keypoints_2d(predicted, truth), [1.25 / 4, 25 / 4])


def test_joints_are_compared_about_their_root():
    truth = jnp.array([[[0.0, 0, 0, 1], [2.0, 0, 0, 1], [1.0, 3, 0, 1]]])
    predicted = truth[..., :3] + jnp.array([5.0, -6.0, 7.0])
    np.testing.assert_allclose(losses.keypoints_3d(predicted, truth, (0, 1)), [0], atol=1e-12)
    # The third joint is off by (0, 1, 2); about the first two that is all.
    off = predicted.at[0, 2].add(jnp.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(losses.keypoints_3d(off, truth, (0, 1)), [5 / 9], rtol=1e-6)
    half = truth.at[0, 2, 3].set(0.5)
    np.testing.assert_allclose(losses.keypoints_3d(off, half, (0, 1)), [2.5 / 9], rtol=1e-6)
    # Without a root they are compared where they are.
    moved = losses.keypoints_3d(predicted, truth, ())
    np.testing.assert_allclose(moved, [(25 + 36 + 49) / 3], rtol=1e-6)


def test_the_root_is_a_mean():
    points = jnp.array([[1.0, 0, 0], [3.0, 2, 0], [9.0, 9, 9]])
    expected = [[-1.0, -1, 0], [1, 1, 0], [7, 8, 9]]
    np.testing.assert_array_equal(losses.centred(points, (0, 1)), expected)
    np.testing.assert_array_equal(losses.centred(points[None], (0, 1))[0], expected)
    assert losses.centred(points, ()) is points


def test_what_has_no_confidence_has_neither_value_nor_gradient():
    predicted = jax.random.normal(jax.random.key(0), (2, 4, 3))
    truth = jax.random.normal(jax.random.key(1), (2, 4, 4)).at[..., 3].set(1.0)
    absent = truth.at[:, 2].set(0.0)  # coordinates without confidence are zeros, by agreement

    def total(predicted, truth):
        flat = losses.keypoints_2d(predicted[..., :2], truth[..., 1:])
        return jnp.sum(flat + losses.keypoints_3d(predicted, truth, (0, 1)))

    gradient = jax.grad(total)(predicted, absent)
    assert not gradient[:, 2].any() and gradient[:, 3].any()
    moved = predicted.at[:, 2].add(100.0)
    assert total(moved, absent) == total(predicted, absent)
    assert total(moved, truth) > total(predicted, truth)


def test_differences_are_meaned_over_each_example():
    predicted = jnp.arange(12.0).reshape(2, 2, 3)
    truth = predicted.at[0, 0, 0].add(-6.0).at[1, 1].add(2.0)
    np.testing.assert_allclose(losses.squared(predicted, truth), [36 / 6, 3 * 4 / 6])
    np.testing.assert_allclose(losses.absolute(predicted, truth), [6 / 6, 3 * 2 / 6])


def test_a_camera_of_negative_scale_costs_a_lot():
    cameras = jnp.array([[0.0, 3, 4], [0.1, 0, 0], [-0.1, 0, 0]])
    np.testing.assert_allclose(losses.depth_sign(cameras), [1, np.exp(-2), np.exp(2)], rtol=1e-6)


def test_only_examples_that_count_are_meaned():
    each = jnp.array([1.0, 5.0, 100.0])
    assert losses.share(each, jnp.array([1.0, 1.0, 0.0]), 2) == 3
    assert losses.share(each, jnp.array([True, False, True]), 2) == 50.5
    assert losses.share(each, jnp.array([3.0, 1.0, 0.0]), 4) == 2  # by how much they count
    assert losses.share(each[:1], jnp.ones(1), 4) == 0.25  # one of four


@pytest.mark.parametrize("rest", [7.0, np.nan, np.inf])
def test_where_nobody_counts_the_mean_and_its_gradient_are_zero(rest):
    each = jnp.array([rest, 2.0])
    value, gradient = jax.value_and_grad(losses.share)(each, jnp.zeros(2), 0)
    assert value == 0 and not gradient.any()
    value, gradient = jax.value_and_grad(losses.share)(each, jnp.array([0.0, 1.0]), 1)
    assert value == 2
    np.testing.assert_array_equal(gradient, [0, 1])

"""Losses of meshes: values worked out by hand, what does not count, and finite gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.body_models import cameras as cameras_lib
from crocohuman_jax.body_models import landmarks, lbs, loading, rotations
from crocohuman_jax.metrics import losses


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
    # Beyond what float32 can hold, the term still has a value and a way back.
    value, slope = jax.value_and_grad(lambda c: losses.depth_sign(c).sum())(
        jnp.array([[-50.0, 0, 0]])
    )
    assert np.isfinite(value) and value > 1e17 and np.isfinite(slope[0, 0]) and slope[0, 0] < 0


@pytest.mark.parametrize("frame", losses.FRAMES)
def test_limbs_are_folded_by_a_wrong_orientation_in_the_cameras_frame_only(frame):
    body = loading.load("open_body", 10)
    marks = landmarks.keypoints(body, None, "freihand")
    hips = tuple(i for i, name in enumerate(marks.names) if "hip" in name)
    turns = jnp.tile(jnp.eye(3), (1, 24, 1, 1))
    vertices, places = lbs.pose(body, jnp.zeros((1, 10)), turns)
    points = marks(vertices, places)
    certain = jnp.ones((*points.shape[:2], 1))
    seen = cameras_lib.project(points, jnp.array([[0.9, 0, 0]]))
    truth = {"turns": turns, "betas": jnp.zeros((1, 10)), "vertices": vertices, "places": places}
    truth["joints"] = jnp.concatenate([points, certain], -1)
    truth |= {"keypoints": jnp.concatenate([seen, certain], -1), "has_pose": jnp.ones(1)}
    # Everything is right but the orientation, which is a quarter of a turn off.
    pose = rotations.to_6d(turns.at[:, 0].set(rotations.exp(jnp.array([0, jnp.pi / 2, 0]))))

    def total(pose, shape):
        estimate = {"pose": pose, "shape": shape, "camera": jnp.array([[0.9, 0, 0]])}
        parts = {"body": body, "landmarks": marks, "hips": hips, "frame": frame, "unit": 1.0}
        found = losses.regressor(estimate, truth, **parts)
        return sum(found[name].sum() for name in ("keypoints_2d", "keypoints_3d"))

    slope, shaped = jax.grad(total, (0, 1))(pose, truth["betas"])
    assert jnp.abs(slope[0, 0]).max() > 0.01
    assert (jnp.abs(slope[0, 1:]).max() < 1e-5) == (frame == "root")
    assert (jnp.abs(shaped).max() < 1e-5) == (frame == "root")


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

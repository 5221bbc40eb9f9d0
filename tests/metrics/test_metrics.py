"""Errors against hand-computed cases, formulas in numpy, and the numbers of reference code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.metrics import acceleration, alignment, freihand_scores, pose

PAIRED = {
    "mpjpe": lambda p, t, w=None: pose.mpjpe(p, t, weights=w),
    "mpjpe of roots": lambda p, t, w=None: pose.mpjpe(p, t, root=(2, 3), weights=w),
    "pa_mpjpe": lambda p, t, w=None: pose.pa_mpjpe(p, t, weights=w),
    "pa_mpjpe of hands": lambda p, t, w=None: pose.pa_mpjpe(p, t, alignment="freihand", weights=w),
    "mpvpe": lambda p, t, w=None: pose.mpvpe(p, t, weights=w),
    "scaled_mpvpe": lambda p, t, w=None: pose.scaled_mpvpe(p, t, weights=w),
}
PAIRED = {name: jax.jit(metric) for name, metric in PAIRED.items()}


def points(seed=0, shape=(14, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_distances_are_in_millimetres():
    truth = np.zeros((2, 3), np.float32)
    found = pose.distances([[3, 4, 0], [0, 0, 0.25]], truth)
    np.testing.assert_allclose(found, [5000, 250])


def test_mpjpe_is_computed_by_hand():
    truth = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
    predicted = truth + np.array([[0.25, 0, 0], [0.25, 0, 0.5], [0.25, 0, 0]], np.float32)
    straight = (250 + 1000 * np.hypot(0.25, 0.5) + 250) / 3
    assert float(pose.mpjpe(predicted, truth)) == pytest.approx(straight)
    assert float(pose.mpjpe(predicted, truth, root=(0,))) == pytest.approx(500 / 3)
    # Both roots' mean has moved by (0.25, 0, 0.25).
    assert float(pose.mpjpe(predicted, truth, root=(0, 1))) == pytest.approx(250)


def test_mpvpe_subtracts_the_roots_it_is_given():
    truth = points(shape=(2, 50, 3))
    shift = np.array([[0.5, 0, 0], [0, 0, -0.25]], np.float32)
    predicted = truth + shift[:, None]
    np.testing.assert_allclose(pose.mpvpe(predicted, truth), [500, 250], rtol=1e-5)
    roots = (shift, np.zeros((2, 3)))
    np.testing.assert_allclose(pose.mpvpe(predicted, truth, roots=roots), 0, atol=1e-3)


def test_what_each_error_forgives():
    truth = points()
    turn, _ = np.linalg.qr(points(5, (3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    small, turned, mirrored = 0.5 * truth + 1, truth @ turn.T, truth * np.array([-1, 1, 1])
    for predicted in (small, turned):
        assert pose.mpjpe(predicted, truth, root=(0,)) > 100
        assert pose.pa_mpjpe(predicted, truth) < 1e-2
    assert pose.scaled_mpvpe(small, truth) < 1e-2
    assert pose.scaled_mpvpe(turned, truth) > 100
    assert pose.pa_mpjpe(mirrored, truth) > 100
    assert pose.pa_mpjpe(mirrored, truth, alignment="freihand") < 1e-2


@pytest.mark.parametrize("name", PAIRED)
def test_a_batch_is_its_examples_one_at_a_time(name):
    predicted, truth = points(0, (3, 2, 14, 3)), points(1, (3, 2, 14, 3))
    whole = PAIRED[name](predicted, truth)
    assert whole.shape == (3, 2)
    for i in np.ndindex(3, 2):
        np.testing.assert_allclose(whole[i], PAIRED[name](predicted[i], truth[i]), rtol=2e-5)


@pytest.mark.parametrize("name", PAIRED)
def test_a_missing_joint_is_as_if_it_were_not_there(name):
    predicted, truth = points(0), points(1)
    weights = np.ones(14)
    weights[[9, 13]] = 0
    wanted = PAIRED[name](predicted[weights > 0], truth[weights > 0])
    truth[9], predicted[13] = np.nan, np.inf
    np.testing.assert_allclose(PAIRED[name](predicted, truth, weights), wanted, rtol=2e-5)
    slope = jax.grad(PAIRED[name])(jnp.asarray(predicted), truth, weights)
    assert np.isfinite(slope).all() and not slope[9].any() and not slope[13].any()


def test_a_confidence_weighs_its_joint():
    truth = np.zeros((2, 3), np.float32)
    predicted = np.array([[0.5, 0, 0], [0, 2, 0]], np.float32)
    assert float(pose.mpjpe(predicted, truth, weights=[3, 1])) == pytest.approx(3500 / 4)


@pytest.mark.parametrize("name", PAIRED)
def test_nothing_to_measure_is_no_number(name):
    assert np.isnan(PAIRED[name](points(0), points(1), np.zeros(14)))


@pytest.mark.parametrize("name", ["pa_mpjpe", "pa_mpjpe of hands", "scaled_mpvpe"])
def test_a_far_origin_costs_no_digits(name):
    truth = 0.1 * points() + np.float32(1000)
    assert PAIRED[name](truth - 1000, truth) < 1e-3  # the subtraction is exact


def test_a_missing_root_is_no_number():
    weights = np.ones((2, 14))
    weights[0, 3] = 0
    found = pose.mpjpe(points(0, (2, 14, 3)), points(1, (2, 14, 3)), root=(2, 3), weights=weights)
    assert np.isnan(found[0]) and np.isfinite(found[1])


@pytest.mark.parametrize("name", PAIRED)
def test_a_perfect_prediction_has_no_error_and_no_gradient_that_is_no_number(name):
    truth = points()
    value, slope = jax.value_and_grad(PAIRED[name])(jnp.asarray(truth), truth)
    assert value < 1e-3
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", PAIRED)
def test_a_prediction_of_no_numbers_has_no_error_to_report(name):
    predicted = points()
    predicted[4, 1] = np.nan
    assert np.isnan(PAIRED[name](predicted, points(1)))


def test_equal_points_are_measured_from_the_centre_of_the_truth():
    truth = points(1)
    wanted = 1000 * np.linalg.norm(truth - truth.mean(0), axis=-1).mean()
    for name in ("pa_mpjpe", "pa_mpjpe of hands", "scaled_mpvpe"):
        found = PAIRED[name](np.full((14, 3), 0.7, np.float32), truth)
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_f_counts_what_is_strictly_nearer():
    truth = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    predicted = truth + np.array([0, 2.0**-7, 0], np.float32)  # 7.8125 mm, exactly
    found = freihand_scores.f_score(predicted, truth, [7.8, 7.8125, 7.82])
    np.testing.assert_array_equal(found, [0, 0, 1])


def test_f_is_computed_by_hand():
    truth = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], np.float32)
    predicted = np.array([[0, 0.001, 0], [0.002, 0, 0]], np.float32)
    # Precision 1; of four true points one is near: recall 1/4.
    assert float(freihand_scores.f_score(predicted, truth, [5])[0]) == pytest.approx(
        2 * 0.25 / 1.25
    )


def test_f_is_symmetric_and_one_for_identical_sets():
    first, second = 0.02 * points(0, (2, 300, 3)), 0.02 * points(1, (2, 280, 3))
    forth = freihand_scores.f_score(first, second, (5, 15))
    assert forth.shape == (2, 2) and np.all((forth > 0) & (forth < 1))
    np.testing.assert_allclose(forth, freihand_scores.f_score(second, first, (5, 15)), rtol=1e-6)
    np.testing.assert_array_equal(freihand_scores.f_score(first, first, (5, 15)), 1)


def test_f_of_a_batch_is_that_of_its_examples_and_of_all_pairs():
    first, second = 0.02 * points(0, (3, 1, 300, 3)), 0.02 * points(1, (3, 1, 300, 3))
    whole = jax.jit(lambda a, b: freihand_scores.f_score(a, b, (5, 15)))(first, second)
    for i in range(3):
        np.testing.assert_array_equal(
            whole[i, 0], freihand_scores.f_score(first[i, 0], second[i, 0], (5, 15))
        )
        pairs = np.linalg.norm(np.float64(first[i, 0])[:, None] - second[i, 0], axis=-1) * 1000
        for k, limit in enumerate((5, 15)):
            precision, recall = (pairs.min(axis) < limit for axis in (1, 0))
            precision, recall = precision.mean(), recall.mean()
            wanted = 2 * precision * recall / (precision + recall)
            assert float(whole[i, 0, k]) == pytest.approx(wanted, rel=1e-5)


def test_pck_counts_what_is_at_most_a_threshold_per_point():
    distances = np.array([[0, 10, 30], [5, 25, 99]], np.float32)
    weights = np.array([[1, 1, 0], [1, 1, 0]])
    hits, seen = freihand_scores.pck_hits(distances, [0, 10, 20, 30], weights)
    assert hits.shape == (2, 3, 4) and seen.shape == (2, 3)
    curve = freihand_scores.pck_curve(hits.sum(0), seen.sum(0))
    # Point 0: 1/2, then 1. Point 1: 0, 1/2, 1/2, 1. Point 2 was never seen.
    np.testing.assert_allclose(curve, [0.25, 0.75, 0.75, 1])
    area = 10 * (0.25 / 2 + 0.75 + 0.75 + 1 / 2)
    assert freihand_scores.auc(curve, [0, 10, 20, 30]) == pytest.approx(area / 30)


def test_the_area_is_one_for_no_error_and_zero_beyond_the_thresholds():
    for distance, area in ((0.0, 1.0), (50.01, 0.0)):
        hits, seen = freihand_scores.pck_hits(np.full((4, 21), distance))
        assert freihand_scores.auc(
            freihand_scores.pck_curve(hits.sum(0), seen.sum(0))
        ) == pytest.approx(area)


def test_acceleration_is_computed_by_hand():
    truth = np.zeros((5, 2, 3), np.float32)
    predicted = truth.copy()
    predicted[:, 0, 1] = 0.001 * np.arange(5) ** 2  # second difference 2 mm
    assert float(acceleration.acceleration_error(predicted, truth)) == pytest.approx(1, rel=1e-4)
    found = acceleration.acceleration_error(predicted, truth, fps=30)
    assert float(found) == pytest.approx(900, rel=1e-4)


def test_a_steady_drift_has_no_acceleration():
    truth = points(0, (8, 14, 3))
    drift = np.arange(8, dtype=np.float32)[:, None, None] * 0.01 + 3
    assert acceleration.acceleration_error(truth + drift, truth) < 2e-3


def test_a_second_difference_counts_if_its_three_frames_are_valid():
    predicted, truth = points(0, (9, 14, 3)), points(1, (9, 14, 3))
    valid = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], bool)
    halves = [
        acceleration.acceleration_error(predicted[s], truth[s]) for s in (slice(4), slice(5, 9))
    ]
    predicted[4] = np.nan
    found = acceleration.acceleration_error(predicted, truth, valid=valid)
    assert float(found) == pytest.approx(float(sum(halves)) / 2, rel=1e-5)
    assert np.isnan(acceleration.acceleration_error(predicted, truth, valid=np.arange(9) % 2 == 0))


def test_sequences_come_in_batches_too():
    predicted, truth = points(0, (2, 9, 14, 3)), points(1, (2, 9, 14, 3))
    valid = np.random.default_rng(2).random((2, 9)) < 0.9
    whole = acceleration.acceleration_error(predicted, truth, valid=valid)
    for i in range(2):
        alone = acceleration.acceleration_error(predicted[i], truth[i], valid=valid[i])
        np.testing.assert_allclose(whole[i], alone, rtol=1e-5)


def test_errors_name_what_does_not_fit():
    a = points(shape=(2, 14, 3))
    with pytest.raises(ValueError, match="Unknown alignment 'rigid'. Known: similarity, freihand"):
        pose.pa_mpjpe(a, a, alignment="rigid")
    with pytest.raises(ValueError, match=r"Root joints \(2, 14\) are not all among the 14"):
        pose.mpjpe(a, a, root=(2, 14))
    with pytest.raises(ValueError, match=r"Root joints \(-1,\) are not all among the 14"):
        pose.mpjpe(a, a, root=(-1,))
    with pytest.raises(
        ValueError, match=r"roots must be two arrays of shape \(2, 3\), not \(2, 1, 3\), \(3,\)"
    ):
        pose.mpvpe(a, a, roots=(a[:, :1], a[0, 0]))
    with pytest.raises(ValueError, match=r"Sets \(2, 14, 3\) and \(14, 3\) must be"):
        freihand_scores.f_score(a, a[0], [5])
    with pytest.raises(ValueError, match=r"Points \(2, 14, 3\) and target \(14, 3\) must both be"):
        pose.distances(a, a[0])
    with pytest.raises(ValueError, match=r"at least 3 frames, not \(2, 14, 3\)"):
        acceleration.acceleration_error(a, a)
    with pytest.raises(ValueError, match=r"at least 3 frames, not \(14, 3\)"):
        acceleration.acceleration_error(a[0], a[0])
    long = points(shape=(4, 14, 3))
    with pytest.raises(ValueError, match=r"Valid frames \(3,\) do not fit joints \(4, 14, 3\)"):
        acceleration.acceleration_error(long, long, valid=[True] * 3)
    with pytest.raises(ValueError, match="None of the 2 points was ever seen"):
        freihand_scores.pck_curve(np.zeros((2, 3)), np.zeros(2))


def test_bodies_are_measured_as_by_the_references(oracles):
    reference = np.load(oracles / "procrustes_mpjpe.npz")
    p, t = reference["pred"], reference["gt"]
    near = {"rtol": 1e-6, "atol": 1e-3}  # micrometres
    wanted = {
        "mpjpe_noalign": pose.mpjpe(p, t),
        "mpjpe_root0": pose.mpjpe(p, t, root=(0,)),
        "mpjpe_midhip23": pose.mpjpe(p, t, root=(2, 3)),
        "spin_pa_error": pose.pa_mpjpe(p, t),
        "horn_pa_error": pose.pa_mpjpe(p, t),
        "freihand_aligned_error": pose.pa_mpjpe(p, t, alignment="freihand"),
    }
    for name, found in wanted.items():
        np.testing.assert_allclose(found, 1000 * reference[name], **near, err_msg=name)
    p, t = reference["verts_pred"], reference["verts_gt"]
    roots = tuple(reference[f"root_{kind}"][:, 0] for kind in ("pred", "gt"))
    wanted = {
        "mpvpe_noalign": pose.mpvpe(p, t),
        "mpvpe_rootsub": pose.mpvpe(p, t, roots=roots),
        "pa_mpvpe": pose.pa_mpjpe(p, t),
    }
    for name, found in wanted.items():
        np.testing.assert_allclose(found, 1000 * reference[name], **near, err_msg=name)
    found = acceleration.acceleration_error(reference["accel_pred"], reference["accel_gt"])
    np.testing.assert_allclose(found, 1000 * reference["accel_error"], **near)


@pytest.mark.parametrize("aligned", [False, True])
def test_hands_are_measured_as_by_the_toolbox(oracles, aligned):
    reference = np.load(oracles / "freihand_eval.npz")
    end = "_al" if aligned else ""
    for points, name in (("xyz", "xyz"), ("verts", "mesh")):
        predicted, truth = reference[f"{points}_pred"], reference[f"{points}_gt"]
        if aligned:
            predicted = alignment.freihand(predicted, truth)
        distances = pose.distances(predicted, truth)
        mean = 1000 * reference[f"{name}{end}_mean"]
        np.testing.assert_allclose(np.mean(distances), mean, atol=1e-3)
        median = 1000 * reference[f"{name}{end}_median"]
        np.testing.assert_allclose(np.median(distances, 0).mean(), median, atol=1e-3)
        hits, seen = freihand_scores.pck_hits(distances)
        curve = freihand_scores.pck_curve(hits.sum(0), seen.sum(0))
        np.testing.assert_allclose(curve, reference[f"{name}{end}_pck"], atol=1e-6)
        np.testing.assert_allclose(
            freihand_scores.auc(curve), reference[f"{name}{end}_auc"], atol=1e-6
        )
    found = freihand_scores.f_score(predicted, truth, 1000 * reference["f_thresholds"])
    wanted = reference["fscore_prec_recall" + ("_aligned" if aligned else "")][..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)

"""Human-centric masking: lengths, counts and every edge case."""

import fractions

import numpy as np
import pytest

from crocohuman_jax.data import masking

N = 196
QUARTERS = fractions.Fraction(3, 4)


def batch(*counts, seed=0):
    """Returns human [B, N] with the given numbers of human patches, known and order."""
    rng = np.random.default_rng(seed)
    human = np.zeros((len(counts), N), bool)
    for row, count in zip(human, counts, strict=True):
        row[rng.permutation(N)[:count]] = True
    return human, np.ones(len(counts), bool), rng.random((len(counts), N))


def make(**options):
    defaults = {"mode": "human", "ratio": 0.75, "rule": "max_human", "visible": 0, "buckets": 196}
    return masking.Masking(N, **(defaults | options))


def shown(human, visible):
    return np.take_along_axis(human, visible, 1).sum(1)


@pytest.mark.parametrize("count, n", [(20, 5), (49, 13), (80, 20), (112, 28), (150, 38), (196, 49)])
def test_the_kept_count_is_exact(count, n):
    assert masking.kept(count, QUARTERS) == n


def test_the_ratio_is_read_as_written():
    # In binary, 0.7 * 90 is just below 63.
    assert [masking.kept(n, masking.exact(0.7)) for n in (90, 170, 180)] == [27, 51, 54]
    with pytest.raises(ValueError, match="not at 1.0"):
        masking.exact(1.0)


@pytest.mark.parametrize(
    "most, long, short",
    [(80, 80, 20), (112, 112, 28), (113, 112, 29), (150, 84, 38), (196, 49, 49)],
)
def test_each_rule_gives_its_length(most, long, short):
    human, known, order = batch(20, most)
    assert make(rule="max_human")(human, known, order).shape == (2, long)
    assert make(rule="max_kept")(human, known, order).shape == (2, short)
    assert make(rule="fixed", visible=33)(human, known, order).shape == (2, 33)


@pytest.mark.parametrize("rule", masking.RULES)
@pytest.mark.parametrize("count", [1, 4, 6])
def test_the_ratio_of_humans_is_hidden_whatever_the_bucket(rule, count):
    rng = np.random.default_rng(1)
    for _ in range(30):
        human, known, order = batch(*rng.integers(1, N + 1, 5))
        visible = make(rule=rule, buckets=count)(human, known, order)
        assert (np.diff(visible) > 0).all() and visible.min() >= 0 and visible.max() < N
        np.testing.assert_array_equal(
            shown(human, visible),
            np.minimum(masking.kept(human.sum(1), QUARTERS), visible.shape[1]),
        )
        if rule != "fixed":  # the length always suffices
            np.testing.assert_array_equal(
                shown(human, visible), masking.kept(human.sum(1), QUARTERS)
            )


@pytest.mark.parametrize("rule", ["max_human", "max_kept"])
def test_a_run_meets_a_handful_of_lengths(rule):
    rng = np.random.default_rng(2)
    mask = make(rule=rule, buckets=4)
    seen = {mask(*batch(*rng.integers(0, N + 1, 3))).shape[1] for _ in range(300)}
    assert seen <= set(mask.lengths.tolist()) and len(mask.lengths) <= 5


def test_a_fixed_length_below_the_kept_count_drops_humans():
    human, known, order = batch(196, 10)
    visible = make(rule="fixed", visible=20)(human, known, order)
    np.testing.assert_array_equal(shown(human, visible), [20, 3])


def test_nobody_in_sight_is_uniform_masking_of_that_picture():
    human, known, order = batch(0, 80)
    visible = make()(human, known, order)
    np.testing.assert_array_equal(shown(human, visible), [0, 20])
    assert visible.shape == (2, 80)
    assert make()(*batch(0, 0)).shape == (2, 49)


def test_a_wholly_human_picture_shows_no_background():
    visible = make()(*batch(196, 30))
    assert visible.shape == (2, 49)


@pytest.mark.parametrize("rule, size", [("max_human", 60), ("max_kept", 49), ("fixed", 49)])
def test_pictures_without_silhouette_are_masked_uniformly(rule, size):
    human, _, order = batch(60, 196)
    known = np.array([True, False])  # the second one's map is not to be believed
    visible = make(rule=rule)(human, known, order)
    assert visible.shape == (2, size)
    np.testing.assert_array_equal(visible[1], np.sort(np.argsort(order[1])[:size]))


def test_a_batch_without_silhouettes_is_plain_uniform_masking():
    human, known, order = batch(60, 100)
    for mask in (make(), make(rule="max_kept"), make(mode="uniform")):
        visible = mask(human, known & (mask.mode == "uniform"), order)
        np.testing.assert_array_equal(visible, np.sort(np.argsort(order, 1)[:, :49], 1))


def test_hidden_and_visible_patches_make_the_whole():
    visible = make()(*batch(30, 70, 110))
    hidden = masking.complement(visible, N)
    assert hidden.shape == (3, N - 110)
    both = np.sort(np.concatenate([visible, hidden], 1), 1)
    np.testing.assert_array_equal(both, np.tile(np.arange(N), (3, 1)))


def test_a_patch_is_human_by_its_share_of_pixels():
    silhouette = np.zeros((32, 48), bool)
    silhouette[3, 20] = True  # one pixel in the middle patch of the upper row
    silhouette[16:, :16] = True
    one = masking.human_patches(silhouette, 16)
    np.testing.assert_array_equal(one, [False, True, False, True, False, False])
    np.testing.assert_array_equal(
        masking.human_patches(silhouette, 16, 0.5), [False, False, False, True, False, False]
    )


def test_bad_settings_are_named():
    for options, message in (
        ({"mode": "humans"}, "Unknown config.data.mask.mode 'humans'. Known: human, uniform"),
        (
            {"rule": "longest"},
            "Unknown config.data.mask.rule 'longest'. Known: max_human",
        ),
        ({"visible": 3}, "mask.visible=3 is for mask.rule='fixed', not 'max_human'"),
        (
            {"visible": 196, "rule": "fixed"},
            "mask.visible is 196. Set it to .* below 196",
        ),
        ({"ratio": 0}, "leaves 196 of 196 patches visible"),
        ({"buckets": 0}, "mask.buckets is 0. Set it to a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)

"""Human-centric masking: lengths, counts and every edge case."""

import fractions
import math

import numpy as np
import pytest

from crocohuman_jax.data.streams import masking, pairs

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
    defaults = {"mode": "human", "ratio": 0.75, "rule": "max_human", "visible": 0, "multiple": 1}
    return masking.Masking(N, **(defaults | options))


def shown(human, visible):
    return np.take_along_axis(human, visible, 1).sum(1)


@pytest.mark.parametrize("count, n", [(20, 5), (49, 13), (80, 20), (112, 28), (150, 38), (196, 49)])
def test_the_kept_count_is_exact(count, n):
    assert masking.kept(count, QUARTERS) == n


def test_the_ratio_is_read_as_written():
    # In binary, 0.7 * 90 is just below 63.
    assert [masking.kept(n, masking.exact(0.7)) for n in (90, 170, 180)] == [27, 51, 54]
    with pytest.raises(ValueError, match="mask.ratio is 1.0"):
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
@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_the_ratio_of_humans_is_hidden_whatever_the_multiple(rule, multiple):
    rng = np.random.default_rng(1)
    for _ in range(30):
        # In a picture all but wholly human the greatest multiple may be below the kept count.
        human, known, order = batch(*rng.integers(1, N - 3, 5))
        visible = make(rule=rule, multiple=multiple)(human, known, order)
        assert visible.shape[1] % multiple == 0 and visible.dtype == np.int32
        assert (np.diff(visible) > 0).all() and visible.min() >= 0 and visible.max() < N
        np.testing.assert_array_equal(
            shown(human, visible),
            np.minimum(masking.kept(human.sum(1), QUARTERS), visible.shape[1]),
        )
        if rule != "fixed":  # the length always suffices
            np.testing.assert_array_equal(
                shown(human, visible), masking.kept(human.sum(1), QUARTERS)
            )


def exact_rule(most):
    """Returns the length of max_human, clamped, as the method has it."""
    return min(most, N - math.floor(0.75 * most)) if most else 49


def test_lengths_are_as_near_to_the_rule_as_multiples_of_eight_can_be():
    mask, apart = make(multiple=8), []
    for most in range(N + 1):
        length = mask(*batch(most, most // 2)).shape[1]
        assert length % 8 == 0 and length <= N - math.floor(0.75 * most)
        apart.append(length - exact_rule(most))
    assert max(map(abs, apart[5:113])) == 4
    assert apart[0] == -1 and apart[1:5] == [7, 6, 5, 4]  # a length of 8 is the least
    # From 113 on no picture may show more than the rule's length, so the multiple lies below.
    assert min(apart[113:]) == -7 and max(apart[113:]) == 0


@pytest.mark.parametrize("shape, expected", [((2, 5), 98.7), ((2, 2), 68.8), ((5, 2), 58.6)])
def test_the_mean_length_is_within_four_patches_of_the_rule(shape, expected):
    rng, mask = np.random.default_rng(2), make(multiple=8)
    # The largest of sixteen people in each batch; the lower two rows fill the picture.
    most = np.round(N * rng.beta(*shape, (4000, 16)).max(1)).astype(int)
    table = np.zeros((4000, 1, 3), np.float32)
    table[:, 0, 0] = most
    lengths = np.array([mask.length(one) for one in table])
    rule = np.mean([exact_rule(m) for m in most])
    assert rule == pytest.approx(expected, abs=0.5)
    assert abs(lengths.mean() - rule) < 4, (lengths.mean(), rule)
    assert len(np.unique(lengths)) <= 14


def test_a_fixed_length_is_the_multiple_that_a_wholly_human_picture_can_show():
    for patches, multiple, length in ((196, 8, 48), (49, 4, 12), (16, 4, 4), (196, 1, 49)):
        mask = masking.Masking(
            patches, mode="human", ratio=0.75, rule="fixed", visible=0, multiple=multiple
        )
        assert mask.fixed == length
    assert make(rule="fixed", visible=33, multiple=8).fixed == 33  # as asked for


def test_a_shortage_of_background_shows_humans_or_leaves_the_pair_out():
    drawn = batch(180, 100, 20)  # 45, 25 and 5 are kept; 61, 121 and 181 can be shown
    assert make(multiple=8)(*drawn).shape[1] == 56
    revealed = make(multiple=8, shortage="reveal_human")(*drawn)
    np.testing.assert_array_equal(shown(drawn[0], revealed), [184 - 16, 184 - 96, 184 - 176])
    dropping = pairs.Collate(make(multiple=8, shortage="drop_pair"))
    elements = [
        {"human": h, "known": np.True_, "order": o} for h, o in zip(drawn[0], drawn[2], strict=True)
    ]
    dropped = dropping(elements)
    assert dropped["visible"].shape[1] == 104  # by the second picture
    np.testing.assert_array_equal(dropped["counted"], [0, 1, 1])
    np.testing.assert_array_equal(shown(drawn[0], dropped["visible"])[1:], [25, 5])
    # By the second picture 24 patches are shown, but the first keeps 45 of its 180.
    few = dropping([elements[0], elements[2]])
    assert few["visible"].shape[1] == 24
    np.testing.assert_array_equal(few["counted"], [0, 1])
    assert "counted" not in pairs.Collate(make())(elements)
    whole = make(multiple=8, shortage="reveal_human")(*batch(196, 3))
    assert whole.shape[1] == 192  # something is always hidden


def test_a_picture_that_keeps_one_more_than_any_multiple_is_not_dropped_for_it():
    human, _, order = batch(180, 196)  # 45 and 49 are kept; the longest multiple is 48
    elements = [
        {"human": h, "known": np.True_, "order": o} for h, o in zip(human, order, strict=True)
    ]
    found = pairs.Collate(make(multiple=8, shortage="drop_pair"))(elements)
    assert found["visible"].shape[1] == 48
    np.testing.assert_array_equal(found["counted"], [1, 1])
    fixed = make(rule="fixed", visible=40, shortage="drop_pair")
    np.testing.assert_array_equal(pairs.Collate(fixed)(elements)["counted"], [1, 1])


def test_a_narrow_scope_takes_the_length_of_one_group():
    # Four devices with two pictures each: by themselves 40, 80, 16 and 104 patches.
    human, known, _ = batch(40, 8, 80, 30, 16, 15, 100, 103)
    for first, expected in ((0, 40), (1, 80), (2, 32), (3, 104)):
        order = np.random.default_rng(first).random((8, N)) / 2
        order[2 * first, 0] = 0.9  # the draw
        mask = make(multiple=8, scope="per_device")
        table = mask.measure(human, known, order, 4)
        assert table.shape == (4, 3)
        # 16 is too few for the 26 patches of 103 that stay visible.
        assert mask.length(table) == expected
        assert make(multiple=8).length(table) == 104


def test_the_scope_of_a_host_looks_at_its_own_pictures():
    human, known, order = batch(40, 100, 32, 90)
    mask = make(multiple=8, scope="per_host")
    tables = [mask.measure(human[h::2], known[h::2], order[h::2], 2) for h in (0, 1)]
    assert all(table.shape == (2, 3) and (table[0] == table[1]).all() for table in tables)
    for first, expected in ((0, 40), (1, 104)):
        for host, table in enumerate(tables):
            table[:, 2] = host == first
        assert mask.length(np.concatenate(tables)) == expected


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
        ({"visible": 3}, "mask.visible=3 .* mask.rule='fixed', but mask.rule is 'max_human'"),
        (
            {"visible": 196, "rule": "fixed"},
            "mask.visible is 196. Set it to .* below 196",
        ),
        ({"ratio": 0}, "leaves 196 of 196 patches visible"),
        ({"multiple": 0}, "mask.multiple is 0. Set it to a whole number"),
        ({"multiple": 50}, "mask.multiple is 50. Set it to a whole number .* 49"),
        ({"scope": "host"}, "Unknown config.data.mask.scope 'host'. Known: global, per_host"),
        ({"shortage": "drop"}, "Unknown config.data.mask.shortage 'drop'. Known: clamp"),
        (
            {"scope": "per_host", "rule": "fixed"},
            "mask.scope='per_host' needs lengths that depend",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)

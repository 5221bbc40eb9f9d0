"""The examples that are drawn: the worst and best of all, whatever the batches were."""

import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.evaluation.extremes import Extremes


def taken(errors, batch, count):
    """Takes errors in batches, the last of which is padded with the largest error there is."""
    found = Extremes(lambda results: results["error"], count)
    for start in range(0, len(errors), batch):
        some = errors[start : start + batch]
        padded = np.concatenate([some, np.full(batch - len(some), 1e6)])
        shown = {"number": jnp.arange(start, start + batch), "square": jnp.asarray(padded) ** 2}
        found.take({"error": padded}, shown, left=len(errors) - start)
    return found


@pytest.mark.parametrize("batch", [1, 4, 7, 40])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_worst_and_best_of_all_are_kept(batch, count):
    errors = np.random.default_rng(0).permutation(23) / 2
    errors[[3, 8]] = np.nan, np.inf
    found = taken(errors, batch, count)
    order = [i for i in np.argsort(errors) if np.isfinite(errors[i])]
    np.testing.assert_array_equal(found.best["number"], order[:count])
    np.testing.assert_array_equal(found.worst["number"], order[::-1][:count])
    np.testing.assert_allclose(found.worst["square"], errors[order[::-1][:count]] ** 2)


def test_equal_errors_are_kept_once_each():
    found = taken(np.ones(5), 2, 5)
    assert sorted(found.best["number"]) == sorted(found.worst["number"]) == list(range(5))


def test_nothing_is_kept_if_nothing_is_asked_for_or_has_an_error():
    assert taken(np.ones(5), 2, 0).best is None
    assert taken(np.full(5, np.nan), 2, 3).worst is None

"""FreiHAND's file of predictions: what it holds, and what is refused."""

import json

import numpy as np
import pytest

from crocohuman_jax.tasks.mesh import submissions

RNG = np.random.default_rng(0)


def hands(count=3):
    """Joints [N, 21, 3] and vertices [N, 778, 3] in metres."""
    return RNG.normal(0.5, 0.1, (count, 21, 3)), RNG.normal(0.5, 0.1, (count, 778, 3))


def test_a_file_is_two_lists_in_order_and_metres(tmp_path):
    joints, vertices = hands()
    path = tmp_path / "new" / "pred.json"
    submissions.write(path, joints, vertices, count=3)
    content = json.loads(path.read_text())
    assert [len(part) for part in content] == [3, 3]
    assert [np.shape(part) for part in content] == [(3, 21, 3), (3, 778, 3)]
    for hand in range(3):
        np.testing.assert_allclose(content[0][hand], joints[hand], atol=0.6e-6)
        np.testing.assert_allclose(content[1][hand], vertices[hand], atol=0.6e-6)
    assert [p.name for p in path.parent.iterdir()] == ["pred.json"]


def test_what_is_read_is_what_was_written(tmp_path):
    joints, vertices = (np.round(part, submissions.DECIMALS) for part in hands())
    path = tmp_path / "pred.json"
    submissions.write(path, joints, vertices, count=None)
    for read, written in zip(submissions.read(path), (joints, vertices), strict=True):
        np.testing.assert_array_equal(read, written)
    submissions.write(path, joints.astype(np.float32), vertices.astype(np.float32), count=None)
    np.testing.assert_allclose(submissions.read(path)[0], joints, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": submissions.COUNT}, "evaluation set has 3960 hands, not 3"),
        (
            {"joints": np.zeros((3, 16, 3))},
            "hands with 21 points, but this run predicts 16",
        ),
        (
            {"joints": np.zeros((2, 21, 3))},
            r"Joints \(2, 21, 3\) and vertices \(3, 778, 3\) do not fit",
        ),
        (
            {"vertices": np.zeros((3, 778, 2))},
            r"Joints \(3, 21, 3\) and vertices \(3, 778, 2\) do not fit",
        ),
        ({"joints": np.full((3, 21, 3), np.nan)}, "The joints of hand 0 are not finite"),
        ({"name": "pred.txt"}, "pred.txt must be the name of a .json file"),
    ],
)
def test_what_is_refused_leaves_the_file_as_it_was(tmp_path, change, message):
    joints, vertices = hands()
    path = tmp_path / change.pop("name", "pred.json")
    path.write_text("before")
    given = {"joints": joints, "vertices": vertices, "count": 3} | change
    with pytest.raises(ValueError, match=message):
        submissions.write(path, **given)
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_the_first_hand_that_is_not_finite_is_named(tmp_path):
    joints, vertices = hands()
    vertices[2, 700, 1] = np.inf
    with pytest.raises(ValueError, match="The vertices of hand 2 are not finite"):
        submissions.write(tmp_path / "pred.json", joints, vertices, count=3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "[[1, 2", "[[], [], []]", "7", '[["a"], [1]]'])
def test_a_file_of_another_form_is_named(tmp_path, content):
    path = tmp_path / "pred.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"pred.json is not FreiHAND's \[joints, vertices\]"):
        submissions.read(path)

"""Frames for fine-tuning: large enough for the network's pictures, and for turns and scales."""

import logging

import annotated
import crowds
import numpy as np
import PIL.Image
import pytest

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.configuration import registry
from crocohuman_jax.data import datasets
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import labelled_people, person_augmentation

BODY = crowds.form("open_body")
CHANGE = person_augmentation.Change(flip=0.5, scale=0.25, rotation=30)  # as configs/mesh.py has it


def prepared(tmp_path, size, enlarge):
    """A person of 300 px in a large white picture."""
    source = tmp_path / "source"
    square = {"center": np.array([[800.0, 700.0]]), "scale": np.array([1.5])}
    annotated.spin_file(source / "people.npz", ["a.jpg"], **square)
    PIL.Image.new("RGB", (1600, 1400), "white").save(source / "a.jpg")
    dataset = registry.find("data.datasets", "spin_npz")
    options = dataset.OPTIONS | {"file": "people.npz"}
    settings = pipeline.Settings(
        "spin_npz", source, options, size=options_lib.size(size), enlarge=enlarge
    )
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    return tmp_path / "out"


def worst(folder):
    """The crop of 224 that reaches farthest."""
    frames = records.Frames(folder)
    square = labelled_people.open_sources(
        [str(folder)], split="train", form=crowds.form("open_body"), second="none", gap=(1, 0)
    )
    known = square[0].notes.read(0)
    change = {"scale": 1.25, "angle": np.pi / 4}
    return person_augmentation.place(known["crop"], change, False).picture(
        frames.read(0)[0], 224
    ), known


def test_frames_with_labels_are_by_default_large_enough_for_every_crop(tmp_path):
    dataset = registry.find("data.datasets", "spin_npz")
    picture, known = worst(prepared(tmp_path, *datasets.defaults(dataset, dataset.OPTIONS)))
    assert known["crop"][2] >= 224 and picture.min() > 240  # white to the corners


def test_small_margins_leave_black_corners(tmp_path):
    picture, known = worst(prepared(tmp_path, "256", 1.25))
    assert known["crop"][2] < 224 and picture[0, 0].max() < 16


def test_pictures_that_are_crops_already_keep_their_size():
    for name in ("freihand", "hanco"):
        dataset = registry.find("data.datasets", name)
        assert datasets.defaults(dataset, dataset.OPTIONS)[0] == "224"
    video = registry.find("data.datasets", "video")
    assert datasets.defaults(video, video.OPTIONS) == ("256", 1.25)


def test_squares_around_joints_are_enlarged_as_any_box():
    dataset = registry.find("data.datasets", "freihand")
    assert datasets.defaults(dataset, dataset.OPTIONS | {"box": "hull"}) == ("400", 1.77)


@pytest.mark.parametrize(
    "size, enlarge, said",
    [
        ("256", 1.25, ["squares are enlarged", "black corners", "--size=400 --enlarge=1.77"]),
        ("320", 1.4, ["have black corners", "--size=400 --enlarge=1.77"]),
        ("400", 1.77, []),
    ],
)
def test_training_warns_of_frames_that_are_too_small(tmp_path, caplog, size, enlarge, said):
    folder = prepared(tmp_path, size, enlarge)
    options = {"split": "train", "form": BODY, "second": "none"}
    sources = labelled_people.open_sources([str(folder)], gap=(1, 0), **options)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # said once
            stream = {"form": BODY, "side": 224, "second": "none", "seed": 0}
            labelled_people.stream(sources, change=CHANGE, **stream)
    text = [r.getMessage() for r in caplog.records if str(folder) in r.getMessage()]
    assert len(text) == bool(said) and all(words in text[0] for words in said)
    if size == "320":
        assert "enlarged" not in text[0]


def test_how_far_a_crop_reaches_is_never_exceeded():
    """The corners of a thousand drawn crops lie within the square that `reach` says."""
    for change in (
        CHANGE,
        person_augmentation.Change(scale=0.1, rotation=10),
        person_augmentation.Change(),
    ):
        rng = np.random.default_rng(0)
        far = 0.0
        for _ in range(1000):
            drawn = change.draw(rng)
            matrix = person_augmentation.place(np.array([0, 0, 2.0]), drawn, False).frame_from_crop
            corners = matrix[:2, :2] @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])
            far = max(far, np.abs(corners).max())
        assert 0.97 * change.reach < far <= change.reach + 1e-9

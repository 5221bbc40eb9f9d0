"""Source folders that hold what cannot be opened or named, and what is counted of them."""

import os

import jax
import numpy as np
import pictures
import pyarrow.parquet
import pytest

from configs import pretrain
from crocohuman_jax.configuration import registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import groups as groups_lib
from crocohuman_jax.data.streams import pair_augmentation, pairs


def prepare(source, output, dataset="pairs_folder", options=(), **more):
    more = {"size": (64, 64), "held_out": 0.0} | more
    settings = pipeline.Settings(dataset, source, dict(options), **more)
    return pipeline.prepare(settings, output, 1, lambda done, total: None)


def latin(folder, name):
    """Renames a file to a name that is not UTF-8."""
    old = os.fsencode(folder / name)
    os.rename(old, old.replace(b"cam", b"cam\xe9"))


def test_fifos_and_names_that_are_not_utf8_are_skips_with_a_reason(tmp_path):
    source = pictures.write(tmp_path / "source", sequences=2, instants=2, cameras=2)
    for name in ("seq0/t000/cam0.jpg", "seq1/t000/cam1.mask.png"):
        (source / name).unlink()
        os.mkfifo(source / name)
    latin(source / "seq0/t001", "cam1.jpg")
    manifest = prepare(source, tmp_path / "out")
    reasons = [reason for _, reason in manifest["skips"]]
    assert manifest["counts"]["frames"] == 5 and len(reasons) == 3
    assert sum("FIFO" in reason for reason in reasons) == 2
    assert sum("not UTF-8" in reason for reason in reasons) == 1


def test_videos_that_are_fifos_or_not_utf8_are_skips_with_a_reason(tmp_path):
    os.mkfifo(tmp_path / "walk.mp4")
    (tmp_path / "cam.mp4").write_bytes(b"")
    latin(tmp_path, "cam.mp4")
    with pytest.raises(ValueError, match=r"(?s)No frame .*not UTF-8.*FIFO|FIFO.*not UTF-8"):
        prepare(tmp_path, tmp_path / "out", "video", {"fps": 2.0, "takes": "folder"})


@pytest.mark.parametrize("name", ["boxes.json", "index.json"])
def test_a_list_that_is_a_fifo_is_an_error(tmp_path, name):
    source = pictures.write(tmp_path / "source", sequences=1, instants=2, cameras=1)
    os.mkfifo(source / name)
    with pytest.raises(ValueError, match=f"{name} is not a .*FIFO"):
        prepare(source, tmp_path / "out")


def test_pairs_are_counted_as_they_can_be_drawn(tmp_path):
    """Two pictures of one instant, as with other backgrounds, make no pair of instants."""
    source = pictures.write(tmp_path / "source", sequences=1, instants=3, cameras=2)
    for t in range(3):
        for k in (1, 2):
            path = source / f"seq0/t{t:03d}/cam0_bg{k}.jpg"
            pictures.scene(k, t, 0)[0].save(path)
    counts = prepare(source, tmp_path / "out")["counts"]["train"]
    index = records.Frames(tmp_path / "out").index
    for kind in ("view", "pose"):
        groups = groups_lib.Groups(index, "train", kind, (1, 0))
        drawn = sum(len(groups.partners(row)) for row in groups.eligible())
        assert counts[f"{kind} pairs"] == drawn > 0
    assert counts["pose pairs"] == 9 * 6 + 3 * 2  # three frames of cam0 at each instant


def stream(folder, **change):
    return pairs.stream(
        str(folder),
        split="train",
        size=(64, 64),
        patch=16,
        mask={"mode": "human", "ratio": 0.5, "rule": "fixed", "visible": 0},
        change=pair_augmentation.Augment(**change),
        kinds={"view": 1.0, "pose": 1.0},
        weights=(),
        gap=(1, 0),
        min_fraction=0.05,
        seed=0,
    )


def test_frames_without_a_box_are_whole_counted_and_their_padding_is_known(tmp_path):
    source = pictures.write(tmp_path / "source", sequences=1, instants=2, cameras=2, size=(40, 80))
    (source / "boxes.json").write_text('{"seq0/t000/cam0.jpg": [10, 30, 30, 50]}')
    manifest = prepare(source, tmp_path / "out")
    assert manifest["counts"]["unboxed"] == 3 and manifest["counts"]["frames"] == 4
    frames = records.Frames(tmp_path / "out")
    boxed = frames.index["source"] == "seq0/t000/cam0.jpg"
    np.testing.assert_array_equal(frames.index["shown"][boxed], [[0, 0, 64, 64]])
    np.testing.assert_array_equal(frames.index["shown"][~boxed], [[16, 0, 48, 64]] * 3)
    batch = loader.Batches(stream(tmp_path / "out"), 16, threads=1)
    batch = next(batch)
    middle = np.tile([False, True, True, False], 4)
    kinds = {tuple(row) for row in batch["valid"].tolist()}
    assert kinds <= {tuple(middle), (True,) * 16} and tuple(middle) in kinds
    patches = batch["target"].reshape(16, 4, 16, 4, 16, 3).transpose(0, 1, 3, 2, 4, 5)
    dark = patches.reshape(16, 16, -1).max(-1) < 40
    np.testing.assert_array_equal(dark, ~batch["valid"])


def test_padding_moves_with_the_picture_that_is_turned(tmp_path):
    source = pictures.write(tmp_path / "source", sequences=1, instants=2, cameras=2, size=(40, 80))
    prepare(source, tmp_path / "out")
    turned = next(loader.Batches(stream(tmp_path / "out", rotation=90.0), 16, threads=1))
    assert len({tuple(row) for row in turned["valid"].tolist()}) > 4


def test_folders_prepared_before_padding_was_known_stay_readable(tmp_path):
    source = pictures.write(tmp_path / "source", sequences=1, instants=2, cameras=2, size=(40, 80))
    prepare(source, tmp_path / "out")
    path = tmp_path / "out/index.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns("shown"), path)
    batch = next(loader.Batches(stream(tmp_path / "out"), 4, threads=1))
    assert batch["valid"].all()


def test_padding_counts_neither_in_the_loss_nor_in_held_out_numbers():
    config = pretrain.get_config("debug")
    task = registry.find("tasks", "completion").make(config)
    (height, width), patch = config.model.image, config.model.patch
    count = (height // patch) * (width // patch)
    rng = np.random.default_rng(0)
    batch = {
        "target": rng.integers(0, 256, (2, height, width, 3), np.uint8),
        "reference": rng.integers(0, 256, (2, height, width, 3), np.uint8),
        "color": np.tile(np.float32([[0, 1], [1, 1], [2, 1]]), (2, 2, 1, 1)),
        "visible": np.tile(np.arange(count // 2, dtype=np.int32), (2, 1)),
        "hidden": np.tile(np.arange(count // 2, count, dtype=np.int32), (2, 1)),
        "human": np.ones((2, count), bool),
        "valid": np.ones((2, count), bool),
    }
    params = task.init(jax.random.key(0))

    def loss(batch):
        return task.loss(params, batch, jax.random.key(0), task.counts(batch))[0]

    whole = loss(batch)
    parts = []
    for rows in (slice(count // 2, 3 * count // 4), slice(3 * count // 4, count)):
        some = batch | {"valid": np.zeros((2, count), bool)}
        some["valid"][:, rows] = True
        parts.append(loss(some))
        np.testing.assert_allclose(
            parts[-1], task.metrics(params, some)["masked_loss"].mean(), rtol=1e-4
        )
    assert abs(parts[0] - parts[1]) > 1e-4 * whole
    np.testing.assert_allclose((parts[0] + parts[1]) / 2, whole, rtol=1e-4)
    without = {name: value for name, value in batch.items() if name != "valid"}
    np.testing.assert_allclose(loss(without), whole, rtol=1e-6)

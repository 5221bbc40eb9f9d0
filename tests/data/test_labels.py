"""What is annotated of people survives its way to disk, moves with the crop, or is refused."""

import dataclasses
import json

import crowds
import numpy as np
import pictures
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from crocohuman_jax.data import crop
from crocohuman_jax.data.preparation import pipeline, shard_writer
from crocohuman_jax.data.storage import label_fields, labels, records, synthetic_truth
from crocohuman_jax.data.streams import person_augmentation

NAMES = ("head", "hand", "foot")


def told(seed=0):
    """Labels with everything in them."""
    rng = np.random.default_rng(seed)
    found = {"model": f"model {seed}", "gender": "female"}
    for name, label in label_fields.LABELS.items():
        count = len(NAMES) if label.named else 5
        if label.shape:
            found[name] = rng.uniform(20, 40, [count if n is None else n for n in label.shape])
    return found


def write(folder, examples):
    """Writes labels as a preparation does, some of two splits."""
    (folder / labels.NAME).mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"keypoints": NAMES}))
    lengths = {}
    for split, mine in (("train", examples[:-1]), ("test", examples[-1:])):
        path = folder / labels.NAME / records.shard_name(split, 0, 1, labels.NAME)
        writer = records.ShardWriter(path, labels.features())
        for values in mine:
            writer.write(labels.example(values))
        writer.close()
        lengths[split] = [(len(mine), path.stat().st_size)]
    records.write_metadata(folder / labels.NAME, labels.features(), lengths, name=labels.NAME)
    return labels.Labels(folder)


def test_labels_survive_their_way_to_disk(tmp_path):
    examples = [told(i) for i in range(3)]
    found = write(tmp_path, examples)
    assert len(found) == 3 and found.names == NAMES
    for row, wanted in enumerate(examples):
        read = found.read(row)
        assert set(read) == set(label_fields.LABELS) == set(wanted)
        for name, value in wanted.items():
            if not label_fields.LABELS[name].shape:
                assert read[name] == value
            else:
                np.testing.assert_array_equal(read[name], np.float32(value))
                assert read[name].dtype == np.float32


def test_a_label_that_is_declared_once_is_stored_cropped_turned_and_mirrored(tmp_path, monkeypatch):
    new = label_fields.Label((None, 3), "pixels, part", label_fields.PIXELS, named=True)
    monkeypatch.setitem(label_fields.LABELS, "contacts", new)
    rows = np.array([[10.0, 20, 1], [30, 40, 2], [50, 60, 3]])
    moved = labels.moved({"contacts": rows, "crop": (30, 40, 60)}, (10, 20, 50, 60), (80, 80))
    np.testing.assert_allclose(moved["contacts"], [[0, 0, 1], [40, 40, 2], [80, 80, 3]])
    assert labels.fault(moved, NAMES) is None
    assert "3 contacts, the dataset 2 names" in labels.fault(moved, NAMES[:2])
    read = write(tmp_path, [told(), moved]).read(1)
    np.testing.assert_allclose(read["contacts"], moved["contacts"])
    mirrored = person_augmentation.place(
        np.array([40.0, 40, 80]), person_augmentation.UNCHANGED, True
    )
    seen = label_fields.placed(new, read["contacts"], mirrored, (2, 1, 0), ())
    np.testing.assert_allclose(seen, [[-1, 1, 3], [0, 0, 2], [1, -1, 1]])


def test_what_is_left_out_is_unknown(tmp_path):
    read = write(tmp_path, [told(), {"crop": (1, 2, 3)}]).read(1)
    assert read["keypoints"].shape == read["pose"].shape == read["vertices"].shape == (0, 3)
    assert read["joints"].shape == (0, 4) and read["betas"].shape == (0,)
    for name in ("intrinsics", "translation", "camera"):
        np.testing.assert_array_equal(read[name], np.zeros(label_fields.LABELS[name].shape))
    assert read["model"] == read["gender"] == ""


def test_folders_without_labels_say_so(prepared):
    with pytest.raises(ValueError, match="holds no labels, because its dataset has none"):
        labels.Labels(prepared)


def test_labels_move_with_the_crop(tmp_path):
    """A spot in the picture is where the moved labels say that it is in the frame."""
    picture = PIL.Image.new("RGB", (120, 90))
    at = np.array([70.5, 40.5])
    picture.paste((255, 255, 255), (69, 39, 72, 42))
    box, size = (30.25, -10.5, 110.25, 69.5), (40, 40)  # beyond the picture's upper edge
    point = np.array([0.3, -0.1, 2.0])
    focal = 500.0
    centre = at - focal * point[:2] / point[2]
    before = {
        "keypoints": np.array([[*at, 0.5]]),
        "crop": np.array([*at, 30.0]),
        "intrinsics": np.array([focal, focal, *centre]),
        "joints": np.array([[*point, 1]]),
        "camera": np.array([0.9, 0.1, 0.2]),
        "model": "smpl",
    }
    kept = {name: np.copy(value) for name, value in before.items()}
    after = labels.moved(before, box, size)
    frame = crop.cut(picture, box, size)[..., 0].astype(float)
    y, x = np.mgrid[:40, :40] + 0.5
    seen = np.array([(x * frame).sum(), (y * frame).sum()]) / frame.sum()
    np.testing.assert_allclose(after["keypoints"][0], [*seen, 0.5], atol=0.05)
    np.testing.assert_allclose(after["crop"], [*seen, 15], atol=0.05)  # at half the size
    fx, fy, cx, cy = after["intrinsics"]
    projected = point[:2] / point[2] * [fx, fy] + [cx, cy]
    np.testing.assert_allclose(projected, after["keypoints"][0, :2], atol=1e-6)
    for name in ("joints", "camera", "model"):  # what is not in pixels stays
        np.testing.assert_array_equal(after[name], before[name])
    for name, value in kept.items():
        np.testing.assert_array_equal(before[name], value)


def test_an_unknown_camera_stays_unknown():
    moved = labels.moved({"intrinsics": np.zeros(4)}, (10, 10, 50, 50), (80, 80))
    np.testing.assert_array_equal(moved["intrinsics"], 0)
    assert set(labels.moved({}, (10, 10, 50, 50), (80, 80))) == set()


def test_labels_in_order_have_no_fault():
    assert labels.fault(told(), NAMES) is None
    assert labels.fault({"crop": (5.0, 5.0, 10.0)}, NAMES) is None
    empty = {"keypoints": np.zeros((0, 3)), "joints": np.zeros((0, 4)), "betas": []}
    assert labels.fault(empty | {"crop": [5, 5, 1]}, NAMES) is None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pose": np.full((5, 3), np.nan)}, "its pose hold numbers that are not finite"),
        ({"betas": np.array([0, np.inf])}, "its betas hold numbers that are not finite"),
        ({"keypoints": np.zeros((4, 3))}, "it has 4 keypoints, the dataset 3 names"),
        ({"joints": np.zeros((2, 4))}, "it has 2 joints, the dataset 3 names"),
        ({"joints": np.zeros((3, 3))}, r"its joints are (3, 3), not [n, 4]"),
        ({"pose": np.zeros(72)}, "its pose are (72,), not [n, 3]"),
        ({"translation": np.full(3, np.nan)}, "its translation holds numbers that are not finite"),
        ({"intrinsics": np.eye(3)}, "its intrinsics is (3, 3), not (4,)"),
        ({"crop": np.array([1, 2])}, "its crop is (2,), not (3,)"),
        ({"crop": np.array([5.0, 5, np.nan])}, "its crop holds numbers that are not finite"),
        ({"crop": np.array([5.0, 5, 0])}, "its crop has a side of 0 pixels"),
        ({"crop": np.array([5.0, 5, -3])}, "its crop has a side of -3 pixels"),
    ],
)
def test_labels_that_cannot_be_used_say_why(changes, message):
    assert labels.fault(told() | changes, NAMES) == message


def test_labels_without_a_crop_cannot_be_used():
    without = told()
    del without["crop"]
    assert labels.fault(without, NAMES) == "it has no crop"


FAULTS = {
    "not finite": "its pose hold numbers that are not finite",
    "no place": "its translation holds numbers that are not finite",
    "wrong count": "it has 23 keypoints, the dataset 24 names",
    "no side": "its crop has a side of 0 pixels",
    "flat": "its pose are (72,), not [n, 3]",
    "no crop": "it has no crop",
    "no labels": "it has no labels",
}


def test_faulty_frames_are_skipped_with_their_reasons(tmp_path):
    manifest = crowds.drawn(tmp_path / "out", faults="+".join(FAULTS), instants=8)
    assert manifest["counts"]["skipped"] == len(FAULTS)
    reasons = dict(manifest["skips"])
    assert reasons == {f"s0/{t} at {t}": why for t, why in enumerate(FAULTS.values())}
    frames, found = records.Frames(tmp_path / "out"), labels.Labels(tmp_path / "out")
    assert len(frames) == len(found) == 4 * 8 - len(FAULTS)


def assert_told(folder):
    """Every row of labels is that of its frame, in the frame's pixels."""
    frames, found = records.Frames(folder), labels.Labels(folder)
    assert len(frames) == len(found)
    with crowds.with_drawn() as dataset:
        everybody = {f.source: f for s in dataset.plan(settings()).jobs for f in s.frames}
        for row, source in enumerate(frames.index["source"]):
            frame = everybody[source]
            scale = np.array(frames.size[::-1]) / 80
            wanted, read = dataset.labels(frame), found.read(row)
            np.testing.assert_allclose(read["pose"], wanted["pose"], atol=1e-6)
            place = (wanted["keypoints"][:, :2] - [8, 0]) * scale
            np.testing.assert_allclose(read["keypoints"][:, :2], place, atol=1e-4)
            np.testing.assert_allclose(
                read["crop"],
                [40 * scale[0], 40 * scale[1], wanted["crop"][2] * scale[0]],
                atol=1e-4,
            )
    return frames, found


def settings(**options):
    with crowds.with_drawn() as dataset:
        known = {**dataset.OPTIONS, **options}
        return pipeline.Settings("drawn", None, known, size=(80, 80), enlarge=1.0)


def test_labels_lie_in_the_order_of_the_frames(tmp_path):
    manifest = crowds.drawn(tmp_path / "out", size=(120, 120), splits="test+train+validation+train")
    frames, found = assert_told(tmp_path / "out")
    assert tuple(manifest["keypoints"]) == found.names
    split = dict(zip(frames.index["sequence"], frames.index["split"], strict=True))
    assert split == {"s0": "test", "s1": "train", "s2": "validation", "s3": "train"}
    for name in ("train", "validation", "test"):
        assert manifest["counts"][name]["frames"] == 12 * (2 if name == "train" else 1)
    # All files, those of the labels too, are in the manifest.
    assert records.check(tmp_path / "out") == []
    assert any(name.startswith("labels/") for name in manifest["files"])
    next((tmp_path / "out/labels").glob("*test*")).unlink()
    assert [fault for fault in records.check(tmp_path / "out") if "labels/" in fault]


def test_splits_that_a_dataset_leaves_open_are_decided():
    with crowds.with_drawn() as dataset:
        fixed = settings(splits="test+validation", sequences=6, instants=2)
        fixed = dataclasses.replace(fixed, held_out=0.1)
        found = pipeline.assign_splits(dataset.plan(fixed), fixed)
    assert found["s0"] == "test" and found["s1"] == "validation"
    # One of the others is held out: they have too few instants for the last ones.
    assert sorted(found[f"s{s}"] for s in range(2, 6)) == ["train"] * 3 + ["validation"]


def test_tfds_reads_the_labels(tmp_path):
    crowds.drawn(tmp_path / "out", splits="train+train+validation+test")
    builder = tfds.builder_from_directory(tmp_path / "out" / labels.NAME)
    assert set(builder.info.splits) == {"train", "validation", "test"}
    source = builder.as_data_source(split="validation")
    found = labels.Labels(tmp_path / "out")
    assert len(source) == 12
    for i in (0, 11):
        read = found.read(24 + i)  # after the 24 to learn from
        assert source[i]["model"].decode() == read["model"] == "open_body"
        for name in (name for name, label in label_fields.LABELS.items() if label.shape):
            theirs = np.asarray(source[i][name]).reshape(read[name].shape)
            np.testing.assert_array_equal(theirs, read[name])
        assert source[i]["pose"].shape == (24, 3) and source[i]["vertices"].shape == (0, 3)


def test_an_interrupted_preparation_with_labels_goes_on(tmp_path, monkeypatch):
    straight = crowds.drawn(tmp_path / "straight", faults="no crop")
    write_, written = shard_writer.write, []

    def failing(settings, output, number, *rest):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(number)
        return write_(settings, output, number, *rest)

    monkeypatch.setattr(shard_writer, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        crowds.drawn(tmp_path / "cut", faults="no crop")
    assert written == [0] and (tmp_path / "cut/parts/00000.rows.json").exists()
    with pytest.raises(ValueError, match="its preparation was not finished"):
        labels.Labels(tmp_path / "cut")
    monkeypatch.setattr(shard_writer, "write", write_)
    assert crowds.drawn(tmp_path / "cut", faults="no crop")["files"] == straight["files"]
    assert_told(tmp_path / "cut")


def test_an_interruption_while_labels_are_put_together_loses_nothing(tmp_path, monkeypatch):
    straight = crowds.drawn(tmp_path / "straight")
    metadata = records.write_metadata

    def failing(folder, *args, **kwargs):
        if folder.name == labels.NAME:
            raise KeyboardInterrupt
        metadata(folder, *args, **kwargs)

    monkeypatch.setattr(records, "write_metadata", failing)
    with pytest.raises(KeyboardInterrupt):
        crowds.drawn(tmp_path / "cut")
    monkeypatch.undo()
    assert crowds.drawn(tmp_path / "cut")["files"] == straight["files"]
    assert_told(tmp_path / "cut")


def test_other_datasets_have_no_labels_and_old_folders_open(tmp_path):
    source = pictures.write(tmp_path / "source", 2, 2, 2)
    plain = pipeline.Settings("pairs_folder", source, {}, size=(64, 64))
    output = tmp_path / "out"
    pipeline.prepare(plain, output, 1, lambda *_: None)
    assert shard_writer.keypoints(plain) == () and set(shard_writer.kinds(plain)) == {records.NAME}
    with crowds.with_drawn():
        assert set(shard_writer.kinds(settings())) == {records.NAME, labels.NAME}
    assert not (output / labels.NAME).exists() and not (output / synthetic_truth.NAME).exists()
    # Folders that were prepared before there were labels say nothing of keypoints.
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest.pop("keypoints") == []
    (output / "manifest.json").write_text(json.dumps(manifest))
    frames = records.Frames(output)
    assert len(frames) == 8 and frames.read(0)[0].shape == (64, 64, 3)
    assert pipeline.prepare(plain, output, 1, lambda *_: None) == manifest

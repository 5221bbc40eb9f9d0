"""Preparing folders: what comes out, what is skipped, and going on after an interruption."""

import json
import os
import subprocess
import sys

import numpy as np
import pictures
import PIL.Image
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds

from crocohuman_jax.data import crop
from crocohuman_jax.data.datasets import pairs_folder, synthetic
from crocohuman_jax.data.preparation import pipeline, shard_writer
from crocohuman_jax.data.storage import records


def prepare(source, output, workers=1, **options):
    options = {"size": (64, 64), "held_out": 0.0} | options
    name, more = options.pop("dataset", "pairs_folder"), options.pop("options", {})
    settings = pipeline.Settings(name, source, more, **options)
    return pipeline.prepare(settings, output, workers, lambda done, total: None)


def small(tmp_path, **options):
    """Writes two sequences of two instants and two cameras; returns their folder."""
    options = {"sequences": 2, "instants": 2, "cameras": 2} | options
    return pictures.write(tmp_path / "source", **options)


def reasons(manifest):
    return dict(manifest["skips"])


def test_frames_index_and_groups_are_complete(prepared):
    frames = records.Frames(prepared)
    index = frames.index
    assert len(frames) == 6 * 3 * 2 and frames.size == (80, 80)
    assert index["silhouette"].all()
    assert set(index["split"]) == {"train", "validation"}
    held_out = {
        s
        for s, split in zip(index["sequence"], index["split"], strict=False)
        if split == "validation"
    }
    assert len(held_out) == 2  # 0.3 of 6, rounded up
    for kind, same, other in (("view", "instant", "camera"), ("pose", "camera", "instant")):
        for number in np.unique(index[f"{kind}_group"]):
            rows = index[f"{kind}_group"] == number
            assert number >= 0 and len(set(index[same][rows])) == 1
            assert len(set(index[other][rows])) == rows.sum() > 1
            assert len(set(index["sequence"][rows])) == 1
    image, silhouette = frames.read(0)
    assert image.shape == (80, 80, 3) and silhouette.shape == (80, 80)
    assert 0.05 < silhouette.mean() < 0.5


def test_each_record_is_the_picture_its_row_names(prepared):
    frames = records.Frames(prepared)
    source = prepared.parent / "source"
    for row in (0, 17, len(frames) - 1):
        picture = crop.open_picture(source / frames.index["source"][row])
        wanted = crop.cut(picture, frames.index["box"][row], (80, 80))
        error = np.abs(frames.read(row)[0].astype(int) - wanted)
        assert error.mean() < 6


def test_tfds_reads_the_folder(prepared):
    builder = tfds.builder_from_directory(prepared)
    frames = records.Frames(prepared)
    source = builder.as_data_source(split="train")
    assert len(source) == (frames.index["split"] == "train").sum()
    record = source[3]
    assert record["image"].shape == (80, 80, 3)
    assert record["sequence"].decode() == frames.index["sequence"][3]
    assert record["instant"] == frames.index["instant"][3]


def test_the_frames_are_the_same_for_any_number_of_workers(tmp_path):
    source = small(tmp_path, sequences=5)
    one = prepare(source, tmp_path / "one", 1)
    two = prepare(source, tmp_path / "two", 2)
    assert one["fingerprint"] == two["fingerprint"]
    assert len([name for name in one["files"] if "array_record" in name]) > 1


def test_an_interrupted_preparation_goes_on(tmp_path, monkeypatch):
    source = small(tmp_path, sequences=5)
    straight = prepare(source, tmp_path / "straight")
    write, written = shard_writer.write, []

    def failing(settings, output, number, *rest):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(number)
        return write(settings, output, number, *rest)

    monkeypatch.setattr(shard_writer, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "cut")
    with pytest.raises(ValueError, match="its preparation was not finished"):
        records.Frames(tmp_path / "cut")

    def counting(settings, output, number, *rest):
        assert number not in written
        return write(settings, output, number, *rest)

    monkeypatch.setattr(shard_writer, "write", counting)
    resumed = prepare(source, tmp_path / "cut")
    assert resumed["fingerprint"] == straight["fingerprint"]
    assert prepare(source, tmp_path / "cut") == resumed  # and again does nothing


def test_an_interruption_while_putting_together_loses_nothing(tmp_path, monkeypatch):
    source = small(tmp_path)
    straight = prepare(source, tmp_path / "straight")
    monkeypatch.setattr(records, "write_metadata", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(source, tmp_path / "cut")
    monkeypatch.undo()
    assert prepare(source, tmp_path / "cut")["fingerprint"] == straight["fingerprint"]


def test_a_full_disk_is_said_and_keeps_what_is_finished(tmp_path, monkeypatch):
    source = small(tmp_path, sequences=5)
    write = records.ShardWriter.write
    count = []

    def full(self, *args):
        count.append(1)
        if len(count) > 18:
            raise OSError(28, "No space left on device")
        write(self, *args)

    monkeypatch.setattr(records.ShardWriter, "write", full)
    with pytest.raises(OSError, match="No space left.*finished parts are kept"):
        prepare(source, tmp_path / "out")
    assert (tmp_path / "out/parts/00000.rows.json").exists()
    monkeypatch.undo()
    assert prepare(source, tmp_path / "out")["counts"]["frames"] == 20


def test_a_folder_that_an_earlier_version_finished_opens_with_its_count(tmp_path):
    source = small(tmp_path)
    name = next(source.rglob("*.jpg")).relative_to(source).as_posix()
    (source / "boxes.json").write_text(json.dumps({name: [10, 10, 50, 60]}))
    counts = prepare(source, tmp_path / "out")["counts"]
    path = tmp_path / "out/manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["counts"].pop("unboxed") == counts["frames"] - 1 == 7
    path.write_text(json.dumps(manifest))
    again = prepare(source, tmp_path / "out")
    assert again["counts"] == counts


def test_the_crop_of_pictures_without_a_box_is_no_matter_of_built_in_people(tmp_path):
    few = {"people": 1, "instants": 1, "views": 2, "pairs": "view", "truth": "none"}
    made = {"dataset": "synthetic", "options": synthetic.OPTIONS | few}
    first = prepare(None, tmp_path / "out", fit="cover", **made)
    assert prepare(None, tmp_path / "out", **made) == first
    source = small(tmp_path)
    prepare(source, tmp_path / "real", fit="cover")
    with pytest.raises(ValueError, match="fit: 'cover' -> 'contain'"):
        prepare(source, tmp_path / "real")


def test_another_preparation_in_the_output_is_refused_with_its_difference(tmp_path):
    source = small(tmp_path)
    prepare(source, tmp_path / "out")
    with pytest.raises(ValueError, match=r"(?s)another preparation.*\n  enlarge: 1.25 -> 1.5"):
        prepare(source, tmp_path / "out", enlarge=1.5)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("")
    with pytest.raises(ValueError, match="is not empty and holds no preparation"):
        prepare(source, tmp_path / "mine")


def test_check_names_damaged_and_missing_files(tmp_path):
    output = tmp_path / "out"
    prepare(small(tmp_path), output)
    assert records.check(output) == []
    shard = next(output.glob("*.array_record*"))
    data = bytearray(shard.read_bytes())
    data[200] ^= 1
    shard.write_bytes(data)
    (output / "index.parquet").unlink()
    faults = "\n".join(records.check(output))
    assert f"{shard.name}: its SHA-256 differs" in faults and "index.parquet: missing" in faults


def test_unreadable_pictures_are_counted_and_listed(tmp_path):
    source = small(tmp_path)
    whole = (source / "seq0/t000/cam0.jpg").read_bytes()
    (source / "seq0/t000/cam0.jpg").write_bytes(whole[: len(whole) // 2])
    (source / "seq0/t001/cam1.jpg").write_text("no picture")
    PIL.Image.new("L", (3, 3)).save(source / "seq1/t000/cam0.mask.png")
    manifest = prepare(source, tmp_path / "out")
    listed = reasons(manifest)
    assert manifest["counts"]["skipped"] == 3 and manifest["counts"]["frames"] == 5
    assert "not a readable picture" in listed["seq0/t000/cam0.jpg at 0"]
    assert "not a readable picture" in listed["seq0/t001/cam1.jpg at 1"]
    assert "silhouette is (3, 3) pixels" in listed["seq1/t000/cam0.jpg at 0"]
    # Their partners are left alone in their groups.
    assert manifest["counts"]["lone groups"] > 0 and manifest["lone_groups"]
    assert (records.Frames(tmp_path / "out").index["view_group"] == -1).sum() == 3


def test_mixed_sizes_give_frames_of_one_size(tmp_path):
    source = small(tmp_path)
    pictures.scene(0, 0, 0, (300, 70))[0].save(source / "seq0/t000/cam0.jpg")
    (source / "seq0/t000/cam0.mask.png").unlink()
    prepare(source, tmp_path / "out", size=(64, 48))
    frames = records.Frames(tmp_path / "out")
    assert {frames.read(i)[0].shape for i in range(len(frames))} == {(64, 48, 3)}
    assert frames.index["silhouette"].sum() == len(frames) - 1


def test_boxes_crop_people_and_name_their_tracks(tmp_path):
    source = small(tmp_path, masks=False)
    boxes = {
        f"t{t:03d}/cam{c}.jpg": {"anna": [10, 10, 40, 70], "ben": [40, 10, 80, 70]}
        for t in range(2)
        for c in range(2)
    }
    boxes["t000/cam1.jpg"] = [[10, 10, 40, 70], [40, 10, 80, 70]]  # who is who?
    boxes["t001/cam1.jpg"] = {"anna": [10, 10, 40, 70], "ben": [200, 10, 280, 70]}
    boxes["t009/cam1.jpg"] = [1, 2, 3, 4]
    (source / "seq0/boxes.json").write_text(json.dumps(boxes))
    manifest = prepare(source, tmp_path / "out")
    listed = reasons(manifest)
    assert "2 boxes without names" in listed["seq0/t000/cam1.jpg"]
    assert "lies outside the picture of 96x80" in listed["seq0/t001/cam1.jpg at 1 (ben)"]
    assert "no such picture" in listed["seq0/t009/cam1.jpg"]
    index = records.Frames(tmp_path / "out").index
    mine = index["sequence"] == "seq0"
    assert sorted(index["subject"][mine]) == ["anna"] * 3 + ["ben"] * 2
    for kind in ("view_group", "pose_group"):
        for number in np.unique(index[kind][index[kind] >= 0]):
            assert len(set(index["subject"][index[kind] == number])) == 1
    box = index["box"][(index["subject"] == "anna")][0]
    np.testing.assert_allclose(box, [25 - 37.5, 40 - 37.5, 25 + 37.5, 40 + 37.5])  # 60 * 1.25


def test_listed_groups_are_the_only_ones(tmp_path):
    source = small(tmp_path)
    listing = {
        "sequences": [
            {
                "cross_view": [["seq0/t000/cam0.jpg", "seq0/t000/cam1.jpg"]],
                "cross_pose": [["seq0/t000/cam0.jpg", "seq0/t001/cam0.jpg", "seq0/t007/cam0.jpg"]],
            }
        ]
    }
    (source / "index.json").write_text(json.dumps(listing))
    manifest = prepare(source, tmp_path / "out")
    assert manifest["counts"]["train"] == {"frames": 3, "view pairs": 2, "pose pairs": 2}
    assert "no such file" in reasons(manifest)["seq0/t007/cam0.jpg"]
    (source / "index.json").write_text('{"sequences": [{"cross_view": 3}]}')
    with pytest.raises(ValueError, match="is not a list of groups"):
        prepare(source, tmp_path / "again")
    twice = {"cross_view": [["a/t1/b.jpg"], ["a/t1/b.jpg"]], "cross_pose": []}
    (source / "index.json").write_text(json.dumps({"sequences": [twice]}))
    with pytest.raises(ValueError, match="a/t1/b.jpg is in two cross_view groups"):
        prepare(source, tmp_path / "again")


def test_backgrounds_of_one_photo_are_one_camera(tmp_path):
    source = tmp_path / "source"
    for t in range(2):
        (source / f"hand/t{t}").mkdir(parents=True)
        pictures.scene(0, t, 0)[0].save(source / f"hand/t{t}/cam3_bg{t}.jpg")
    plan = pairs_folder.plan(pipeline.Settings("pairs_folder", source, {}))
    assert {frame.camera for job in plan.jobs for frame in job.frames} == {"cam3"}


def test_few_sequences_hold_out_their_last_instants(tmp_path):
    source = small(tmp_path, sequences=1, instants=8)
    manifest = prepare(source, tmp_path / "out", held_out=0.25)
    index = records.Frames(tmp_path / "out").index
    assert set(index["instant"][index["split"] == "validation"]) == {6, 7}
    assert manifest["counts"]["validation"]["pose pairs"] == 4


def test_empty_folders_say_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match="(?s)No usable picture in .*<sequence>/t<instant>/<camera>"
    ):
        prepare(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="(?s)contains no video.*<take>/<camera>"):
        prepare(
            tmp_path / "empty",
            tmp_path / "out",
            dataset="video",
            options={"fps": 2.0, "takes": "folder"},
        )
    with pytest.raises(ValueError, match="is not a folder"):
        prepare(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ValueError, match="Unknown name 'humbi2' in data.datasets. Known: .*video"):
        prepare(tmp_path / "empty", tmp_path / "out", dataset="humbi2")
    source = pictures.write(tmp_path / "loose", 1, 1, 1)
    (source / "seq0/t000").rename(source / "seq0/first")
    with pytest.raises(
        ValueError, match="(?s)first/cam0.jpg: its folder is 'first', not t<instant>"
    ):
        prepare(source, tmp_path / "out")
    source = small(tmp_path, sequences=1, instants=1, cameras=1)
    (source / "seq0/t000/cam0.jpg").write_text("")
    with pytest.raises(ValueError, match="(?s)No frame .* not a readable picture"):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize(
    "option, message",
    [
        ({"fit": "stretch"}, "--fit is 'stretch', but must be 'cover' or 'contain'"),
        ({"held_out": 1.0}, "--held_out is 1.0, but must be in"),
        ({"size": (8, 64)}, r"--size is \(8, 64\), but each side needs 16"),
        ({"quality": 0}, "--quality is 0. Set it to a whole number of at least 1"),
        ({"enlarge": 0.0}, "--enlarge is 0.0. Set it to a number above 0"),
        ({"enlarge": float("nan")}, "--enlarge is nan"),
        ({"held_out": float("nan")}, "--held_out is nan, but must be in"),
        ({"seed": -1}, "--seed is -1. Set it to a whole number of at least 0"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, tmp_path / "out", **option)


def test_the_real_samples_prepare_as_they_lie(samples, tmp_path):
    manifest = prepare(samples / "pairs", tmp_path / "out", held_out=0.1)
    counts = manifest["counts"]
    assert counts["frames"] == 80 and counts["skipped"] == 0 and counts["lone groups"] == 0
    assert counts["sequences"] == 12
    for kind in ("view pairs", "pose pairs"):
        assert counts["train"][kind] > 0
    total = counts["train"]["view pairs"] + counts["validation"]["view pairs"]
    assert total == 2 * 5 * 4 + 4 * 4 * 3 + 2 * 2 * 1


def test_the_command_reports_and_draws_a_sheet(tmp_path):
    source = small(tmp_path)
    (source / "seq0/t000/cam0.jpg").write_text("")
    command = [sys.executable, "-m", "crocohuman_jax.prepare"]
    flags = ["--dataset=pairs_folder", f"--source={source}", f"--output={tmp_path / 'out'}"]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [*command, *flags, "--size=64x48"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    assert "7 frames of 2 sequences" in done.stdout and "skipped 1" in done.stdout
    assert PIL.Image.open(tmp_path / "out/sheet.png").width > 100
    assert pyarrow.parquet.read_table(tmp_path / "out/index.parquet").num_rows == 7
    done = subprocess.run(
        [*command, f"--check={tmp_path / 'out'}"], capture_output=True, text=True, env=env
    )
    assert "the SHA-256 of each matches the manifest" in done.stdout
    for extra, message in (
        (["--size=big"], "--size must be a side or HEIGHTxWIDTH in pixels, not 'big'"),
        (["--options=fps=3"], "Unknown config option 'fps'"),
        (["--output="], "Missing: --output"),
    ):
        done = subprocess.run([*command, *flags, *extra], capture_output=True, text=True, env=env)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_an_index_may_list_groups_of_one_kind_but_not_of_none(tmp_path):
    source = small(tmp_path)
    paths = [f"seq0/t{i:03d}/cam0.jpg" for i in range(2)]
    (source / "index.json").write_text(json.dumps({"sequences": [{"cross_pose": [paths]}]}))
    counts = prepare(source, tmp_path / "out")["counts"]["train"]
    assert counts["pose pairs"] == 2 and counts["view pairs"] == 0
    (source / "index.json").write_text(json.dumps({"sequences": [{"groups": [paths]}]}))
    with pytest.raises(ValueError, match="sequence 0 has neither cross_view nor cross_pose"):
        prepare(source, tmp_path / "other")

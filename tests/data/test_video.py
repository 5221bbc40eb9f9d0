"""Preparing videos: instants, synchronised cameras, boxes, and files that are no videos."""

import json
import shutil

import av
import numpy as np
import pictures
import pytest

from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records

OPTIONS = {"fps": 2.0, "takes": "folder"}


def film(path, sequence=0, camera=0, frames=12, rate=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for instant in range(frames):
            picture = pictures.scene(sequence, instant, camera)[0]
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def damage(path, where, count=200):
    """Changes bytes of a video's pictures, from a share of them to another."""
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    rng = np.random.default_rng(0)
    for at in rng.integers(start + where[0] * length, start + where[1] * length, count):
        data[at] ^= int(rng.integers(1, 256))
    path.write_bytes(data)


def prepare(source, output, **options):
    settings = pipeline.Settings("video", source, OPTIONS | options, size=(64, 64), held_out=0.0)
    return pipeline.prepare(settings, output, 1, lambda done, total: None)


def test_one_video_gives_cross_pose_pairs_at_its_instants(tmp_path):
    film(tmp_path / "v/walk.mp4")
    manifest = prepare(tmp_path / "v", tmp_path / "out")
    assert manifest["counts"]["train"] == {"frames": 6, "view pairs": 0, "pose pairs": 30}
    index = records.Frames(tmp_path / "out").index
    assert index["instant"].tolist() == [0, 500, 1000, 1500, 2000, 2500]  # milliseconds
    assert set(index["sequence"]) == {"walk"}


def test_the_frames_are_those_of_their_instants(tmp_path):
    film(tmp_path / "v/walk.mp4", frames=4, rate=2)
    prepare(tmp_path / "v", tmp_path / "out")
    frames = records.Frames(tmp_path / "out")
    for row, instant in enumerate(range(4)):
        # The whole picture, 96 wide and 80 high, between two black borders.
        wanted = np.asarray(pictures.scene(0, instant, 0)[0].crop((0, -8, 96, 88)).resize((64, 64)))
        errors = np.abs(frames.read(row)[0].astype(int) - wanted).mean()
        assert errors < 12, instant


def test_videos_of_one_folder_are_synchronised_cameras(tmp_path):
    film(tmp_path / "v/take/a.mp4", camera=0)
    film(tmp_path / "v/take/b.mp4", camera=1, frames=24, rate=8)  # another rate, the same time
    film(tmp_path / "v/alone.mp4", sequence=1)
    manifest = prepare(tmp_path / "v", tmp_path / "out")
    assert manifest["counts"]["train"] == {"frames": 18, "view pairs": 12, "pose pairs": 90}
    index = records.Frames(tmp_path / "out").index
    take = index["sequence"] == "take"
    assert set(index["camera"][take]) == {"a", "b"}
    for number in np.unique(index["view_group"][take]):
        rows = index["view_group"] == number
        assert rows.sum() == 2 and len(set(index["instant"][rows])) == 1
    manifest = prepare(tmp_path / "v", tmp_path / "apart", takes="file")
    assert manifest["counts"]["train"]["view pairs"] == 0


def test_boxes_beside_a_video_follow_each_person(tmp_path):
    film(tmp_path / "v/walk.mp4")
    boxes = {str(n): {"anna": [10, 5, 50, 75]} for n in (0, 2, 4)}
    boxes["4"]["ben"] = [50, 5, 90, 75]
    boxes["6"] = [[10, 5, 50, 75], [50, 5, 90, 75]]
    (tmp_path / "v/walk.boxes.json").write_text(json.dumps(boxes))
    manifest = prepare(tmp_path / "v", tmp_path / "out")
    assert manifest["counts"]["train"] == {"frames": 4, "view pairs": 0, "pose pairs": 6}
    listed = dict(manifest["skips"])
    assert "2 boxes without names" in listed["walk.mp4 frame 6"]
    assert "no box for this frame" in listed["walk.mp4 frame 8"]


def test_files_that_are_no_videos_are_skipped_with_a_reason(tmp_path):
    film(tmp_path / "v/good.mp4")
    (tmp_path / "v/text.mp4").write_text("no video")
    film(tmp_path / "v/cut.mp4", frames=40)
    whole = (tmp_path / "v/cut.mp4").read_bytes()
    (tmp_path / "v/cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "v/sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    manifest = prepare(tmp_path / "v", tmp_path / "out")
    listed = dict(manifest["skips"])
    assert "not a readable video" in listed["text.mp4"]
    assert "without a video stream" in listed["sound.mkv"]
    assert "not a readable video" in listed["cut.mp4"]
    assert manifest["counts"]["frames"] == 6


def test_a_video_that_ends_early_gives_the_frames_it_has(tmp_path):
    film(tmp_path / "v/cut.avi", frames=40)
    whole = (tmp_path / "v/cut.avi").read_bytes()
    (tmp_path / "v/cut.avi").write_bytes(whole[: int(len(whole) * 0.85)])
    manifest = prepare(tmp_path / "v", tmp_path / "out")
    assert 2 <= manifest["counts"]["frames"] < 20
    for _, reason in manifest["skips"]:
        assert any(w in reason for w in ("video ends before", "cannot be decoded", "is damaged"))


def errors(sound, damaged):
    """Returns the mean difference of each frame of a damaged video from the sound one."""
    frames, wanted = records.Frames(damaged), records.Frames(sound)
    row = {int(instant): i for i, instant in enumerate(wanted.index["instant"])}
    return [
        np.abs(frames.read(i)[0].astype(int) - wanted.read(row[int(instant)])[0]).mean()
        for i, instant in enumerate(frames.index["instant"])
    ]


def test_a_damaged_video_is_counted_skips_until_its_next_key_frame(tmp_path):
    film(tmp_path / "good/walk.mp4", frames=48, rate=4)  # a key frame every twelve
    film(tmp_path / "bad/walk.mp4", frames=48, rate=4)
    damage(tmp_path / "bad/walk.mp4", (0.3, 0.45))
    sound = prepare(tmp_path / "good", tmp_path / "sound", fps=4.0)
    manifest = prepare(tmp_path / "bad", tmp_path / "damaged", fps=4.0)
    assert sound["counts"]["frames"] == 48 and sound["counts"]["skipped"] == 0
    counts = manifest["counts"]
    assert counts["frames"] + counts["skipped"] == 48 and 6 <= counts["skipped"] <= 36
    assert all("the video is damaged" in reason for _, reason in manifest["skips"])
    # What is used is as it was, at its own instant, before the damage and after it.
    assert max(errors(tmp_path / "sound", tmp_path / "damaged")) < 1
    instants = records.Frames(tmp_path / "damaged").index["instant"]
    assert instants.min() == 0 and instants.max() == 47 * 250


def test_a_damaged_real_video_gives_no_smeared_frame(samples, tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        shutil.copy(samples / "videos/pose_1.mp4", tmp_path / name / "pose.mp4")
        (tmp_path / name / "pose.mp4").chmod(0o600)
    damage(tmp_path / "bad/pose.mp4", (0.5, 0.95))
    prepare(tmp_path / "good", tmp_path / "sound", fps=10.0)
    manifest = prepare(tmp_path / "bad", tmp_path / "damaged", fps=10.0)
    assert manifest["counts"]["skipped"] > 5
    assert max(errors(tmp_path / "sound", tmp_path / "damaged")) < 1


def test_options_out_of_range_are_named(tmp_path):
    film(tmp_path / "v/walk.mp4", frames=4)
    with pytest.raises(ValueError, match="Option fps is 0.0, but must be above 0"):
        prepare(tmp_path / "v", tmp_path / "out", fps=0.0)
    with pytest.raises(ValueError, match="Option takes is 'no', but must be 'folder' or 'file'"):
        prepare(tmp_path / "v", tmp_path / "out", takes="no")


def test_the_real_videos_prepare_as_they_lie(samples, tmp_path):
    manifest = prepare(samples / "videos", tmp_path / "out", fps=5.0)
    assert manifest["counts"]["sequences"] == 2 and not manifest["skips"]
    assert manifest["counts"]["train"]["pose pairs"] > 50

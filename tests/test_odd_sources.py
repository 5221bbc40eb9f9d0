"""Source folders that hold what cannot be opened or named, and what is counted of them."""

import os

import pictures
import pytest

from crocohuman_jax.data import pairs, records, shards


def prepare(source, output, dataset="pairs_folder", options=(), **more):
    more = {"size": (64, 64), "held_out": 0.0} | more
    settings = shards.Settings(dataset, source, dict(options), **more)
    return shards.prepare(settings, output, 1, lambda done, total: None)


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
    with pytest.raises(ValueError, match=r"(?s)Not one frame .*not UTF-8.*FIFO|FIFO.*not UTF-8"):
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
        groups = pairs.Groups(index, "train", kind, (1, 0))
        drawn = sum(len(groups.partners(row)) for row in groups.eligible())
        assert counts[f"{kind} pairs"] == drawn > 0
    assert counts["pose pairs"] == 9 * 6 + 3 * 2  # three frames of cam0 at each instant

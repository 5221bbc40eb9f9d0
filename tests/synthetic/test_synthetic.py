"""Built-in people through `prepare` and the loader: the same frames for any workers, all known."""

import subprocess
import sys

import numpy as np
import pytest

from crocohuman_jax.data.datasets import synthetic
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records, synthetic_truth
from crocohuman_jax.data.streams import live, pair_augmentation, pairs
from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import rotations

SMALL = {"people": 3, "instants": 2, "views": 2, "supersample": 1}


def prepare(output, size=(64, 64), workers=1, held_out=0.4, seed=0, **options):
    settings = pipeline.Settings(
        "synthetic",
        None,
        synthetic.OPTIONS | SMALL | options,
        size=size,
        held_out=held_out,
        held_out_by="sequence",
        seed=seed,
    )
    return pipeline.prepare(settings, output, workers, lambda done, total: None)


@pytest.fixture(scope="session")
def both(tmp_path_factory):
    """A prepared folder of bodies and hands with their truth."""
    folder = tmp_path_factory.mktemp("people") / "both"
    prepare(folder, kind="both", takes=2)
    return folder


def test_everything_is_known_of_every_frame(both):
    frames, known = records.Frames(both), synthetic_truth.Truths(both)
    assert len(frames) == len(known) == 3 * 2 * 2 * 2 * 2
    figure = parametric_body.load()
    for row in range(0, len(frames), 5):
        image, silhouette = frames.read(row)
        about = known.read(row)
        assert image.shape == (64, 64, 3) and image.std() > 5
        np.testing.assert_array_equal(silhouette, about["part"] > 0)
        np.testing.assert_array_equal(silhouette, about["depth"] > 0)
        assert 0.03 < silhouette.mean() < (0.7 if about["kind"] == "body" else 1)
        assert about["hidden"] <= 0.4
        assert f"/{about['kind']}" in frames.index["sequence"][row]
        vertices, heads = figure.rest(about["coefficients"])
        bones = rotations.from_vector(about["bones"])
        transforms = figure.transforms(heads, bones, about["placement"])
        np.testing.assert_allclose(
            parametric_body.apply(transforms, heads), about["joints"], atol=1e-5
        )
        seen = figure.skin(vertices, transforms) @ about["rotation"].T + about["translation"]
        assert seen[:, 2].min() > 0 or about["kind"] == "hand"
        joints = about["joints"] @ about["rotation"].T + about["translation"]
        fx, fy, cx, cy = about["intrinsics"]
        flat = joints[:, :2] / joints[:, 2:] * (fx, fy) + (cx, cy)
        np.testing.assert_allclose(flat, about["joints_2d"], rtol=1e-4, atol=1e-2)


def test_the_person_lies_where_its_joints_say(both):
    frames, known = records.Frames(both), synthetic_truth.Truths(both)
    figure, inside, count = parametric_body.load(), 0, 0
    wanted = [figure.bone[name] for name in ("spine01", "spine03", "upperleg02.L", "neck02")]
    for row in np.flatnonzero([name.endswith("body") for name in frames.index["sequence"]]):
        about = known.read(int(row))
        for x, y in about["joints_2d"][wanted]:
            if 1 <= x < 63 and 1 <= y < 63:
                inside += about["part"][int(y), int(x)] > 0
                count += 1
    assert count > 50 and inside / count > 0.85  # things may stand before them


def test_pairs_show_one_moment_or_one_camera(both):
    index, known = records.Frames(both).index, synthetic_truth.Truths(both)
    rows = np.arange(len(index["instant"]))
    for group in np.unique(index["view_group"]):
        mine = [known.read(int(i)) for i in rows[index["view_group"] == group]]
        assert len(mine) == 2
        np.testing.assert_array_equal(mine[0]["joints"], mine[1]["joints"])
        assert np.abs(mine[0]["rotation"] - mine[1]["rotation"]).max() > 0.05
    for group in np.unique(index["pose_group"]):
        mine = [known.read(int(i)) for i in rows[index["pose_group"] == group]]
        np.testing.assert_array_equal(mine[0]["rotation"], mine[1]["rotation"])
        np.testing.assert_array_equal(mine[0]["coefficients"], mine[1]["coefficients"])
        assert mine[0]["time"] != mine[1]["time"]


def test_a_person_is_held_out_with_all_takes(both):
    index = records.Frames(both).index
    owners = {}
    for name, split in zip(index["sequence"], index["split"], strict=True):
        owners.setdefault(name.split("/")[0], set()).add(split)
    assert all(len(splits) == 1 for splits in owners.values())
    assert {"train"} in owners.values() and {"validation"} in owners.values()


def test_the_same_seed_gives_the_same_bytes_for_any_workers(both, tmp_path):
    again = prepare(tmp_path / "again", kind="both", takes=2, workers=4)
    assert again["fingerprint"] == records.read_manifest(both)["fingerprint"]
    other = prepare(tmp_path / "other", kind="both", takes=2, workers=1, seed=1)
    assert other["fingerprint"] != again["fingerprint"]


def test_a_disk_that_fills_up_leaves_finished_shards_usable(tmp_path):
    output = tmp_path / "cut"
    command = [
        *("crocohuman_jax.prepare", "--dataset=synthetic", "--size=64", "--workers=1"),
        *("--held_out=0.4", "--held_out_by=sequence", f"--output={output}"),
        "--options=people=24,instants=2,views=2,supersample=1,truth=numbers",
    ]
    # No file may grow beyond what most parts need: what a full disk does to the one that does.
    limited = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, MOST))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')\n"
    )

    def run(size):
        code = limited.replace("MOST", str(size))
        return subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=300
        )

    full = run(30_000)
    assert full.returncode != 0
    assert "File too large" in full.stderr and "run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    done = sorted(path.name for path in (output / "parts").glob("*.rows.json"))
    assert run(1 << 40).returncode == 0, done
    assert len(records.Frames(output)) == 96
    straight = prepare(tmp_path / "straight", people=24, truth="numbers")
    assert records.read_manifest(output)["fingerprint"] == straight["fingerprint"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"views": 1, "pairs": "view"}, "Cross-view pairs need option views=2 or more, not 1"),
        ({"views": 0, "pairs": "view"}, "Cross-view pairs need option views=2 or more, not 0"),
        ({"instants": 1, "pairs": "pose"}, "Cross-pose pairs need option instants=2 or more"),
        ({"instants": 1, "views": 1}, "a take has one frame and gives no pair"),
        ({"views": 13}, "Option views is 1 to 12, not 13"),
        ({"people": 0}, "Option people is at least 1, not 0"),
        ({"kind": "foot"}, "Unknown kind 'foot'. Known: body, hand"),
        ({"actions": "walk+swim"}, "Unknown action 'swim'. Known: .*walk"),
        ({"hands": "peace+vulcan"}, "Unknown hand 'vulcan'. Known: .*peace"),
        ({"place": "moon"}, "Unknown place 'moon'. Known: "),
        ({"recording": "film"}, "Unknown recording 'film'. Known: clean, camera"),
        ({"truth": "some"}, "Option truth is 'some', but must be all, numbers or none"),
        ({"pairs": "all"}, "Option pairs is 'all', but must be 'view', 'pose' or 'both'"),
        ({"pictures": "/nowhere"}, "Option pictures=/nowhere is not a folder"),
        ({"motions": "/nowhere"}, "Option motions=/nowhere is not a folder"),
        ({"interiors": "/nowhere"}, "Option interiors=/nowhere is not a folder"),
        ({"model": "smpl.npz"}, "Option model is posed by AMASS files"),
    ],
)
def test_what_cannot_be_made_is_an_error_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_frames_divide_into_patches(tmp_path):
    with pytest.raises(
        ValueError, match="--size=100x64 does not divide into patches of 16 .*96x64"
    ):
        prepare(tmp_path / "out", size=(100, 64))


def test_folders_of_pictures_hold_a_readable_one(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match="no .jpg, .*file in it"):
        prepare(tmp_path / "out", pictures=str(tmp_path / "pictures"))
    (tmp_path / "pictures/a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no readable picture.*a.jpg is not a readable picture"):
        prepare(tmp_path / "out", pictures=str(tmp_path / "pictures"))


def test_a_damaged_motion_is_a_counted_skip(tmp_path):
    (tmp_path / "motions").mkdir()
    (tmp_path / "motions/broken.bvh").write_text("HIERARCHY\nROOT Hips\n")
    (tmp_path / "motions/walk_poses.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="no readable file.*broken.bvh"):
        prepare(tmp_path / "out", motions=str(tmp_path / "motions"))
    np.savez(
        tmp_path / "motions/walk_poses.npz",
        poses=np.zeros((90, 156)),
        trans=np.zeros((90, 3)),
        mocap_framerate=30.0,
    )
    manifest = prepare(tmp_path / "some", motions=str(tmp_path / "motions"), people=6)
    assert 0 < manifest["counts"]["skipped"] < 24 and manifest["counts"]["frames"] > 0
    assert any("broken.bvh" in reason for _, reason in manifest["skips"])


def live_folder(**options):
    words = {"people": 5, "instants": 2, "views": 2, "supersample": 1, "workers": 1} | options
    return live.PREFIX + "&".join(f"{name}={value}" for name, value in words.items())


def test_live_frames_are_those_of_a_prepared_folder(tmp_path):
    prepare(tmp_path / "out", seed=7)
    stored = records.Frames(tmp_path / "out")
    made = live.Frames(live_folder(people=3, seed=7), (64, 64))
    assert len(made) == len(stored)
    order = {name: i for i, name in enumerate(stored.index["source"])}
    for row in range(0, len(made), 3):
        image, silhouette = made.read(row)
        name = made.index["sequence"][row]
        name += f"/t{made.index['instant'][row]}/camera{made.index['camera'][row]}"
        other, wanted = stored.read(order[name])
        np.testing.assert_array_equal(silhouette, wanted)
        assert np.abs(image.astype(int) - other).mean() < 6  # JPEG


def test_live_pairs_are_the_same_in_processes_and_threads():
    def batch(workers):
        stream = pairs.stream(
            live_folder(workers=workers),
            split="train",
            size=(48, 48),
            patch=16,
            mask={"mode": "human", "ratio": 0.5, "rule": "fixed", "visible": 0},
            change=pair_augmentation.Augment(),
            kinds={"view": 1.0, "pose": 1.0},
            weights=(),
            gap=(1, 0),
            min_fraction=0.0,
            seed=0,
        )
        return stream.elements[3], stream.fingerprint

    (one, mark), (other, same) = batch(1), batch(2)
    assert mark == same
    for name in ("target", "reference", "human"):
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    "text, message",
    [
        ("live?peple=3", "Unknown config option 'peple'"),
        ("live?held_out=1.5", "Option held_out is 1.5, but must be in \\[0, 1\\)"),
        ("live?workers=-1", "Option workers is -1, but must be 0 or more"),
        ("live", "'live' must have the form live\\?people=1000&views=4"),
    ],
)
def test_live_folders_that_cannot_be_are_explained(text, message):
    with pytest.raises(ValueError, match=message):
        live.Frames(text, (64, 64))

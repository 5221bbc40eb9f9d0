"""Datasets of people with labels: files in each one's layout, prepared and read back."""

import dataclasses
import json

import annotated
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data import crop
from crocohuman_jax.data.datasets import h36m, mpi_inf_3dhp, mpii, pw3d
from crocohuman_jax.data.formats import annotations
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.synthetic.graphics import rotations


def test_a_spin_file_gives_squares_joints_and_poses(tmp_path):
    names = ["a/1.jpg", "a/2.jpg", "a/1.jpg"]
    for name in names:
        annotated.photo(tmp_path / name)
    pose, shape = annotated.RNG.normal(size=(3, 72)), annotated.RNG.normal(size=(3, 10))
    known = {"pose": pose, "shape": shape, "has_smpl": np.array([1, 0, 1]), "gender": [*"mfx"]}
    annotated.spin_file(tmp_path / "x_val.npz", names, **known)
    fits = np.zeros((3, 82))
    frames, found, manifest = annotated.prepare(
        "spin_npz", tmp_path, tmp_path / "out", file="x_val.npz"
    )
    assert manifest["counts"]["skipped"] == 0
    assert set(frames.index["split"]) == {"validation"}
    assert frames.index["source"].tolist() == ["a/1.jpg", "a/1.jpg", "a/2.jpg"]
    assert frames.index["subject"].tolist() == ["", "2", ""]
    for row, theirs in enumerate((0, 2, 1)):
        annotated.assert_lands(frames, found, row)
        x, y, side = found[row]["crop"]
        np.testing.assert_allclose([x, y, side], [64, 64, 128 / 1.25], rtol=1e-5)
        ankle = found[row]["joints"][joint_names.PEOPLE.index("left_ankle")]
        np.testing.assert_allclose(ankle, [120, 110, 3, 1])
        if theirs == 1:
            assert not len(found[row]["pose"]) and found[row]["model"] == ""
        else:
            np.testing.assert_allclose(found[row]["pose"].ravel(), pose[theirs], rtol=1e-6)
            np.testing.assert_allclose(found[row]["betas"], shape[theirs], rtol=1e-6)
            assert found[row]["model"] == "smpl"
    assert [r["gender"] for r in found] == ["male", "neutral", ""]

    fits[1] = annotated.RNG.normal(size=82)
    np.save(tmp_path / "fits.npy", fits)
    options = {"file": "x_val.npz", "fits": "fits.npy", "split": "test"}
    frames, fitted, _ = annotated.prepare("spin_npz", tmp_path, tmp_path / "fitted", **options)
    assert set(frames.index["split"]) == {"test"}
    np.testing.assert_allclose(fitted[2]["pose"].ravel(), fits[1, :72], rtol=1e-6)
    assert fitted[2]["gender"] == "female"
    np.testing.assert_array_equal(fitted[0]["pose"], found[0]["pose"])


def test_rows_that_cannot_be_used_are_skipped_and_counted(tmp_path):
    names = ["ok.jpg", "missing.jpg", "torn.jpg", "ok.jpg", "ok.jpg", "ok.jpg"]
    annotated.photo(tmp_path / "ok.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "ok.jpg").read_bytes()[:700])
    pose, scale, center = np.zeros((6, 72)), np.full(6, 0.5), np.tile(annotated.CENTER, (6, 1))
    pose[3, 5], scale[4], center[5, 0] = np.nan, 0, np.nan
    annotated.spin_file(tmp_path / "x.npz", names, pose=pose, scale=scale, center=center)
    frames, _, manifest = annotated.prepare("spin_npz", tmp_path, tmp_path / "out", file="x.npz")
    assert frames.index["source"].tolist() == ["ok.jpg"]
    reasons = sorted(reason for _, reason in manifest["skips"])
    assert len(reasons) == 5
    for reason, part in zip(
        reasons,
        (
            "its crop has a side of 0",
            "its crop holds",
            "its pose hold",
            "not a readable",
            "missing",
        ),
        strict=True,
    ):
        assert part in reason


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scale": np.full((1, 2), 0.5)}, r"scale is \[1, 2\], but must have 1 axes and 1 rows"),
        (
            {"scale": np.array([350.0])},
            "scales are about 350, so squares would have sides of 70000",
        ),
        ({"part": np.zeros((1, 19, 3))}, r"part is \[1, 19, 3\], not \[N, 3\] for 24 joints"),
        ({"pose": np.zeros((1, 75))}, r"pose is \[1, 75\], not \[N, 72\]"),
        ({"S": np.array([None])}, "allow_pickle=False"),
        ({"center": None}, "no center. Found: imgname"),
    ],
)
def test_a_file_of_another_form_is_named_before_anything_is_read(tmp_path, arrays, message):
    annotated.spin_file(tmp_path / "x.npz", ["1.jpg"], **arrays)
    with pytest.raises(ValueError, match=message) as error:
        annotated.plan("spin_npz", tmp_path, file="x.npz")
    assert "x.npz" in str(error.value)


def test_missing_files_and_wrong_options_are_named(tmp_path):
    annotated.spin_file(tmp_path / "x.npz", ["1.jpg"])
    with pytest.raises(ValueError, match=r"Option file must name .* Found: x.npz. Expected"):
        annotated.plan("spin_npz", tmp_path)
    with pytest.raises(ValueError, match=r"There is no .*h36m_train.npz. Found: x.npz"):
        annotated.plan("h36m", tmp_path)
    with pytest.raises(ValueError, match=r"None of 1 pictures .* example .*1.jpg.*option images"):
        annotated.plan("spin_npz", tmp_path, file="x.npz")
    message = "Option split is 'x', but must be auto, train, validation, test"
    with pytest.raises(ValueError, match=message):
        annotated.plan("spin_npz", tmp_path, file="x.npz", split="x")
    with pytest.raises(ValueError, match="Option protocol is 3, but must be 1 or 2"):
        annotated.plan("h36m", tmp_path, protocol=3)
    np.save(tmp_path / "fits.npy", np.zeros((2, 82)))
    with pytest.raises(ValueError, match=r"no fits: it is \[2, 82\], not \[1, 82\]"):
        annotated.plan("spin_npz", tmp_path, file="x.npz", fits="fits.npy")
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(ValueError, match="no list of people: it holds a dict"):
        annotated.plan("mpii", tmp_path, file="list.json")
    with pytest.raises(ValueError, match=r"holds no fits \(KeyError: 'data'\)"):
        annotated.plan("coco_eft", tmp_path, file="list.json")
    with pytest.raises(ValueError, match="has no sequence of 3DPW"):
        annotated.plan("pw3d", tmp_path)


def test_names_of_files_say_their_splits():
    for name, split in {
        "coco_2014_train.npz": "train",
        "h36m_valid_protocol2.npz": "validation",
        "COCO2014-Val-ver10.json": "validation",
        "3dpw_test.npz": "test",
        "latest.npz": "train",
    }.items():
        assert annotations.split_of("auto", name) == split, name
        assert annotations.split_of("test", name) == "test"


@pytest.mark.parametrize("name", ["coco_eft", "mpii"])
def test_labelled_pictures_are_not_turned_by_their_exif_orientation(tmp_path, name):
    """Annotations are of the pixels as they are stored."""
    rows = np.vstack([np.zeros((25, 3)), np.nan_to_num(annotated.points(joint_names.PEOPLE))])
    annotated.eft_file(
        tmp_path / "fit.json", [annotated.eft_person("a.jpg", gt_keypoint_2d=rows.tolist())]
    )
    seen = annotated.points(list(mpii.ORDER))
    person = {
        "image": "a.jpg",
        "center": [101, 66],
        "scale": 0.5,
        "joints_vis": seen[:, 2].tolist(),
    }
    person["joints"] = np.where(seen[:, 2:] > 0, seen[:, :2] + 1, -1).tolist()
    (tmp_path / "list.json").write_text(json.dumps([person]))
    picture = PIL.Image.open(tmp_path / "train2014/a.jpg")
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6  # to be shown turned by a quarter
    picture.save(tmp_path / "train2014/a.jpg", quality=98, exif=exif)
    options = {"file": "fit.json" if name == "coco_eft" else "list.json", "images": "train2014"}
    frames, known, _ = annotated.prepare(name, tmp_path, tmp_path / "out", **options)
    annotated.assert_lands(frames, known, 0)
    assert crop.open_picture(tmp_path / "train2014/a.jpg").size == picture.size[::-1]


def test_mpii_counts_pixels_from_one(tmp_path):
    names = list(mpii.ORDER)
    seen = annotated.points(names)
    person = {"image": "a.jpg", "center": [101, 66], "scale": 0.5}
    person["joints"] = np.where(seen[:, 2:] > 0, seen[:, :2] + 1, -1).tolist()
    person["joints_vis"] = seen[:, 2].tolist()
    nobody = person | {"joints_vis": [0] * 16}
    annotated.photo(tmp_path / "images/a.jpg")
    for stem, split in (("train", "train"), ("valid", "validation")):
        file = tmp_path / f"annot/{stem}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([person, nobody, {"image": "a.jpg"}]))
        options = {"file": f"annot/{stem}.json"}
        frames, known, manifest = annotated.prepare("mpii", tmp_path, tmp_path / stem, **options)
        assert frames.index["split"].tolist() == [split]
        annotated.assert_lands(frames, known, 0)
        middle = annotated.in_source(frames, 0, known[0]["crop"][:2])
        np.testing.assert_allclose(middle, [100, 65 + 0.5 * 15], atol=1e-4)
        side = known[0]["crop"][2] / 128 * np.ptp(frames.index["box"][0][::2])
        np.testing.assert_allclose(side, 0.5 * 1.25 * 200, rtol=1e-5)
        reasons = sorted(reason for _, reason in manifest["skips"])
        assert "none of its joints is seen" in reasons[0] and "KeyError: 'scale'" in reasons[1]


def h36m_names():
    takes = [("S1", "Walking"), ("S9", "Walking"), ("S11", "Eating 1")]
    cameras = ("54138969", "60457274")
    return [
        f"images/{who}_{what}.{camera}_{instant:06d}.jpg"
        for who, what in takes
        for camera in cameras
        for instant in (1, 6)
    ]


@pytest.mark.parametrize("share, held", [(None, 0), (0.0, 0), (0.4, 1)])
def test_of_human36ms_training_whole_subjects_are_held_out_if_asked_for(tmp_path, share, held):
    takes = [(subject, f"{what}.54138969") for subject in ("S1", "S5", "S9") for what in "abc"]
    names = [f"images/{subject}_{rest}_000001.jpg" for subject, rest in takes]
    for name in names:
        annotated.photo(tmp_path / name)
    annotated.spin_file(tmp_path / "h36m_train.npz", names, h36m.ORDER)
    settings = annotated.settings_of("h36m", tmp_path)
    settings = dataclasses.replace(settings, held_out=share)
    splits = pipeline.assign_splits(h36m.plan(settings), settings)
    found = {name: split for name, split in splits.items() if split == "validation"}
    assert len({name.partition("_")[0] for name in found}) == held and len(found) == 3 * held
    assert all(splits[f"S9_{what}"] == "test" for what in "abc")


@pytest.mark.parametrize("order", [joint_names.PEOPLE, h36m.ORDER])
def test_human36m_has_its_subjects_cameras_and_sides(tmp_path, order):
    names = h36m_names()
    for name in names:
        annotated.photo(tmp_path / name)
    annotated.spin_file(tmp_path / "h36m_train.npz", [*names, "images/S1.jpg"], order)
    frames, known, manifest = annotated.prepare("h36m", tmp_path, tmp_path / "out")
    index = frames.index
    for row in range(len(frames)):
        annotated.assert_lands(frames, known, row)
        assert index["split"][row] == ("train" if index["subject"][row] == "S1" else "test")
        ankle = known[row]["joints"][joint_names.PEOPLE.index("left_ankle")]
        np.testing.assert_allclose(ankle, [120, 110, 3, 1])
    counts = manifest["counts"]
    assert counts["train"] == {"frames": 4, "view pairs": 4, "pose pairs": 4}
    assert counts["test"] == {"frames": 8, "view pairs": 8, "pose pairs": 8}
    assert manifest["skips"][0][0] == "images/S1.jpg"

    frames, _, _ = annotated.prepare("h36m", tmp_path, tmp_path / "two", protocol=2)
    assert set(frames.index["camera"]) == {"60457274"} and len(frames) == 4
    assert set(frames.index["subject"]) == {"S9", "S11"}
    annotated.spin_file(tmp_path / "h36m_train.npz", names[:4])
    with pytest.raises(ValueError, match="4 frames, but none of protocol 2"):
        annotated.plan("h36m", tmp_path, protocol=2)


def test_mpi_inf_3dhp_reads_both_ways_of_naming_pictures(tmp_path):
    spin = [
        "S1/Seq2/imageFrames/video_0/frame_000011.jpg",
        "S1/Seq2/imageFrames/video_4/frame_000011.jpg",
    ]
    spin.append("mpi_inf_3dhp_test_set/TS3/imageSequence/img_000007.jpg")
    mmpose = ["S1_Seq2_Cam0_000011.jpg", "S1_Seq2_Cam4_000011.jpg", "TS3_000007.jpg"]
    for form, names, order in (
        ("spin", spin, joint_names.PEOPLE),
        ("mmpose", mmpose, mpi_inf_3dhp.ORDER),
    ):
        for name in names:
            annotated.photo(tmp_path / form / name)
        annotated.spin_file(tmp_path / form / "mpi_inf_3dhp_train.npz", [*names, "odd.jpg"], order)
        output = tmp_path / f"{form}_out"
        frames, known, manifest = annotated.prepare("mpi_inf_3dhp", tmp_path / form, output)
        index = frames.index
        assert index["sequence"].tolist() == ["S1/Seq2", "S1/Seq2", "TS3"]
        assert index["camera"].tolist() == ["0", "4", ""]
        assert index["instant"].tolist() == [11, 11, 7]
        assert index["split"].tolist() == ["train", "train", "test"]
        assert manifest["counts"]["train"]["view pairs"] == 2
        assert manifest["counts"]["skipped"] == 1
        for row in range(3):
            annotated.assert_lands(frames, known, row)


def test_3dpw_keeps_what_the_benchmark_keeps_and_turns_roots_to_the_camera(tmp_path):
    content = annotated.sequence_3dpw()
    content["campose_valid"][0][0] = 0
    content["poses2d"][0][1] = 0
    annotated.write_3dpw(tmp_path, content)
    annotated.write_3dpw(tmp_path, annotated.sequence_3dpw(2, 1), "train", "run_00")
    frames, known, manifest = annotated.prepare("pw3d", tmp_path, tmp_path / "out")
    index = frames.index
    test = index["split"] == "test"
    assert set(index["sequence"][test]) == {"walk_00"} and (~test).sum() == 2
    for person, instants in (("0", [2, 3, 4, 5]), ("1", [0, 1, 2, 3, 4, 5])):
        mine = test & (index["subject"] == person)
        assert sorted(index["instant"][mine]) == instants
    assert manifest["counts"]["test"]["pose pairs"] == 4 * 3 + 6 * 5
    reasons = [reason for _, reason in manifest["skips"]]
    assert reasons == ["1 frames without a valid camera", "1 frames without keypoints"]
    for row in np.flatnonzero(test):
        person, instant = int(index["subject"][row]), index["instant"][row]
        annotated.assert_lands(frames, known, row)
        labels_here, theirs = known[row], content["poses"][person][instant].reshape(24, 3)
        root = content["cam_poses"][instant, :3, :3] @ rotations.from_vector(theirs[0])
        np.testing.assert_allclose(rotations.from_vector(labels_here["pose"][0]), root, atol=1e-5)
        np.testing.assert_allclose(labels_here["pose"][1:], theirs[1:], rtol=1e-5)
        np.testing.assert_allclose(labels_here["betas"], content["betas"][person][:10], rtol=1e-5)
        assert labels_here["gender"] == ("male", "female")[person]
        hull = annotated.in_source(frames, row, labels_here["crop"][:2])
        np.testing.assert_allclose(hull, [95, 86], atol=1e-4)
        box = frames.index["box"][row]
        np.testing.assert_allclose(labels_here["crop"][2] / 128 * (box[2] - box[0]), 1.2 * 52, 1e-4)
        scale = 128 / (box[2] - box[0])
        np.testing.assert_allclose(labels_here["intrinsics"][:2], [190 * scale, 191 * scale], 1e-4)


def test_3dpws_pickles_are_never_opened_but_converted(tmp_path):
    folder = tmp_path / "sequenceFiles/test"
    folder.mkdir(parents=True)
    (folder / "walk_00.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="crocohuman_jax.convert 3dpw --source="):
        annotated.plan("pw3d", tmp_path)
    for change, message in (
        ({"poses": [np.zeros((3, 72))] * 2}, r"trans .*is \(2, 6, 3\), but must be \(2, 3, 3\)"),
        ({"genders": ["m", "x"]}, "a gender is 'x', but must be 'm' or 'f'"),
        ({"poses2d": [np.zeros((6, 3, 18)), np.zeros((5, 3, 18))]}, "poses2d .* cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            pw3d.plain(annotated.sequence_3dpw() | change)
    with pytest.raises(ValueError, match="not a sequence of 3DPW: it has no betas"):
        pw3d.plain({k: v for k, v in annotated.sequence_3dpw().items() if k != "betas"})


def forward(table):
    """How far knees bend forwards, if left is left: left x up is forwards (metres cubed)."""
    at = {name: table[joint_names.PEOPLE.index(name), :3] for name in joint_names.PEOPLE}
    across = at["left_hip_lsp"] - at["right_hip_lsp"]
    bend = sum(
        at[f"{s}_knee"] - (at[f"{s}_hip_lsp"] + at[f"{s}_ankle"]) / 2 for s in ("left", "right")
    )
    return np.cross(across, at["neck_lsp"] - at["pelvis_mpii"]) @ bend


def test_real_rows_of_human36m_agree_in_both_forms(samples):
    folder = samples / "h36m/annotation_body3d"
    names, boxes, ours = annotations.spin(folder / "sample_h36m_body3d.npz", "", h36m.ORDER)
    again, same, spin = annotations.spin(folder / "sample_h36m.npz", "", h36m.ORDER)
    assert [name.rpartition("/")[2] for name in names] == again and boxes == same
    both = (ours["part"][..., 2] > 0) & (spin["part"][..., 2] > 0)
    assert both.sum() == 3 * 17
    np.testing.assert_allclose(ours["part"][both], spin["part"][both], atol=0.1)
    np.testing.assert_allclose(ours["S"][both], spin["S"][both], atol=2e-3)
    assert all(h36m.NAME.fullmatch(name) for name in again)
    assert all(forward(table) > 0 for table in ours["S"])


def test_real_rows_of_mpi_inf_3dhp_prepare(samples, tmp_path):
    for part, split, sequence in (("train", "train", "S4/Seq2"), ("test", "test", "TS1")):
        file = f"annotations/sample_3dhp_{part}.npz"
        options = {"file": file, "images": "images"}
        output = tmp_path / part
        frames, known, _ = annotated.prepare(
            "mpi_inf_3dhp", samples / "mpi_inf_3dhp", output, **options
        )
        assert frames.index["split"].tolist() == [split]
        assert frames.index["sequence"].tolist() == [sequence]
        theirs = np.load(samples / "mpi_inf_3dhp" / file)
        order = joint_names.positions(mpi_inf_3dhp.ORDER, joint_names.PEOPLE)
        points = annotated.in_source(frames, 0, known[0]["keypoints"][order, :2])
        np.testing.assert_allclose(points, theirs["part"][0, :, :2], atol=0.01)
        assert forward(known[0]["joints"]) > 0


def test_real_rows_of_mpii_prepare(samples, tmp_path):
    options = {"file": "annot/valid.json"}
    frames, known, manifest = annotated.prepare(
        "mpii", samples / "mpii", tmp_path / "out", **options
    )
    assert manifest["counts"]["skipped"] == 0 and len(frames) == 3
    people = {p["image"]: p for p in json.loads((samples / "mpii/annot/valid.json").read_text())}
    order = joint_names.positions(mpii.ORDER, joint_names.PEOPLE)
    for row in range(3):
        person = people[frames.index["source"][row].removeprefix("images/")]
        seen = np.array(person["joints_vis"]) > 0
        rows = known[row]["keypoints"][order]
        assert ((rows[:, 2] > 0) == seen).all()
        wanted = np.array(person["joints"])[seen] - 1
        np.testing.assert_allclose(
            annotated.in_source(frames, row, rows[seen, :2]), wanted, atol=0.01
        )


def test_a_real_picture_of_3dpw_lies_where_it_is_looked_for(samples, tmp_path):
    name, instant = "courtyard_rangeOfMotions_00", 311
    content = annotated.sequence_3dpw(instant + 1, 1)
    x, y, width, height = np.load(samples / "3dpw/mmhuman3d_sample_3dpw_train.npz")["bbox_xywh"][0]
    content["poses2d"][0][:-1] = 0
    content["poses2d"][0][-1, :2, :2] = [[x, x + width], [y, y + height]]
    content["poses2d"][0][-1, 2, :2] = 1
    content["poses2d"][0][-1, :, 2:] = 0
    path = tmp_path / f"sequenceFiles/train/{name}.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, **pw3d.plain(content))
    images = str(samples / "3dpw/imageFiles")
    frames, known, _ = annotated.prepare("pw3d", tmp_path, tmp_path / "out", images=images)
    assert frames.index["instant"].tolist() == [instant] and known[0]["gender"] == "male"
    assert frames.read(0)[0].std() > 20

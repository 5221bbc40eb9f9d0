"""FreiHAND and HanCo: files in the layout of each, prepared and read back."""

import annotated
import numpy as np
import pytest

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import labels, records
from crocohuman_jax.synthetic.graphics import rotations


def prepare(name, source, output, size=(32, 32), **changes):
    """Prepares a dataset; returns its frames, their labels and the manifest."""
    known = {field: changes.pop(field) for field in ("held_out", "held_out_by") if field in changes}
    settings = annotated.settings_of(name, source, **changes)
    settings = pipeline.Settings(name, source, settings.options, size=size, **known)
    manifest = pipeline.prepare(settings, output, 1, lambda *_: None)
    frames, found = records.Frames(output), labels.Labels(output)
    assert len(frames) == len(found) and found.names == joint_names.HAND
    return frames, [found.read(row) for row in range(len(frames))], manifest


def pixels(camera, xyz):
    found = xyz @ camera.T
    return found[..., :2] / found[..., 2:]


def assert_joints_land(known):
    """The joints, through the intrinsics, are at the keypoints."""
    fx, fy, cx, cy = known["intrinsics"]
    xyz = known["joints"][:, :3]
    mine = xyz[:, :2] / xyz[:, 2:] * [fx, fy] + [cx, cy]
    np.testing.assert_allclose(known["keypoints"][:, :2], mine, atol=1e-3)
    assert np.all(known["keypoints"][:, 2] == 1) and np.all(known["joints"][:, 3] == 1)


def shot(source, count):
    """The hand that a picture to train shows."""
    return int(source.rpartition("/")[2][:-4]) % count


def test_freihands_versions_have_the_labels_of_their_hand_and_stay_together(tmp_path):
    tables = annotated.freihand(tmp_path / "in", 4)
    frames, known, manifest = prepare("freihand", tmp_path / "in", tmp_path / "out", held_out=0.1)
    index = frames.index
    assert manifest["counts"]["skipped"] == 0 and len(frames) == 16
    assert manifest["counts"]["train"]["frames"] == 12  # one hand of four is held out
    assert manifest["counts"]["validation"]["frames"] == 4
    assert manifest["counts"]["train"]["view pairs"] == 0
    for row, source in enumerate(index["source"]):
        i = shot(source, 4)
        assert index["sequence"][row] == f"training/{i:08d}"
        mine = index["split"][index["sequence"] == index["sequence"][row]]
        assert len(mine) == 4 and len(set(mine)) == 1
        here = known[row]
        np.testing.assert_allclose(here["joints"][:, :3], tables["xyz"][i], rtol=1e-5)
        np.testing.assert_allclose(here["vertices"], tables["verts"][i], rtol=1e-5)
        np.testing.assert_allclose(here["pose"].ravel(), tables["mano"][i, 0, :48], rtol=1e-5)
        np.testing.assert_allclose(here["betas"], tables["mano"][i, 0, 48:58], rtol=1e-5)
        assert (here["model"], here["gender"]) == ("mano_right", "")
        assert_joints_land(here)
        wanted = pixels(annotated.HAND_CAMERA, tables["xyz"][i]) * 32 / annotated.HAND_SIDE
        np.testing.assert_allclose(here["keypoints"][:, :2], wanted, atol=1e-3)
        np.testing.assert_allclose(here["crop"], [16, 16, 32], atol=1e-4)
        image, silhouette = frames.read(row)[:2]
        # Which picture it is, for each is of another grey.
        assert abs(int(image[8, 8, 0]) - 20 - 10 * int(source[-12:-4])) <= 4
        assert silhouette[:, :15].all() and not silhouette[:, 17:].any()


def test_freihands_versions_are_chosen_by_their_place_among_the_pictures(tmp_path):
    annotated.freihand(tmp_path / "in", 3)
    frames, _, _ = prepare("freihand", tmp_path / "in", tmp_path / "out", versions="auto+hom")
    numbers = {int(source[-12:-4]) for source in frames.index["source"]}
    assert numbers == {3, 4, 5, 9, 10, 11}


def test_published_splits_stay_whole_unless_a_share_is_asked_for(tmp_path):
    annotated.freihand(tmp_path / "hands", 24, versions=2, masks=False)
    options = {"versions": "gs+hom", "masks": ""}
    frames, _, _ = prepare("freihand", tmp_path / "hands", tmp_path / "freihand", **options)
    assert set(frames.index["split"]) == {"train"}
    annotated.hanco(tmp_path / "views", (1,) * 6, [1, 2] * 3, masks=False)
    frames, _, _ = prepare("hanco", tmp_path / "views", tmp_path / "hanco", masks="")
    assert set(frames.index["split"]) == {"train"}


def test_a_few_of_hancos_sequences_are_held_out_by_subject(tmp_path):
    annotated.hanco(tmp_path / "in", (6,) * 4, [1, 2, 1, 2], masks=False)
    frames, _, _ = prepare("hanco", tmp_path / "in", tmp_path / "out", masks="", held_out=0.1)
    held = frames.index["split"] == "validation"
    assert len(set(frames.index["subject"][held])) == 1
    assert not set(frames.index["subject"][held]) & set(frames.index["subject"][~held])


def test_many_of_freihands_hands_are_held_out_whole(tmp_path):
    annotated.freihand(tmp_path / "in", 24, versions=2, masks=False)
    options = {"versions": "gs+hom", "masks": "", "held_out": 0.25}
    frames, _, _ = prepare("freihand", tmp_path / "in", tmp_path / "out", **options)
    held = frames.index["split"] == "validation"
    assert held.sum() == 12
    assert not set(frames.index["sequence"][held]) & set(frames.index["sequence"][~held])


def test_a_hull_is_a_square_around_the_joints(tmp_path):
    tables = annotated.freihand(tmp_path / "in", 3, versions=1)
    options = {"versions": "gs", "box": "hull"}
    frames, known, _ = prepare("freihand", tmp_path / "in", tmp_path / "out", **options)
    for row, source in enumerate(frames.index["source"]):
        seen = pixels(annotated.HAND_CAMERA, tables["xyz"][shot(source, 3)])
        low, high = seen.min(0), seen.max(0)
        found = annotated.in_source(frames, row, known[row]["keypoints"][:, :2])
        np.testing.assert_allclose(found, seen, atol=1e-3)
        middle = annotated.in_source(frames, row, known[row]["crop"][:2])
        np.testing.assert_allclose(middle, (low + high) / 2, atol=1e-3)
        x0, _, x1, _ = frames.index["box"][row]
        side = known[row]["crop"][2] / 32 * (x1 - x0)
        np.testing.assert_allclose(side, 1.5 * (high - low).max(), rtol=1e-4)
        assert_joints_land(known[row])


def test_the_evaluation_sets_order_is_that_of_its_lists(tmp_path):
    annotated.freihand(tmp_path / "in", 2)
    tables = annotated.freihand(tmp_path / "eval", 40, "evaluation", versions=1)
    options = {"evaluation": "../eval"}
    frames, known, _ = prepare("freihand", tmp_path / "in", tmp_path / "out", **options)
    rows = np.flatnonzero(frames.index["split"] == "test")
    assert frames.index["instant"][rows].tolist() == list(range(40))
    assert set(frames.index["sequence"][rows]) == {"evaluation"}
    for i, row in enumerate(rows):
        assert frames.index["source"][row] == f"../eval/evaluation/rgb/{i:08d}.jpg"
        np.testing.assert_allclose(known[row]["joints"][:, :3], tables["xyz"][i], rtol=1e-5)
        assert_joints_land(known[row])
    assert not frames.index["silhouette"][rows].any()


def test_an_evaluation_set_without_answers_has_cameras_and_no_labels(tmp_path):
    tables = {"K": np.tile(annotated.HAND_CAMERA, (5, 1, 1))}
    annotated.freihand(tmp_path / "in", 5, "evaluation", tables, versions=1)
    frames, known, manifest = prepare("freihand", tmp_path / "in", tmp_path / "out")
    assert set(frames.index["split"]) == {"test"} and manifest["counts"]["skipped"] == 0
    for here in known:
        np.testing.assert_allclose(
            here["intrinsics"], np.array([60, 61, 22, 25]) * 32 / annotated.HAND_SIDE
        )
        assert here["model"] == ""
        assert not any(len(here[name]) for name in ("keypoints", "joints", "pose", "vertices"))
    with pytest.raises(ValueError, match="box=hull .* comes without evaluation_xyz.json"):
        annotated.plan("freihand", tmp_path / "in", box="hull")


def test_hands_that_cannot_be_used_are_skipped_and_counted(tmp_path):
    tables = annotated.freihand_tables(8)
    tables["mano"][1, 0, 3] = np.nan
    tables["xyz"][2, 4, 1] = np.nan
    tables["xyz"][3, 4, 2] = -0.1
    tables["verts"][4, 7] = np.inf
    folder = tmp_path / "in"
    annotated.freihand(folder, 8, tables=tables, versions=1)
    (folder / "training/rgb/00000005.jpg").unlink()
    torn = folder / "training/rgb/00000006.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    (folder / "training/mask/00000007.jpg").unlink()
    frames, _, manifest = prepare("freihand", folder, tmp_path / "out", versions="gs")
    assert frames.index["source"].tolist() == ["training/rgb/00000000.jpg"]
    reasons = {name.split()[0][-12:-4]: reason for name, reason in manifest["skips"]}
    assert manifest["counts"]["skipped"] == len(reasons) == 7
    for i, part in enumerate(
        (
            "its pose hold numbers that are not finite",
            "its keypoints hold numbers that are not finite",
            "its joints are not all before the camera",
            "its vertices hold numbers that are not finite",
            "the file is missing",
            "not a readable picture",
            "its mask 00000007.jpg: the file is missing",
        ),
        start=1,
    ):
        assert part in reasons[f"{i:08d}"]


def test_a_mask_of_another_size_is_no_mask(tmp_path):
    annotated.freihand(tmp_path / "in", 2, versions=1)
    annotated.hand_photo(tmp_path / "in/training/mask/00000001.jpg", 255, (20, 30))
    _, _, manifest = prepare("freihand", tmp_path / "in", tmp_path / "out", versions="gs")
    (_, reason), *more = manifest["skips"]
    assert (
        reason == "its mask 00000001.jpg: it is (20, 30) pixels, the picture (48, 48)" and not more
    )


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"xyz": np.ones((3, 21, 3))}, r"_K.json has 2 entries, .*_xyz.json 3, but .* same hands"),
        ({"K": np.ones((2, 9))}, r"_K.json .* entry 0: entry 0 is \[9\], not \[3, 3\]"),
        (
            {"K": "[[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0"},
            r"_K.json cannot be read, at entry 1",
        ),
        ({"K": "[[[1, 0, 0], [0, 1, 0], [0, 0, 1]]"}, r"_K.json is cut off after 1 entries"),
        ({"mano": "[[1, [2, 3]]]"}, r"_mano.json cannot be read, at entry 0"),
        ({"mano": '{"a": 1}'}, r"_mano.json .* it begins with .*, not with a list"),
        ({"mano": np.ones((2, 58))}, r"_mano.json .* entry 0 is \[58\], not \[61\]"),
    ],
)
def test_a_list_of_another_form_is_named_before_anything_is_read(tmp_path, tables, message):
    annotated.freihand(tmp_path, 2, tables=annotated.freihand_tables(2) | tables, versions=1)
    with pytest.raises(ValueError, match=message):
        annotated.plan("freihand", tmp_path)


def test_what_is_missing_of_freihand_and_unknown_options_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"neither training_K.json.*Expected:\nDIR/training_\{K"):
        annotated.plan("freihand", tmp_path)
    annotated.freihand(tmp_path, 2, versions=1, masks=False)
    with pytest.raises(ValueError, match=r"no folder .*mask. To read no masks, set option masks="):
        annotated.plan("freihand", tmp_path)
    with pytest.raises(
        ValueError, match=r"versions is 'gs\+blue', .* Known: gs, hom, sample, auto"
    ):
        annotated.plan("freihand", tmp_path, versions="gs+blue")
    with pytest.raises(ValueError, match=r"versions is 'gs\+gs'"):
        annotated.plan("freihand", tmp_path, versions="gs+gs")
    with pytest.raises(ValueError, match=r"Unknown option box=tight. Known: picture, hull"):
        annotated.plan("freihand", tmp_path, box="tight")
    with pytest.raises(ValueError, match=r"no .*other/evaluation_K.json \(option evaluation\)"):
        annotated.plan("freihand", tmp_path, evaluation="other")
    (tmp_path / "training_verts.json").unlink()
    with pytest.raises(ValueError, match=r"has no training_verts.json. Expected"):
        annotated.plan("freihand", tmp_path, masks="")


def where(frames, row):
    """The sequence, instant and camera of a frame."""
    index = frames.index
    return int(index["sequence"][row]), int(index["instant"][row]), int(index["camera"][row])


def test_hancos_cameras_see_one_hand_each_in_its_own_axes(tmp_path):
    written = annotated.hanco(tmp_path / "in")
    frames, known, manifest = prepare("hanco", tmp_path / "in", tmp_path / "out", held_out=0)
    index, counts = frames.index, manifest["counts"]
    assert counts["skipped"] == 0 and counts["sequences"] == 2
    assert counts["train"] == {
        "frames": 5 * 8,
        "view pairs": 5 * 8 * 7,
        "pose pairs": 8 * (3 * 2 + 2),
    }
    for row, here in enumerate(known):
        sid, fid, cid = where(frames, row)
        theirs = written[sid, fid]
        turn, move = theirs["M"][cid, :3, :3], theirs["M"][cid, :3, 3]
        xyz = np.array([turn @ point + move for point in theirs["xyz"]])
        np.testing.assert_allclose(here["joints"][:, :3], xyz, atol=1e-6)
        wanted = pixels(theirs["K"][cid], xyz)
        found = annotated.in_source(frames, row, here["keypoints"][:, :2])
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        assert_joints_land(here)
        np.testing.assert_allclose(here["pose"].ravel(), theirs["fits"][cid, :48], rtol=1e-5)
        np.testing.assert_allclose(here["betas"], theirs["fits"][cid, 48:58], rtol=1e-5)
        assert here["model"] == "mano_right" and not len(here["vertices"])
        assert index["subject"][row] == str(7 + sid)
        silhouette = frames.read(row)[1]
        assert silhouette[:, :15].all() and not silhouette[:, 17:].any()
        same = index["view_group"] == index["view_group"][row]
        assert same.sum() == 8 and set(index["instant"][same]) == {fid}
        still = index["pose_group"] == index["pose_group"][row]
        assert set(index["camera"][still]) == {str(cid)} and set(index["sequence"][still]) == {
            f"{sid:04d}"
        }


def test_hancos_fit_of_the_world_is_turned_to_the_camera(tmp_path):
    written = annotated.hanco(tmp_path / "in", (1,), (7,))
    for path in (tmp_path / "in/shape").glob("*/cam*/*.json"):
        path.unlink()
    frames, known, manifest = prepare("hanco", tmp_path / "in", tmp_path / "out", held_out=0)
    assert len(frames) == 8 and not manifest["skips"]
    for row, here in enumerate(known):
        sid, fid, cid = where(frames, row)
        theirs = written[sid, fid]
        pose = theirs["poses"].reshape(16, 3)
        root = theirs["M"][cid, :3, :3] @ rotations.from_vector(pose[0])
        np.testing.assert_allclose(rotations.from_vector(here["pose"][0]), root, atol=1e-5)
        np.testing.assert_allclose(here["pose"][1:], pose[1:], rtol=1e-5)
        np.testing.assert_allclose(here["betas"], theirs["shapes"][0], rtol=1e-5)


def test_hancos_subjects_are_held_out_whole(tmp_path):
    subjects = [1, 2, 1, 2, 1, 2]
    annotated.hanco(tmp_path / "in", (1,) * 6, subjects, masks=False)
    options = {"masks": "", "held_out_by": "sequence", "held_out": 0.3}
    frames, _, _ = prepare("hanco", tmp_path / "in", tmp_path / "out", **options)
    held = frames.index["split"] == "validation"
    assert held.sum() == 3 * 8 and len(set(frames.index["subject"][held])) == 1
    assert not set(frames.index["subject"][held]) & set(frames.index["subject"][~held])


def test_only_validated_fits_are_used_unless_others_are_asked_for(tmp_path):
    valid, fits = [[True, False, False], [True, True]], [[True, True, False], [True, True]]
    annotated.hanco(tmp_path, masks=False, is_valid=valid, has_fit=fits)
    found = annotated.plan("hanco", tmp_path, masks="")
    assert len(found.jobs) == 3
    assert found.skips == (("0000", "2 frames without a validated fit"),)
    found = annotated.plan("hanco", tmp_path, masks="", valid=False)
    assert len(found.jobs) == 4 and found.skips == (("0000", "1 frames without a fit"),)


def test_other_backgrounds_exist_only_where_the_screen_was_green(tmp_path):
    annotated.hanco(tmp_path, masks=False, is_train=[[True, True, False], [False, False]])
    (tmp_path / "rgb").rename(tmp_path / "rgb_homo")
    found = annotated.plan("hanco", tmp_path, masks="", images="rgb_homo")
    sources = [frame.source for job in found.jobs for frame in job.frames]
    assert len(sources) == 16 and sources[9] == "rgb_homo/0000/cam1/00000001.jpg"
    assert [reason[:8] for _, reason in found.skips] == ["1 frames", "2 frames"]
    with pytest.raises(ValueError, match=r"No frame of .*\n  0000: its folder in rgb is missing"):
        annotated.plan("hanco", tmp_path, masks="")


def test_frames_that_hanco_lacks_or_spoils_are_skipped_and_counted(tmp_path):
    folder = tmp_path / "in"
    written = annotated.hanco(folder, (9,), (7,), masks=False)
    (folder / "rgb/0000/cam3/00000001.jpg").unlink()
    (folder / "rgb/0000/cam4/00000001.jpg").write_text("no picture")
    (folder / "calib/0000/00000002.json").unlink()
    xyz = folder / "xyz/0000/00000003.json"
    xyz.write_text(xyz.read_text()[:40])
    annotated.write_json(folder / "xyz/0000/00000004.json", [[0, 0, float("nan")]] * 21)
    annotated.write_json(folder / "shape/0000/cam0/00000005.json", [float("nan")] * 61)
    theirs = written[0, 6]
    annotated.write_json(
        folder / "calib/0000/00000006.json", {"K": theirs["K"].reshape(8, 9).tolist(), "M": []}
    )
    annotated.write_json(folder / "calib/0000/00000007.json", {"K": theirs["K"].tolist()})
    for path in folder.glob("shape/0000/**/00000008.json"):
        path.unlink()
    options = {"masks": "", "held_out": 0}
    frames, _, manifest = prepare("hanco", folder, tmp_path / "out", **options)
    reasons = {}
    for name, reason in manifest["skips"]:
        reasons.setdefault(int(name.split("/")[-1][:8]), []).append(reason)
    assert {i: len(mine) for i, mine in reasons.items()} == {
        **{1: 2, 2: 8, 3: 8, 4: 8, 5: 1, 6: 8, 7: 8, 8: 8}
    }
    assert len(frames) == 9 * 8 - 51 and manifest["counts"]["skipped"] == 51
    for instant, part in {
        1: "the file is missing",
        2: "calib/0000/00000002.json is missing",
        3: "00000003.json of",
        4: "xyz/0000/00000004.json: its array holds numbers that are not finite",
        5: "shape/0000/cam0/00000005.json: its array holds numbers that are not finite",
        6: "its K is [8, 9], not [8, 3, 3]",
        7: "holds no M: 'M'",
        8: "shape/0000/00000008.json is missing",
    }.items():
        assert part in reasons[instant][0]
    assert "not a readable picture" in reasons[1][1]


def test_hanco_without_fits_has_joints_alone(tmp_path):
    annotated.hanco(tmp_path / "in", (1,), (None,), masks=False)
    options = {"masks": "", "shapes": "", "held_out": 0}
    _, known, _ = prepare("hanco", tmp_path / "in", tmp_path / "out", **options)
    for here in known:
        assert len(here["joints"]) == 21 and not len(here["pose"]) and here["model"] == ""


def test_what_is_missing_of_hanco_and_unknown_options_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"meta.json cannot be read: .*Expected:\nDIR/meta.json"):
        annotated.plan("hanco", tmp_path)
    with pytest.raises(ValueError, match=r"images=depth. Known: rgb, rgb_merged, rgb_homo"):
        annotated.plan("hanco", tmp_path, images="depth")
    annotated.hanco(tmp_path, (1,), (7,), masks=False)
    with pytest.raises(ValueError, match=r"no folder .*mask_hand. .* options masks= or shapes="):
        annotated.plan("hanco", tmp_path)
    annotated.write_json(tmp_path / "meta.json", {"is_train": []})
    with pytest.raises(ValueError, match="it has no subject_id, is_valid, has_fit"):
        annotated.plan("hanco", tmp_path)
    meta = {name: [[True]] for name in ("is_train", "subject_id", "is_valid", "has_fit")}
    annotated.write_json(tmp_path / "meta.json", meta | {"has_fit": [[True], [True]]})
    with pytest.raises(ValueError, match="is_train has 1 sequences, has_fit 2"):
        annotated.plan("hanco", tmp_path)
    annotated.write_json(tmp_path / "meta.json", meta | {"is_valid": [[True, False]]})
    with pytest.raises(ValueError, match="sequence 0 has 1 frames in is_train, 2 in is_valid"):
        annotated.plan("hanco", tmp_path)
    (tmp_path / "meta.json").write_text('{"is_train": [[tr')
    with pytest.raises(ValueError, match="meta.json cannot be read: Expecting value"):
        annotated.plan("hanco", tmp_path)

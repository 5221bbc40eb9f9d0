"""EFT's fits of COCO: its files, prepared and read back."""

import json
import re

import annotated
import numpy as np
import pytest

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.datasets import coco_eft
from crocohuman_jax.synthetic.graphics import rotations


def test_efts_cameras_poses_and_keypoints_become_ours(tmp_path):
    rows = np.vstack([np.zeros((25, 3)), np.nan_to_num(annotated.points(joint_names.PEOPLE))])
    people = [
        annotated.eft_person("a.jpg", gt_keypoint_2d=rows.tolist()),
        annotated.eft_person("b.jpg"),
    ]
    annotated.eft_file(tmp_path / "fit.json", people)
    frames, known, _ = annotated.prepare("coco_eft", tmp_path, tmp_path / "out", file="fit.json")
    assert set(frames.index["split"]) == {"train"}
    annotated.assert_lands(frames, known, 0)
    assert not len(known[1]["keypoints"])
    body = annotated.RNG.normal(size=(50, 3))
    for row, person in enumerate(people):
        matrices = rotations.from_vector(known[row]["pose"])
        np.testing.assert_allclose(matrices, person["parm_pose"], atol=1e-5)
        s, tx, ty = person["parm_cam"]
        theirs = s * body[:, :2] + [tx, ty]
        s, tx, ty = known[row]["camera"]
        np.testing.assert_allclose(s * (body[:, :2] + [tx, ty]), theirs, atol=1e-5)
        assert (known[row]["model"], known[row]["gender"]) == ("smpl", "neutral")
        np.testing.assert_allclose(known[row]["betas"], person["parm_shape"], rtol=1e-5)


def test_eft_without_keypoints_takes_those_of_the_annotations_it_refers_to(tmp_path, caplog):
    rows = np.vstack([np.zeros((25, 3)), np.nan_to_num(annotated.points(joint_names.PEOPLE))])
    people = [
        annotated.eft_person("a.jpg", annotId=5),
        annotated.eft_person("b.jpg", annotId=6),
        annotated.eft_person("c.jpg", annotId=7, gt_keypoint_2d=rows.tolist()),
    ]
    annotated.eft_file(tmp_path / "fit.json", people)
    file = tmp_path / "person_keypoints_train2014.json"
    seen = np.nan_to_num(annotated.points(list(coco_eft.COCO)))
    seen[:, 2] *= 2  # COCO's number for a joint that is seen
    seen[coco_eft.COCO.index("left_ankle"), 2] = 1  # and for a hidden one
    found = [{"id": i, "keypoints": seen.ravel().tolist()} for i in (5, 99)]
    file.write_text(json.dumps({"images": [], "annotations": found}))
    options = {"file": "fit.json", "annotations": file.name}
    frames, known, manifest = annotated.prepare("coco_eft", tmp_path, tmp_path / "out", **options)
    annotated.assert_lands(frames, known, 0)
    assert not len(known[1]["keypoints"])
    annotated.assert_lands(frames, known, 2)
    (remark,) = manifest["remarks"]
    assert (
        remark.startswith("1 of 3 people in fit.json have no keypoints") and remark in caplog.text
    )
    whole = annotated.prepare("coco_eft", tmp_path, tmp_path / "none", file="fit.json")[2]
    assert whole["remarks"][0].startswith("2 of 3 people") and "annotations=" in whole["remarks"][0]
    assert whole["fingerprint"] != manifest["fingerprint"]
    file.write_text(json.dumps({"annotations": found[1:]}))
    with pytest.raises(ValueError, match="none of the 3 annotations that the fits refer to"):
        annotated.plan("coco_eft", tmp_path, **options)
    with pytest.raises(ValueError, match=r"no keypoints of COCO \(FileNotFoundError"):
        annotated.plan("coco_eft", tmp_path, file="fit.json", annotations="no.json")


def test_real_annotations_of_coco_have_the_form_that_eft_refers_to(samples, tmp_path):
    (file,) = (samples / "coco/annotations").glob("person_keypoints_*.json")
    theirs = [a for a in json.loads(file.read_text())["annotations"] if a["num_keypoints"]]
    people = [annotated.eft_person("a.jpg", annotId=a["id"]) for a in theirs]
    annotated.eft_file(tmp_path / "fit.json", people)
    options = {"file": "fit.json", "annotations": str(file)}
    (job,) = annotated.plan("coco_eft", tmp_path, **options).jobs
    for row, item in zip(job.extra["part"], theirs, strict=True):
        points = np.array(item["keypoints"]).reshape(17, 3)
        mine = row[joint_names.positions(coco_eft.COCO, joint_names.PEOPLE)]
        np.testing.assert_array_equal(mine[:, 2], points[:, 2] > 0)
        np.testing.assert_allclose(mine[:, :2], points[:, :2] * (points[:, 2:] > 0))
        assert (row[:, 2] > 0).sum() == item["num_keypoints"]


def test_people_whom_eft_describes_badly_are_skipped_with_a_reason(tmp_path):
    bad = {
        r"its parm_pose is \(24, 9\)": {"parm_pose": np.zeros((24, 9)).tolist()},
        "its parm_pose are not rotations": {"parm_pose": np.ones((24, 3, 3)).tolist()},
        "its parm_shape holds numbers that are not finite": {"parm_shape": [float("nan")] * 10},
        "its camera has a scale of 0": {"parm_cam": [0, 0, 0]},
        "KeyError: 'bbox_center'": {"bbox_center": ...},
        r"its gt_keypoint_2d is \(18, 3\)": {"gt_keypoint_2d": np.zeros((18, 3)).tolist()},
    }
    people = [annotated.eft_person("a.jpg", **change) for change in bad.values()]
    people = [{k: v for k, v in person.items() if v is not ...} for person in people]
    annotated.eft_file(tmp_path / "fit.json", [*people, annotated.eft_person("a.jpg")])
    found = annotated.plan("coco_eft", tmp_path, file="fit.json")
    assert sum(len(job.frames) for job in found.jobs) == 1
    for (_, reason), wanted in zip(found.skips, bad, strict=True):
        assert re.search(wanted, reason), reason


def test_efts_files_are_as_long_as_their_names_say(tmp_path):
    annotated.eft_file(tmp_path / "COCO2014-Part-ver01.json", [annotated.eft_person("a.jpg")])
    with pytest.raises(ValueError, match=r"1 people, but .* should have 28062.* 74834 .*README"):
        annotated.plan("coco_eft", tmp_path)

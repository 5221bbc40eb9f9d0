"""Evaluations and predictions of a fine-tuned run, as a user makes them."""

import dataclasses
import json
import subprocess
import sys

import annotated
import crowds
import numpy as np
import PIL.Image
import pytest
import runs
import trimesh

from configs import mesh
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import synthetic_truth
from crocohuman_jax.data.streams import labelled_people
from crocohuman_jax.evaluation import protocol, runner
from crocohuman_jax.inference import photographs
from crocohuman_jax.tasks.mesh import results
from crocohuman_jax.training import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return crowds.builtin(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """The workdir of a debug run on hands."""
    config = mesh.get_config("debug,body=open_hand_right")
    config.data.folders, config.mesh = str(folder), runs.ONE
    config.total, config.report.tensorboard = "2", False
    config.report.evaluate = config.checkpoint.save = "100%"
    config.mesh = {"data": 8, "fsdp": 1, "tensor": 1}
    workdir = tmp_path_factory.mktemp("mesh") / "run"
    loop.train(config, workdir)
    return workdir


def evaluate(workdir, **changes):
    return runner.evaluate(workdir, **{"batch": 3, "pictures": 2} | changes)


def predict(run, images, output, **changes):
    return photographs.predict(run, [str(image) for image in images], output, **changes)


def test_an_evaluation_measures_everybody_and_keeps_its_protocol(run, tmp_path):
    text = evaluate(run, output=str(tmp_path / "out"))
    result = protocol.Result.load(tmp_path / "out" / "result.json")
    found = np.load(tmp_path / "out" / "people.npz")
    assert len(found["mpjpe"]) == result.protocol.frames == 4  # one of three people, right or left
    assert result.protocol.skipped == 0 and result.protocol.joints.startswith("hand21")
    for name in results.MEASURES:
        np.testing.assert_allclose(result.metrics[name], found[name].mean(), rtol=1e-6)
    assert {"pve_sc", "pve_t_sc", "f@5", "f_aligned@15", "auc_joint"} <= set(result.metrics)
    assert result.metrics["pa_mpjpe"] < result.metrics["mpjpe"]
    assert (tmp_path / "out" / "worst.png").exists() and (tmp_path / "out" / "best.png").exists()
    assert result.protocol.stamp in text


def test_batches_do_not_change_what_is_measured(run, tmp_path):
    sizes = {}
    for batch in (1, 4):
        evaluate(run, batch=batch, output=str(tmp_path / str(batch)), pictures=0)
        sizes[batch] = np.load(tmp_path / str(batch) / "people.npz")
    for name in ("row", "mpjpe", "points"):
        np.testing.assert_allclose(sizes[1][name], sizes[4][name], rtol=1e-4, atol=1e-5)


def test_another_alignment_is_another_protocol(run, tmp_path):
    measured = []
    for kind in ("auto", "freihand"):
        output = tmp_path / kind
        evaluate(run, alignment=kind, output=str(output), pictures=0)
        measured.append(protocol.Result.load(output / "result.json"))
    with pytest.raises(ValueError, match="alignment"):
        protocol.table(measured)
    assert measured[0].protocol.alignment == "similarity"
    assert measured[1].metrics["pa_mpjpe"] <= measured[0].metrics["pa_mpjpe"] + 1e-3


def saved(run):
    """The results of a run in the folders of its own, by folder."""
    found = (run / "evaluations").glob("*/result.json")
    return {path.parent.name: protocol.Result.load(path) for path in found}


def test_no_evaluation_replaces_another(run, folder):
    """Folders have the name and the protocol in theirs; the same again is replaced whole."""
    evaluate(run)
    ((first, result),) = saved(run).items()
    assert first == f"{folder.name}_validation_run_{result.protocol.stamp}"
    at = run / "evaluations" / first
    before = {path.name: path.read_bytes() for path in at.iterdir()}
    assert set(before) == {"result.json", "people.npz", "worst.png", "best.png"}
    for changes in ({"alignment": "freihand"}, {"name": "mine"}, {"root": "none"}):
        evaluate(run, pictures=0, **changes)
    every = saved(run)
    assert len(every) == 4 and {r.name for r in every.values()} == {"run", "mine"}
    assert all(name.endswith(r.protocol.stamp) for name, r in every.items())
    assert {path.name: path.read_bytes() for path in at.iterdir()} == before
    evaluate(run, pictures=0)
    assert saved(run).keys() == every.keys()
    assert {path.name for path in at.iterdir()} == {"result.json", "people.npz"}
    assert not list((run / "evaluations").glob(".*"))


def test_a_folder_that_is_named_keeps_what_it_has(run, tmp_path, monkeypatch):
    output = tmp_path / "out"
    evaluate(run, output=str(output))
    (output / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(runner, "measure", None)  # nobody is measured before it is refused
        with pytest.raises(ValueError, match="alignment is 'similarity' there, 'freihand' here"):
            evaluate(run, output=str(output), alignment="freihand")
        with pytest.raises(ValueError, match="name is 'run' there, 'other' here"):
            evaluate(run, output=str(output), name="other")
        with pytest.raises(ValueError, match="without slashes"):
            evaluate(run, name="a/b")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    evaluate(run, output=str(output), pictures=0)
    left = {path.name for path in output.iterdir()}
    assert left == {"notes.txt", "result.json", "people.npz"}


@pytest.fixture
def one_fails(monkeypatch):
    """Lets the second person's prediction be one of numbers that are not finite."""
    measure = runner.measure

    def measured(*arguments, **options):
        all_of_it = measure(*arguments, **options)
        found = {name: np.array(values) for name, values in all_of_it.found.items()}
        found["finite"][1] = False
        for name in results.MEASURES:
            found[name][1] = np.nan
        return dataclasses.replace(all_of_it, found=found)

    monkeypatch.setattr(runner, "measure", measured)


def test_a_prediction_that_is_not_finite_is_named_and_counted(run, tmp_path, one_fails):
    text = evaluate(run, output=str(tmp_path / "a"))
    result = protocol.Result.load(tmp_path / "a" / "result.json")
    found = np.load(tmp_path / "a" / "people.npz")
    assert all(np.isnan(value) for value in result.metrics.values())
    (name,) = result.non_finite
    assert name.startswith(f"row {found['row'][1]} ") and "instant" in name
    assert result.protocol.frames == 4 and result.protocol.non_finite == 0
    assert f"1 prediction is not finite, so the means are NaN ({name})" in text
    evaluate(run, output=str(tmp_path / "b"), allow_non_finite=True)
    allowed = protocol.Result.load(tmp_path / "b" / "result.json")
    assert allowed.protocol.frames == 3 and allowed.protocol.non_finite == 1
    assert allowed.non_finite == result.non_finite
    for measure in results.MEASURES:
        wanted = found[measure][[0, 2, 3]].mean()
        np.testing.assert_allclose(allowed.metrics[measure], wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="non_finite: 0 of run; 1 of run"):
        protocol.table([result, allowed])
    # What another number of failures makes another protocol does not lie over the first.
    evaluate(run, output=str(tmp_path / "a"), allow_non_finite=True)
    assert protocol.Result.load(tmp_path / "a" / "result.json").protocol == result.protocol
    stamp = allowed.protocol.stamp
    assert protocol.Result.load(tmp_path / f"a_{stamp}" / "result.json").non_finite == (name,)


def test_freihand_is_aligned_as_by_its_toolbox_and_has_places(run, tmp_path):
    annotated.freihand(tmp_path / "source", 3, "evaluation")
    settings = annotated.settings_of("freihand", tmp_path / "source")
    pipeline.prepare(settings, tmp_path / "hands", 1, lambda *_: None)
    shown, there = {}, {"folder": str(tmp_path / "hands"), "split": "test", "pictures": 0}
    for kind, changes in {
        "auto": {},
        "similarity": {"alignment": "similarity"},
        "none": {"root": "none"},
    }.items():
        evaluate(run, output=str(tmp_path / kind), **there, **changes)
        shown[kind] = protocol.Result.load(tmp_path / kind / "result.json")
    assert shown["auto"].protocol.alignment == "freihand"
    assert shown["similarity"].protocol.alignment == "similarity"
    assert shown["auto"].metrics["pa_mpjpe"] <= shown["similarity"].metrics["pa_mpjpe"] + 1e-3
    assert shown["auto"].protocol.root == "wrist" and "camera" in shown["none"].protocol.root
    found = np.load(tmp_path / "none" / "people.npz")
    apart = np.linalg.norm(found["points"] - found["true_points"], axis=-1).mean(1)
    np.testing.assert_allclose(found["mpjpe"], 1000 * apart, rtol=1e-4)
    assert (found["true_points"][..., 2] > 0.5).all()  # where the hands are annotated
    np.testing.assert_allclose(
        shown["none"].metrics["pa_mpjpe"], shown["auto"].metrics["pa_mpjpe"], rtol=1e-3
    )


def test_a_submission_has_everybody_in_order(run, tmp_path):
    path = tmp_path / "pred.json"
    evaluate(run, submission=str(path), output=str(tmp_path / "o"), pictures=0)
    joints, vertices = json.loads(path.read_text())
    found = np.load(tmp_path / "o" / "people.npz")
    np.testing.assert_allclose(joints, found["points"], atol=1e-4)
    assert np.shape(vertices) == (4, 1611, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, r"frames: train \d+, validation \d+\): no frame of the split"),
        ({"submission": "pred.txt"}, "must be the name of a .json file"),
        ({"folder": "a,b"}, "measures one folder, not 'a,b'"),
        ({"changes": ["body.gendre=male"]}, r"body\.gendre=male.*Known: body\.betas"),
        ({"changes": ["head.steps=2"]}, "--set=head.steps=2 is not KEY=VALUE with a known key"),
        ({"root": "mid_hip"}, "'open_hand_right' can be relative to one of auto, wrist, none"),
    ],
)
def test_what_cannot_be_measured_is_said(run, changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate(run, **changes)


def test_a_run_of_another_task_has_no_protocol(straight):
    with pytest.raises(ValueError, match="completion"):
        evaluate(straight[0])


def test_accelerations_need_three_frames_equally_apart():
    rng = np.random.default_rng(0)
    still = np.zeros((6, 5, 3))
    moved = still + rng.normal(size=(1, 5, 3)) * np.array([0, 1, 4, 9, 16, 25])[:, None, None]
    found = {"row": np.arange(6), "has_points": np.ones(6), "points": moved, "true_points": still}
    index = {"pose_group": np.zeros(6, int), "instant": np.arange(6) * 2}
    of_roots = moved - moved[:, :1]
    expected = 1000 * np.linalg.norm(np.diff(of_roots, 2, axis=0), axis=-1).mean()
    np.testing.assert_allclose(results.acceleration(found, index, 0), expected, rtol=1e-4)
    # A root that is not measured does not count, for it is put together.
    apart = results.acceleration(found, index, 1)
    np.testing.assert_allclose(apart, 5 / 4 * expected, rtol=1e-4)
    gap = index | {"instant": np.array([0, 1, 5, 6, 10, 11])}
    assert results.acceleration(found, gap, 0) is None
    two = index | {"pose_group": np.array([0, 0, 1, 1, -1, -1])}
    assert results.acceleration(found, two, 0) is None


def test_prediction_writes_picture_mesh_and_numbers(run, folder, tmp_path):
    picture = np.full((120, 200, 3), 90, np.uint8)
    picture[30:90, 60:140] = 200
    PIL.Image.fromarray(picture).save(tmp_path / "photo.png")
    boxes = {"photo.png": {"anna": [60, 30, 140, 90], "ben": [60.0, 30, 100, 60]}}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    lines = list(
        predict(run, [tmp_path / "photo.png"], tmp_path / "out", boxes=f"{tmp_path}/boxes.json")
    )
    assert len(lines) == 2
    numbers = np.load(tmp_path / "out" / "photo_anna.npz")
    assert numbers["vertices"].shape == (1611, 3) and numbers["vertices"][:, 2].min() > 0
    np.testing.assert_allclose(numbers["crop"], [100, 60, 100])  # 80 wide, a quarter larger
    loaded = trimesh.load_scene(tmp_path / "out" / "photo_anna.glb")
    (only,) = loaded.geometry.values()
    assert len(only.vertices) == 1611
    assert PIL.Image.open(tmp_path / "out" / "photo_ben.png").size[1] >= 120


def test_names_of_people_in_a_boxes_file_do_not_write_outside_the_output(run, tmp_path):
    work = tmp_path / "deep/deeper"
    work.mkdir(parents=True)
    picture = np.full((60, 80, 3), 90, np.uint8)
    PIL.Image.fromarray(picture).save(work / "photo.png")
    PIL.Image.fromarray(picture).save(work / "photo_anna.png")
    names = ["/../../ESCAPED", str(tmp_path / "absolute"), "..", "", "a\0b", "x" * 5000]
    names += ["anna", "Anna", "a/n", "a_n"]
    boxes = {"photo.png": {name: [10, 10, 40, 50] for name in names}}
    (work / "boxes.json").write_text(json.dumps(boxes))
    before = set(tmp_path.rglob("*"))
    images = [work / "photo.png", work / "photo_anna.png"]
    lines = list(predict(run, images, work / "out", boxes=str(work / "boxes.json")))
    new = set(tmp_path.rglob("*")) - before - {work / "out"}
    assert all(path.parent == work / "out" for path in new)
    people = len(names) + 1
    assert len(lines) == people and len({p.name.casefold() for p in new}) == 3 * people
    assert (work / "out/photo_anna.npz").exists()  # a name that is fine is kept
    assert any("'/../../ESCAPED' of photo.png" in line for line in lines)


def test_a_left_hand_is_the_mirrored_prediction_of_its_mirrored_picture(run, tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "left.png")
    PIL.Image.fromarray(picture[:, ::-1]).save(tmp_path / "right.png")
    for name, left in (("left", True), ("right", False)):
        images = [tmp_path / f"{name}.png"]
        list(predict(run, images, tmp_path / "out", left=left, mesh_format="obj"))
    left, right = (np.load(tmp_path / "out" / f"{n}.npz")["vertices"] for n in ("left", "right"))
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-4)
    files = (tmp_path / "out" / f"{name}.obj" for name in ("left", "right"))
    left, right = (trimesh.load(path, process=False).vertices for path in files)
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-4)


def test_the_numbers_of_a_left_hand_are_a_left_hands(run, tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    found = []
    for name, shown, left in (("l.1", picture, True), ("r.2", picture[:, ::-1], False)):
        PIL.Image.fromarray(shown).save(tmp_path / f"{name}.png")
        images = [tmp_path / f"{name}.png"]
        list(predict(run, images, tmp_path / "out", left=left))
        found.append(np.load(tmp_path / "out" / f"{name}.npz"))  # the whole name, dots and all
    left, right = found
    mirror = np.diag([-1, 1, 1])
    np.testing.assert_allclose(left["pose"], mirror @ right["pose"] @ mirror, atol=1e-5)
    np.testing.assert_allclose(left["camera"], right["camera"] * [1, -1, 1], atol=1e-5)
    np.testing.assert_allclose(left["points"], right["points"] * [-1, 1, 1], atol=1e-4)


def test_pictures_of_one_name_are_refused_before_anything_is_written(run, tmp_path):
    for name in ("a.png", "a.jpg"):
        PIL.Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    with pytest.raises(ValueError, match="called a, so their results would have the same names"):
        list(predict(run, [tmp_path], tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_pictures_that_cannot_be_used_are_skipped_with_a_reason(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    PIL.Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "fine.png")
    lines = list(predict(run, [tmp_path], tmp_path / "out"))
    assert "skipped, not a readable picture" in lines[0] and "fine" in lines[1]
    with pytest.raises(ValueError, match="does not exist"):
        list(predict(run, [tmp_path / "no.jpg"], tmp_path / "out"))
    with pytest.raises(ValueError, match="run of one picture"):
        second = [str(tmp_path / "fine.png")]
        list(predict(run, second, tmp_path / "out", second=second))


def test_a_prediction_of_nothing_is_an_error(run, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    lines = predict(run, [tmp_path / "broken.jpg"], tmp_path / "out")
    assert "skipped" in next(lines)
    with pytest.raises(ValueError, match=r"None of --images .*\n.*broken.jpg: not a readable"):
        next(lines)


def test_boxes_of_no_picture_are_named(run, tmp_path):
    PIL.Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "fine.png")
    boxes, images = tmp_path / "boxes.json", [tmp_path / "fine.png"]
    boxes.write_text(json.dumps({"fine.png": [8, 8, 40, 40], "fien.png": [8, 8, 40, 40]}))
    first = next(predict(run, images, tmp_path / "a", boxes=str(boxes)))
    assert "--images does not contain: fien.png (1 of 2 names)" in first
    boxes.write_text(json.dumps({"fien.png": [8, 8, 40, 40]}))
    with pytest.raises(ValueError, match="pictures that --images does not contain: fien.png. Use"):
        next(predict(run, images, tmp_path / "b", boxes=str(boxes)))
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"--enlarge is {factor}"):
            next(predict(run, images, tmp_path / "b", enlarge=factor))
    assert not (tmp_path / "b").exists()


def test_the_commands_run(run, tmp_path):
    command = [sys.executable, "-m", "crocohuman_jax.evaluate", f"--workdir={run}"]
    command += [f"--output={tmp_path}/a", "--name=first", "--pictures=0"]
    subprocess.run(command, check=True, capture_output=True)
    compare = [*command[:3], f"--compare={tmp_path}/a/result.json"]
    shown = subprocess.run(compare, check=True, capture_output=True, text=True).stdout
    assert "first" in shown and "mpjpe" in shown.lower()
    wrong = subprocess.run([*command[:3]], capture_output=True, text=True)
    assert wrong.returncode == 1 and "--workdir" in wrong.stderr and "Trace" not in wrong.stderr
    draw = [*command[:2], "crocohuman_jax.reconstruct", command[3], f"--output={tmp_path}/a.png"]
    wrong = subprocess.run(draw, capture_output=True, text=True)
    assert wrong.returncode == 1 and "'mesh', which completes no pairs" in wrong.stderr


def test_truth_of_the_wrong_kind_is_refused(folder):
    frames = labelled_people.records.Frames(folder)
    assert (folder / synthetic_truth.NAME).is_dir()
    with pytest.raises(ValueError, match=r"config\.body\.model"):
        labelled_people.open_notes(frames, crowds.form("open_body", kind="smpl"))

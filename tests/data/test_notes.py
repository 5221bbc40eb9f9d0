"""What is known of people, in the form of a body model, as a picture of them shows it."""

import dataclasses
import functools
import json
import types

import crowds
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from crocohuman_jax.body_models import cameras, joint_names, lbs, loading, rotations
from crocohuman_jax.data.storage import labels, records, synthetic_truth
from crocohuman_jax.data.streams import person_augmentation, person_labels

SIDE = 96
RNG = np.random.default_rng(0)
MODELS = {"body": "open_body", "hand": "open_hand_right"}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return records.Frames(crowds.builtin(tmp_path_factory.getbasetemp()))


@functools.cache
def thinned(name, every):
    """A model of every so many vertices of its mesh."""
    body = loading.load(name)
    return lbs.part(body, np.arange(0, len(body.template), every))


@functools.cache
def projection(name, every):
    """Returns a function that projects the mesh of a moved element to its picture's [-1, 1]."""

    @jax.jit
    def project(betas, pose, translation, matrix):
        vertices, _ = lbs.pose(
            thinned(name, every), betas[None], rotations.exp(pose[None]), translation[None]
        )
        return cameras.pinhole(vertices, matrix)[0]

    return project


def drawn(element, name):
    """The shares of an element's vertices that each pixel shows, [SIDE, SIDE]."""
    values = [jnp.asarray(element[n]) for n in ("betas", "pose", "translation", "matrix")]
    seen = np.asarray(projection(name, 3)(*values))
    at = np.floor((seen + 1) / 2 * SIDE).astype(int)
    at = at[((at >= 0) & (at < SIDE)).all(1)]
    found = np.zeros((SIDE, SIDE))
    np.add.at(found, (at[:, 1], at[:, 0]), 1 / len(seen))
    return found


def silhouette(frames, row, placed):
    mask = np.repeat(frames.read(row)[1][..., None] * np.uint8(255), 3, 2)
    return placed.picture(mask, SIDE)[..., 0] > 127


@pytest.mark.parametrize("kind, flip", [("body", False), ("body", True), ("hand", False)])
def test_the_mesh_of_what_is_known_lies_on_the_silhouette(frames, kind, flip):
    """Left hands are mirrored, and so are right ones."""
    form = crowds.form(MODELS[kind])
    known = person_labels.Known(frames, form)
    sides = set()
    for row in np.flatnonzero(known.wanted(frames)):
        mine = known.read(int(row))
        sides.add((known.truths.read(int(row))["side"], mine["mirrored"]))
        change = person_augmentation.UNCHANGED | {
            "scale": 1.15,
            "angle": np.random.default_rng(row).normal(),
        }
        placed = person_augmentation.place(mine["crop"], change, flip != mine["mirrored"])
        element = person_labels.moved(mine, placed, form)
        vertices, shown = drawn(element, form.kind), silhouette(frames, int(row), placed)
        # Two pixels: what the models do not fit of the built-in people, see `open_fit`.
        assert vertices[scipy.ndimage.binary_dilation(shown, iterations=2)].sum() >= 0.98
        if kind == "body":  # and they are as large: clothes stand off a little
            covered = scipy.ndimage.binary_dilation(vertices > 0, iterations=3)
            assert covered[shown].mean() > 0.97
    wanted = {("", False)} if kind == "body" else {("L", True), ("R", False)}
    assert sides == wanted


def test_a_wrong_side_or_flip_would_be_seen(frames):
    """The measure of the test above tells the truth from its mirror image."""
    form = crowds.form("open_hand_right")
    known, shares = person_labels.Known(frames, form), []
    for row in np.flatnonzero(known.wanted(frames)):
        mine = known.read(int(row))
        placed = person_augmentation.place(
            mine["crop"], person_augmentation.UNCHANGED, not mine["mirrored"]
        )
        vertices = drawn(person_labels.moved(mine, placed, form), form.kind)
        near = scipy.ndimage.binary_dilation(silhouette(frames, int(row), placed), iterations=2)
        shares.append(vertices[near].sum())
    assert np.mean(shares) < 0.6


def test_bodies_and_hands_of_one_folder_are_told_apart(frames):
    taken = {}
    for kind, name in MODELS.items():
        wanted = person_labels.Known(frames, crowds.form(name)).wanted(frames)
        assert wanted.dtype == bool and wanted.shape == (len(frames),)
        assert {s.rpartition("/")[2] for s in frames.index["sequence"][wanted]} == {kind}
        taken[kind] = wanted
    assert (taken["body"] ^ taken["hand"]).all()


@pytest.mark.parametrize("kind", ["smpl", "open_hand_left", "mano_right"])
def test_built_in_people_need_the_open_models(frames, kind):
    form = dataclasses.replace(crowds.form("open_body"), kind=kind)
    with pytest.raises(ValueError, match=f"not of {kind!r}: set config.body.model to open_body"):
        person_labels.Known(frames, form)


def test_fewer_betas_are_the_first_ones(frames):
    whole, form = crowds.form("open_body"), crowds.form("open_body", betas=3)
    form = dataclasses.replace(form, root_shapes=whole.root_shapes[:3])
    few, all_ = (
        person_labels.Known(frames, form).read(0),
        person_labels.Known(frames, whole).read(0),
    )
    np.testing.assert_array_equal(few["betas"], all_["betas"][:3])
    assert len(few["betas"]) == 3 and few["has_shape"] and few["exact"]


def test_what_is_known_has_one_form(frames, tmp_path):
    """So that people of different folders can be stacked."""
    form = crowds.form("open_body")
    sources = [
        person_labels.Known(frames, form),
        labelled(tmp_path, [{}], joint_names.PEOPLE, form),
    ]
    shapes = []
    for source in sources:
        known = source.read(0)
        element = person_labels.moved(
            known,
            person_augmentation.place(known["crop"], person_augmentation.UNCHANGED, False),
            form,
        )
        shapes.append({name: (value.shape, value.dtype) for name, value in element.items()})
    assert shapes[0] == shapes[1]
    assert shapes[0]["keypoints"] == ((25, 3), np.float32)
    assert shapes[0]["joints"] == ((25, 4), np.float32)


def labelled(folder, people, names, form, **columns):
    """The notes of labels written as they are; each of `people` changes a random person's."""
    (folder / labels.NAME).mkdir(parents=True)
    content = {"size": [80, 80], "keypoints": list(names)}
    (folder / "manifest.json").write_text(json.dumps(content))
    path = folder / labels.NAME / records.shard_name("train", 0, 1, labels.NAME)
    writer = records.ShardWriter(path, labels.features())
    for changes in people:
        writer.write(labels.example(told(names, form) | changes))
    writer.close()
    shards = {"train": [(len(people), path.stat().st_size)]}
    records.write_metadata(folder / labels.NAME, labels.features(), shards, name=labels.NAME)
    return person_labels.Labelled(types.SimpleNamespace(folder=folder), form)


def told(names, form):
    """Labels of a person of a form; each point is at its number."""
    number = np.arange(len(names))[:, None] * np.ones((1, 3))
    return {
        "keypoints": np.hstack([number[:, :2], 1 + 0 * number[:, :1]]),
        "joints": np.hstack([number, 1 + 0 * number[:, :1]]),
        "pose": RNG.normal(size=(form.joints, 3)),
        "betas": RNG.normal(size=form.betas),
        "crop": (40.0, 41.0, 60.0),
        "intrinsics": (90.0, 91.0, 40.0, 41.0),
        "model": form.kind,
        "gender": form.gender,
    }


def test_points_are_arranged_by_their_names_and_aliases(tmp_path):
    form = crowds.form("open_body")
    names = joint_names.PEOPLE
    found = labelled(tmp_path, [{}], names, form).read(0)
    stand_ins = {"left_hip": "left_hip_lsp", "right_hip": "right_hip_lsp", "neck": "neck_lsp"}
    stand_ins |= {"pelvis": "pelvis_mpii"}
    for table in ("keypoints", "joints"):
        assert found[table].shape == (len(form.names), found[table].shape[1])
        for name, row in zip(form.names, found[table], strict=True):
            theirs = stand_ins.get(name, name)
            if theirs in names:
                np.testing.assert_array_equal(row[:-1], names.index(theirs))
                assert row[-1] == 1, name
            else:
                assert not row.any(), name
    absent = {name for name, row in zip(form.names, found["keypoints"], strict=True) if not row[2]}
    assert {"spine1", "left_hand", "head"} <= absent and "head_top" not in absent
    assert len(absent) == 10


def test_a_point_of_its_own_name_comes_before_a_stand_in(tmp_path):
    form, names = crowds.form("open_body"), ("neck_lsp", "left_hip_lsp", "neck", "left_ankle")
    found = labelled(tmp_path, [{}], names, form).read(0)
    assert found["keypoints"][form.names.index("neck"), 0] == 2
    assert found["keypoints"][form.names.index("left_hip"), 0] == 1


def test_a_person_without_annotations_has_none(tmp_path):
    form = crowds.form("open_body")
    nothing = {name: np.zeros((0, 3)) for name in ("pose", "betas")}
    nothing |= {"keypoints": np.zeros((0, 3)), "joints": np.zeros((0, 4)), "model": ""}
    known = labelled(
        tmp_path, [nothing | {"intrinsics": np.zeros(4)}], joint_names.PEOPLE, form
    ).read(0)
    element = person_labels.moved(
        known, person_augmentation.place(known["crop"], person_augmentation.UNCHANGED, True), form
    )
    for name in ("has_pose", "has_shape", "exact", "pose", "betas", "matrix", "joints"):
        assert not element[name].any(), name
    assert not element["keypoints"][:, 2].any()
    assert all(np.isfinite(value).all() for value in element.values())


def test_a_shape_is_that_of_a_model_of_the_same_gender_only(tmp_path):
    form = crowds.form("open_body")
    people = [{"gender": g} for g in ("neutral", "male", "female", "")]
    people += [{"betas": np.zeros(0)}, {"model": "smpl"}, {"pose": np.zeros((16, 3))}]
    people += [{"model": ""}]
    neutral = labelled(tmp_path / "a", people, joint_names.PEOPLE, form)
    found = [neutral.read(row) for row in range(len(people))]
    assert [bool(f["has_shape"]) for f in found] == [True, False, False, True] + 4 * [False]
    assert [bool(f["has_pose"]) for f in found] == 5 * [True] + 3 * [False]
    assert [f["gender"] for f in found] == [0, 1, 2, 0, 0, 0, 0, 0]
    assert all(np.array_equal(f["pose"], np.zeros((24, 3))) for f in found[5:])
    # All but those without betas have a mesh, where there is a model of their gender.
    assert [bool(f["has_mesh"]) for f in found] == 4 * [True] + 4 * [False]
    own = dataclasses.replace(form, genders=("neutral", "female"))
    found = labelled(tmp_path / "c", people[:4], joint_names.PEOPLE, own)
    assert [bool(found.read(row)["has_mesh"]) for row in range(4)] == [True, False, True, True]
    female = dataclasses.replace(form, gender="female")
    found = labelled(tmp_path / "b", people[:4], joint_names.PEOPLE, female)
    assert [bool(found.read(row)["has_shape"]) for row in range(4)] == [False, False, True, False]


def test_more_betas_than_the_model_has_are_cut_and_fewer_filled_up(tmp_path):
    form = crowds.form("open_body")
    people = [{"betas": np.arange(300.0)}, {"betas": np.ones(4)}]
    known = labelled(tmp_path, people, joint_names.PEOPLE, form)
    np.testing.assert_array_equal(known.read(0)["betas"], np.arange(10))
    np.testing.assert_array_equal(known.read(1)["betas"], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def mano():
    """The form of MANO's right hand, whose labels give poses without the mean one."""
    form = crowds.form("open_hand_right")
    assert form.names == joint_names.HAND
    mean = np.random.default_rng(7).normal(size=(16, 3))
    mean[0] = 0
    return dataclasses.replace(form, kind="mano_right", mean_pose=mean)


def test_hands_of_the_other_side_are_mirrored_and_have_their_own_mean_pose(tmp_path):
    form = mano()
    pose = RNG.normal(size=(16, 3))
    people = [{"pose": pose}, {"pose": pose, "model": "mano_left"}, {"model": "smpl"}]
    known = labelled(tmp_path, people, joint_names.HAND, form)
    right, left, neither = [known.read(row) for row in range(3)]
    np.testing.assert_allclose(right["pose"], pose + form.mean_pose, atol=1e-6)
    np.testing.assert_allclose(left["pose"], pose + form.mean_pose * [1, -1, -1], atol=1e-6)
    assert (right["mirrored"], left["mirrored"], neither["mirrored"]) == (False, True, False)
    assert right["has_pose"] and left["has_pose"] and not neither["has_pose"]
    placed = person_augmentation.place(left["crop"], person_augmentation.UNCHANGED, True)
    element = person_labels.moved(left, placed, form)
    np.testing.assert_allclose(
        element["pose"][1:], (pose * [1, -1, -1] + form.mean_pose)[1:], atol=1e-6
    )
    # A hand's points keep their names, whichever side it is of.
    tips = np.arange(21.0)
    np.testing.assert_allclose(element["keypoints"][:, 0], (40 - tips) / 30, atol=1e-6)
    np.testing.assert_allclose(element["joints"][:, 0], -tips, atol=1e-6)


def test_the_points_of_a_mirrored_body_change_sides(tmp_path):
    form = crowds.form("open_body")
    known = labelled(tmp_path, [{}], joint_names.PEOPLE, form).read(0)
    plain, mirrored = (
        person_labels.moved(
            known,
            person_augmentation.place(known["crop"], person_augmentation.UNCHANGED, flip),
            form,
        )
        for flip in (False, True)
    )
    left, right = (form.names.index(f"{side}_ankle") for side in ("left", "right"))
    for table in ("keypoints", "joints"):
        wanted = plain[table][right] * [-1, *np.ones(plain[table].shape[1] - 1)]
        np.testing.assert_allclose(mirrored[table][left], wanted, atol=1e-6)
    # The matrix takes joints to keypoints, before and after.
    for element in (plain, mirrored):
        fx, fy, cx, cy = known["intrinsics"]
        points = known["joints"][:, :3] + [0, 0, 1]
        pixels = points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy]
        placed = person_augmentation.place(
            known["crop"], person_augmentation.UNCHANGED, element is mirrored
        )
        seen = (points @ placed.turn.T) @ element["matrix"].T
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], placed.points(pixels), atol=1e-4)


def test_annotated_meshes_come_where_they_are_wanted(tmp_path):
    vertices = RNG.normal(size=(7, 3)).astype(np.float32)
    people = [{"vertices": vertices}, {}, {"vertices": vertices[:5]}]
    form = dataclasses.replace(crowds.form("open_hand_right"), vertices=7)
    for wanted in (form, dataclasses.replace(form, vertices=0)):
        known = labelled(tmp_path / str(wanted.vertices), people, joint_names.HAND, wanted)
        for row in range(3):
            mine = known.read(row)
            change = person_augmentation.UNCHANGED | {"angle": 0.3}
            placed = person_augmentation.place(mine["crop"], change, True)
            element = person_labels.moved(mine, placed, wanted)
            if not wanted.vertices:
                assert not {"vertices", "has_vertices"} & set(element)
                continue
            assert element["has_vertices"] == (row == 0)
            wanted_mesh = vertices @ placed.turn.T * (row == 0)
            np.testing.assert_allclose(element["vertices"], wanted_mesh, atol=1e-6)


def test_labels_of_hands_and_a_model_of_bodies_do_not_go_together(tmp_path):
    body, hand = crowds.form("open_body"), crowds.form("open_hand_right")
    with pytest.raises(ValueError, match="labels of hands, but config.body.model is 'open_body'"):
        labelled(tmp_path / "a", [{}], joint_names.HAND, body)
    with pytest.raises(ValueError, match="labels of bodies, but .* is 'open_hand_right'"):
        labelled(tmp_path / "b", [{}], joint_names.PEOPLE, hand)
    with pytest.raises(ValueError, match="labels of bodies"):
        labelled(tmp_path / "c", [{}], joint_names.H36M, hand)
    left = dataclasses.replace(mano(), kind="mano_left")
    with pytest.raises(ValueError, match="model of the right hand"):
        labelled(tmp_path / "d", [{}], joint_names.HAND, left)


@pytest.mark.parametrize("kind", MODELS)
def test_the_mean_person_faces_the_camera_upright(frames, kind):
    form = crowds.form(MODELS[kind])
    known = person_labels.Known(frames, form)
    rows = np.flatnonzero(known.wanted(frames))
    turns, betas = person_labels.mean([(known, rows)], form)
    assert turns.shape == (form.joints, 3, 3) and betas.shape == (10,)
    np.testing.assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.eye(3) + 0 * turns, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    people = [known.read(int(row)) for row in rows]
    np.testing.assert_allclose(betas, np.mean([p["betas"] for p in people], 0), atol=1e-6)
    # Up in the model is up in the picture, and its front looks at the camera.
    np.testing.assert_array_equal(turns[0] @ [0, 1, 0], [0, -1, 0])
    np.testing.assert_array_equal(turns[0] @ [0, 0, 1], [0, 0, -1])
    few = person_labels.mean([(known, rows)], form, count=3)[1]
    wanted = np.mean([people[i]["betas"] for i in (0, (len(rows) - 1) // 2, len(rows) - 1)], 0)
    np.testing.assert_allclose(few, wanted, atol=1e-6)


def test_the_mean_is_of_those_whose_pose_and_shape_are_known(tmp_path):
    form = mano()
    pose, betas = 0.3 * RNG.normal(size=(16, 3)), RNG.normal(size=10)
    mirrored = pose * [1, -1, -1]
    people = [
        {"pose": pose, "betas": betas},
        {"pose": mirrored, "betas": betas, "model": "mano_left"},
        {"pose": pose, "betas": 100 + betas, "gender": "male"},
        {"pose": pose, "betas": np.zeros(0)},
        {"model": "", "betas": 100 + betas},
    ]
    known = labelled(tmp_path, people, joint_names.HAND, form)
    turns, mean = person_labels.mean([(known, np.arange(5))], form)
    np.testing.assert_allclose(mean, betas, atol=1e-6)
    wanted = np.asarray(rotations.exp(jnp.asarray(pose + form.mean_pose)))
    np.testing.assert_allclose(turns[1:], wanted[1:], atol=1e-5)
    parts = [(known, np.array([4])), (known, np.array([0, 3])), (known, np.array([1, 2]))]
    for found, expected in zip(person_labels.mean(parts, form), (turns, mean), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)  # of all folders
    nobody = person_labels.mean([(known, np.array([4]))], form)
    np.testing.assert_array_equal(nobody[0][1:], np.eye(3) + 0 * turns[1:])
    np.testing.assert_array_equal(nobody[1], 0)


def test_what_is_known_of_built_in_people_is_their_truth(frames):
    form = crowds.form("open_body")
    known, truths = person_labels.Known(frames, form), synthetic_truth.Truths(frames.folder)
    row = int(np.flatnonzero(known.wanted(frames))[0])
    mine, theirs = known.read(row), truths.read(row)
    np.testing.assert_array_equal(mine["intrinsics"], theirs["intrinsics"])
    np.testing.assert_array_equal(mine["crop"], [48, 48, 96])
    turns = rotations.exp(jnp.asarray(theirs["model_pose"][:1]))[0]
    mine_turn = rotations.exp(jnp.asarray(mine["pose"][:1], jnp.float32))[0]
    np.testing.assert_allclose(mine_turn, theirs["rotation"] @ turns, atol=1e-5)
    assert mine["has_pose"] and mine["has_shape"] and mine["exact"] and not mine["mirrored"]

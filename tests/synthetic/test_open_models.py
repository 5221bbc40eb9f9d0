"""The open body and hands: the format of SMPL and MANO, their algebra, and how well they fit."""

import functools
import hashlib
import subprocess
import sys

import numpy as np
import pytest

from crocohuman_jax.synthetic import open_models as open_models_lib
from crocohuman_jax.synthetic.figure import (
    joint_regressor,
    open_fit,
    open_models,
    parametric_body,
    smpl_joints,
    smpl_model,
)
from crocohuman_jax.synthetic.graphics import rotations

MODELS = {
    "body": open_models.body,
    "right": functools.partial(open_models.hand, "right"),
    "left": functools.partial(open_models.hand, "left"),
}
SMPL_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
MANO_PARENTS = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]

every_model = pytest.mark.parametrize("name", MODELS)


def posed_adult(seed, deviation=0.2):
    """Returns coefficients and posed skin of a random adult."""
    full = parametric_body.load()
    coefficients = open_models.adults(1, seed)[0]
    vertices, heads = full.rest(coefficients)
    rng, vectors = np.random.default_rng(seed), np.zeros((len(full.bones), 3))
    for b, bone in enumerate(full.bones):
        if bone.endswith(("01.L", "01.R")) or bone.startswith(("foot", "wrist", "finger", "neck")):
            vectors[b] = rng.normal(0, deviation, 3)
    turns = rotations.from_vector(vectors)
    return coefficients, full.skin(vertices, full.transforms(heads, turns, [1.0, 2.0, 0.5]))


@every_model
def test_models_have_the_fields_and_shapes_of_the_files(name):
    model, joints = MODELS[name](), 24 if name == "body" else 16
    count = len(model["v_template"])
    assert count == (13718 if name == "body" else 1611)
    assert model["shapedirs"].shape == (count, 3, 10)
    assert model["posedirs"].shape == (count, 3, 9 * (joints - 1))
    assert model["J_regressor"].shape == (joints, count)
    assert model["weights"].shape == (count, joints)
    assert model["J"].shape == (joints, 3)
    assert model["f"].dtype == np.uint32 and model["f"].max() == count - 1
    assert model["kintree_table"].dtype == np.uint32
    parents = model["kintree_table"][0].astype(np.int32).tolist()
    assert parents == (SMPL_PARENTS if name == "body" else MANO_PARENTS)
    assert model["kintree_table"][1].tolist() == list(range(joints))
    assert str(model["bs_style"]) == "lbs" and str(model["bs_type"]) == "lrotmin"
    assert model["ft"].shape == model["f"].shape and model["ft"].max() < len(model["vt"])
    assert not any(array.dtype == object for array in model.values())


@every_model
def test_fields_have_the_names_of_the_reference_files(name, oracles):
    reference = "SMPL_TINY.npz" if name == "body" else "MANO_RIGHT_TINY.npz"
    with np.load(oracles / reference) as file:
        assert set(file.files) <= MODELS[name]().keys()
        for field in file.files:
            assert MODELS[name]()[field].ndim == file[field].ndim, field


@every_model
def test_weights_and_regressors_are_means(name):
    model = MODELS[name]()
    for rows in (model["weights"], model["J_regressor"]):
        assert rows.min() >= 0
        assert np.abs(rows.sum(1) - 1).max() < 1e-5
    assert ((model["J_regressor"] > 0).sum(1) <= 60).all()
    assert np.abs(model["J"] - model["J_regressor"] @ model["v_template"]).max() < 1e-6


def test_the_regressor_finds_the_bones_of_people_it_has_not_seen():
    model, rig, full = open_models.body(32), open_models.body_rig(), parametric_body.load()
    posable, errors = smpl_model.SmplBody(model), []
    for coefficients in open_models.adults(40, 77):
        betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
        heads = full.rest(coefficients)[1]
        straight = parametric_body.apply(full.transforms(heads, rig.zero), heads)
        wanted = rig.heads @ straight @ smpl_joints.AXES.T
        errors.append(np.linalg.norm(posable.rest(betas)[1] - wanted, axis=1))
    by_joint = np.mean(errors, 0) * 1e3
    assert by_joint.mean() < 4.5
    assert by_joint.max() < 16  # spine3, deep in the chest


def test_the_body_stands_as_smpl_does():
    model = open_models.body()
    joints = dict(zip(model["joint_names"], model["J"], strict=True))
    assert joints["left_wrist"][0] > joints["left_elbow"][0] > joints["left_shoulder"][0] > 0.1
    arm = [joints[f"left_{name}"] for name in ("shoulder", "elbow", "wrist")]
    assert np.ptp([joint[1] for joint in arm]) < 0.02 > np.ptp([joint[2] for joint in arm])
    assert joints["head"][1] > joints["neck"][1] > joints["pelvis"][1] > joints["left_knee"][1]
    assert joints["left_foot"][2] > joints["left_ankle"][2] + 0.1  # toes point to +z


def test_the_flat_hand_points_as_mano_does():
    for side, sign in (("right", -1), ("left", 1)):
        model = open_models.hand(side)
        joints = dict(zip(model["joint_names"], model["J"], strict=True))
        assert np.linalg.norm(joints["wrist"]) < 2e-3
        assert sign * joints["middle3"][0] > 0.1
        assert joints["thumb3"][2] > joints["index1"][2] > joints["pinky1"][2]
        for finger in ("index", "middle", "ring", "pinky"):
            line = np.array([joints[f"{finger}{k}"] for k in (1, 2, 3)])
            bend = np.dot(*rotations.unit(np.diff(line, axis=0)))
            assert bend > np.cos(np.radians(3))


def test_mirrored_vertices_are_mirrored():
    model = open_models.body()
    partner = model["vert_sym_idxs"]
    flip = np.array([-1, 1, 1])
    assert (partner[partner] == np.arange(len(partner))).all()
    assert np.abs(model["v_template"][partner] - model["v_template"] * flip).max() < 2e-3
    faces = np.sort(model["f"][model["face_sym_idxs"]], 1)
    assert (faces == np.sort(partner[model["f"]], 1)).all()
    assert np.abs(model["J"][model["joint_sym_idxs"]] - model["J"] * flip).max() < 2e-3
    sides = {"l": "r", "r": "l"}
    names = [str(name) for name in model["part_names"]]
    swapped = [f"{n[:-1]}{sides[n[-1]]}" if n[-2:] in ("_l", "_r") else n for n in names]
    expected = np.array([names.index(name) for name in swapped])[model["face_part"]]
    assert (model["face_part"][model["face_sym_idxs"]] == expected).mean() > 0.999


def test_the_left_hand_is_the_mirrored_right_one():
    right, left = open_models.hand("right"), open_models.hand("left")
    flip = np.array([-1, 1, 1])
    rng = np.random.default_rng(3)
    betas, vectors = rng.normal(size=10), rng.normal(0, 0.4, (16, 3))
    a = smpl_model.SmplBody(right).pose(betas, vectors)[0]
    b = smpl_model.SmplBody(left).pose(betas, vectors * (1, -1, -1))[0]
    assert np.abs(a * flip - b).max() < 1e-6
    full = parametric_body.load()
    # The mesh and its atlas are those of that hand in the full body.
    faces = {tuple(sorted(face)) for face in full.faces.tolist()}
    corners = set(zip(full.faces.ravel().tolist(), full.faces_uv.ravel().tolist(), strict=True))
    for model, letter in ((right, "r"), (left, "l")):
        assert full.parts[int(model["face_part"][0])] == f"hand_{letter}"
        own = model["vertices"][model["f"]]
        assert faces.issuperset(tuple(sorted(face)) for face in own.tolist())
        atlas = model["ft"].ravel().tolist()
        assert corners.issuperset(zip(own.ravel().tolist(), atlas, strict=True))


@every_model
def test_posing_equals_the_formula_of_smpl(name):
    model, rng = MODELS[name](), np.random.default_rng(1)
    joints = len(model["J"])
    betas, vectors, transl = (
        rng.normal(size=10),
        rng.normal(0, 0.4, (joints, 3)),
        rng.normal(size=3),
    )
    model = {**model, "posedirs": rng.normal(0, 1e-3, model["posedirs"].shape).astype(np.float32)}
    turns = rotations.from_vector(vectors)
    shaped = model["v_template"] + model["shapedirs"] @ betas
    places = model["J_regressor"] @ shaped
    shaped = shaped + model["posedirs"] @ (turns[1:] - np.eye(3)).ravel()
    world, parents = [], model["kintree_table"][0].astype(np.int32)
    for k in range(joints):
        step = np.eye(4)
        step[:3, :3] = turns[k]
        step[:3, 3] = places[k] - (places[parents[k]] if k else 0)
        world.append(world[parents[k]] @ step if k else step)
    expected = np.zeros_like(shaped)
    for k in range(joints):
        moved = (shaped - places[k]) @ world[k][:3, :3].T + world[k][:3, 3]
        expected += model["weights"][:, k, None] * moved
    vertices, moved = smpl_model.SmplBody(model).pose(betas, vectors, transl)
    assert np.abs(vertices - (expected + transl)).max() < 5e-6
    assert np.abs(moved - (np.array(world)[:, :3, 3] + transl)).max() < 5e-6


def test_posing_equals_the_reference_implementation(oracles):
    body = smpl_model.load(oracles / "SMPL_TINY.npz")
    with np.load(oracles / "smpl_oracle.npz") as z:
        for i in range(len(z["betas"])):
            vertices, joints = body.pose(z["betas"][i], z["pose"][i], z["transl"][i])
            assert np.abs(vertices - z["vertices"][i]).max() < 5e-6
            assert np.abs(joints - z["joints45"][i, :24]).max() < 5e-6


def test_the_fit_stays_within_the_stated_error():
    errors = open_models_lib.errors(components=10, count=30, seed=5)
    means = {name: off.mean() for name, off in errors.items()}
    assert means["rest"] < 1
    assert means["posed"] < 8
    assert means["posed, no hands"] < 3
    assert means["right hand"] < 0.6
    exact = open_models_lib.errors(components=32, count=5, seed=5)
    assert exact["rest"].max() < 0.05


def test_a_hand_is_fitted_where_it_is():
    coefficients, skin = posed_adult(4)
    for side in smpl_joints.SIDES:
        model = open_models.hand(side)
        p = open_fit.fit_hand(coefficients, skin, side)
        vertices, _ = smpl_model.SmplBody(model).pose(p.betas, p.pose, p.transl)
        off = np.linalg.norm(vertices - skin[model["vertices"]], axis=1)
        assert off.mean() < 0.8e-3


def test_parameters_follow_into_the_camera():
    coefficients, skin = posed_adult(2)
    posable = smpl_model.SmplBody(open_models.body())
    p = open_fit.fit_body(coefficients, skin)
    turn, shift = rotations.from_vector([1.0, -0.4, 2.0]), np.array([0.3, 0.1, 4.0])
    seen = open_fit.seen(p, posable.rest(p.betas)[1][0], turn, shift)
    world = posable.pose(p.betas, p.pose, p.transl)[0]
    camera = posable.pose(seen.betas, seen.pose, seen.transl)[0]
    assert np.abs(world @ turn.T + shift - camera).max() < 1e-5


def test_betas_have_variance_one_among_adults():
    model = open_models.body()
    drawn = open_models.adults(500, 11)
    betas = (drawn - model["shape_mean"]) @ model["shape_projection"]
    assert np.abs(betas.std(0) - 1).max() < 0.15
    assert np.abs(betas.mean(0)).max() < 0.2


def test_hand_components_rebuild_the_hand_poses():
    model = open_models.hand()
    components = model["hands_components"]
    assert np.abs(components @ components.T - np.eye(45)).max() < 1e-9
    spread = model["hands_coeffs"].std(0)
    assert (np.diff(spread) <= 1e-9).all()
    assert (spread[:6] ** 2).sum() > 0.9 * (spread**2).sum()
    # A relaxed hand curls its fingers towards the palm, which looks down.
    posable = smpl_model.SmplBody(model)
    pose = np.concatenate([np.zeros((1, 3)), model["hands_mean"].reshape(15, 3)])
    joints = posable.pose(np.zeros(10), pose)[1]
    assert (joints[[3, 6, 9, 12], 1] < model["J"][[3, 6, 9, 12], 1] - 0.01).all()


def test_dense_parts_are_all_there_and_sided():
    model = open_models.body()
    parts, middles = model["dense_part"], model["v_template"][model["f"]].mean(1)
    assert set(np.unique(parts)) == set(range(1, 25))
    for right, left in ((3, 4), (7, 8), (11, 12), (16, 15), (20, 19), (23, 24)):
        assert middles[parts == right, 0].mean() < 0 < middles[parts == left, 0].mean()
    for back, front in ((1, 2), (7, 9), (12, 14)):
        assert middles[parts == back, 2].mean() < middles[parts == front, 2].mean()


def test_two_processes_build_the_same_bytes():
    code = (
        "import hashlib; from crocohuman_jax.synthetic.figure import open_models as o\n"
        "h = hashlib.sha256()\n"
        "for m in (o.body(), o.hand('left')):\n"
        "    for k in sorted(m): h.update(m[k].tobytes())\n"
        "print(h.hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mine = hashlib.sha256()
    for model in (open_models.body(), open_models.hand("left")):
        for field in sorted(model):
            mine.update(model[field].tobytes())
    assert other.stdout.strip() == mine.hexdigest()


def test_a_saved_model_is_read_back(tmp_path):
    open_models.save(open_models.hand("left"), tmp_path / "hand.npz")
    body = smpl_model.load(tmp_path / "hand.npz")
    assert (body.template == open_models.hand("left")["v_template"]).all()
    assert body.parents.tolist() == MANO_PARENTS
    assert body.corrections is None and body.uv is not None


def test_what_is_no_model_is_an_error(tmp_path):
    model = {k: v for k, v in open_models.hand().items() if k != "weights"}
    with pytest.raises(ValueError, match=r"mine.npz lacks \['weights'\]"):
        smpl_model.SmplBody(model, "mine.npz")
    wrong = {**open_models.hand(), "posedirs": np.zeros((1611, 3, 207))}
    with pytest.raises(ValueError, match=r"posedirs.*\(1611, 3, 207\).*16 joints.*135"):
        smpl_model.SmplBody(wrong)
    with pytest.raises(ValueError, match="'middle'.*left, right"):
        open_models.hand("middle")
    with pytest.raises(ValueError, match="33 shape components.*32"):
        open_models.body(33)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"broken\.npz"):
        smpl_model.load(broken)
    np.savez(tmp_path / "pickled.npz", v_template=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"pickled\.npz.*plain arrays"):
        smpl_model.load(tmp_path / "pickled.npz")


def test_non_negative_least_squares_meets_its_conditions():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 60))
    x = joint_regressor.non_negative(a, 7)
    slope = a.T @ (np.eye(30)[7] - a @ x)
    assert x.min() >= 0
    assert slope.max() < 1e-6  # no other variable would help
    assert np.abs(slope[x > 0]).max() < 1e-6

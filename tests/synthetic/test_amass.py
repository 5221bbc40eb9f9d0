"""Motions from AMASS files, on our own body and on a user's SMPL mesh."""

import numpy as np
import pytest

from crocohuman_jax.synthetic.figure import (
    open_fit,
    open_models,
    parametric_body,
    smpl_joints,
    smpl_model,
)
from crocohuman_jax.synthetic.graphics import rotations, surface
from crocohuman_jax.synthetic.motion import amass, motion
from crocohuman_jax.synthetic.people import smpl_person

UPRIGHT = rotations.to_vector(smpl_joints.AXES.T)  # the turn from SMPL's axes to the z-up world


def poses(frames=6, joints=52, seed=0, spread=0.15):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, spread, (frames, joints, 3))
    drawn[:, 0] = UPRIGHT
    return drawn


def write(path, layout="smplh", **changes):
    """Writes a motion of one of the layouts; `changes` replace its fields."""
    width = {"smpl": 24, "smplh": 52, "smplx": 55}[layout]
    drawn = poses(joints=width)
    fields = {
        "poses": drawn.reshape(len(drawn), -1),
        "trans": np.linspace(0, 1, len(drawn) * 3).reshape(-1, 3),
        "betas": np.arange(16.0),
        "gender": np.array(b"female"),
    }
    if layout == "smplx":
        fields |= {"gender": np.array("male"), "mocap_frame_rate": np.array(30.0)}
        fields["pose_body"] = drawn[:, 1:22].reshape(len(drawn), -1)
    else:
        fields["mocap_framerate"] = np.array(30.0)
    fields |= changes
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    return drawn


def angles(a, b):  # axis-angles [..., 3] -> degrees
    turn = np.swapaxes(rotations.from_vector(a), -1, -2) @ rotations.from_vector(b)
    return np.degrees(np.linalg.norm(rotations.to_vector(turn), axis=-1))


@pytest.mark.parametrize(
    ("layout", "gender", "fingers"),
    [("smplh", "female", 22), ("smplx", "male", 25), ("smpl", "female", None)],
)
def test_every_layout_is_read(tmp_path, layout, gender, fingers):
    drawn = write(tmp_path / "walk_poses.npz", layout)
    clip = amass.Clip(tmp_path / "walk_poses.npz")
    assert clip.gender == gender
    assert clip.duration == pytest.approx(5 / 30)
    betas, pose, transl = clip.at(3 / 30)
    assert betas.shape == (16,)
    assert angles(pose[:22], drawn[3, :22]).max() < 1e-5
    assert np.allclose(transl, np.linspace(0, 1, 18).reshape(-1, 3)[3])
    if fingers is None:
        assert clip.fingers_at(0.1) is None
    else:
        assert angles(clip.fingers_at(3 / 30).reshape(30, 3), drawn[3, -30:]).max() < 1e-5
        assert angles(pose[22:], drawn[3, [fingers, fingers + 15]]).max() < 1e-5


def test_between_frames_joints_turn_evenly(tmp_path):
    write(tmp_path / "a.npz")
    clip = amass.Clip(tmp_path / "a.npz")
    before, middle, after = (clip.at(time)[1] for time in (2 / 30, 2.5 / 30, 3 / 30))
    whole = angles(before, after)
    assert np.allclose(angles(before, middle), whole / 2, atol=1e-4)
    assert np.allclose(angles(middle, after), whole / 2, atol=1e-4)
    assert np.allclose(clip.at(-1)[1], clip.at(0)[1])
    assert np.allclose(clip.at(99)[2], clip.translations[-1])


def test_our_body_strikes_the_pose_of_the_file():
    full, model = parametric_body.load(), open_models.body(32)
    posable = smpl_model.SmplBody(model)
    coefficients = open_models.adults(1, 3)[0]
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    vertices, heads = full.rest(coefficients)
    for seed in range(3):
        pose = poses(1, 24, seed)[0]
        pose[22:] = 0
        turns = amass.to_bones(pose, full)
        skin = full.skin(vertices, full.transforms(heads, turns))
        expected = posable.pose(betas, pose)[0]
        off = np.linalg.norm(skin - skin.mean(0) - expected + expected.mean(0), axis=1)
        assert off.mean() < 9e-3
        fitted = open_fit.fit_body(coefficients, skin, 32)
        limbs = [1, 2, 4, 5, 16, 17, 18, 19, 20, 21]  # toes and spine are known less exactly
        assert angles(fitted.pose, pose)[limbs].mean() < 5


def test_the_zero_pose_of_the_file_is_ours_exactly():
    full, model = parametric_body.load(), open_models.body(32)
    coefficients = open_models.adults(1, 4)[0]
    betas = (coefficients - model["shape_mean"]) @ model["shape_projection"]
    vertices, heads = full.rest(coefficients)
    pose = np.zeros((24, 3))
    pose[0] = UPRIGHT
    skin = full.skin(vertices, full.transforms(heads, amass.to_bones(pose, full)))
    expected = smpl_model.SmplBody(model).pose(betas, pose)[0]
    assert np.ptp(skin - expected, axis=0).max() < 1e-5


def test_fingers_bend_as_the_hand_model_bends_them():
    full, model = parametric_body.load(), open_models.hand("left", 32)
    coefficients = open_models.adults(1, 5)[0]
    vertices, heads = full.rest(coefficients)
    fingers = np.random.default_rng(2).normal(0, 0.3, (2, 15, 3))
    pose = np.zeros((24, 3))
    pose[0] = UPRIGHT
    turns = amass.to_bones(pose, full, fingers)
    skin = full.skin(vertices, full.transforms(heads, turns))
    fitted = open_fit.fit_hand(coefficients, skin, "left", 32)
    assert angles(fitted.pose[1:], fingers[0]).mean() < 1.5
    rebuilt = smpl_model.SmplBody(model).pose(fitted.betas, fitted.pose, fitted.transl)[0]
    assert np.linalg.norm(rebuilt - skin[model["vertices"]], axis=1).mean() < 5e-4


def test_a_motion_can_be_drawn_from_a_clip(tmp_path):
    write(tmp_path / "a.npz")
    full, clip = parametric_body.load(), amass.Clip(tmp_path / "a.npz")
    heads = full.rest(open_models.adults(1, 0)[0])[1]
    turns = clip.rotations(0.1, full, heads)
    assert turns.shape == (104, 3, 3) and np.allclose(np.linalg.det(turns), 1)
    drawn = motion.draw(full, heads, 3, clips=(clip,))
    world = smpl_joints.chain(drawn.at(0.05).rotations, full.parents)
    assert drawn.name == "clip"
    # But for the heading, every bone does what the file says.
    start = smpl_joints.chain(clip.rotations(0.05, full), full.parents)
    bone = full.bone["lowerleg01.L"]
    assert np.allclose(world[0].T @ world[bone], start[0].T @ start[bone], atol=0.2)


def test_hands_that_nobody_recorded_stay_free(tmp_path):
    still = poses()
    still[:, 22:] = 0
    write(tmp_path / "a.npz", poses=still.reshape(6, -1))
    clip, full = amass.Clip(tmp_path / "a.npz"), parametric_body.load()
    assert clip.fingers is None
    turns = clip.rotations(0.1, full)
    fingers = [k for k, name in enumerate(full.bones) if name.startswith("finger")]
    assert np.allclose(turns[fingers], np.eye(3), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": None}, "lacks.*poses"),
        ({"mocap_framerate": None}, "mocap_framerate or mocap_frame_rate"),
        ({"poses": np.zeros((6, 150))}, r"poses has shape \(6, 150\).*72, 156, 165"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, r"poses has shape \(0, 156\)"),
        ({"trans": np.zeros((5, 3))}, r"trans has shape \(5, 3\).*\(6, 3\)"),
        ({"poses": np.full((6, 156), np.nan)}, "not finite"),
        ({"mocap_framerate": np.array(0.0)}, "0.0 frames per second"),
        ({"gender": np.array("robot")}, "'robot'.*female"),
        ({"poses": np.full((6, 156), "x")}, "must be numeric"),
        ({"betas": np.array([{}], dtype=object)}, "plain arrays"),
    ],
)
def test_what_is_no_motion_is_an_error_that_names_the_file(tmp_path, changes, message):
    write(tmp_path / "odd_poses.npz", **changes)
    with pytest.raises(ValueError, match=r"odd_poses\.npz.*" + message):
        amass.Clip(tmp_path / "odd_poses.npz")


def test_a_cut_off_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "cut_poses.npz"
    write(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut_poses\.npz"):
        amass.Clip(path)


def test_a_users_model_is_dressed_and_posed(tmp_path):
    open_models.save(open_models.body(), tmp_path / "SMPL.npz")
    write(tmp_path / "a.npz")
    model, clip = smpl_model.load(tmp_path / "SMPL.npz"), amass.Clip(tmp_path / "a.npz")
    person = smpl_person.SmplPerson(model, 3)
    turns, place = person.turns(clip, 0.1), np.array([0.5, -0.2, 7.0])
    posed = person.pose(turns, place, lift=0.2)
    assert posed.vertices[:, 2].min() == pytest.approx(0.2, abs=1e-5)
    # The skin is what the model says, and the clothes lie outside it, by little.
    pose = clip.at(0.1)[1]
    expected = model.pose(person.betas, pose)[0]
    assert np.ptp(posed.skin - expected, axis=0).max() < 1e-5
    off = np.linalg.norm(posed.vertices - posed.skin, axis=1)
    assert 0.003 < off.max() < 0.03
    outwards = np.einsum("va,va->v", posed.vertices - posed.skin, posed.normals)
    assert (outwards > -1e-3).mean() > 0.97
    assert np.allclose(posed.joints[0, :2], place[:2] + person.root[:2], atol=1e-6)
    known = person.parameters(turns, posed)
    assert np.abs(model.pose(known.betas, known.pose, known.transl)[0] - posed.skin).max() < 1e-5
    assert set(np.unique(person.surface.part)) <= set(range(1, 18))
    assert (person.surface.part == parametric_body.load().face_part).mean() > 0.95


def test_a_recorded_motion_starts_above_the_origin(tmp_path):
    write(tmp_path / "a.npz")
    clip = amass.Clip(tmp_path / "a.npz")
    person = smpl_person.SmplPerson(smpl_model.SmplBody(open_models.body()), 0)
    recorded = smpl_person.Recorded(person, clip, 5)
    assert recorded.duration == clip.duration
    first, last = recorded.at(0), recorded.at(recorded.duration)
    posed = person.pose(first.rotations, first.translation)
    assert np.abs(posed.joints[0, :2]).max() < 1e-6
    walked = np.linalg.norm((last.translation - first.translation)[:2])
    assert walked == pytest.approx(np.linalg.norm(np.ptp(clip.translations, 0)[:2]))


def test_nobody_is_without_clothes():
    model = smpl_model.SmplBody(open_models.body())
    for seed in range(8):
        person = smpl_person.SmplPerson(model, seed)
        middles = person.surface.canonical[model.faces].mean(1)
        attributes = person.surface.attributes[model.faces].mean(1)
        worn = person._worn(middles, attributes)
        covered = np.isin(person.surface.part, [2, 3, 14, 15]) & (attributes[:, 0] > 0.7)
        assert (worn[covered] > 0).all()
        thighs = np.isin(person.surface.part, [10, 11])
        assert (worn[thighs] == 2).mean() > 0.9


def test_shading_is_a_function_of_the_seed():
    model = smpl_model.SmplBody(open_models.body())
    first, again, other = (smpl_person.SmplPerson(model, seed) for seed in (1, 1, 2))
    faces = np.arange(0, len(model.faces), 7)
    pixels = surface.Pixels(
        first.surface.canonical[model.faces[faces]].mean(1),
        first.surface.attributes[model.faces[faces]].mean(1),
        faces,
        np.tile(np.float32([0, 0, 1]), (len(faces), 1)),
    )
    materials = [person.shade(pixels) for person in (first, again, other)]
    assert (materials[0].albedo == materials[1].albedo).all()
    assert (materials[0].albedo != materials[2].albedo).any()
    for material in materials:
        assert material.albedo.dtype == np.float32 and material.albedo.shape == (len(faces), 3)
        assert material.albedo.min() >= 0 and material.albedo.max() <= 1
        assert material.gloss.min() >= 0 and material.gloss.max() <= 1


def test_a_model_without_a_body_is_an_error():
    with pytest.raises(ValueError, match=r"16 joints.*24, 52, 55"):
        smpl_person.SmplPerson(smpl_model.SmplBody(open_models.hand()), 0)

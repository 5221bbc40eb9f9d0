"""What predictions are compared with: roots, genders, and body models that cannot be learned."""

import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import mesh
from crocohuman_jax.body_models import lbs, loading, rotations, run_body
from crocohuman_jax.tasks import mesh as tasks
from crocohuman_jax.tasks.mesh import evaluation, results, supervision


def network(arg, **changes):
    """Returns the task's network of a debug config, which has never seen anybody."""
    config = mesh.get_config(f"debug,{arg}")
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    config.data.folders = "nowhere"
    return tasks.make(config).loss.__self__


@pytest.fixture(scope="module")
def hands():
    return network("body=open_hand_right")


def posed(hands, count=3):
    """Returns a batch of hands of known pose, and the mesh and points that it stands for."""
    rng = np.random.default_rng(0)
    batch = hands.bodies.unknown(count)
    batch["pose"] = np.float32(0.3 * rng.normal(size=batch["pose"].shape))
    batch["betas"] = np.float32(0.3 * rng.normal(size=batch["betas"].shape))
    batch["has_pose"] = batch["has_shape"] = batch["has_mesh"] = np.ones(count, np.float32)
    turns = rotations.exp(jnp.asarray(batch["pose"]))
    vertices, places = lbs.pose(hands.bodies.body, batch["betas"], turns)
    return batch, np.asarray(vertices), np.asarray(hands.bodies.measured(vertices, places))


@pytest.mark.parametrize("given", ["parameters", "joints", "joints and vertices", "vertices"])
def test_a_perfect_prediction_has_no_error_wherever_the_truth_lies(hands, given):
    batch, vertices, points = posed(hands)
    away = np.array([0.1, -0.2, 0.7], np.float32)  # where annotations are, and parameters are not
    if "joints" in given:
        at = hands.bodies.among_trained(root=True)
        batch["joints"][:, at, :3], batch["joints"][:, at, 3] = points + away, 1
    if "vertices" in given:
        batch["vertices"], batch["has_vertices"] = vertices + away, np.ones(3, np.float32)
    truth = supervision.truth(batch, hands.bodies)
    found = results.errors({"vertices": vertices, "points": points}, truth, 0)
    for name, value in found.items():
        np.testing.assert_allclose(value, 0, atol=0.02, err_msg=name)
    wrong = {"vertices": vertices * 1.1, "points": points * 1.1}
    assert results.errors(wrong, truth, 0)["mpvpe"].min() > 2


def test_shapes_are_compared_by_the_model_of_their_gender():
    body = run_body.Bodies(**mesh.get_config("micro").body)
    female = loading.load("open_body", 10)
    female = lbs.Body(**{**vars(female), "template": 1.1 * female.template})
    body.gendered = {"female": female}
    betas, genders = np.zeros((2, 10), np.float32), np.array([0, 2])
    neutral, gendered = body.straight(betas), body.straight(betas, genders)
    np.testing.assert_array_equal(neutral[0], gendered[0])
    np.testing.assert_allclose(gendered[1], 1.1 * neutral[1], atol=1e-5)


def test_scaled_shapes_count_where_shapes_are_known():
    found = {name: np.ones(3) for name in results.MEASURES}
    found |= {"has_points": np.ones(3), "has_mesh": np.ones(3), "row": np.arange(3)}
    found |= {"pve_t_sc": np.array([3.0, np.nan, 5.0]), "points": np.zeros((3, 2, 3))}
    found["true_points"] = found["points"]
    found |= {"finite": np.ones(3, bool), "has_betas": np.array([1, 0, 1])}
    index = {"pose_group": np.full(3, -1), "instant": np.zeros(3, int)}
    assert results.means(found, index, 0, False)["pve_t_sc"] == 4


def measured(errors, **changes):
    """What is found of people of some errors, who all have a truth, and their frames' index."""
    count = len(errors)
    found = {name: np.array(errors, np.float64) for name in results.MEASURES}
    found |= {"has_points": np.ones(count), "has_mesh": np.ones(count), "row": np.arange(count)}
    found |= {"finite": np.isfinite(errors), "points": np.zeros((count, 2, 3))}
    found["true_points"] = found["points"]
    index = {"pose_group": np.full(count, -1), "instant": np.zeros(count, int)}
    return found | changes, index


def test_a_mean_over_a_prediction_that_is_not_finite_is_nan():
    found, index = measured([50, 60, np.nan])
    whole = results.means(found, index, 0, False)
    assert all(np.isnan(whole[name]) for name in results.MEASURES)
    np.testing.assert_array_equal(results.failed(found), [False, False, True])
    allowed = results.means(found, index, 0, False, allow_non_finite=True)
    assert allowed == dict.fromkeys(results.MEASURES, 55.0)
    # Of whom there is no truth, nothing is hidden and nothing is missed.
    unknown, index = measured([50, 60, np.nan], has_points=[1, 1, 0], has_mesh=[1, 1, 0])
    unknown |= {name: np.array(unknown[name]) for name in ("has_points", "has_mesh")}
    assert results.means(unknown, index, 0, False)["mpjpe"] == 55
    # Errors can look finite where the prediction is not: an F-score of NaN is 0.
    hands, index = measured([50, 60, 70], finite=np.array([True, True, False]))
    scores = np.array([[0.5, 0.7], [0.3, 0.9], [0, 0]])
    hands |= {"f": scores, "f_aligned": scores}
    hands |= {f"aligned_{kind}_distances": np.full((3, 4), 10.0) for kind in ("joint", "vertex")}
    whole = results.means(hands, index, 0, True)
    assert len(whole) == 10 and all(np.isnan(value) for value in whole.values())
    allowed = results.means(hands, index, 0, True, allow_non_finite=True)
    np.testing.assert_allclose([allowed["f@5"], allowed["mpjpe"]], [0.4, 55])


def test_the_root_of_metros_joints_is_between_the_hips_and_of_its_meshes_the_pelvis():
    body, rng = run_body.Bodies(**mesh.get_config("micro").body), np.random.default_rng(2)
    sides = [
        {"points": rng.normal(size=(3, 15, 3)), "vertices": rng.normal(size=(3, 9, 3))}
        for _ in range(2)
    ]
    found = results.errors(*sides, body.only_root, body.root("mid_hip"))
    joints = [side["points"][:, 1:] for side in sides]  # LSP's, whose hips are the third and fourth
    joints = [x - (x[:, 2:3] + x[:, 3:4]) / 2 for x in joints]
    meshes = [side["vertices"] - side["points"][:, :1] for side in sides]
    for name, (a, b) in {"mpjpe": joints, "mpvpe": meshes}.items():
        wanted = 1000 * np.linalg.norm(a - b, axis=-1).mean(1)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, err_msg=name)
    pelvis = results.errors(*sides, body.only_root, body.root("auto"))
    assert body.root("auto") == body.root("pelvis") == (0,)
    assert not np.allclose(pelvis["mpjpe"], found["mpjpe"])
    np.testing.assert_array_equal(pelvis["mpvpe"], found["mpvpe"])
    with pytest.raises(ValueError, match="--root=wrist: .* one of auto, pelvis, mid_hip, none"):
        body.root("wrist")


def test_people_are_placed_where_a_known_camera_sees_them_as_large(hands):
    rng = np.random.default_rng(3)
    matrix = np.array([[3.1, 0, 0.2], [0, 2.9, -0.1], [0, 0, 1]], np.float32)
    place = np.array([[0.1, -0.2, 0.8], [0.0, 0.1, 1.3]], np.float32)
    flat = np.float32(0.1 * rng.normal(size=(2, 21, 3))) * [1, 1, 0]  # as far away as their origin
    shown = {"points": flat, "vertices": flat, "true_vertices": flat, "true_points": flat}
    shown |= {"matrix": np.tile(7 * matrix, (2, 1, 1)), "true_translation": place}
    shown |= {"exact": np.ones(2), "annotated": np.zeros(2)}
    scale = np.sqrt(3.1 * 2.9) / place[:, 2:]
    seen = place[:, :2] / place[:, 2:] * [3.1, 2.9] + [0.2, -0.1]
    shown["camera"] = np.concatenate([scale, seen / scale], 1)
    predicted, truth, known = results.placed(shown)
    assert known.all()
    for side in (predicted, truth):
        np.testing.assert_allclose(side["points"], flat + place[:, None], atol=1e-5)
    np.testing.assert_allclose(
        results.errors(predicted, truth, 0, hands.bodies.root("none"))["mpvpe"], 0, atol=0.02
    )
    far = shown | {"camera": shown["camera"] / [1.25, 1, 1]}  # seen smaller, so farther away
    errors = results.errors(*results.placed(far)[:2], 0, ())["mpjpe"]
    assert (errors > 200 * place[:, 2]).all()
    blind = {"matrix": np.zeros((2, 3, 3))}
    about_a_root = {"exact": np.zeros(2), "annotated": np.ones(2)}
    parameters = {"exact": np.zeros(2)}
    for changes in (blind, about_a_root, parameters):
        found = results.placed(shown | changes)[2]
        assert not found.any()
        people = {"has_points": np.ones(2), "has_mesh": np.ones(2), "placed": np.asarray(found)}
        with pytest.raises(ValueError, match="true position of 2 of 2 people is unknown"):
            evaluation.Measurement.check(types.SimpleNamespace(root=()), people)
        evaluation.Measurement.check(types.SimpleNamespace(root=(0,)), people)


def test_areas_under_the_curve_do_not_depend_on_how_many_are_summed_at_once():
    rng = np.random.default_rng(1)
    found = {f"aligned_{k}_distances": rng.uniform(0, 60, (600, 5)) for k in ("joint", "vertex")}
    found |= {"f": np.ones((600, 2)), "f_aligned": np.ones((600, 2)), "row": np.arange(600)}
    found |= {"has_points": np.ones(600), "has_mesh": np.ones(600), "finite": np.ones(600, bool)}
    found |= {name: np.ones(600) for name in results.MEASURES}
    found |= {name: np.zeros((600, 5, 3)) for name in ("points", "true_points")}
    index = {"pose_group": np.full(600, -1), "instant": np.zeros(600, int)}
    whole = results.means(found, index, 0, True)["auc_joint"]
    distances = found["aligned_joint_distances"]
    limits = np.linspace(0, 50, 100)
    curve = [(distances <= limit).mean() for limit in limits]
    np.testing.assert_allclose(whole, np.trapezoid(curve, limits) / 50, rtol=1e-5)


def test_a_mesh_has_no_joints_of_a_chain():
    with pytest.raises(ValueError, match=r"config\.body\.joints='model' takes joints from the"):
        network("body=open_hand_right,head=metro", body__joints="model")


def test_a_body_without_hips_says_which_file_has_them(hands):
    with pytest.raises(ValueError, match="have no wrist, the origin in losses: elbow"):
        hands.bodies.hips(("elbow",))
    with pytest.raises(ValueError, match=r"J_regressor_extra .* config\.body\.extra"):
        run_body.Bodies(**mesh.get_config("micro").body).hips(("nose", "left_knee"))


def test_estimates_begin_with_a_body_or_a_hand_that_fills_the_picture(hands):
    body = run_body.Bodies(**mesh.get_config("micro").body)
    assert body.camera == (0.9, 0.0, 0.0)
    for of in (body, hands.bodies):
        seen = of.camera[0] * np.ptp(np.asarray(of.body.template), axis=0).max()
        assert 1.4 < seen < 1.6  # of the picture, which spans [-1, 1]
    metro = network("body=open_hand_right,head=metro")
    params = metro._init(jax.random.key(0))
    start = params["head"]["camera3"]["bias"]
    np.testing.assert_allclose(start, hands.bodies.camera, rtol=1e-6)


def test_a_body_of_other_joints_is_refused(monkeypatch):
    body = loading.load("open_body", 10)
    many = lbs.Body(**{**vars(body), "names": (*body.names, "jaw")})
    monkeypatch.setattr(loading, "load", lambda *_: many)
    with pytest.raises(ValueError, match=r"has 25 joints\. Use a body of 24 .* or a hand of 16"):
        run_body.Bodies(**mesh.get_config("micro").body)


def test_whether_a_model_is_a_hand_is_told_by_its_file_not_by_its_folder():
    body = mesh.get_config("base,body=/data/smpl_and_mano/SMPL_NEUTRAL.npz")
    hand = mesh.get_config("base,body=/data/bodies/MANO_RIGHT.npz")
    assert body.data.augment.flip == 0.5 and hand.data.augment.flip == 0
    assert isinstance(body, ml_collections.ConfigDict)

"""What predictions are compared with: roots, genders, and body models that cannot be learned."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from configs import mesh
from crocohuman_jax import bodies, mesh_results
from crocohuman_jax.body import load, rotations, skinning
from crocohuman_jax.tasks import mesh as tasks


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
    vertices, places = skinning.pose(hands.body, batch["betas"], turns)
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
    truth = hands._true(batch)
    found = mesh_results.errors({"vertices": vertices, "points": points}, truth, 0)
    for name, value in found.items():
        np.testing.assert_allclose(value, 0, atol=0.02, err_msg=name)
    wrong = {"vertices": vertices * 1.1, "points": points * 1.1}
    assert mesh_results.errors(wrong, truth, 0)["mpvpe"].min() > 2


def test_shapes_are_compared_by_the_model_of_their_gender():
    body = bodies.Bodies(**mesh.get_config("micro").body)
    female = load.load("open_body", 10)
    female = skinning.Body(**{**vars(female), "template": 1.1 * female.template})
    body.gendered = {"female": female}
    betas, genders = np.zeros((2, 10), np.float32), np.array([0, 2])
    neutral, gendered = body.straight(betas), body.straight(betas, genders)
    np.testing.assert_array_equal(neutral[0], gendered[0])
    np.testing.assert_allclose(gendered[1], 1.1 * neutral[1], atol=1e-5)


def test_scaled_shapes_count_where_shapes_are_known():
    found = {name: np.ones(3) for name in mesh_results.MEASURES}
    found |= {"has_points": np.ones(3), "has_mesh": np.ones(3), "row": np.arange(3)}
    found |= {"pve_t_sc": np.array([3.0, np.nan, 5.0]), "points": np.zeros((3, 2, 3))}
    found["true_points"] = found["points"]
    index = {"pose_group": np.full(3, -1), "instant": np.zeros(3, int)}
    assert mesh_results.means(found, index, 0, False)["pve_t_sc"] == 4


def test_areas_under_the_curve_do_not_depend_on_how_many_are_summed_at_once():
    rng = np.random.default_rng(1)
    found = {f"aligned_{k}_distances": rng.uniform(0, 60, (600, 5)) for k in ("joint", "vertex")}
    found |= {"f": np.ones((600, 2)), "f_aligned": np.ones((600, 2)), "row": np.arange(600)}
    found |= {"has_points": np.ones(600), "has_mesh": np.ones(600)}
    found |= {name: np.zeros((600, 5, 3)) for name in ("points", "true_points")}
    index = {"pose_group": np.full(600, -1), "instant": np.zeros(600, int)}
    whole = mesh_results.means(found, index, 0, True)["auc_joint"]
    distances = found["aligned_joint_distances"]
    limits = np.linspace(0, 50, 100)
    curve = [(distances <= limit).mean() for limit in limits]
    np.testing.assert_allclose(whole, np.trapezoid(curve, limits) / 50, rtol=1e-5)


def test_a_mesh_has_no_joints_of_a_chain():
    with pytest.raises(ValueError, match=r"config\.body\.joints='model' takes joints of the"):
        network("body=open_hand_right,head=metro", body__joints="model")


def test_a_body_without_hips_says_which_file_has_them(hands):
    with pytest.raises(ValueError, match="have no wrist, about which they are learned: elbow"):
        hands.bodies.hips(("elbow",))
    with pytest.raises(ValueError, match=r"J_regressor_extra .* config\.body\.extra"):
        bodies.Bodies(**mesh.get_config("micro").body).hips(("nose", "left_knee"))


def test_estimates_begin_with_a_body_or_a_hand_that_fills_the_picture(hands):
    body = bodies.Bodies(**mesh.get_config("micro").body)
    assert body.camera == (0.9, 0.0, 0.0)
    for of in (body, hands.bodies):
        seen = of.camera[0] * np.ptp(np.asarray(of.body.template), axis=0).max()
        assert 1.4 < seen < 1.6  # of the picture, which spans [-1, 1]
    metro = network("body=open_hand_right,head=metro")
    params = metro._init(jax.random.key(0))
    start = params["head"]["camera3"]["bias"]
    np.testing.assert_allclose(start, hands.bodies.camera, rtol=1e-6)


def test_a_body_of_other_joints_is_refused(monkeypatch):
    body = load.load("open_body", 10)
    many = skinning.Body(**{**vars(body), "names": (*body.names, "jaw")})
    monkeypatch.setattr(load, "load", lambda *_: many)
    with pytest.raises(ValueError, match=r"has 25 joints\. Bodies of 24 .* and hands of 16"):
        bodies.Bodies(**mesh.get_config("micro").body)


def test_whether_a_model_is_a_hand_is_told_by_its_file_not_by_its_folder():
    body = mesh.get_config("base,body=/data/smpl_and_mano/SMPL_NEUTRAL.npz")
    hand = mesh.get_config("base,body=/data/bodies/MANO_RIGHT.npz")
    assert body.data.augment.flip == 0.5 and hand.data.augment.flip == 0
    assert isinstance(body, ml_collections.ConfigDict)

"""Rotations, cameras and skinning: reference outputs, algebra, gradients where they are hard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mesh
from crocohuman_jax.body_models import cameras as cameras_lib
from crocohuman_jax.body_models import joint_names, landmarks, lbs, loading, rotations, run_body
from crocohuman_jax.data.datasets import coco_eft
from crocohuman_jax.synthetic.figure import open_models, smpl_model
from crocohuman_jax.weights.exchange import body_files

HARD = (0.0, 1e-8, 1e-4, np.pi - 1e-4, np.pi, 4.0)


def tiny(oracles, name, kind):
    return loading.from_arrays(body_files.plain(oracles / f"{name}.npz")[1], kind, 10)


def test_rotations_equal_the_references(oracles):
    found = np.load(oracles / "rotations.npz")
    matrices = found["mat_from_6d_interleaved_cols"]
    known = np.isfinite(matrices).all((1, 2))
    mine = rotations.from_6d(jnp.asarray(found["sixd"], jnp.float32))
    np.testing.assert_allclose(mine[known], matrices[known], atol=2e-6)
    assert np.isfinite(mine).all()
    vectors = jnp.asarray(found["axis_angle"], jnp.float32)
    np.testing.assert_allclose(rotations.exp(vectors), found["mat_from_axis_angle_f64"], atol=2e-6)
    turns = jnp.asarray(found["mats"], jnp.float32)
    back = rotations.exp(rotations.log(turns))
    np.testing.assert_allclose(back, turns, atol=2e-5)


@pytest.mark.parametrize("size", HARD)
def test_rotations_and_their_gradients_are_finite_where_they_are_hard(size):
    vector = jnp.array([size, 0.0, 0.0])
    assert np.isfinite(jax.jacobian(rotations.exp)(vector)).all()
    through = jax.jacobian(lambda v: rotations.log(rotations.exp(v)))(vector)
    assert np.isfinite(through).all()
    expected = np.eye(3)
    expected[1:, 1:] = [[np.cos(size), -np.sin(size)], [np.sin(size), np.cos(size)]]
    np.testing.assert_allclose(rotations.exp(vector), expected, atol=1e-6)


def test_six_numbers_are_interleaved_columns():
    np.testing.assert_array_equal(rotations.from_6d(jnp.array([1.0, 0, 0, 1, 0, 0])), np.eye(3))
    turn = rotations.exp(jnp.array([[0.3, -1.2, 0.7]]))
    np.testing.assert_allclose(rotations.from_6d(rotations.to_6d(turn)), turn, atol=1e-6)
    np.testing.assert_array_equal(rotations.to_6d(turn)[0, ::2], turn[0, :, 0])


@pytest.mark.parametrize("six", [np.zeros(6), [1, 1, 2, 2, 3, 3], [1e-20] * 6])
def test_degenerate_columns_have_finite_values_and_gradients(six):
    six = jnp.asarray(six, jnp.float32)
    assert np.isfinite(rotations.from_6d(six)).all()
    assert np.isfinite(jax.jacobian(rotations.from_6d)(six)).all()


def test_angles_are_exact_near_zero_and_pi():
    for size in (0.0, 1e-3, 1.0, np.pi - 1e-3):
        turn = rotations.exp(jnp.array([0.0, size, 0.0]))
        np.testing.assert_allclose(rotations.angle(jnp.eye(3), turn), size, atol=2e-6)


def test_smpl_equals_the_reference(oracles):
    found = np.load(oracles / "smpl_oracle.npz")
    body = tiny(oracles, "SMPL_TINY", "smpl")
    betas, vectors, move = (
        jnp.asarray(found[name], jnp.float32) for name in ("betas", "pose", "transl")
    )
    vertices, places = lbs.pose(body, betas, rotations.exp(vectors.reshape(-1, 24, 3)))
    np.testing.assert_allclose(vertices, found["vertices_f64"], atol=5e-6)
    np.testing.assert_allclose(places, found["joints24_f64"], atol=5e-6)
    moved, _ = lbs.pose(body, betas, rotations.exp(vectors.reshape(-1, 24, 3)), move)
    np.testing.assert_allclose(moved, found["vertices"], atol=5e-6)


def test_smpl_gradients_equal_the_reference(oracles):
    found = np.load(oracles / "smpl_oracle.npz")
    body = tiny(oracles, "SMPL_TINY", "smpl")

    def loss(betas, vectors, move):
        turns = rotations.exp(vectors.reshape(-1, 24, 3))
        vertices, places = lbs.pose(body, betas, turns, move)
        picked = vertices[:, found["extra_vertex_ids"]]
        points = jnp.concatenate([places, picked], 1)
        return jnp.sum(vertices * found["Wv"]) + jnp.sum(points * found["Wj"])

    given = [jnp.asarray(found[n], jnp.float32) for n in ("betas", "pose", "transl")]
    grads = jax.grad(loss, (0, 1, 2))(*given)
    pose = np.concatenate([found["grad_global_orient"], found["grad_body_pose"]], 1)
    for expected, grad in zip(
        (found["grad_betas"], pose, found["grad_transl"]), grads, strict=True
    ):
        expected = expected.reshape(grad.shape)
        np.testing.assert_allclose(grad, expected, atol=2e-4 * np.abs(expected).max())


def test_mano_equals_the_reference_with_and_without_its_mean(oracles):
    found = np.load(oracles / "mano_oracle.npz")
    body = tiny(oracles, "MANO_RIGHT_TINY", "mano_right")
    assert np.abs(body.mean_pose[0]).max() == 0 and np.abs(body.mean_pose[1:]).max() > 0
    for mean in ("meanpose", "flat"):
        vectors = found[f"axisangle_{mean}_full_pose"].reshape(-1, 16, 3)
        given = np.concatenate([found["global_orient"], found["hand_pose_axisangle"]], 1)
        own = given.reshape(-1, 16, 3) + (np.asarray(body.mean_pose) if mean == "meanpose" else 0)
        np.testing.assert_allclose(own, vectors, atol=1e-6)
        vertices, places = lbs.pose(
            body,
            jnp.asarray(found["betas"], jnp.float32),
            rotations.exp(jnp.asarray(own, jnp.float32)),
            jnp.asarray(found["transl"], jnp.float32),
        )
        np.testing.assert_allclose(vertices, found[f"axisangle_{mean}_vertices"], atol=5e-6)
        np.testing.assert_allclose(places, found[f"axisangle_{mean}_joints"], atol=5e-6)


@pytest.mark.parametrize("name", loading.OPEN)
def test_open_models_are_posed_as_numpy_poses_them(name):
    kind = name.rpartition("_")[2]
    arrays = open_models.body() if kind == "body" else open_models.hand(kind)
    body, other = loading.load(name), smpl_model.SmplBody(arrays)
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(2, 10)).astype(np.float32)
    vectors = rng.normal(size=(2, len(body.names), 3)).astype(np.float32) * 0.5
    vertices, places = lbs.pose(body, jnp.asarray(betas), rotations.exp(jnp.asarray(vectors)))
    for i in range(2):
        expected, at = other.pose(betas[i], vectors[i])
        np.testing.assert_allclose(vertices[i], expected, atol=2e-5)
        np.testing.assert_allclose(places[i], at, atol=2e-5)


def test_gradients_of_a_body_are_finite_at_rest():
    body = loading.load("open_hand_right")

    def total(vectors):
        return jnp.sum(lbs.pose(body, jnp.zeros((1, 10)), rotations.exp(vectors))[0] ** 2)

    assert np.isfinite(jax.grad(total)(jnp.zeros((1, 16, 3)))).all()


def test_a_camera_far_away_is_a_weak_one():
    points = jax.random.normal(jax.random.key(0), (2, 5, 3)) * 0.1
    cameras = jnp.array([[0.9, 0.1, -0.2], [1.2, 0.0, 0.3]])
    np.testing.assert_allclose(
        cameras_lib.project(points, cameras), cameras_lib.weak(points, cameras), atol=2e-2
    )
    np.testing.assert_allclose(
        cameras_lib.translation(cameras)[0, 2], 10000 / (224 * 0.9), rtol=1e-6
    )


def test_efts_camera_means_what_ours_does():
    points = jax.random.normal(jax.random.key(1), (1, 5, 3))
    theirs = jnp.array([[0.8, 0.1, -0.3]])
    expected = theirs[:, None, :1] * points[..., :2] + theirs[:, None, 1:]
    np.testing.assert_allclose(
        cameras_lib.weak(points, coco_eft.camera(theirs)), expected, atol=1e-6
    )


def test_fingertips_are_the_ends_of_fingers():
    body = loading.load("open_hand_right")
    points = landmarks.keypoints(body)
    assert points.names == joint_names.HAND
    vertices, places = lbs.pose(body, jnp.zeros((1, 10)), jnp.eye(3)[None, None].repeat(16, 1))
    at = dict(zip(points.names, np.asarray(points(vertices, places)[0]), strict=True))
    for finger in ("index", "middle", "ring", "pinky"):
        along = [at[f"{finger}{i}"][0] for i in (1, 2, 3)] + [at[f"{finger}_tip"][0]]
        assert along == sorted(along, reverse=True)  # a right hand points along -x
        assert 0.01 < along[2] - along[3] < 0.04


def test_the_open_body_is_measured_by_its_own_joints():
    body = loading.load("open_body")
    points, only_root = landmarks.evaluated(body)
    assert points.names == ("pelvis", *joint_names.LSP) and only_root == 1
    vertices, places = lbs.pose(body, jnp.zeros((1, 10)), jnp.eye(3)[None, None].repeat(24, 1))
    found = np.asarray(points(vertices, places)[0])
    np.testing.assert_allclose(found[0], places[0, 0], atol=1e-5)  # the regressor's, at rest
    assert found[-1, 1] == np.asarray(vertices[0, :, 1]).max()  # the top of the head
    assert points.hash != landmarks.keypoints(body).hash


@pytest.mark.parametrize("model", ["open_body", "open_hand_right"])
def test_what_a_mesh_is_trained_on_is_what_it_is_measured_by(model):
    body = run_body.Bodies(**mesh.get_config(f"micro,body={model},head=metro").body)
    rng, count = np.random.default_rng(0), len(body.body.names)
    turns = rotations.exp(0.4 * rng.normal(size=(3, count, 3)))
    posed = jax.jit(lbs.pose)(body.body, jnp.zeros((3, 10)), turns)
    at = body.among_trained()
    assert [body.trained.names[i] for i in at] == list(body.measured.names[body.only_root :])
    measured = np.asarray(body.measured(*posed))[:, body.only_root :]
    found = np.asarray(body.trained_from_mesh()(*posed))[:, at]
    np.testing.assert_allclose(found, measured, atol=1e-6)
    # The chain's joints are elsewhere once the body is posed.
    apart = np.linalg.norm(np.asarray(body.trained(*posed))[:, at] - measured, axis=-1)
    assert apart.mean() > 0.002


def test_smpl_is_measured_by_a_regressor_in_its_own_order(oracles):
    body = tiny(oracles, "SMPL_TINY", "smpl")
    rows = np.zeros((17, 200), np.float32)
    rows[np.arange(17), np.arange(17)] = 1
    spin, _ = landmarks.evaluated(body, rows, "spin")
    metro, _ = landmarks.evaluated(body, rows, "metro")
    rows_of = [int(row.argmax()) for row in spin.matrix[1:]]
    assert rows_of == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    assert [int(r.argmax()) for r in metro.matrix[1:4]] == [3, 2, 1]
    with pytest.raises(ValueError, match="config.body.h36m"):
        landmarks.evaluated(body)
    with pytest.raises(ValueError, match=r"\(14, 200\), expected \(17, 200\)"):
        landmarks.evaluated(body, rows[:14])
    with pytest.raises(ValueError, match="order"):
        landmarks.evaluated(body, rows, "other")


def test_smpl_is_trained_on_spins_joints(oracles):
    body = tiny(oracles, "SMPL_TINY", "smpl")
    extra = np.eye(9, 200, dtype=np.float32)
    found = landmarks.keypoints(body, extra)
    assert "right_hip_lsp" in found.names and "right_ankle" in found.names
    assert "nose" not in found.names  # a vertex of the real mesh
    vertices = jax.random.normal(jax.random.key(0), (1, 200, 3))
    points = found(vertices, jnp.zeros((1, 24, 3)))
    at = found.names.index("left_hip_lsp")
    np.testing.assert_array_equal(points[0, at], vertices[0, 1])
    with pytest.raises(ValueError, match="extra"):
        landmarks.keypoints(body, extra[:8])


def test_a_missing_model_says_how_to_get_one(tmp_path):
    with pytest.raises(ValueError, match=r"convert body .*open_body"):
        loading.load(str(tmp_path / "SMPL.npz"))
    with pytest.raises(ValueError, match="pickle"):
        loading.load(str(tmp_path / "SMPL_NEUTRAL.pkl"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="v_template"):
        loading.load(str(tmp_path / "other.npz"))
    with pytest.raises(ValueError, match="10 betas, not 11"):
        loading.from_arrays(open_models.body(10), "open_body", 11)

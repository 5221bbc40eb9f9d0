"""Body models of others become plain arrays, whatever objects their pickles hold."""

import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from crocohuman_jax.synthetic.figure import smpl_model
from crocohuman_jax.weights.exchange import body_files


def model(joints=24, vertices=30):
    rng = np.random.default_rng(joints)
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "shapedirs": rng.normal(size=(vertices, 3, 10)),
        "posedirs": rng.normal(size=(vertices, 3, 9 * (joints - 1))),
        "J_regressor": rng.random((joints, vertices)) * (rng.random((joints, vertices)) < 0.2),
        "weights": rng.random((vertices, joints)),
        "kintree_table": np.stack([np.arange(joints) - 1, np.arange(joints)]).astype(np.uint32),
        "f": rng.integers(0, vertices, (40, 3)).astype(np.uint32),
        "bs_type": "lrotmin",
        "pose_training_info": {"n": 3},
    }


@pytest.fixture
def chumpy(monkeypatch):
    """Classes that pickle under the names of chumpy's."""

    def stand_in(module, name):
        made = types.ModuleType(module)
        kind = type(name, (), {"__module__": module})
        setattr(made, name, kind)
        monkeypatch.setitem(sys.modules, module, made)
        return kind

    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return stand_in("chumpy.ch", "Ch"), stand_in("chumpy.reordering", "Select")


def of(kind, **state):
    made = kind()
    made.__dict__.update(state)
    return made


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_pickles_with_chumpy_and_sparse_arrays_become_plain(tmp_path, chumpy, protocol):
    array, select = chumpy
    plain = model()
    content = dict(plain)
    content["J_regressor"] = scipy.sparse.csc_matrix(plain["J_regressor"])
    wide = np.concatenate([plain["shapedirs"], np.ones((30, 3, 5))], 2)
    chosen = np.arange(wide.size).reshape(wide.shape)[..., :10].ravel()
    content["shapedirs"] = of(
        select, a=of(array, x=wide), idxs=chosen, preferred_shape=plain["shapedirs"].shape
    )
    content["v_template"] = np.asfortranarray(plain["v_template"])
    path = tmp_path / "smpl.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    what, read = body_files.plain(path)
    assert what == "SMPL of 30 vertices"
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        np.testing.assert_array_equal(read[name], plain[name])
    assert read["kintree_table"][0, 0] == -1 and read["f"].dtype == np.int64


@pytest.mark.parametrize("kind", ["csr", "coo", "csc"])
def test_sparse_regressors_of_every_layout_are_read(tmp_path, kind):
    plain = model()
    sparse = getattr(scipy.sparse, f"{kind}_matrix")(plain["J_regressor"])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(plain | {"J_regressor": sparse}, 2))
    read = body_files.plain(tmp_path / "a.pkl")[1]
    np.testing.assert_array_equal(read["J_regressor"], plain["J_regressor"])


def test_a_converted_body_poses_and_is_written_once(tmp_path):
    (tmp_path / "smpl.pkl").write_bytes(pickle.dumps(model(), 2))
    assert body_files.convert(tmp_path / "smpl.pkl", tmp_path / "smpl.npz") == "SMPL of 30 vertices"
    loaded = smpl_model.load(tmp_path / "smpl.npz")
    assert loaded.pose(np.zeros(10), np.zeros((24, 3)))[0].shape == (30, 3)
    with pytest.raises(ValueError, match="exists: choose another"):
        body_files.convert(tmp_path / "smpl.pkl", tmp_path / "smpl.npz")
    with pytest.raises(ValueError, match="must be a .npz file"):
        body_files.convert(tmp_path / "smpl.pkl", tmp_path / "smpl.pkl2")
    with pytest.raises(ValueError, match="is not a file"):
        body_files.convert(tmp_path / "none.pkl", tmp_path / "none.npz")


def test_regressors_and_mean_parameters_are_converted(tmp_path):
    np.save(tmp_path / "J_regressor_h36m.npy", np.ones((17, 30)))
    assert body_files.plain(tmp_path / "J_regressor_h36m.npy")[0] == "a regressor of 17 joints"
    np.savez(tmp_path / "mean.npz", pose=np.zeros(144), shape=np.zeros(10), cam=np.ones(3))
    what, read = body_files.plain(tmp_path / "mean.npz")
    assert what == "mean parameters" and set(read) == {"pose", "shape", "cam"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weights": None}, "lacks weights, which a body model needs"),
        ({"posedirs": np.zeros((30, 3, 7))}, "have the wrong shape: posedirs"),
        ({"f": np.full((4, 3), 99)}, "faces use vertices outside 0 to 29"),
        ({"v_template": np.full((30, 3), np.nan)}, "numbers that are not finite"),
        ({"kintree_table": np.full((2, 24), 30)}, "a joint comes before its parent"),
        ({"weights": "text"}, "weights is not an array of numbers"),
    ],
)
def test_bodies_that_do_not_fit_together_are_refused(tmp_path, change, message):
    content = {k: v for k, v in (model() | change).items() if v is not None}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ValueError, match=message):
        body_files.plain(tmp_path / "a.pkl")


@pytest.mark.parametrize("name", ["SMPL_TINY", "MANO_RIGHT_TINY"])
def test_the_reference_files_are_the_same_as_pickle_and_npz(oracles, name):
    (kind, one), (same, other) = (
        body_files.plain(oracles / f"{name}{suffix}") for suffix in (".pkl", ".npz")
    )
    assert kind == same and set(one) == set(other)
    for field in one:
        np.testing.assert_array_equal(one[field], other[field])

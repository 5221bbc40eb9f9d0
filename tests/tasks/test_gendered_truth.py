"""What people whose shape is of a gendered model are learned from, by either head."""

import logging

import annotated
import jax
import numpy as np
import pytest
import runs
import trimesh

from configs import mesh
from crocohuman_jax.body_models import lbs, loading, rotations
from crocohuman_jax.configuration import registry
from crocohuman_jax.data.streams import labelled_people

GENDERS = ("neutral", "male", "female")
HEADS = {
    "metro": ("keypoints_2d", "keypoints_3d", "vertices"),
    "iterative": ("keypoints_2d", "keypoints_3d", "pose", "root", "betas", "vertices", "depth"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files in SMPL's form: a ball with 24 joints for each gender, and both regressors."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    ball = trimesh.creation.icosphere(subdivisions=2)
    count, parents = len(ball.vertices), (np.arange(24) - 1) // 2
    regressor = rng.dirichlet(np.full(count, 0.05), 24)
    smpl = {
        "posedirs": 0.01 * rng.normal(size=(count, 3, 207)),
        "J_regressor": regressor,
        "weights": rng.dirichlet(np.full(24, 0.1), count),
        "kintree_table": np.stack([parents, np.arange(24)]).astype(np.int64),
        "f": ball.faces,
    }
    for size, gender in zip((0.5, 0.6, 0.45), GENDERS, strict=True):
        own = {"v_template": size * ball.vertices}
        own["shapedirs"] = 0.02 * rng.normal(size=(count, 3, 10))
        np.savez(folder / f"{gender}.npz", **smpl, **own)
    for name, rows in (("extra", 9), ("h36m", 17)):
        np.savez(folder / f"{name}.npz", J_regressor=rng.dirichlet(np.full(count, 0.05), rows))
    return folder


@pytest.fixture(scope="module")
def dpw(tmp_path_factory):
    """A prepared folder of 3DPW's form: a man and a woman to learn from, and no joints."""
    folder = tmp_path_factory.mktemp("3dpw")
    annotated.write_3dpw(folder, annotated.sequence_3dpw(4, 2), "train")
    _, known, _ = annotated.prepare("pw3d", folder, folder / "prepared")
    assert {k["gender"] for k in known} == {"male", "female"}
    assert not any(len(k["joints"]) for k in known)
    return folder / "prepared"


def configured(models, folder, head, gendered=True, **changes):
    config = mesh.get_config(f"debug,body={models}/neutral.npz,head={head}")
    config.body.update(extra=f"{models}/extra.npz", h36m=f"{models}/h36m.npz")
    if gendered:
        config.body.update(male=f"{models}/male.npz", female=f"{models}/female.npz")
    if head == "metro":
        config.head.levels = (80, 40)
    config.data.folders, config.mesh = str(folder), runs.ONE
    config.report.tensorboard = False
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def shown(config, count=8):
    """Returns the task's network and its first batch."""
    task = registry.find("tasks", "mesh").make(config)
    elements = task.train().elements
    return task, labelled_people.stack([elements[i] for i in range(count)])


def counted(config) -> set[str]:
    """Returns which terms somebody of the first batch counts in, whatever the network says."""
    task, batch = shown(config)
    network, rng = task.loss.__self__, np.random.default_rng(1)
    key, patches = jax.random.key(0), np.zeros((8, 16, 768), np.float32)
    shapes = jax.eval_shape(
        lambda key: network.bind(network._init(key))(patches, None, key),
        key,
    )
    out = jax.tree.map(lambda x: np.float32(rng.uniform(0.1, 1, x.shape)), shapes)
    found = jax.jit(lambda out, batch: network.head.terms(out, network.targets(batch)))(out, batch)
    assert all(np.isfinite(values).all() for values in found.values())
    counts = network.head.counted(batch)
    return {n for n in counts if np.any((found[n] > 0) & (np.asarray(counts[n]) > 0))}


@pytest.mark.parametrize("head", HEADS)
def test_the_truth_to_learn_from_is_the_mesh_of_the_annotated_genders_model(models, dpw, head):
    task, batch = shown(configured(models, dpw, head, loss__vertices=1.0))
    network = task.loss.__self__
    truth = jax.jit(network.targets)(batch)
    assert set(batch["gender"]) == {1, 2} and batch["has_mesh"].all()
    for i, gender in enumerate(batch["gender"]):
        body = loading.load(f"{models}/{GENDERS[gender]}.npz", 10)
        turns = rotations.exp(batch["pose"][i : i + 1])
        vertices, places = lbs.pose(body, batch["betas"][i : i + 1], turns)
        np.testing.assert_allclose(truth["vertices"][i], vertices[0], atol=1e-5)
        points = network.head.learned[1](vertices, places)[0]
        np.testing.assert_allclose(truth["joints"][i, :, :3], points, atol=1e-5)
        assert (truth["joints"][i, :, 3] == 1).all()
    # Without a term of vertices only some are posed, by each model: the joints are the same.
    if head == "iterative":
        few = registry.find("tasks", "mesh").make(configured(models, dpw, head)).loss.__self__
        joints = jax.jit(few.targets)(batch)["joints"]
        np.testing.assert_allclose(joints, truth["joints"], atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_what_a_gendered_person_counts_in(models, dpw, head):
    """Betas of a man's or a woman's model mean something else in the neutral one."""
    every = set(HEADS[head])
    assert counted(configured(models, dpw, head, loss__vertices=1.0)) == every - {"betas"}
    own = {"gendered": False, "body__truth": "own", "loss__vertices": 1.0}
    assert counted(configured(models, dpw, head, **own)) == every
    without = counted(configured(models, dpw, head, gendered=False, loss__vertices=1.0))
    assert without == every - {"betas", "keypoints_3d", "vertices"}


def test_metro_learns_from_gendered_people(models, dpw):
    task, batch = shown(configured(models, dpw, "metro"), 2)
    params = jax.jit(task.init)(jax.random.key(0))
    _, scalars = jax.jit(task.loss)(params, batch, jax.random.key(1), task.counts(batch))
    for name in HEADS["metro"]:
        assert scalars[f"loss_{name}"] > 1e-4, name


def test_a_gender_without_its_model_is_warned_of_once(models, dpw, caplog):
    with caplog.at_level(logging.WARNING):
        for head in HEADS:
            man = {"gendered": False, "body__gender": "male", "body__betas": 9}
            shown(configured(models, dpw, head, **man))
    (line,) = [r.getMessage() for r in caplog.records if "has no file of it" in r.getMessage()]
    assert f"{dpw} has people with shapes of the neutral or female model" in line
    assert "uses the male model" in line and "Set config.body.female to" in line
    assert "config.body.truth=own" in line

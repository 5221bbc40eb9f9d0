"""The losses of meshes worked out again in numpy, and the task from its config to its steps."""

import collections
import functools
import itertools
import logging

import crowds
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
from scipy.spatial import transform

from configs import mesh
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.data.streams import labelled_people
from crocohuman_jax.models import parameters, pixels
from crocohuman_jax.training import loop, optimizer, sharding

MODELS = {"body": "open_body", "hand": "open_hand_right"}
ROOTS = {"body": ("left_hip", "right_hip"), "hand": ("wrist",)}
# Of five people one has points in the picture, one points in space, one parameters, one all of
# these; the last is a built-in one, whose place and camera are known as well.
HAS = {"keypoints": (0, 3), "joints": (1, 3), "pose": (2, 3, 4), "betas": (2, 3, 4)}
CLOSE = {"rtol": 1e-4, "atol": 1e-7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return crowds.builtin(tmp_path_factory.getbasetemp())


def configured(folder, arg, **changes):
    """Returns the debug config of some words, with changes by name (__ for a dot)."""
    config = mesh.get_config(f"debug,{arg}")
    config.data.folders, config.mesh = str(folder), runs.ONE | {"data": 8}
    config.report.tensorboard = False
    flat = {name.replace("__", "."): value for name, value in changes.items()}
    config.update_from_flattened_dict(flat)
    return config


def task_of(config):
    return registry.find("tasks", "mesh").make(config)


def crowd(network) -> dict[str, np.ndarray]:
    """Returns the five people of HAS; what is not known of them is filled with numbers as well."""
    rng = np.random.default_rng(3)
    batch = network.bodies.unknown(5)
    for name in HAS:
        batch[name] = np.float32(0.4 * rng.normal(size=batch[name].shape))
    for name in ("keypoints", "joints"):
        confidence = rng.uniform(0.3, 1, batch[name].shape[:2])
        confidence[[i for i in range(5) if i not in HAS[name]]] = 0
        batch[name][..., -1] = confidence
    for name, label in (("has_pose", "pose"), ("has_shape", "betas"), ("has_mesh", "pose")):
        batch[name][list(HAS[label])] = 1
    batch["exact"][4] = 1
    batch["matrix"][:] = [[5, 0, 0.1], [0, 5, -0.2], [0, 0, 1]]
    batch["translation"][:] = [0.1, 0.2, 6]
    batch["image"] = rng.integers(0, 256, (5, 64, 64, 3), np.uint8)
    batch["color"] = np.float32(rng.uniform(0.6, 1.4, (5, 1, 3)))
    return batch


def params_of(network) -> dict:
    """Returns parameters of numpy's drawing, quicker to have than the network's own first ones."""
    rng = np.random.default_rng(4)
    shapes = jax.eval_shape(network.init, jax.random.key(0))

    def fill(path, leaf):
        spread = 0.5 / np.sqrt(leaf.shape[-2]) if path.endswith("kernel") else 0.02
        return np.float32(path.endswith("scale") + spread * rng.normal(size=leaf.shape))

    params = parameters.map_named(fill, shapes)
    pose, shape, _ = network.bodies.sizes
    params["mean"] = np.float32([1, 0, 0, 1, 0, 0] * (pose // 6) + [0] * shape + [0.9, 0, 0])
    return params


def posed(body, betas, turns):
    """Returns a person's mesh [V, 3] and joints [K, 3], one joint after the other, in float64."""
    template = np.float64(body.template) + np.einsum("s,sva->va", betas, body.shapes)
    joints = np.float64(body.joints) + np.einsum("s,ska->ka", betas, body.joint_shapes)
    if body.poses is not None:
        template += np.einsum("p,pva->va", (turns[1:] - np.eye(3)).ravel(), body.poses)
    whole = []
    for k, parent in enumerate(body.parents):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = turns[k], joints[k] - (joints[parent] if k else 0)
        whole.append(whole[parent] @ local if k else local)
    places = np.array([one[:3, 3] for one in whole])
    moves = np.array(
        [one[:3, 3] - one[:3, :3] @ joint for one, joint in zip(whole, joints, strict=True)]
    )
    weights = np.float64(body.weights)
    blended = np.einsum("vk,kab->vab", weights, np.array(whole)[:, :3, :3])
    return np.einsum("vab,vb->va", blended, template) + weights @ moves, places


def matrices(six):
    """Returns the rotations [K, 3, 3] of interleaved columns [K, 6]."""
    first, second = six[:, ::2], six[:, 1::2]
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    second = second - (first * second).sum(1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], -1)


def points_of(landmarks, vertices, places):
    """Returns the landmarks [L, 3] of one person."""
    found = np.float64(landmarks.matrix) @ vertices
    own = landmarks.joints >= 0
    found[own] = places[landmarks.joints[own]]
    return found


def true_person(network, batch, i) -> dict:
    """Returns what is known of a person: None, or numbers with a confidence in the last column."""
    turns = transform.Rotation.from_rotvec(np.float64(batch["pose"][i])).as_matrix()
    vertices, places = posed(network.bodies.body, batch["betas"][i], turns)
    points = points_of(network.bodies.trained, vertices, places)
    if (
        network.head.head["kind"] == "metro"
    ):  # what predicts a mesh learns the points that are found from meshes
        measured = network.bodies.measured
        found = dict(zip(measured.names, points_of(measured, vertices, places), strict=True))
        pairs = zip(network.bodies.trained.names, points, strict=True)
        points = np.array([found.get(name, point) for name, point in pairs])
    known = {"turns": turns, "vertices": vertices, "places": places, "joints": batch["joints"][i]}
    known["keypoints"] = batch["keypoints"][i]
    ones = np.ones((len(points), 1))
    if i == 4:
        seen = (points + batch["translation"][i]) @ batch["matrix"][i].T
        known["keypoints"] = np.hstack([seen[:, :2] / seen[:, 2:], ones])
    if i not in HAS["joints"]:
        known["joints"] = np.hstack([points, ones]) if i in HAS["pose"] else None
    return known


def near(points, joints, names, kind):
    """Returns the error of points in space about the hips or the wrist."""
    root = [names.index(name) for name in ROOTS[kind]]
    error = points - points[root].mean(0) - (joints[:, :3] - joints[root, :3].mean(0))
    return np.mean(joints[:, 3:] * error**2)


def iterative_terms(network, batch, out, kind) -> dict[str, float]:
    """Returns the regressor's terms, each a mean over the people who have what it compares with."""
    found = collections.defaultdict(list)
    names, body = network.bodies.trained.names, network.bodies.body
    steps = range(1, 4) if network.head.head["supervise"] == "all" else [3]
    unit = network.bodies.size if network.weights["unit"] == "size" else 1
    for i, step in itertools.product(range(5), steps):
        known = true_person(network, batch, i)
        turns, betas = matrices(np.float64(out["pose"][step, i])), out["shape"][step, i]
        vertices, places = posed(body, betas, turns)
        points = points_of(network.bodies.trained, vertices, places)
        scale, x, y = np.float64(out["camera"][step, i])
        placed = points + np.array([x, y, 2 * 5000 / (224 * scale + 1e-9)])
        seen = 5000 / 112 * placed[:, :2] / placed[:, 2:]
        error = known["keypoints"][:, 2:] * (seen - known["keypoints"][:, :2]) ** 2
        found["keypoints_2d"].append(np.mean(error))
        found["depth"].append(np.exp(-10 * scale) ** 2)
        true_vertices, joints = known["vertices"], known["joints"]
        if network.weights["frame"] == "root" and i in HAS["pose"]:
            # Both without their orientation: what the camera sees, turned back about the root.
            vertices = (vertices - places[0]) @ turns[0] + places[0]
            points = (points - places[0]) @ turns[0] + places[0]
            true, centre = known["turns"][0], known["places"][0]
            true_vertices = (true_vertices - centre) @ true + centre
            joints = np.hstack([joints[:, :3] @ true, joints[:, 3:]])
        if joints is not None:
            found["keypoints_3d"].append(near(points, joints, names, kind) / unit**2)
        if i in HAS["pose"]:
            found["root"].append(np.mean((turns[0] - known["turns"][0]) ** 2))
            found["pose"].append(np.mean((turns - known["turns"]) ** 2))
            found["betas"].append(np.mean((betas - batch["betas"][i]) ** 2))
            found["vertices"].append(np.mean(np.abs(vertices - true_vertices)) / unit)
    return {name: np.mean(values) for name, values in found.items()}


def metro_terms(network, batch, out, kind) -> dict[str, float]:
    """Returns the terms of METRO: of its own joints and the mesh's, and of a mesh of each size."""
    found = collections.defaultdict(list)
    measured, trained = network.bodies.measured, network.bodies.trained.names
    rows = range(network.bodies.only_root, len(measured.names))
    names = [measured.names[row] for row in rows]
    at = [trained.index(name) for name in names]
    for i in range(5):
        known = true_person(network, batch, i)
        mesh_points = points_of(measured, np.float64(out["vertices"][-1][i]), known["places"])
        both = (np.float64(out["joints"][i]), mesh_points[list(rows)])
        scale, x, y = out["camera"][i]
        seen = [scale * (points[:, :2] + [x, y]) for points in both]
        keypoints = known["keypoints"][at]
        error = [np.mean(keypoints[:, 2:] * (s - keypoints[:, :2]) ** 2) for s in seen]
        found["keypoints_2d"].append(sum(error))
        if known["joints"] is not None:
            error = [near(points, known["joints"][at], names, kind) for points in both]
            found["keypoints_3d"].append(sum(error))
        if i in HAS["pose"]:
            levels = [known["vertices"]]
            levels[0] -= points_of(measured, known["vertices"], known["places"])[0]
            for matrix in network.head.coarse.down:
                entries = levels[-1][matrix.columns] * matrix.values[..., None]
                levels.append(entries.sum(1))
            pairs = zip(out["vertices"], levels[::-1], strict=True)
            found["vertices"].append(np.mean([np.mean(np.abs(o[i] - t)) for o, t in pairs]))
    return {name: np.mean(values) for name, values in found.items()}


CASES = {
    "iterative body": {"loss__vertices": 0.7, "loss__depth": 0.9},
    "iterative hand": {"loss__vertices": 0.7, "head__supervise": "all", "loss__depth": 0.9},
    "iterative body spin": {"loss__vertices": 0.7},
    "metro body": {},
    "metro hand": {},
}


@pytest.mark.parametrize("case", CASES)
def test_each_term_is_its_formula_over_those_who_have_it(folder, case):
    head, kind, *recipe = case.split()
    arg = ",".join([f"body={MODELS[kind]},head={head}", *(f"recipe={name}" for name in recipe)])
    config = configured(folder, arg, **CASES[case])
    task = task_of(config)
    network = task.loss.__self__
    params, batch, key = params_of(network), crowd(network), jax.random.key(1)

    @jax.jit
    def computed(params, batch, labels, key):
        def loss(labels):
            known = batch | labels
            return task.loss(params, known, key, task.counts(known))

        image = jnp.clip(pixels.to_float(batch["image"]) * batch["color"][:, 0, None, None], 0, 1)
        patches = pixels.patchify(pixels.normalize(image), 16)
        out = network.bind(params)(patches, None, key)
        return jax.value_and_grad(loss, has_aux=True)(labels), out

    everything = functools.partial(computed, params, batch)
    labels = {name: batch[name] for name in HAS}
    ((total, found), slopes), out = jax.device_get(everything(labels, key))
    expected = (iterative_terms if head == "iterative" else metro_terms)(network, batch, out, kind)
    expected = {name: value for name, value in expected.items() if config.loss[name]}
    assert found.keys() == {"loss", *(f"loss_{name}" for name in expected)}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"loss_{name}"], value, **CLOSE, err_msg=name)
    weights = config.loss
    whole = weights.total * sum(weights[name] * value for name, value in expected.items())
    np.testing.assert_allclose([total, found["loss"]], whole, **CLOSE)
    # Whose label is not there, its numbers change nothing.
    rng, other = np.random.default_rng(5), {name: value.copy() for name, value in labels.items()}
    for name, has in HAS.items():
        absent = [i for i in range(5) if i not in has]
        wide = {"keypoints": 2, "joints": 3}.get(name)
        assert not slopes[name][absent][..., :wide].any(), name
        assert all(slopes[name][i].any() for i in has), name
        numbers = other[name][absent]
        numbers[..., :wide] = rng.normal(size=numbers[..., :wide].shape)
        other[name][absent] = numbers
    runs.equal(jax.device_get(everything(other, key))[0][0], (total, found))
    # Dropout and masks are drawn anew for each step.
    assert everything(labels, jax.random.key(2))[0][0][0] != total


def test_vertices_that_no_term_looks_at_change_none_of_them(folder):
    found = {}
    for weight in (0.0, 1e-6):  # at zero only the vertices of keypoints are posed
        config = configured(folder, "body=open_hand_right", loss__vertices=weight)
        task = task_of(config)
        network = task.loss.__self__
        batch = crowd(network)
        arguments = params_of(network), batch, jax.random.key(1), task.counts(batch)
        found[weight] = jax.jit(task.loss)(*arguments)[1]
    assert "loss_vertices" in found[1e-6] and "loss_vertices" not in found[0.0]
    for name in ("keypoints_2d", "keypoints_3d", "pose", "root", "betas"):
        np.testing.assert_allclose(*(x[f"loss_{name}"] for x in found.values()), rtol=1e-5)


def stacked(task, count):
    """Returns the first people of a task's stream."""
    elements = task.train().elements
    return labelled_people.stack([elements[i] for i in range(count)])


@pytest.mark.parametrize("second", ["none", "view"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("head", ["iterative", "metro"])
def test_every_combination_learns_with_all_of_its_parameters(folder, head, kind, second):
    task = task_of(configured(folder, f"body={MODELS[kind]},head={head},second={second}"))
    batch, params = stacked(task, 2), params_of(task.loss.__self__)

    @jax.jit
    def step(params, batch, key):
        whole = optimizer.accumulated(jax.value_and_grad(task.loss, has_aux=True), task.counts, 1)
        (_, scalars), slopes = whole(params, batch, key)
        return jax.tree.map(lambda p, s: p - 1e-4 * s, params, slopes), scalars, slopes

    assert ("second" in batch) == ("decoder" in params) == (second == "view")
    for key in jax.random.split(jax.random.key(1)):
        params, scalars, slopes = step(params, batch, key)
        assert all(np.isfinite(value) for value in scalars.values()), scalars
        for path, slope in parameters.named_leaves(slopes):
            assert np.isfinite(slope).all(), path
            still = path == "mean" or path.endswith("mask_token")
            assert slope.any() != still, path


def test_eight_devices_step_as_one(folder):
    config = configured(folder, "body=open_hand_right", optimizer__warmup="0")
    task = task_of(config)
    found, batch = [], stacked(task, 8)
    for count in (1, 8):
        devices = sharding.make_mesh(runs.ONE | {"data": count}, jax.devices()[:count])
        init, step, _ = loop.build(config, task, devices, durations.of(config, 8))
        with jax.set_mesh(devices):
            state, scalars = step(init(), sharding.put_batch(batch, devices))
        found.append(jax.device_get((state["params"], scalars)))
    (one, alone), (many, together) = found
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-4, atol=1e-7, err_msg=name)
    # Adam's first step is as large for a gradient that is only rounding as for any other.
    rate = config.optimizer.base_lr * config.batch_size / 256
    for (path, a), (_, b) in zip(
        parameters.named_leaves(one), parameters.named_leaves(many), strict=True
    ):
        apart = np.abs(a - b)
        assert apart.max() <= 2.1 * rate and (apart > 0.02 * rate).mean() < 0.01, path


@pytest.mark.parametrize("second, parts", [("none", ["encoder"]), ("view", ["encoder", "decoder"])])
def test_a_run_takes_its_parts_from_a_completion_run(
    folder, straight, tmp_path, caplog, second, parts
):
    changes = {"optimizer__base_lr": 0.0, "total": "1", "data__held_out_people": 0}
    changes |= {"init_from": str(straight[0]), "checkpoint__save": "100%"}
    config = configured(folder, f"body=open_hand_right,second={second}", **changes)
    with caplog.at_level(logging.INFO):
        params = loop.train(config, tmp_path / "run")["params"]
    assert f"Loaded {', '.join(parts)} from {straight[0]}." in caplog.text
    assert {"encoder", "decoder"} & set(params) == set(parts)
    for part in parts:
        runs.equal(params[part], straight[1]["params"][part])


def test_a_completion_run_of_another_size_is_refused_before_anything_is_written(
    folder, straight, tmp_path
):
    changes = {"init_from": str(straight[0]), "model__encoder__depth": 3}
    config = configured(folder, "body=open_hand_right", **changes)
    with pytest.raises(ValueError, match=r"(?s)do not fit .*saved \(2, 64\), needed \(3, 64\)"):
        loop.train(config, tmp_path / "run")
    config = configured(folder, "body=open_hand_right", init_from=str(straight[0]))
    config.init_parts = ("encoder", "decoder")
    with pytest.raises(
        ValueError, match="does not name parts of this model. Known: encoder, head, mean"
    ):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""The parts of a batch add up to the batch: loss, terms and gradients, whoever has which label."""

import crowds
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import mesh, pretrain
from crocohuman_jax.configuration import registry
from crocohuman_jax.models import parameters
from crocohuman_jax.training import optimizer

PARTS = 4
# As users compile, but for passes that only make two programs faster which run once.
QUICKLY = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": True}


def compared(task, batch):
    """Returns the scalars of a batch at once, and how far those of its parts are from them.

    The distance of two arrays is relative to their norm, or to a hundredth of the whole
    gradient's: that of a key's bias is zero but for rounding.
    """
    params = jax.jit(task.init)(jax.random.key(0))
    gradient = jax.value_and_grad(task.loss, has_aux=True)
    arguments, found = (params, batch, jax.random.key(1)), []
    for parts in (1, PARTS):
        lowered = jax.jit(optimizer.accumulated(gradient, task.counts, parts)).lower(*arguments)
        found.append(jax.device_get(lowered.compile(QUICKLY)(*arguments)))
    (_, whole), slopes = found[0]
    (_, summed), others = found[1]
    least = 1e-2 * optax.tree.norm(slopes)
    apart = {name: abs(value - summed[name]) / abs(value) for name, value in whole.items()}
    for (path, a), (_, b) in zip(
        parameters.named_leaves(slopes), parameters.named_leaves(others), strict=True
    ):
        apart[path] = np.linalg.norm(a - b) / max(np.linalg.norm(a), least)
    return whole, apart


@pytest.mark.parametrize("region", ["masked", "masked_human", "all"])
def test_parts_of_a_batch_of_pairs_add_up_to_it(region):
    config = pretrain.get_config("debug")
    config.loss.region = region
    task = registry.find("tasks", "completion").make(config)
    batch = task.example_batch(8)
    for row, count in zip(batch["human"], (0, 1, 3, 16, 2, 9, 5, 12), strict=True):
        row[:count] = True
    if region == "masked_human":  # and pairs that the mask left out, two in one part
        batch["counted"] = np.float32([1, 0, 1, 1, 1, 0, 1, 1])
    scalars, apart = compared(task, batch)
    assert max(apart.values()) < 1e-6, apart
    assert scalars.get("left_out", 0.25) == 0.25


def test_a_pair_that_is_left_out_changes_nothing():
    config = pretrain.get_config("debug")
    task, found = registry.find("tasks", "completion").make(config), []
    params = jax.jit(task.init)(jax.random.key(0))
    batch = task.example_batch(8) | {"counted": np.float32([1, 1, 0, 1, 1, 1, 1, 1])}
    loss = jax.jit(lambda batch: task.loss(params, batch, None, task.counts(batch))[0])
    for other in (False, True):
        if other:
            batch = batch | {"target": batch["target"].copy()}
            batch["target"][2] = 255 - batch["target"][2]
        found.append(float(loss(batch)))
    rest = {name: np.delete(value, 2, 0) for name, value in batch.items()}
    assert found[0] == found[1] == pytest.approx(float(loss(rest)), rel=1e-6)


def people(task):
    """Returns eight people: each label is that of some only, and no two parts have it alike."""
    rng = np.random.default_rng(3)
    batch = task.example_batch(8)
    for name in ("pose", "betas", "keypoints", "joints"):
        batch[name] = np.float32(0.4 * rng.normal(size=batch[name].shape))
    for name, has in (("keypoints", (0, 3, 5)), ("joints", (1, 2, 3, 7))):
        confidence = np.zeros(batch[name].shape[:2], np.float32)
        confidence[list(has)] = rng.uniform(0.3, 1, (len(has), confidence.shape[1]))
        batch[name][..., -1] = confidence
    batch["has_pose"][[0, 2, 5, 6, 7]] = 1
    batch["has_shape"][[2, 5, 6]] = batch["has_mesh"][[2, 5, 6]] = 1
    return batch


@pytest.mark.parametrize("head", ["iterative", "metro"])
def test_parts_of_a_batch_of_people_add_up_to_it(head, tmp_path_factory):
    config = mesh.get_config(f"debug,body=open_hand_right,head={head}")
    config.data.folders = str(crowds.builtin(tmp_path_factory.getbasetemp()))
    config.head.dropout = 0.0
    if head == "metro":
        config.head.mask_share = 0.0  # is drawn for each part by itself
    else:
        config.loss.vertices, config.loss.depth = 0.5, 0.0  # the depth of a hand is all but zero
    task = registry.find("tasks", "mesh").make(config)
    scalars, apart = compared(task, people(task))
    assert all(value > 0 for value in scalars.values()), scalars  # there was something to compare
    assert max(apart.values()) < 1e-6, apart


def test_a_term_of_weight_zero_is_left_out_whatever_it_would_be(tmp_path_factory):
    config = mesh.get_config("debug,body=open_hand_right")
    config.data.folders = str(crowds.builtin(tmp_path_factory.getbasetemp()))
    config.loss.depth = 0.0
    task = registry.find("tasks", "mesh").make(config)
    batch = people(task)
    params = jax.jit(task.init)(jax.random.key(0))
    params["mean"] = params["mean"].at[-3].set(-1e4)  # exp(-10 scale) is infinite
    gradient = jax.value_and_grad(task.loss, has_aux=True)
    whole = jax.jit(optimizer.accumulated(gradient, task.counts, 1))
    (total, scalars), slopes = whole(params, batch, jax.random.key(1))
    assert jnp.isfinite(total) and "loss_depth" not in scalars
    assert all(jnp.isfinite(slope).all() for slope in jax.tree.leaves(slopes))

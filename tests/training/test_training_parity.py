"""Loss, gradients and twenty AdamW steps against the reference implementation."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from test_croco import CASES, PATCH, build, inputs, read

from crocohuman_jax.models import layers, parameters, pixels
from crocohuman_jax.tasks import completion
from crocohuman_jax.training import learning_rate
from crocohuman_jax.training import optimizer as optimizer_lib


def masked_loss(model, target, other, visible, hidden, norm_pix=True):
    predicted = model(target, other, visible, hidden)
    truth = layers.take(target, hidden)
    return completion.patch_errors(predicted, truth, norm_pix).mean()


def test_targets_and_losses_equal_the_reference(oracles):
    for name, position in CASES:
        params, oracle = read(oracles, name)
        _, bind = build(position)
        target, other, visible, hidden = inputs(oracle)
        np.testing.assert_allclose(target, oracle["target_patches"], atol=1e-6)
        mean, deviation = pixels.patch_statistics(target)
        np.testing.assert_allclose(
            (target - mean) / deviation, oracle["target_patches_normpix"], atol=5e-5
        )
        model = bind(params)
        everything = np.tile(np.arange(16), (3, 1))
        for norm_pix in (0, 1):
            for masked, wanted in ((0, everything), (1, hidden)):
                loss = masked_loss(model, target, other, visible, wanted, bool(norm_pix))
                expected = oracle[f"loss_normpix{norm_pix}_masked{masked}"]
                np.testing.assert_allclose(loss, expected, atol=5e-5)


@pytest.mark.parametrize("name, position", CASES)
def test_the_gradient_of_every_parameter_equals_the_reference(oracles, name, position):
    params, oracle = read(oracles, name)
    _, bind = build(position)
    data = inputs(oracle)
    got = jax.jit(jax.grad(lambda p: masked_loss(bind(p), *data)))(params)
    want = reference.from_torch(dict(np.load(oracles / f"{name}_grads.npz")), (4, 4))
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), (_, b) in zip(
        parameters.named_leaves(got), parameters.named_leaves(want), strict=True
    ):
        tolerance = 1e-6 + 1e-4 * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=path)


def test_twenty_adamw_steps_follow_the_reference(oracles):
    oracle = dict(np.load(oracles / "croco_v1_tiny_traj.npz"))
    params, _ = read(oracles, "croco_v1_tiny")
    _, bind = build()
    rate = learning_rate.schedule(peak=1e-3, least=1e-5, warmup=5, cosine=20)
    optimizer = optimizer_lib.make(
        rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05, no_decay=r"(bias|scale)$", clip=0.0
    )

    @jax.jit
    def step(params, moments, *data):
        loss, grads = jax.value_and_grad(lambda p: masked_loss(bind(p), *data))(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, loss, optax.tree.norm(grads)

    params = jax.tree.map(jnp.asarray, params)
    moments = optimizer.init(params)
    for s in range(20):
        pictures = [
            pixels.patchify(jnp.moveaxis(oracle[k][s % 5], 1, -1), PATCH) for k in ("img1", "img2")
        ]
        mask = oracle["masks"][s]
        visible, hidden = (np.stack([np.flatnonzero(m) for m in x]) for x in (~mask, mask))
        assert float(rate(s)) == pytest.approx(float(oracle["lr"][s]), abs=1e-9)
        params, moments, loss, norm = step(params, moments, *pictures, visible, hidden)
        assert float(loss) == pytest.approx(float(oracle["loss"][s]), abs=1e-5)
        assert float(norm) == pytest.approx(float(oracle["grad_norm"][s]), rel=1e-4)
    final = reference.read_torch(oracles / "croco_v1_tiny_traj_final.pth")["model"]
    final = reference.from_torch(final, (4, 4))
    for (path, a), (_, b) in zip(
        parameters.named_leaves(params), parameters.named_leaves(final), strict=True
    ):
        # The gradient of a key's bias is zero: Adam normalises rounding noise.
        if path.endswith("key/bias"):
            continue
        if path.endswith("qkv/bias"):
            a, b = a[:, ::2], b[:, ::2]
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-6, err_msg=path)


def test_the_decay_groups_are_those_of_the_reference(oracles):
    groups = json.loads((oracles / "croco_v1_tiny_traj_param_groups.json").read_text())
    state = reference.read_torch(oracles / "croco_v1_tiny.pth")["model"]
    state = {k: v for k, v in state.items() if "pos_embed" not in k}
    by_name = {
        name: np.full_like(value, name in groups["no_decay"]) for name, value in state.items()
    }
    assert sum(map(len, (groups["decay"], groups["no_decay"]))) == len(state)
    for path, leaf in parameters.named_leaves(reference.from_torch(by_name, (4, 4))):
        assert leaf.all() == path.endswith(("bias", "scale")) and leaf.all() == leaf.any(), path


def test_predicting_nothing_scores_767_of_768():
    truth = jax.random.normal(jax.random.key(0), (2, 5, 768))
    error = completion.patch_errors(jnp.zeros_like(truth), truth, True)
    np.testing.assert_allclose(error, 767 / 768, atol=1e-5)


def test_the_schedule_may_be_cut_short():
    rate = learning_rate.schedule(peak=1.0, least=0.0, warmup=40, cosine=800)
    assert float(rate(0)) == 0
    assert float(rate(20)) == pytest.approx(0.5)
    assert float(rate(40)) == pytest.approx(1.0)
    assert float(rate(400)) == pytest.approx(0.541, abs=5e-4)
    with pytest.raises(ValueError, match="ends at step 5, before the warm-up of 10 steps"):
        learning_rate.schedule(peak=1.0, least=0.0, warmup=10, cosine=5)


def test_clipping_bounds_the_gradient():
    params = {"kernel": jnp.zeros(4)}
    arguments = {"betas": (0.0, 0.0), "eps": 1.0, "weight_decay": 0.0, "no_decay": "bias"}
    sizes = []
    for clip in (0.0, 1.0):
        optimizer = optimizer_lib.make(lambda _: 1.0, clip=clip, **arguments)
        update, _ = optimizer.update({"kernel": jnp.full(4, 10.0)}, optimizer.init(params), params)
        sizes.append(float(-update["kernel"][0]))
    assert sizes == pytest.approx([10 / 11, 0.5 / 1.5])

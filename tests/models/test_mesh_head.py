"""The iterative regressor against its formula in numpy, and the network around heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from crocohuman_jax import models
from crocohuman_jax.models import croco, finetune_net, flops
from crocohuman_jax.models.heads import regressor

TINY = {"joints": 3, "shapes": 4, "hidden": 16, "steps": 3, "dropout": 0.5, "activation": "none"}
TINY |= {"camera": "direct"}
STATE = 6 * 3 + 4 + 3


def build(features=8, **changes):
    return models.functional(
        lambda key: regressor.Regressor(
            features, dtype=jnp.float32, rngs=nnx.Rngs(params=key), **(TINY | changes)
        )
    )


def drawn(init, scale=0.3):
    """Returns parameters of numpy's drawing, none of them zero."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.float32(scale * rng.normal(size=leaf.shape)), shapes)


def given(features=8, batch=5):
    rng = np.random.default_rng(1)
    return np.float32(rng.normal(size=(batch, features))), np.float32(rng.normal(size=STATE))


ACTIVATIONS = {"none": lambda x: x, "relu": lambda x: np.maximum(x, 0)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_regressor_is_the_formula(activation, steps):
    init, bind = build(activation=activation, steps=steps)
    params = drawn(init)
    feature, mean = given()
    out = bind(params)(feature[:, None], mean)
    p, act = jax.tree.map(np.float64, params), ACTIVATIONS[activation]
    estimate = np.tile(np.float64(mean), (5, 1))
    expected = [estimate]
    for _ in range(steps):
        x = np.concatenate([feature, estimate], 1)  # feature, pose, shape, camera
        x = act(x @ p["first"]["kernel"] + p["first"]["bias"])
        x = act(x @ p["second"]["kernel"] + p["second"]["bias"])
        pose, shape, camera = (x @ p[n]["kernel"] + p[n]["bias"] for n in regressor.OUTPUTS)
        estimate = estimate + np.concatenate([pose, shape, camera], 1)
        expected.append(estimate)
    expected = np.stack(expected)
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(out["pose"], expected[..., :18].reshape(steps + 1, 5, 3, 6), **close)
    np.testing.assert_allclose(out["shape"], expected[..., 18:22], **close)
    np.testing.assert_allclose(out["camera"], expected[..., 22:], **close)


def test_a_relative_camera_is_the_formula_and_never_changes_sign():
    feature, mean = given()
    mean[-3:] = [7.6, 0.02, -0.01]  # a hand's
    (init, bind), (_, plain) = build(camera="relative"), build()
    params = drawn(init)
    params["camera"]["bias"][0] = -5
    start = np.concatenate([mean[:-3], [0], 7.6 * mean[-2:]])
    raw = plain(params)(feature[:, None], np.float32(start))["camera"]
    camera = bind(params)(feature[:, None], mean)["camera"]
    np.testing.assert_allclose(camera[0], np.tile(mean[-3:], (5, 1)), rtol=1e-6)
    np.testing.assert_allclose(camera[..., 0], 7.6 * np.exp(raw[..., 0]), rtol=1e-4)
    np.testing.assert_allclose(camera[..., 1:], raw[..., 1:] / 7.6, rtol=1e-4, atol=1e-6)
    assert (raw[1:, :, 0] < 0).any() and (camera[..., 0] > 0).all()


def test_the_first_estimate_is_the_mean_of_everybody():
    init, bind = build()
    feature, mean = given()
    out = bind(drawn(init))(feature[:, None], mean)
    first = [out[name][0].reshape(5, -1) for name in regressor.OUTPUTS]
    np.testing.assert_array_equal(np.concatenate(first, 1), np.tile(mean, (5, 1)))


def test_first_corrections_are_small():
    params = jax.jit(build(hidden=64)[0])(jax.random.key(0))
    for name, size in (("pose", 18), ("shape", 4), ("camera", 3)):
        limit = 0.01 * np.sqrt(6 / (64 + size))
        assert 0.9 * limit < np.abs(params[name]["kernel"]).max() <= limit
        assert not params[name]["bias"].any()
    for name, fan_in in (("first", 8 + STATE), ("second", 64)):
        limit = np.sqrt(6 / (fan_in + 64))
        assert 0.98 * limit < np.abs(params[name]["kernel"]).max() <= limit


def test_dropout_needs_a_key_and_keeps_the_mean():
    init, bind = build(steps=1)
    params, (feature, mean) = drawn(init), given(batch=1)
    call = jax.jit(lambda key: bind(params)(feature[:, None], mean, key)["pose"][-1])
    plain = call(None)
    np.testing.assert_array_equal(plain, call(None))
    first, second = call(jax.random.key(0)), call(jax.random.key(1))
    np.testing.assert_array_equal(first, call(jax.random.key(0)))
    assert np.abs(first - second).max() > 0.1
    # One step without an activation is linear in what is dropped.
    many = jax.vmap(call)(jax.random.split(jax.random.key(2), 8000))
    spread = many.std(0) / np.sqrt(len(many))
    assert (np.abs(many.mean(0) - plain) < 5 * spread + 1e-6).all()
    _, never = build(steps=1, dropout=0.0)
    kept = never(params)(feature[:, None], mean, jax.random.key(0))["pose"][-1]
    np.testing.assert_allclose(kept, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "joints, features, count", [(24, 768, 2_158_749), (24, 512, 1_896_605), (16, 768, 2_060_397)]
)
def test_the_published_sizes_have_their_number_of_parameters(joints, features, count):
    published = {"joints": joints, "shapes": 10, "hidden": 1024}
    shapes = jax.eval_shape(build(features, **published)[0], jax.random.key(0))
    state = 6 * joints + 13  # 157 of a body, 109 of a hand
    assert shapes["first"]["kernel"].shape == (features + state, 1024)
    linear = (features + state + 1) * 1024 + 1025 * 1024 + 1025 * state
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == linear == count
    # Six operations for each weight of a product and step; the biases are left out.
    weights = linear - 2 * 1024 - state
    found = flops.regressor(features, state, 1024, 3)
    assert found == 6 * 3 * weights


def test_what_the_regressor_cannot_do_is_named():
    for change, message in (
        ({"activation": "tanh"}, "Unknown config.head.activation 'tanh'. Known: none, relu, gelu"),
        ({"camera": "log"}, "Unknown config.head.camera 'log'. Known: relative, direct"),
        ({"steps": 0}, "config.head.steps is 0. Set it to a whole number of at least 1"),
        (
            {"dropout": 1.0},
            "config.head.dropout is 1.0. Set it to a number",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            build(**change)


def network(two, drop_path=0.0, dropout=0.5):
    """Returns the network of one or two pictures with a regressor."""
    options = TINY | {"dropout": dropout}

    def head(width, rngs):
        return regressor.Regressor(width, dtype=jnp.float32, rngs=rngs, **options)

    return models.functional(
        lambda key: finetune_net.MeshNet(
            croco.Shape(32, 2, 2),
            croco.Shape(16, 2, 2) if two else None,
            head,
            mean=STATE,
            image=(32, 32),
            patch=16,
            position="cosine",
            compute=croco.Compute(),
            drop_path=drop_path,
            key=key,
        )
    )


def test_the_feature_is_the_mean_of_the_tokens():
    init, bind = build()
    feature, mean = given()
    tokens = np.stack([feature + 1, feature - 1, feature], 1)
    params = drawn(init)
    for found, expected in zip(
        jax.tree.leaves(bind(params)(tokens, mean)),
        jax.tree.leaves(bind(params)(feature[:, None], mean)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def two():
    """(parameters, bind) of the network of two pictures."""
    init, bind = network(True)
    return drawn(init, 0.1), bind


def patches():
    return np.float32(np.random.default_rng(2).normal(size=(2, 3, 4, 768)))


def test_the_head_sees_the_encoders_tokens_of_one_picture_and_the_decoders_of_two(two):
    params, bind = two
    alone, bind_alone = network(False)
    single = {k: params[k] for k in ("encoder", "mean")}
    single["head"] = drawn(alone)["head"]
    first, second = patches()

    @jax.jit
    def outputs(params, single):
        model, small = bind(params), bind_alone(single)
        seen, memory = model.encoder(first), model.encoder(second)
        decoded = model.decoder(seen, memory)
        return [
            (model(first, second), model.head(decoded, params["mean"])),
            (small(first, None), small.head(seen, params["mean"])),
        ]

    for found, expected in outputs(params, single):
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


def test_the_second_picture_is_looked_at_and_the_mean_is_not_learned(two):
    params, bind = two
    first, second = patches()

    @jax.jit
    def both(params, second):
        def loss(params):
            out = bind(params)(first, second, jax.random.key(0))
            return sum(jnp.sum(value[-1] ** 2) for value in out.values())

        return jax.value_and_grad(loss)(params)

    value, gradient = both(params, second)
    other, _ = both(params, second[::-1])
    assert abs(float(value - other)) > 5e-6 * abs(float(value))
    assert not gradient["mean"].any() and not gradient["decoder"]["mask_token"].any()
    for part in ("encoder", "decoder", "head"):
        for leaf in jax.tree.leaves(gradient[part]):
            assert np.isfinite(leaf).all()
        assert any(leaf.any() for leaf in jax.tree.leaves(gradient[part]))


def test_only_training_leaves_branches_out(two):
    params, plain = two
    # Without dropout, so that what differs is what was left out.
    _, bind = network(True, drop_path=0.5, dropout=0.0)
    first, second = patches()

    @jax.jit
    def outputs(keys):
        models_ = (plain, None), *((bind, key) for key in (None, *keys))
        return [b(params)(first, second, key)["pose"][-1] for b, key in models_]

    without, evaluated, one, other = outputs(list(jax.random.split(jax.random.key(0), 2)))
    np.testing.assert_allclose(evaluated, without, rtol=1e-5, atol=1e-6)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_branches_out_of_range_is_named(share):
    with pytest.raises(ValueError, match=f"config.model.drop_path is {share}. Set it to a number"):
        network(False, drop_path=share)

"""The optimizer: rates that fall with depth, parameters that stay, the state of both."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

from crocohuman_jax.training import checkpoint, learning_rate, loop
from crocohuman_jax.training import optimizer as optimizer_lib

BLOCKS = 3
OPTIONS = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "clip": 0.0}
OPTIONS |= {"no_decay": r"(bias|scale)$"}


def tree(seed):
    """Returns arrays in the places of a small network's parameters."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return np.float32(rng.normal(size=shape))

    block = {"mlp": {"kernel": draw(BLOCKS, 4, 5), "bias": draw(BLOCKS, 5)}}
    return {
        "encoder": {
            "embed": {"kernel": draw(6, 4), "bias": draw(4)},
            "blocks": block,
            "norm": {"scale": draw(4), "bias": draw(4)},
        },
        "decoder": {"blocks": {"kernel": draw(2, 4, 4)}, "embed": {"kernel": draw(4, 4)}},
        "head": {"kernel": draw(4, 3)},
    }


def make(**changes):
    rate = learning_rate.schedule(peak=0.1, least=0.0, warmup=0, cosine=100)
    return optimizer_lib.make(rate, **(OPTIONS | changes))


def updates(optimizer, steps=3):
    """Returns the updates of each step, and the last state."""
    params, state = tree(0), optimizer.init(tree(0))
    step, found = jax.jit(optimizer.update), []
    for i in range(steps):
        update, state = step(tree(1 + i), state, params)
        params = jax.tree.map(lambda a, b: a + b, params, update)
        found.append(jax.device_get(update))
    return found, jax.device_get(state)


@pytest.fixture(scope="module")
def plain():
    return updates(make())


def test_the_rate_rises_and_then_falls_by_half_a_cosine():
    rate = learning_rate.schedule(peak=2.0, least=0.5, warmup=10, cosine=30)
    wanted = {0: 0, 5: 1, 10: 2, 20: 1.25, 30: 0.5, 99: 0.5}
    for step, value in wanted.items():
        assert float(rate(step)) == pytest.approx(value), step
    with pytest.raises(ValueError, match="cosine ends at step 9, before the warm-up of 10"):
        learning_rate.schedule(peak=1.0, least=0.0, warmup=10, cosine=9)


def test_updates_are_those_of_adam_with_decoupled_decay(plain):
    rates = 0.1 * 0.5 * (1 + np.cos(np.pi * np.arange(3) / 100))
    for path, decay in ((("head", "kernel"), 0.1), (("encoder", "norm", "bias"), 0.0)):

        def at(t, path=path):
            for name in path:
                t = t[name]
            return np.float64(t)

        value, first, second = at(tree(0)), 0.0, 0.0
        for i, update in enumerate(plain[0]):
            gradient = at(tree(1 + i))
            first = 0.9 * first + 0.1 * gradient
            second = 0.95 * second + 0.05 * gradient**2
            ratio = first / (1 - 0.9 ** (i + 1))
            ratio = ratio / (np.sqrt(second / (1 - 0.95 ** (i + 1))) + 1e-8)
            expected = -rates[i] * (ratio + decay * value)
            np.testing.assert_allclose(at(update), expected, rtol=1e-5, atol=1e-7)
            value = value + expected


def test_lower_layers_of_the_encoder_learn_slower(plain):
    decayed, state = updates(make(layer_decay=0.5), steps=1)
    (found,), expected = decayed, plain[0][0]
    factors = np.array([1 / 8, 1 / 4, 1 / 2])  # of the three blocks, from the first to the last
    for name in ("kernel", "bias"):
        leaf = found["encoder"]["blocks"]["mlp"][name]
        wanted = expected["encoder"]["blocks"]["mlp"][name]
        shape = (BLOCKS, *[1] * (leaf.ndim - 1))
        np.testing.assert_allclose(leaf, factors.reshape(shape) * wanted, rtol=1e-6)
        embed = expected["encoder"]["embed"][name] / 16
        np.testing.assert_allclose(found["encoder"]["embed"][name], embed, rtol=1e-6)
    for part in (found, expected):
        del part["encoder"]["blocks"], part["encoder"]["embed"]
    runs.equal(found, expected)  # the norm above the blocks, the decoder and the head: in full
    # What is kept between steps does not know of it.
    moments = updates(make(), steps=1)[1]
    runs.equal(jax.tree.leaves(state), jax.tree.leaves(moments))


def test_frozen_parameters_stay_and_all_others_move():
    frozen = ("encoder/embed", r"decoder/.*kernel$")
    found, state = updates(make(freeze=frozen, weight_decay=0.5))
    for update in found:
        assert not any(leaf.any() for leaf in update["encoder"]["embed"].values())
        assert not any(leaf.any() for leaf in jax.tree.leaves(update["decoder"]))
        for leaf in jax.tree.leaves([update["encoder"]["blocks"], update["head"]]):
            assert (leaf != 0).all()
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(updates(make())[1])]


def test_no_gradient_reaches_what_is_held():
    def loss(params):
        held = optimizer_lib.held(params, ("encoder/blocks", "head"))
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(held))

    value, gradient = jax.value_and_grad(loss)(tree(0))
    assert value == pytest.approx(sum((x**2).sum() for x in jax.tree.leaves(tree(0))), rel=1e-5)
    assert not any(x.any() for x in jax.tree.leaves(gradient["encoder"]["blocks"]))
    assert not gradient["head"]["kernel"].any()
    for leaf in jax.tree.leaves([gradient["decoder"], gradient["encoder"]["embed"]]):
        assert (leaf != 0).all()
    params = tree(0)
    assert optimizer_lib.held(params, ()) is params


def test_what_is_no_rate_and_no_parameter_is_named():
    for share in (0.0, -0.5, 1.1):
        with pytest.raises(ValueError, match=f"layer_decay is {share}. Set it to a number"):
            make(layer_decay=share)
    message = "freeze: 'encodr/' matches no parameter. Paths begin with: decoder, encoder, head"
    with pytest.raises(ValueError, match=message):
        optimizer_lib.held(tree(0), ("encoder/", "encodr/"))
    with pytest.raises(ValueError, match=message):
        make(freeze=("encoder/", "encodr/")).init(tree(0))


def test_a_run_refuses_a_pattern_of_nothing_before_anything_is_written(prepared, tmp_path):
    config = runs.debug(prepared, optimizer__freeze=("enkoder/",))
    with pytest.raises(ValueError, match="'enkoder/' matches no parameter"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_slow_layers_and_a_frozen_decoder_resumes_exactly(prepared, tmp_path):
    changes = {"optimizer__layer_decay": 0.75, "optimizer__freeze": ("decoder/",)}
    changes |= {"data__mask__rule": "fixed", "data__held_out_pairs": 0}
    config = runs.debug(prepared, **changes)
    straight = loop.train(config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/checkpoints/6")  # as if it had been stopped at the third step
    half = checkpoint.load_params(tmp_path / "again", straight["params"])
    runs.equal(half["decoder"], straight["params"]["decoder"])
    for part in ("encoder", "head"):
        kernel = [x[part].get("embed", x[part])["kernel"] for x in (half, straight["params"])]
        assert np.abs(kernel[0] - kernel[1]).max() > 0
    runs.equal(loop.train(config, tmp_path / "again"), straight)

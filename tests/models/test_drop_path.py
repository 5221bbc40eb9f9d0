"""Stochastic depth: which branches are left out, how often, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from crocohuman_jax import models
from crocohuman_jax.models import blocks, croco, layers

OPTIONS = {"impl": "xla", "dtype": jnp.float32}
DEPTH = 3


class Straight(nnx.Module):
    """A block whose one branch is linear."""

    def __init__(self, width, rngs):
        self.branch = layers.Linear(width, width, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x, keep=None):
        return x + blocks._kept(self.branch(x), keep, 0)


class Stack(nnx.Module):
    """Equal blocks in a row."""

    def __init__(self, make, depth, rngs):
        self.blocks = blocks.stack(make, depth, rngs)

    def __call__(self, x, *context, **options):
        return blocks.run(self.blocks, x, *context, **options)


def stacked(make, depth=DEPTH):
    """Returns (parameters of numpy's drawing, bind) of a stack."""
    init, bind = models.functional(lambda key: Stack(make, depth, nnx.Rngs(params=key)))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda s: np.float32(0.3 * rng.normal(size=s.shape)), shapes), bind


@pytest.fixture(scope="module")
def encoder():
    return stacked(lambda rngs: blocks.EncoderBlock(8, 2, rngs=rngs, **OPTIONS))


def tokens(batch=4, count=3, seed=1):
    return np.float32(np.random.default_rng(seed).normal(size=(batch, count, 8)))


def test_shares_rise_in_equal_steps_and_what_is_kept_counts_the_more():
    stack = {"kernel": np.zeros((5, 2))}
    factors = np.asarray(blocks._branches(0.4, jax.random.key(0), stack, 20000))
    assert factors.shape == (5, 3, 20000)
    for block, kept in enumerate((1.0, 0.9, 0.8, 0.7, 0.6)):
        there = factors[block] > 0
        assert there.mean(1) == pytest.approx(kept, abs=0.015)
        np.testing.assert_allclose(factors[block][there], 1 / kept, rtol=1e-6)
    # Branches and examples are drawn apart.
    last = (factors[4] > 0).astype(float)
    assert np.abs(np.corrcoef(last)[~np.eye(3, dtype=bool)]).max() < 0.03
    assert abs(np.corrcoef(last[0, :-1], last[0, 1:])[0, 1]) < 0.03
    alone = blocks._branches(0.4, jax.random.key(0), {"kernel": np.zeros((1, 2))}, 100)
    assert (alone == 1).all()  # the first block leaves nothing out


def test_nothing_is_left_out_without_a_key_or_a_share(encoder):
    params, bind = encoder

    @jax.jit
    def outputs(key):
        plain = bind(params)(tokens(), None, 0)
        return [plain] + [bind(params)(tokens(), None, 0, drop=(s, key)) for s in (0.0, 0.5)]

    plain, none, some = outputs(jax.random.key(0))
    np.testing.assert_array_equal(plain, none)
    assert np.abs(some - plain).max() > 0.1


def test_a_stack_with_branches_left_out_is_its_blocks_one_by_one(encoder):
    params, bind = encoder
    keep = blocks._branches(0.6, jax.random.key(3), params, 4)
    assert (keep == 0).any() and (keep > 1).any()
    _, bind_one = models.functional(
        lambda key: blocks.EncoderBlock(8, 2, rngs=nnx.Rngs(params=key), **OPTIONS)
    )
    variants = ({}, {"unroll": DEPTH}, {"remat": "full"}, {"collect": True})

    @jax.jit
    def outputs(params, keep, key):
        x = tokens()
        for i in range(DEPTH):
            one = bind_one(jax.tree.map(lambda leaf, i=i: leaf[i], params["blocks"]))
            x = one(x, None, 0, keep[i])
        return x, [bind(params)(tokens(), None, 0, drop=(0.6, key), **v) for v in variants]

    expected, found = outputs(params, keep, jax.random.key(3))
    found[-1], every = found[-1]
    assert every.shape == (DEPTH, *expected.shape)
    for out in found:
        np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


def test_each_branch_has_a_factor_of_its_own():
    def make(rngs):
        return blocks.DecoderBlock(8, 2, rngs=rngs, **OPTIONS)

    params, _ = stacked(make, 1)
    _, bind = models.functional(lambda key: make(nnx.Rngs(params=key)))
    x, memory = tokens(3), tokens(3, 5, seed=2)

    @jax.jit
    def outputs(params, keep):
        block = bind(jax.tree.map(lambda leaf: leaf[0], params["blocks"]))
        branches = (
            block.attention(block.norm1(x), None),
            block.cross_attention(block.norm2(x), block.norm_memory(memory), None),
            block.mlp(block.norm3(x)),
        )
        return branches, block(x, memory, None, keep)

    branches, out = outputs(params, np.zeros((3, 3), np.float32))
    np.testing.assert_array_equal(out, x)
    for which, branch in enumerate(branches):
        keep = np.zeros((3, 3), np.float32)
        keep[which] = (0, 1, 2)  # of the three examples
        expected = x + keep[which][:, None, None] * branch
        np.testing.assert_allclose(outputs(params, keep)[1], expected, atol=1e-5)


def test_the_mean_over_draws_is_what_is_computed_without():
    def make(rngs):
        return Straight(8, rngs)

    params, bind = stacked(make)
    x = tokens(1)
    plain = bind(params)(x)

    def drawn(x):  # an example is a draw
        return bind(params)(x, drop=(0.5, jax.random.key(0)))

    found = np.asarray(jax.jit(drawn)(np.tile(x, (40000, 1, 1))))
    spread = found.std(0) / np.sqrt(len(found))
    assert (spread > 0).all()
    assert (np.abs(found.mean(0) - plain[0]) < 5 * spread).all()
    # What the first block does is always there: eight draws of two branches are all there is.
    assert len(np.unique(found[:, 0, 0].round(4))) == 4


@pytest.mark.parametrize("remat", ["none", "full"])
def test_gradients_are_finite_and_none_reaches_what_is_left_out(encoder, remat):
    params, bind = encoder
    key = jax.random.key(0)
    keep = np.asarray(blocks._branches(0.9, key, params, 1))
    assert not keep[2, 2].any()  # of the one example, the last block's MLP

    def loss(params):
        out = bind(params)(tokens(1), None, 0, drop=(0.9, key), remat=remat)
        return jnp.sum(out**2)

    gradient = jax.jit(jax.grad(loss))(params)["blocks"]
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
    assert not gradient["mlp"]["up"]["kernel"][2].any()
    assert gradient["mlp"]["up"]["kernel"][0].any()


@pytest.mark.parametrize("part", [croco.Encoder, croco.Decoder])
def test_encoder_and_decoder_pass_the_share_on(part):
    sizes = {"grid": (2, 2), "position": "cosine", "compute": croco.Compute()}
    sizes |= {"patch": 4} if part is croco.Encoder else {"memory_width": 48}
    init, bind = models.functional(
        lambda key: part(croco.Shape(8, 2, 2), rngs=nnx.Rngs(params=key), **sizes)
    )
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0))
    params = jax.tree.map(lambda s: np.float32(0.3 * rng.normal(size=s.shape)), shapes)
    inputs = np.float32(rng.normal(size=(2, 16, 4, 48)))[: 1 if part is croco.Encoder else 2]

    @jax.jit
    def outputs(params, key):
        plain = bind(params)(*inputs)
        return [plain] + [bind(params)(*inputs, drop=(share, key)) for share in (0.0, 0.9)]

    plain, none, some = outputs(params, jax.random.key(1))
    np.testing.assert_array_equal(plain, none)
    assert np.abs(some - plain).max() > 0.1

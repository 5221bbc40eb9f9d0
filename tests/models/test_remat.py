"""What the backward pass keeps of a forward pass, and that keeping less changes no gradient."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax import models
from crocohuman_jax.models import blocks, croco

PATCHES, SEEN = 64, 16  # in a picture, and those of them that are encoded
BATCH = 7  # divides no size of a parameter
DEPTHS = (3, 2)  # of encoder and decoder


@functools.cache
def network(remat):
    """Returns (init, loss) of a network whose attention scores are the largest of its values."""
    init, bind = models.functional(
        lambda key: croco.CroCo(
            croco.Shape(32, DEPTHS[0], 4),
            croco.Shape(32, DEPTHS[1], 4),
            image=(128, 128),
            patch=16,
            position="cosine",
            compute=croco.Compute(remat=remat, dtype="float32"),
            key=key,
        )
    )

    def loss(params, target, other, visible):
        return (bind(params)(target, other, visible, None) ** 2).mean()

    return init, loss


def kept(remat):
    """Returns the shapes of what the blocks' backward pass is given beside parameters."""
    init, loss = network(remat)
    params = jax.eval_shape(init, jax.random.key(0))
    pictures = jax.ShapeDtypeStruct((BATCH, PATCHES, 768), jnp.float32)
    visible = jax.ShapeDtypeStruct((BATCH, SEEN), jnp.int32)
    backward = jax.eval_shape(
        lambda *given: jax.vjp(loss, *given)[1], params, pictures, pictures, visible
    )
    shapes = [leaf.shape for leaf in jax.tree.leaves(backward) if leaf.dtype == jnp.float32]
    # Of a whole stack, and of the batch: rows of it are multiples of its size.
    return [s for s in shapes if s[0] in DEPTHS and any(n % BATCH == 0 for n in s)]


def test_dots_keeps_less_than_half_and_no_scores():
    sizes = {remat: sum(map(math.prod, kept(remat))) for remat in blocks.REMAT}
    assert sizes["full"] < sizes["dots"] < sizes["none"] / 2
    assert not any(shape[-2:] == (PATCHES, PATCHES) for shape in kept("dots"))


def test_dots_keeps_what_attentions_derivative_and_the_gelu_want():
    tokens = SEEN + PATCHES
    inside = {(3, BATCH, tokens, 128), (3, BATCH, PATCHES, 4, 8), (3, BATCH, 4, PATCHES)}
    assert inside < set(kept("dots")) and not inside & set(kept("full"))


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_gradients_are_those_of_keeping_everything(remat):
    params = network("none")[0](jax.random.key(0))
    pictures = jax.random.normal(jax.random.key(1), (2, 2, PATCHES, 768))
    visible = jnp.tile(jnp.arange(SEEN), (2, 1))
    found, wanted = (
        jax.jit(jax.grad(network(which)[1]))(params, *pictures, visible)
        for which in (remat, "none")
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-7), found, wanted)

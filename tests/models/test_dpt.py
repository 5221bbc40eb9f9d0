"""The dense head against outputs and gradients of the reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crocohuman_jax as ch
from crocohuman_jax import models
from crocohuman_jax.models import croco, parameters
from crocohuman_jax.models.heads import dpt
from crocohuman_jax.weights.exchange import conversion
from crocohuman_jax.weights.names import architectures, leaf_names

CASES = {
    "dpt_monocular_small": {"heads": (4,)},
    "dpt_binocular_small": {"heads": (4, 4), "image": (64, 64), "hooks": (1, 2, 3, 4)},
}


def read(oracles, name):
    """Returns the model, its dense head as a function of (parameters, tokens), and the outputs."""
    description, flat, _ = conversion.read(oracles / f"{name}.pth", **CASES[name])
    model = ch.Model(description, leaf_names.nested(flat), croco.Compute())
    sizes = description.dense
    fans = tuple(
        (description.encoder if hook < description.encoder.depth else description.decoder).width
        for hook in sizes.hooks
    )

    def head(params):
        return models.bound(
            dpt.Dense,
            params,
            fans=fans,
            widths=sizes.widths,
            features=sizes.features,
            last=sizes.last,
            channels=sizes.channels,
        )

    oracle = dict(np.load(oracles / f"{name}.npz"))
    images = [jnp.moveaxis(oracle[key], 1, -1) for key in ("img1", "img2") if key in oracle]
    tokens = model.features(images[0], sizes.hooks, *images[1:], normalized=True)
    return model, head, tokens, oracle


@pytest.mark.parametrize("name", CASES)
def test_every_pixel_equals_the_reference(oracles, name):
    model, head, tokens, oracle = read(oracles, name)
    assert model.description.dense.hooks == tuple(oracle["hooks_idx"])
    found = jax.jit(lambda p, t: head(p)(t, (4, 4)))(model.params["dense"], tokens)
    np.testing.assert_allclose(jnp.moveaxis(found, -1, 1), oracle["output"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_the_reference(oracles, name):
    model, head, tokens, oracle = read(oracles, name)
    weights = jnp.moveaxis(oracle["loss_weights"], 1, -1)

    def loss(params):
        return jnp.sum(head(params)(tokens, (4, 4)) * weights)

    found = jax.jit(jax.grad(loss))(model.params["dense"])
    flat = {f"dense/{path}": np.asarray(x) for path, x in parameters.named_leaves(found)}
    leaves = [x for x in architectures.leaves(model.description) if x.path.startswith("dense/")]
    state = leaf_names.export_arrays(flat, leaves, {})
    wanted = {k.removeprefix("grad/"): v for k, v in oracle.items() if k.startswith("grad/")}
    for key, gradient in wanted.items():
        near = 1e-6 + 1e-4 * np.abs(gradient).max()
        np.testing.assert_allclose(state[key], gradient, atol=near, rtol=0, err_msg=key)
    for key in state.keys() - wanted.keys():  # what is stored twice, and what the reference skips
        assert "refinenet4.resConfUnit1" in key or "act_" in key or "layer" in key, key


def build():
    fans = (6, 6, 6, 6)
    return models.functional(
        lambda key: dpt.Dense(
            fans, widths=(2, 3, 4, 5), features=4, last=3, channels=2, rngs=models.nnx.Rngs(key)
        )
    )


def test_odd_and_oblong_grids_pass():
    init, bind = build()
    tokens = [jnp.ones((1, 15, 6))] * 4
    found = jax.jit(lambda p: bind(p)(tokens, (3, 5)))(init(jax.random.key(0)))
    assert found.shape == (1, 48, 80, 2) and np.isfinite(found).all()


def test_doubling_keeps_the_corners_and_straight_lines():
    ramp = jnp.linspace(0, 1, 5)[None, :, None, None] * jnp.ones((1, 5, 3, 1))
    found = np.asarray(dpt.double(ramp))[0, :, :, 0]
    np.testing.assert_allclose(found, np.repeat(np.linspace(0, 1, 10)[:, None], 6, 1), atol=1e-6)


def test_a_head_of_other_than_four_levels_is_refused():
    with pytest.raises(ValueError, match="four levels, not 3 and 4"):
        models.functional(lambda key: dpt.Dense((6, 6, 6), channels=2, rngs=models.nnx.Rngs(key)))

"""The masked autoencoder against outputs of the reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax import models
from crocohuman_jax.models import croco, mae, pixels
from crocohuman_jax.tasks import completion
from crocohuman_jax.weights.exchange import conversion
from crocohuman_jax.weights.names import leaf_names

SIZES = {"encoder": croco.Shape(96, 3, 4), "decoder": croco.Shape(64, 2, 4)}


def build(image=(64, 64), **compute):
    options = {"image": image, "patch": 16, "compute": croco.Compute(**compute)}
    return models.functional(lambda key: mae.MAE(**SIZES, key=key, **options))


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=5e-5, rtol=0)


def test_tokens_predictions_and_losses_equal_the_reference(oracles):
    _, flat, _ = conversion.read(oracles / "mae_tiny.pth", heads=(4, 4))
    oracle = np.load(oracles / "mae_tiny.npz")
    target = pixels.patchify(jnp.moveaxis(oracle["img"], 1, -1), 16)
    kept = np.argsort(oracle["noise"], 1)[:, :4]  # in the reference's order, that of its latent
    hidden = oracle["mask"].astype(bool)
    _, bind = build()

    @jax.jit
    def run(params):
        model = bind(params)
        return model.encoder(target, kept), model(target, np.sort(kept), None)

    latent, predicted = run(leaf_names.nested(flat))
    close(latent, oracle["latent"])
    close(predicted, oracle["prediction"])
    for norm_pix, key in ((True, "loss"), (False, "loss_normpix0")):
        errors = np.asarray(completion.patch_errors(predicted, target, norm_pix))
        assert errors[hidden].mean() == pytest.approx(float(oracle[key]), abs=1e-5)


def test_hidden_pixels_are_never_looked_at():
    init, bind = build()
    params = init(jax.random.key(0))
    target = jax.random.normal(jax.random.key(1), (1, 16, 768))
    visible = jnp.array([[1, 5, 6]])
    call = jax.jit(lambda target: bind(params)(target, visible, None))
    np.testing.assert_array_equal(call(target), call(target.at[:, 0].add(7.0)))
    assert np.abs(call(target.at[:, 1].add(1.0)) - call(target)).max() > 1e-3


def test_a_patch_is_predicted_alike_alone_or_among_all_and_oblong_pictures_pass():
    init, bind = build(image=(32, 48))
    params = init(jax.random.key(0))
    target = jax.random.normal(jax.random.key(1), (2, 6, 768))
    visible, wanted = jnp.array([[0, 4], [1, 2]]), jnp.array([[5], [3]])
    run = jax.jit(lambda wanted: bind(params)(target, visible, wanted))
    every = jax.jit(lambda: bind(params)(target, visible, None))()
    close(run(wanted)[:, 0], np.asarray(every)[[0, 1], [5, 3]])


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match="Width 64 does not divide into 5 heads"):
        sizes = SIZES | {"decoder": croco.Shape(64, 2, 5)}
        options = {"image": (64, 64), "patch": 16, "compute": croco.Compute()}
        models.functional(lambda key: mae.MAE(**sizes, key=key, **options))

"""A model loaded and used in three lines: what it takes, what it returns, what it refuses."""

import pathlib
import subprocess
import sys

import descriptions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

import crocohuman_jax as ch
from crocohuman_jax import models
from crocohuman_jax.models import croco, parameters, pixels
from crocohuman_jax.training import initialization
from crocohuman_jax.weights.names import leaf_names
from crocohuman_jax.weights.sharing import hub, model_folder

TINY = descriptions.TINY  # 16x24 pixels, patches of 8, encoder 24/2/3, decoder 16/1/2
PICTURES = np.random.default_rng(5).integers(0, 256, (2, 16, 24, 3), np.uint8)
OTHERS = np.random.default_rng(6).integers(0, 256, (2, 16, 24, 3), np.uint8)
VISIBLE = np.array([[0, 4], [2, 3]])


def make(description=TINY, **compute):
    params = {k: 0.2 * v for k, v in descriptions.parameters(description).items()}
    return ch.Model(description, leaf_names.nested(params), croco.Compute(**compute))


@pytest.fixture(scope="module")
def tiny():
    return make()


def shared(path, description=TINY):
    """Returns the folder of a small model with random weights."""
    model_folder.write(path, description, descriptions.parameters(description), "a card")
    return path


def direct(model, function):
    """Returns what `function` of the bare network returns."""
    d = model.description
    _, bind = models.functional(
        lambda key: croco.CroCo(
            d.encoder,
            d.decoder,
            image=d.image,
            patch=d.patch,
            position=d.position,
            compute=croco.Compute(),
            key=key,
        )
    )
    return jax.jit(lambda params: function(bind(params)))(model.params)


def patches(images):
    return pixels.patchify(pixels.normalize(pixels.to_float(images)), TINY.patch)


def close(a, b, atol=1e-5):
    np.testing.assert_allclose(a, b, atol=atol, rtol=0)


def test_tokens_and_completions_are_the_bare_networks(tiny):
    close(tiny.encode(PICTURES), direct(tiny, lambda n: n.encoder(patches(PICTURES))))
    completed = tiny.complete(PICTURES, OTHERS, VISIBLE)
    bare = direct(tiny, lambda n: n(patches(PICTURES), patches(OTHERS), VISIBLE, None))
    close(completed, bare)
    assert tiny.encode(PICTURES).shape == (2, 6, 24) and completed.shape == (2, 6, 192)


def test_features_are_the_blocks_outputs_the_last_ones_normed(tiny):
    def bare(network):
        last, every = network.encoder(patches(PICTURES), collect=True)
        decoded = network.decoder(last, network.encoder(patches(OTHERS)))
        return every[0], last, decoded

    first, last, decoded = direct(tiny, bare)
    for found, wanted in zip(
        tiny.features(PICTURES, [0, 2, 1], reference=OTHERS), (first, decoded, last), strict=True
    ):
        close(found, wanted)
    close(tiny.features(PICTURES, [1])[0], tiny.encode(PICTURES))


def test_bytes_fractions_and_normalized_pictures_are_one_and_the_same(tiny):
    wanted = tiny.encode(PICTURES)
    fractions = PICTURES / np.float32(255)
    close(tiny.encode(fractions), wanted)
    close(tiny.encode(jnp.asarray(fractions)), wanted)
    close(tiny.encode(pixels.normalize(fractions), normalized=True), wanted)
    close(tiny.encode(PICTURES[:1]), wanted[:1])


@pytest.mark.parametrize("name", ["croco", "rope"])
def test_any_size_that_the_patch_divides_passes(name):
    model = make(descriptions.EVERY[name])
    patch = model.description.patch
    images = np.zeros((1, 3 * patch, 2 * patch, 3), np.uint8)
    assert model.encode(images).shape == (1, 6, 24)
    assert model.complete(images, images, np.array([[5]])).shape == (1, 6, 3 * patch**2)


@pytest.mark.parametrize("name", ["vit", "mae"])
def test_a_class_token_comes_only_if_it_is_asked_for(name):
    model = make(descriptions.EVERY[name])
    images = PICTURES[:, :, :16]
    every = model.encode(images, class_token=True)
    assert every.shape == (2, 5, 24)
    np.testing.assert_array_equal(model.encode(images), every[:, 1:])
    close(model.features(images, [1])[0], every[:, 1:])
    assert model.encode(PICTURES).shape == (2, 6, 24)  # another grid: its table is interpolated
    with pytest.raises(ValueError, match=f"needs a croco .* but this is a {name} model"):
        model.complete(images, images, VISIBLE % 4)


def test_a_callers_own_jit_and_gradient_go_through(tiny):
    def mean(images):
        return tiny.encode(images, normalized=True).sum()

    slope = jax.jit(jax.grad(mean))(jnp.ones((1, 16, 24, 3)))
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0
    traced = jax.jit(lambda x, v: tiny.complete(x, x, v))(PICTURES, VISIBLE)
    close(traced, tiny.complete(PICTURES, PICTURES, VISIBLE))


def test_bfloat16_stays_near_and_returns_float32(tiny):
    found = make(dtype="bfloat16").encode(PICTURES)
    assert found.dtype == jnp.float32
    close(found, tiny.encode(PICTURES), atol=0.2)


@pytest.mark.parametrize(
    "images, options, message",
    [
        (PICTURES[0], {}, r"images must be \[B, H, W, 3\], not \[16, 24, 3\]"),
        (PICTURES[:0], {}, r"not \[0, 16, 24, 3\]"),
        (np.moveaxis(PICTURES, -1, 1), {}, r"not \[2, 3, 16, 24\]"),
        (PICTURES[:, :15], {}, "15x24 picture does not divide into 8x8 patches"),
        (PICTURES.astype(np.int32), {}, "uint8 or floating point, not int32"),
        (PICTURES.astype(np.float32), {}, r"lie in \[0, 255\], not in \[0, 1\]: pass uint8"),
        (PICTURES / np.float32(255) - 1, {}, r"not in \[0, 1\]"),
        (np.full((1, 8, 8, 3), np.nan), {}, r"lie in \[nan, nan\]"),
        (PICTURES, {"normalized": True}, "uint8, but normalized=True"),
        (PICTURES.tolist(), {}, "not <class 'list'>"),
    ],
)
def test_pictures_that_would_be_misread_are_refused(tiny, images, options, message):
    with pytest.raises(ValueError, match=message):
        tiny.encode(images, **options)


@pytest.mark.parametrize(
    "visible, message",
    [
        (np.array([0, 1]), r"visible must be \[B, K\] with B = 2 .*, not \[2\]"),
        (np.zeros((1, 1), int), r"not \[1, 1\]"),
        (np.zeros((2, 0), int), r"not \[2, 0\]"),
        (np.array([[0, 6], [0, 1]]), r"lies in \[0, 6\], but the 6 patches are .* from 0 to 5"),
        (np.array([[0, -1], [0, 1]]), r"lies in \[-1, 1\]"),
        (np.array([[0, 0], [0, 1]]), "lists a patch of one image twice"),
        (np.ones((2, 6), bool), "integers, not bool"),
        ([[0], [1]], "integers, not <class 'list'>"),
    ],
)
def test_patches_that_do_not_exist_are_refused(tiny, visible, message):
    with pytest.raises(ValueError, match=message):
        tiny.complete(PICTURES, OTHERS, visible)


def test_what_a_model_cannot_do_is_said(tiny):
    params = {"encoder": tiny.params["encoder"]}
    alone = ch.Model(TINY, params, croco.Compute())
    with pytest.raises(ValueError, match=r"complete\(\) needs .* 'head', .* croco model of enc"):
        alone.complete(PICTURES, OTHERS, VISIBLE)
    with pytest.raises(ValueError, match=r"features\(\) with a reference needs .* 'decoder'"):
        alone.features(PICTURES, [0], reference=OTHERS)
    with pytest.raises(ValueError, match=r"layers=\[2\] must name one or more blocks from 0 to 1"):
        tiny.features(PICTURES, [2])
    with pytest.raises(ValueError, match=r"layers=\[\]"):
        tiny.features(PICTURES, [])
    with pytest.raises(ValueError, match="has no class token"):
        tiny.encode(PICTURES, class_token=True)
    with pytest.raises(ValueError, match="reference is .* the shape of the first images"):
        tiny.complete(PICTURES, OTHERS[:, :8], VISIBLE)


def test_a_shared_folder_is_loaded(tmp_path):
    model = ch.load(shared(tmp_path / "model"))
    wanted = descriptions.parameters(TINY)
    runs.equal(model.params, leaf_names.nested(wanted))
    assert model.description == TINY
    with pytest.raises(ValueError, match="ema=True is for a run"):
        ch.load(tmp_path / "model", ema=True)


def test_a_runs_workdir_is_loaded_with_its_newest_weights(straight):
    workdir, state = straight
    model = ch.load(workdir)
    runs.equal(model.params, state["params"])
    assert model.description.norm_pix is True
    assert model.encode(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 16, 64)
    with pytest.raises(ValueError, match="has no 'ema'"):
        ch.load(workdir, ema=True)


def test_training_starts_from_a_shared_folder(prepared, straight, tmp_path):
    trained = straight[1]["params"]
    flat = {path: np.asarray(x) for path, x in parameters.named_leaves(trained)}
    model_folder.write(tmp_path / "model", ch.load(straight[0]).description, flat, "")
    config = runs.debug(prepared, init_from=str(tmp_path / "model"), ema=0.5)
    config.init_parts = ("encoder", "head")
    blank = {"params": jax.tree.map(jnp.zeros_like, trained)}
    state = initialization.graft(blank, config)
    runs.equal(state["params"]["encoder"], trained["encoder"])
    runs.equal(state["params"]["decoder"], blank["params"]["decoder"])
    runs.equal(state["ema"], state["params"])
    place = jax.tree.map(lambda x: x.sharding, trained)
    assert jax.tree.map(lambda x: x.sharding, state["params"]) == place
    other = {"params": trained | {"head": {"kernel": jnp.zeros((32, 5))}}}
    with pytest.raises(ValueError, match=r"do not fit .*\n  head/kernel: .* expected \(32, 5\)"):
        initialization.graft(other, config)
    config.model.position = "rope100"
    with pytest.raises(ValueError, match="use 'cosine' positions, not 'rope100'"):
        initialization.graft(blank, config)


def test_a_folder_that_holds_no_model_or_half_of_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no model: neither .*convert import"):
        ch.load(tmp_path)
    path = shared(tmp_path / "model")
    params = descriptions.parameters(TINY)
    del params["head/bias"]
    model_folder.arrays.write_safetensors(path / model_folder.WEIGHTS, params, {})
    with pytest.raises(ValueError, match="head/bias: missing"):
        ch.load(path)
    text = (path / model_folder.DESCRIPTION).read_text()
    (path / model_folder.DESCRIPTION).write_text(
        text.replace(model_folder.FORMAT, "crocohuman_jax/9")
    )
    with pytest.raises(ValueError, match="the format 'crocohuman_jax/9', not 'crocohuman_jax/1'"):
        ch.load(path)


def test_names_of_the_hub_are_told_from_paths_and_need_the_extra(monkeypatch):
    assert hub.is_name("owner/name-1.0") and not hub.is_name("a/b/c")
    assert not hub.is_name("/a/b") and not hub.is_name("name") and not hub.is_name("../b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"needs huggingface_hub: pip install .*\[hub\]"):
        ch.load("nobody/nothing")


def test_only_a_whole_model_is_pushed(tmp_path):
    with pytest.raises(ValueError, match="OWNER/NAME, not 'name'"):
        hub.push(tmp_path, "name")
    with pytest.raises(ValueError, match="holds no model"):
        hub.push(tmp_path, "owner/name")


def test_importing_the_package_does_not_import_jax():
    code = (
        "import sys, crocohuman_jax, crocohuman_jax.data.crop\n"
        "assert 'jax' not in sys.modules and 'flax' not in sys.modules\n"
        "try:\n    crocohuman_jax.lode\nexcept AttributeError as error:\n    print(error)"
    )
    root = pathlib.Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert "has no attribute 'lode'" in found.stdout, found.stderr

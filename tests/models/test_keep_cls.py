"""Fine-tuning of a MAE's encoder that keeps its class token."""

import chips
import descriptions
import jax
import numpy as np
import pytest

from configs import mesh
from crocohuman_jax.inference import model
from crocohuman_jax.models import pixels
from crocohuman_jax.tasks import mesh as tasks
from crocohuman_jax.training import initialization
from crocohuman_jax.weights.sharing import model_folder


def configured(source, **changes):
    config = mesh.get_config("debug,body=open_hand_right")
    theirs = descriptions.VIT.encoder
    config.model.encoder = {"width": theirs.width, "depth": theirs.depth, "heads": theirs.heads}
    config.model.patch, config.model.image = 8, (32, 32)
    config.init_from, config.data.folders = str(source), "nowhere"
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def test_the_tokens_of_patches_are_those_of_the_encoder_with_its_class_token(tmp_path):
    source = tmp_path / "model"
    model_folder.write(source, descriptions.VIT, descriptions.parameters(descriptions.VIT), "")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    patches = pixels.patchify(pixels.normalize(pixels.to_float(images)), 8)
    config = configured(source, model__keep_cls=True)
    network = tasks.make(config).loss.__self__
    params = jax.jit(network._init)(jax.random.key(0))
    grafted = initialization.graft({"params": params}, config)["params"]
    net = network.bind(grafted)
    net.head = lambda tokens, mean, key: tokens
    wanted = model.load(source).encode(images)
    assert wanted.shape == (2, 16, descriptions.VIT.encoder.width)
    np.testing.assert_allclose(net(patches, None), wanted, atol=1e-4)
    token = grafted["encoder"]["class_token"]
    other = grafted | {"encoder": grafted["encoder"] | {"class_token": 5 * token[::-1]}}
    net = network.bind(other)
    net.head = lambda tokens, mean, key: tokens
    assert np.abs(net(patches, None) - wanted).max() > 1e-3  # which the patches have looked at


def test_a_class_token_that_makes_the_length_odd_is_refused_before_a_step(tmp_path, monkeypatch):
    chips.pretend(monkeypatch)
    options = {"model__attention": "cudnn", "model__dtype": "bfloat16"}
    without = tasks.make(configured(tmp_path, **options)).loss.__self__
    jax.eval_shape(without._init, jax.random.key(0))  # 16 tokens
    with pytest.raises(ValueError, match=r"not 17; .* config.model.keep_cls adds one token"):
        network = tasks.make(configured(tmp_path, model__keep_cls=True, **options)).loss.__self__
        jax.eval_shape(network._init, jax.random.key(0))


def test_a_class_token_needs_a_table_of_positions(tmp_path):
    with pytest.raises(ValueError, match=r"model.keep_cls .* set config.model.position=cosine"):
        network = tasks.make(configured(tmp_path, model__keep_cls=True, model__position="rope100"))
        network.init(jax.random.key(0))
    without = tasks.make(configured(tmp_path)).loss.__self__
    shapes = jax.eval_shape(without._init, jax.random.key(0))
    assert not {"class_token", "positions"} & set(shapes["encoder"])

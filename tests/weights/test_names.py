"""Names and shapes of parameters there and here, and what is said when they do not fit."""

import json
import types

import descriptions
import numpy as np
import pytest

from crocohuman_jax.models.croco import Shape
from crocohuman_jax.weights.exchange import detect
from crocohuman_jax.weights.names import architectures, leaf_names

V1 = architectures.Description(
    "croco", Shape(768, 12, 12), Shape(512, 8, 16), (224, 224), 16, "cosine", head=768
)


def take_in(state, description=descriptions.TINY, **allow):
    leaves, tables = architectures.leaves(description), architectures.tables(description)
    return leaf_names.import_arrays(state, leaves, tables, **allow)


def published():
    """Returns names and shapes of CroCo v1 as published, written out."""
    found = {
        "patch_embed.proj.weight": (768, 3, 16, 16),
        "mask_token": (1, 1, 512),
        "enc_pos_embed": (196, 768),
        "dec_pos_embed": (196, 512),
    }

    def linear(name, fan_in, out):
        found.update({f"{name}.weight": (out, fan_in), f"{name}.bias": (out,)})

    for stack, depth, d in (("enc", 12, 768), ("dec", 8, 512)):
        for i in range(depth):
            block = f"{stack}_blocks.{i}"
            norms = ["norm1", "norm2"] + (["norm3", "norm_y"] if stack == "dec" else [])
            found |= {f"{block}.{norm}.{x}": (d,) for norm in norms for x in ("weight", "bias")}
            linear(f"{block}.attn.qkv", d, 3 * d)
            linear(f"{block}.attn.proj", d, d)
            linear(f"{block}.mlp.fc1", d, 4 * d)
            linear(f"{block}.mlp.fc2", 4 * d, d)
            if stack == "dec":
                for part in ("projq", "projk", "projv", "proj"):
                    linear(f"{block}.cross_attn.{part}", d, d)
        found |= {f"{stack}_norm.{x}": (d,) for x in ("weight", "bias")}
    found["patch_embed.proj.bias"] = (768,)
    linear("decoder_embed", 768, 512)
    linear("prediction_head", 512, 768)
    return found


def test_names_and_shapes_of_croco_v1_are_the_published_349():
    ours = leaf_names.expected(architectures.leaves(V1))
    ours |= {name: (14 * 14, width) for name, (grid, width) in architectures.tables(V1).items()}
    assert ours == published()
    assert len(ours) == 349


def test_names_and_shapes_of_croco_v2_are_the_published_347():
    v2 = architectures.Description(
        "croco", Shape(768, 12, 12), Shape(512, 8, 16), (224, 224), 16, "rope100", head=768
    )
    assert not architectures.tables(v2)
    wanted = {k: v for k, v in published().items() if not k.endswith("pos_embed")}
    assert leaf_names.expected(architectures.leaves(v2)) == wanted
    assert len(wanted) == 347


@pytest.mark.parametrize("kind", descriptions.EVERY)
def test_out_and_in_again_is_bit_equal(kind):
    params = descriptions.parameters(descriptions.EVERY[kind])
    found, passed = take_in(
        descriptions.state_dict(descriptions.EVERY[kind]), descriptions.EVERY[kind]
    )
    assert not passed and found.keys() == params.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)


@pytest.mark.parametrize("form", leaf_names.FORMS)
def test_each_way_an_array_can_lie_is_undone(form):
    shape = {"matrix": (3, 2, 5), "patches": (48, 7), "table": (6, 4), "token": (6,)}
    leaf = leaf_names.Leaf("x", "y", form, shape.get(form, (2, 3, 4, 5)))
    array = np.arange(np.prod(leaf.shape), dtype=np.float32).reshape(leaf.shape)
    there = leaf.give(array)
    assert there.shape == leaf.shape_there() and there.flags.c_contiguous
    np.testing.assert_array_equal(leaf.take(there), array)


def test_fused_queries_keys_and_values_keep_their_order():
    state = descriptions.state_dict(descriptions.TINY)
    found, _ = take_in(state)
    x = np.arange(24, dtype=np.float32)
    there = (state["enc_blocks.1.attn.qkv.weight"] @ x).reshape(3, 3, 8)
    here = np.tensordot(x, found["encoder/blocks/attention/qkv/kernel"][1], 1)
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)


def test_a_patch_is_embedded_as_the_convolution_does():
    state = descriptions.state_dict(descriptions.TINY)
    found, _ = take_in(state)
    patch = np.random.default_rng(1).standard_normal((8, 8, 3))
    there = np.einsum("oipq,pqi->o", state["patch_embed.proj.weight"], patch)
    here = patch.reshape(-1) @ found["encoder/embed/kernel"]
    np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


def test_everything_that_does_not_fit_is_listed_at_once():
    state = descriptions.state_dict(descriptions.TINY)
    del state["enc_blocks.1.mlp.fc1.bias"]
    state["fc_norm.weight"] = np.ones(3, np.float32)
    state["dec_norm.bias"] = np.ones(15, np.float32)
    state["dec_pos_embed"] = state["dec_pos_embed"] + 1
    state["enc_norm.bias"] = np.full(24, np.nan, np.float32)
    state["enc_norm.weight"] = np.ones(24, np.int64)
    with pytest.raises(ValueError) as fault:
        take_in(state)
    for line in (
        "6 arrays do not fit",
        "missing: enc_blocks.1.mlp.fc1.bias",
        "unexpected: fc_norm.weight",
        "wrong shape: dec_norm.bias is (15,), expected (16,)",
        "not the cosine table: dec_pos_embed is off by up to 1",
        "not finite: enc_norm.bias",
        "not floating point: enc_norm.weight is int64",
        "--allow_missing=PATTERN",
    ):
        assert line in str(fault.value)


def test_what_is_passed_over_is_asked_for_and_said():
    state = descriptions.state_dict(descriptions.TINY) | {"fc_norm.weight": np.ones(3, np.float32)}
    del state["dec_norm.bias"], state["prediction_head.weight"]
    found, passed = take_in(
        state, allow_missing="dec_norm.*, prediction_*", allow_unexpected="fc_norm.*"
    )
    assert passed == [
        "missing: dec_norm.bias",
        "missing: prediction_head.weight",
        "unexpected: fc_norm.weight",
        "left out: decoder, which lacks arrays",
        "left out: head, which lacks arrays",
    ]
    assert {path.split("/")[0] for path in found} == {"encoder"}
    with pytest.raises(ValueError, match="missing: prediction_head.weight"):
        take_in(state, allow_missing="dec_norm.*", allow_unexpected="*")
    with pytest.raises(ValueError, match="No part is complete"):
        take_in({"x": np.ones(1)}, allow_missing="*", allow_unexpected="*")


def test_an_array_stored_twice_must_be_the_same_twice():
    leaf = leaf_names.Leaf("a/b", "x", "flat", (3,), also=("y",))
    array = np.ones(3, np.float32)
    assert set(leaf_names.export_arrays({"a/b": array}, [leaf], {})) == {"x", "y"}
    with pytest.raises(ValueError, match="different: y and x"):
        leaf_names.import_arrays({"x": array, "y": 2 * array}, [leaf], {})


@pytest.mark.parametrize("kind", ["croco", "mae", "vit"])
def test_sizes_are_read_off_the_shapes(kind):
    wanted = descriptions.EVERY[kind]
    heads = (3, 2) if wanted.decoder else (3,)
    image = wanted.image if kind == "croco" else None  # it is no square, which must be said
    assert detect.describe(descriptions.state_dict(wanted), heads=heads, image=image)[0] == wanted


def test_positions_are_those_the_file_has_tables_of():
    assert (
        detect.describe(descriptions.state_dict(descriptions.ROPE), heads=(3, 2))[0]
        == descriptions.ROPE
    )


def test_names_of_a_distributed_module_lose_their_prefix():
    state = {
        f"module.{name}": array for name, array in descriptions.state_dict(descriptions.VIT).items()
    }
    found, arrays = detect.describe({"model": state}, heads=(3,))
    assert found == descriptions.VIT and set(arrays) == set(
        descriptions.state_dict(descriptions.VIT)
    )


@pytest.mark.parametrize("wrap", [dict, lambda args: types.SimpleNamespace(**args)])
def test_arguments_in_a_text_are_read_as_literals(wrap):
    text = (
        "CroCoNet(img_size=(16, 24), patch_size=8, enc_embed_dim=24, enc_depth=2, "
        "enc_num_heads=3, dec_embed_dim=16, dec_depth=1, dec_num_heads=2, pos_embed='cosine')"
    )
    checkpoint = {
        "model": descriptions.state_dict(descriptions.TINY),
        "args": wrap({"model": text}),
    }
    assert detect.describe(checkpoint)[0] == descriptions.TINY


@pytest.mark.parametrize(
    "text",
    [
        "CroCoNet(img_size=__import__('os').system('true'))",
        "CroCoNet(**{'img_size': 64})",
        "CroCoNet(64)",
        "os.system('true')",
        "CroCoNet(img_size=64); x",
        "(" * 5000,
        7,
    ],
)
def test_a_text_that_is_more_than_literals_is_refused(text):
    with pytest.raises(ValueError, match="args.model is not CroCoNet"):
        detect.parse_call(text)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"croco_kwargs": {"mlp_ratio": 2}}, "CroCo with mlp_ratio=2 is not supported"),
        ({"croco_kwargs": {"pos_embed": "RoPE7"}}, "pos_embed='RoPE7'"),
        ({"croco_kwargs": {"depth": 2}}, "CroCo with depth is not supported"),
        ({}, "attention heads with --heads=ENCODER,DECODER"),
        ({"model": {"a.b": np.ones(2)}}, "The network is not supported.*has: a.b"),
        ({"model": {"a": 3}}, "named arrays only; these are not: a"),
        ({"model": 3}, "holds no state dict"),
    ],
)
def test_what_is_not_known_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        detect.describe({"model": descriptions.state_dict(descriptions.TINY)} | change)


ODD = (None, "x", -1, 0, 2.5, [], [1], {}, (16, 24), True, 10**30, np.ones(3), np.float32(7))


@pytest.mark.parametrize("kind", ["croco", "vit", "mae"])
def test_whatever_a_file_says_it_is_read_or_refused_in_words(kind):
    draw = np.random.default_rng(0)
    description = descriptions.EVERY[kind]
    whole = descriptions.state_dict(description)
    options = {"heads": (3, 2)[: 1 + bool(description.decoder)]}
    for _ in range(1000):
        state, settings = dict(whole), architectures.croco_kwargs(descriptions.TINY)
        for name in draw.choice(list(state), 2):
            shape = draw.integers(0, 4, draw.integers(0, 4))
            state[name] = [np.zeros(shape, np.float32), np.ones(2), ODD[draw.integers(len(ODD))]][
                draw.choice(3, p=[0.7, 0.2, 0.1])
            ]
        settings[draw.choice(list(settings))] = ODD[draw.integers(len(ODD))]
        checkpoint = {"model": state}
        if kind == "croco" and draw.random() < 0.7:
            whatever = ODD[draw.integers(len(ODD))]
            checkpoint["croco_kwargs"] = settings if draw.random() < 0.9 else whatever
        try:
            found, arrays = detect.describe(checkpoint, **options)
            take_in(arrays, found)
        except ValueError as error:
            assert str(error)


def test_a_size_that_does_not_tell_its_heads_asks_for_them():
    with pytest.raises(ValueError, match="heads its width of 24 has: give --heads=ENCODER"):
        detect.describe(descriptions.state_dict(descriptions.VIT))
    with pytest.raises(ValueError, match="2 numbers; the file has 1 stacks"):
        detect.describe(descriptions.state_dict(descriptions.VIT), heads=(3, 3))
    kwargs = architectures.croco_kwargs(descriptions.TINY)
    with pytest.raises(ValueError, match=r"--heads=\(4, 2\), but the file says \(3, 2\)"):
        detect.describe(
            {"model": descriptions.state_dict(descriptions.TINY), "croco_kwargs": kwargs},
            heads=(4, 2),
        )


@pytest.mark.parametrize("kind", descriptions.EVERY)
def test_a_description_survives_json(kind):
    saved = json.loads(json.dumps(descriptions.EVERY[kind].as_json()))
    assert architectures.Description.from_json(saved) == descriptions.EVERY[kind]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "resnet"}, "Unknown model.kind 'resnet'. Known: croco, mae, vit"),
        ({"colour": 1}, "missing or unknown: colour"),
        ({"patch": 0}, "has invalid sizes"),
        ({"patch": 7}, "16x24 picture does not divide into 7x7 patches"),
        ({"patch": "8"}, "has invalid sizes"),
        ({"image": 16}, "The description of the model is invalid"),
        ({"image": [16]}, "has invalid sizes"),
        ({"encoder": {"width": 24}}, "The description of the model is invalid"),
        ({"encoder": None}, "the encoder None does not exist"),
        ({"encoder": {"width": 1e9, "depth": 2, "heads": 3}}, "has invalid sizes"),
        ({"position": "table"}, "A croco with 'table' positions"),
        ({"norm_pix": "yes"}, "Unknown model.norm_pix 'yes'"),
    ],
)
def test_a_description_names_what_it_does_not_know(change, message):
    with pytest.raises(ValueError, match=message):
        architectures.Description.from_json(descriptions.TINY.as_json() | change)
    with pytest.raises(ValueError, match="missing or unknown: None"):
        architectures.Description.from_json(None)

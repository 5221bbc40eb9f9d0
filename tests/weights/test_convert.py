"""Weights in and out: reference outputs through `convert`, and what comes back bit for bit."""

import hashlib
import json
import subprocess
import sys
import types

import descriptions
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs

import crocohuman_jax as ch
from crocohuman_jax import convert
from crocohuman_jax.models import position_embeddings
from crocohuman_jax.weights.exchange import conversion
from crocohuman_jax.weights.names import architectures, leaf_names
from crocohuman_jax.weights.safe import arrays
from crocohuman_jax.weights.sharing import model_folder

FLAGS = {
    "format": "safetensors",
    "heads": [],
    "hooks": [],
    "image": "",
    "class_token": "keep",
    "allow_missing": "",
    "allow_unexpected": "",
    "ema": False,
    "licence": [],
}


def take_in(source, output, **changes):
    """Imports a file; returns the loaded model."""
    flags = FLAGS | {"source": str(source), "output": str(output)} | changes
    convert.import_(types.SimpleNamespace(**flags))
    return ch.load(output)


def give_out(source, output, **changes):
    """Exports a model; returns its folder."""
    flags = FLAGS | {"source": str(source), "output": str(output)} | changes
    convert.export(types.SimpleNamespace(**flags))
    return output


def pictures(oracle, *keys):
    return [jnp.moveaxis(oracle[key], 1, -1) for key in keys]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=5e-5, rtol=0)


@pytest.fixture
def file(tmp_path):
    """A safetensors file with the names that CroCo's class has, as anyone could have made it."""
    state = descriptions.state_dict(descriptions.TINY)
    settings = json.dumps(architectures.croco_kwargs(descriptions.TINY))
    arrays.write_safetensors(tmp_path / "x.safetensors", state, {"croco_kwargs": settings})
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("name", ["croco_v1_tiny", "croco_v2_tiny"])
def test_a_croco_file_gives_the_reference_outputs(oracles, tmp_path, name):
    model = take_in(oracles / f"{name}.pth", tmp_path / "model")
    oracle = np.load(oracles / f"{name}.npz")
    first, second = pictures(oracle, "img1", "img2")
    visible = np.stack([np.flatnonzero(~mask) for mask in oracle["mask"]])
    close(model.encode(first, normalized=True), oracle["enc_feat_img1_full"])
    close(model.complete(first, second, visible, normalized=True), oracle["prediction"])
    blocks = model.features(second, [0, 1, 2], normalized=True)
    for i, block in enumerate(blocks):
        close(block, oracle[f"enc_block{i}_img2"])
    decoded = model.features(first, [4], reference=second, normalized=True)[0]
    close(decoded, oracle["dec_feat_nomask"])


def test_a_training_checkpoint_is_read_by_its_args(oracles, tmp_path):
    model = take_in(oracles / "croco_v1_tiny_traj_final.pth", tmp_path / "model")
    assert model.description.norm_pix is True
    assert model.description.encoder.heads == model.description.decoder.heads == 4


def test_a_mae_encoder_without_its_class_token_is_an_encoder_of_ours(oracles, tmp_path):
    options = {"heads": ["4", "4"], "class_token": "drop"}
    model = take_in(oracles / "mae_tiny.pth", tmp_path / "model", **options)
    assert model.description.kind == "croco" and list(model.params) == ["encoder"]
    assert model.description.position == "cosine"
    with pytest.raises(ValueError, match="the file's positions are learned"):
        take_in(oracles / "timm_vit_tiny.pth", tmp_path / "x", heads=["4"], class_token="drop")


def test_a_vision_transformer_gives_the_reference_outputs(oracles, tmp_path):
    model = take_in(oracles / "timm_vit_tiny.pth", tmp_path / "model", heads=["4"])
    oracle = np.load(oracles / "timm_vit_tiny.npz")
    (images,) = pictures(oracle, "img")
    every = model.encode(images, normalized=True, class_token=True)
    close(every, oracle["forward_features"])
    close(model.encode(images, normalized=True).mean(1), oracle["avgpool_patch_tokens"])
    head = model.params["head"]
    close(every[:, 0] @ head["kernel"] + head["bias"], oracle["logits_token"])
    blocks = model.features(images, [0, 1], normalized=True)
    close(blocks[0], oracle["block0"][:, 1:])
    close(blocks[1], oracle["block1"][:, 1:])


def test_a_mae_gives_the_reference_outputs(oracles, tmp_path):
    model = take_in(oracles / "mae_tiny.pth", tmp_path / "model", heads=["4", "4"])
    oracle = np.load(oracles / "mae_tiny.npz")
    (images,) = pictures(oracle, "img")
    every = model.encode(images, normalized=True, class_token=True)
    close(every, oracle["unmasked_features"])
    close(
        model.features(images, [0], normalized=True)[0],
        oracle["unmasked_block0"][:, 1:],
    )


REFERENCES = {
    "croco_v1_tiny": {},
    "croco_v2_tiny": {},
    "croco_v1_tiny_traj_final": {},
    "mae_tiny": {"heads": ["4", "4"]},
    "timm_vit_tiny": {"heads": ["4"]},
    "dpt_monocular_small": {"heads": ["4"]},
    "dpt_binocular_small": {
        "heads": ["4", "4"],
        "image": "64",
        "hooks": ["1", "2", "3", "4"],
    },
}


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_files_come_back_bit_for_bit(oracles, tmp_path, name):
    model = take_in(oracles / f"{name}.pth", tmp_path / "in", **REFERENCES[name])
    out = give_out(tmp_path / "in", tmp_path / "out", format="torch-names")
    again = take_in(out, tmp_path / "again")
    assert again.description == model.description
    runs.equal(again.params, model.params)
    one, other = (tmp_path / x / model_folder.WEIGHTS for x in ("in", "again"))
    assert one.read_bytes() == other.read_bytes()
    theirs = conversion.torch_files.read(oracles / f"{name}.pth")["model"]
    ours, _ = arrays.read_safetensors(out / model_folder.WEIGHTS)
    assert set(ours) - {"dec_pos_embed"} == set(theirs) - {"dec_pos_embed"}
    for key, array in ours.items():
        assert array.shape == theirs[key].shape, key
        near = 1e-6 if key in ("enc_pos_embed", "dec_pos_embed") else 0
        np.testing.assert_allclose(array, theirs[key], atol=near, rtol=0, err_msg=key)


def test_a_folder_says_where_its_weights_come_from(file, tmp_path):
    take_in(file, tmp_path / "model")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in (tmp_path / "model" / "README.md").read_text()
    receipt = (tmp_path / "model" / "receipt.json").read_text()
    weights = hashlib.sha256((tmp_path / "model" / model_folder.WEIGHTS).read_bytes()).hexdigest()
    assert digest in receipt and weights in receipt


def test_parts_that_are_absent_by_permission_are_left_out(tmp_path):
    state = descriptions.state_dict(descriptions.TINY)
    state = {k: v for k, v in state.items() if not k.startswith(("prediction_head", "dec_norm"))}
    settings = json.dumps(architectures.croco_kwargs(descriptions.TINY))
    arrays.write_safetensors(tmp_path / "x.safetensors", state, {"croco_kwargs": settings})
    with pytest.raises(ValueError, match=r"(?s)missing: dec_norm.bias.*missing: prediction_head"):
        take_in(tmp_path / "x.safetensors", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    allow = {"allow_missing": "prediction_head.*,dec_norm.*"}
    model = take_in(tmp_path / "x.safetensors", tmp_path / "model", **allow)
    assert list(model.params) == ["encoder"] and model.description.decoder is None


def test_a_runs_model_is_exported_with_a_card_of_the_run(straight, tmp_path):
    licence = {"licence": ["pairs_folder=CC-BY-4.0"]}
    out = give_out(straight[0], tmp_path / "out", **licence)
    runs.equal(ch.load(out).params, straight[1]["params"])
    card = (out / "README.md").read_text()
    last = [line for line in runs.lines(straight[0]) if "held_out/masked_loss" in line][-1]
    for text in (
        "| pairs_folder | prepared | ",
        "| CC-BY-4.0 |",
        "6 of 6 (batch 8)",
        f"| masked_loss | {last['held_out/masked_loss']:.4f} |",
        "human, ratio 0.75",
        "64 wide, 2 deep, 2 heads",
    ):
        assert text in card, text
    assert str(straight[0].parent) not in card  # no paths of this machine
    assert "not recorded" in (give_out(straight[0], tmp_path / "b") / "README.md").read_text()


def test_an_encoder_goes_to_timm_with_its_table(tmp_path, file):
    take_in(file, tmp_path / "model")
    out = give_out(tmp_path / "model", tmp_path / "timm", format="timm")
    state, _ = arrays.read_safetensors(out / model_folder.WEIGHTS)
    about = json.loads((out / "config.json").read_text())
    assert about["model_args"]["class_token"] is False and about["num_classes"] == 0
    assert about["model_args"]["num_heads"] == 3
    np.testing.assert_array_equal(state["pos_embed"][0], position_embeddings.cosine((2, 3), 24))
    theirs = descriptions.state_dict(descriptions.TINY)
    encoder = {k.replace("enc_", "", 1) for k in theirs if k.startswith("enc_")}
    assert set(state) == encoder | {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    np.testing.assert_array_equal(
        state["blocks.1.attn.qkv.weight"], theirs["enc_blocks.1.attn.qkv.weight"]
    )


def test_a_vision_transformer_goes_to_timm_whole(tmp_path):
    model_folder.write(
        tmp_path / "model", descriptions.VIT, descriptions.parameters(descriptions.VIT), ""
    )
    out = give_out(tmp_path / "model", tmp_path / "timm", format="timm")
    state, _ = arrays.read_safetensors(out / model_folder.WEIGHTS)
    theirs = descriptions.state_dict(descriptions.VIT)
    assert set(state) == {name for name in theirs if not name.startswith("head.")}
    np.testing.assert_array_equal(state["pos_embed"], theirs["pos_embed"])
    assert json.loads((out / "config.json").read_text())["model_args"]["class_token"] is True


def test_a_model_that_turns_has_no_counterpart_in_timm(tmp_path):
    rope = descriptions.ROPE
    model_folder.write(tmp_path / "model", rope, descriptions.parameters(rope), "")
    with pytest.raises(ValueError, match=r"\(rope100\): use --format=torch-names"):
        give_out(tmp_path / "model", tmp_path / "timm", format="timm")
    assert not (tmp_path / "timm").exists()


def test_a_table_for_another_grid_is_interpolated_when_a_run_starts_from_it(tmp_path):
    vit = descriptions.VIT
    params = descriptions.parameters(vit)
    model_folder.write(tmp_path / "model", vit, params, "")
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = {"encoder": {"positions": jax.ShapeDtypeStruct((7, 24), jnp.float32, sharding=place)}}
    found = model_folder.load_params(tmp_path / "model", wanted, (2, 3), "table")["encoder"][
        "positions"
    ]
    table = params["encoder/positions"]
    np.testing.assert_array_equal(found[0], table[0])
    np.testing.assert_allclose(found[1:], position_embeddings.resize(table[1:], (2, 2), (2, 3)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"heads": ["4,x"]}, "--heads must be comma-separated numbers"),
        ({"heads": ["4", "4"]}, r"--heads=\(4, 4\), but the file says \(3, 2\)"),
        ({"hooks": ["1"]}, "the file holds no dense head"),
        ({"class_token": "drop"}, "a CroCo has no class token"),
        ({"image": "a"}, "--image must be a side"),
        ({"source": "nowhere.pth"}, "nowhere.pth does not exist"),
        ({"output": ""}, "give the folder to write, --output=DIR"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(file, tmp_path, changes, message):
    flags = {"source": file, "output": tmp_path / "model"} | changes
    with pytest.raises(ValueError, match=message):
        take_in(flags.pop("source"), flags.pop("output"), **flags)
    assert not (tmp_path / "model").exists()


def test_nothing_is_overwritten_and_nothing_is_imported_twice(file, tmp_path):
    take_in(file, tmp_path / "model")
    with pytest.raises(ValueError, match="exists and is not empty: choose another --output"):
        take_in(file, tmp_path / "model")
    with pytest.raises(ValueError, match="is already a model of this project"):
        take_in(tmp_path / "model", tmp_path / "again")
    with pytest.raises(ValueError, match="--ema is for a run"):
        give_out(tmp_path / "model", tmp_path / "again", ema=True)
    with pytest.raises(ValueError, match="--licence must be DATASET=LICENCE, not 'free'"):
        give_out(tmp_path / "model", tmp_path / "again", licence=["free"])


def test_the_command_line_says_what_it_did_and_one_line_of_what_is_wrong(file, tmp_path):
    def call(*words):
        command = [sys.executable, "-m", "crocohuman_jax.convert", *words]
        return subprocess.run(command, capture_output=True, text=True)

    done = call("import", f"--source={file}", f"--output={tmp_path / 'model'}")
    assert done.returncode == 0, done.stderr
    assert "croco 24/2/3 + 16/1/2 (width/depth/heads), 16x24, cosine positions" in done.stdout
    wrong = call("improt", f"--source={file}")
    assert wrong.returncode == 1 and "Traceback" not in wrong.stderr
    assert "Unknown conversion 'improt'. Known: import, export, body, 3dpw, push" in wrong.stderr


@pytest.mark.parametrize("name", ["SMPL_TINY", "MANO_RIGHT_TINY"])
def test_a_body_model_becomes_one_file_with_a_receipt(oracles, tmp_path, name):
    for suffix in ("pkl", "npz"):
        source, output = oracles / f"{name}.{suffix}", tmp_path / f"{suffix}.npz"
        convert.body(types.SimpleNamespace(source=str(source), output=str(output)))
        receipt = json.loads((tmp_path / f"{suffix}.receipt.json").read_text())
        assert receipt["source"]["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert receipt["outputs"][0]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    one, other = (arrays.read_numpy(tmp_path / x) for x in ("pkl.npz", "npz.npz"))
    runs.equal(one, other)


def test_names_leave_nothing_of_a_model_out():
    for description in descriptions.EVERY.values():
        flat = descriptions.parameters(description)
        assert {path.split("/")[0] for path in flat} == set(architectures.parts(description))
        assert leaf_names.nested(flat).keys() == set(architectures.parts(description))

"""What a run computes in: "auto" by its devices, said, kept, and compared when it goes on."""

import json
import logging
import threading
import types

import numpy as np
import pytest
import runs

import crocohuman_jax as ch
from configs import mesh, pretrain
from crocohuman_jax.configuration import options
from crocohuman_jax.models import croco
from crocohuman_jax.training import loop, precision, run_folder
from crocohuman_jax.weights.sharing import model_card


def on(platform, count=1):
    """Returns what stands for a mesh of devices of a platform."""
    device = types.SimpleNamespace(platform=platform, device_kind=f"a {platform}")
    return types.SimpleNamespace(devices=np.array([device] * count))


@pytest.mark.parametrize(
    "platform, found", [("gpu", "bfloat16"), ("tpu", "bfloat16"), ("cpu", "float32")]
)
def test_auto_is_bfloat16_on_accelerators_and_float32_on_cpus(platform, found, caplog):
    for get_config in (pretrain.get_config, mesh.get_config):
        config = get_config()
        assert config.model.dtype == "auto"
        with caplog.at_level(logging.INFO, "crocohuman_jax"):
            resolved = precision.resolved(config, on(platform, 4))
        assert resolved.model.dtype == found and config.model.dtype == "auto"
        said = f"Platform {platform}, 4 x a {platform}, computing in {found} "
        assert caplog.records[-1].getMessage() == said + "(config.model.dtype=auto)."
    for dtype in ("float32", "bfloat16"):
        assert options.compute_type(dtype, platform) == dtype
    assert croco.Compute(dtype="auto").dtype == "float32"  # the tests run on a CPU


def stopped(prepared, workdir, **changes):
    """Runs until there is a checkpoint; returns what the run keeps of its settings."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(loop.Stopped):
        loop.train(runs.debug(prepared, **changes), workdir, stop)
    return json.loads((workdir / "config.json").read_text())


def test_a_run_says_first_what_it_computes_in_and_keeps_it(prepared, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "crocohuman_jax"):
        saved = stopped(prepared, tmp_path)
    assert caplog.records[0].getMessage() == (
        "Platform cpu, 8 x cpu, computing in float32 (config.model.dtype=auto)."
    )
    assert saved["config"]["model"]["dtype"] == "auto"
    assert saved["computed"] == {"platform": "cpu", "dtype": "float32"}
    assert ch.load(tmp_path)._network.compute.dtype == "float32"
    assert ch.load(tmp_path, dtype="auto")._network.compute.dtype == "float32"
    assert "| computed in | float32 |" in model_card.of_run(
        ch.load(tmp_path).description, tmp_path, 0, {}
    )


def test_going_on_elsewhere_is_said_and_a_named_dtype_may_not_change(prepared, tmp_path, caplog):
    """The workdir's record is rewritten to be of a run on a GPU, of before "auto", and so on."""
    path = tmp_path / "config.json"
    saved = stopped(prepared, tmp_path)
    mine = json.loads(json.dumps(saved))

    def goes_on(asked, *computed):
        """Returns what is warned of when a run of these settings goes on with `mine`."""
        saved["config"]["model"]["dtype"] = asked
        saved.pop("computed", None)
        if computed:
            saved["computed"] = dict(zip(("dtype", "platform"), computed, strict=True))
        path.write_text(json.dumps(saved))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "crocohuman_jax"):
            assert run_folder.holds_this_run(tmp_path, mine)
        return " ".join(record.getMessage() for record in caplog.records)

    elsewhere = goes_on("auto", "bfloat16", "gpu")
    assert "in bfloat16 on a gpu and continues in float32 on a cpu" in elsewhere
    assert "--config.model.dtype=bfloat16 to continue as before" in elsewhere
    assert not goes_on("auto", "float32", "cpu")
    assert not goes_on("float32")  # of before there was "auto"
    with pytest.raises(ValueError, match="model.dtype: 'bfloat16' -> 'float32'"):
        goes_on("bfloat16")
    mine["config"]["model"]["dtype"] = "float32"
    assert not goes_on("auto", "float32", "cpu")
    with pytest.raises(ValueError, match="model.dtype: 'bfloat16' -> 'float32'"):
        goes_on("auto", "bfloat16", "gpu")


def test_an_unknown_dtype_is_refused_before_anything_is_written(prepared, tmp_path):
    with pytest.raises(ValueError, match="Unknown config.model.dtype 'half'. Known: auto, float32"):
        loop.train(runs.debug(prepared, model__dtype="half"), tmp_path / "run")
    assert not (tmp_path / "run").exists()

"""Which attention runs: chosen call by call, so that no length stops a run on a GPU."""

import logging

import chips
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from configs import pretrain
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.models import attention
from crocohuman_jax.training import loop, sharding

LENGTHS = range(28, 257)


def traced(queries, keys, impl="auto"):
    """Returns the program of attention's derivative; jax's own checks for cuDNN run in it."""
    q, k = (jax.ShapeDtypeStruct((2, n, 4, 64), jnp.bfloat16) for n in (queries, keys))

    def loss(q, k, v):
        return attention.attend(q, k, v, impl).astype(jnp.float32).sum()

    return str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, k, k))


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_every_length_has_an_attention_that_takes_it(monkeypatch, kind):
    chips.pretend(monkeypatch)
    for length in LENGTHS:
        for lengths in [(length, length)] if kind == "self" else [(length, 196), (196, length)]:
            fused = not any(n % 2 for n in lengths)
            chosen = attention.choose("auto", jnp.bfloat16, 64, lengths)
            assert chosen == ("cudnn" if fused else "xla"), lengths
        program = traced(*lengths)
        assert ("dot_product_attention" in program) == fused, lengths


def test_a_gpu_that_takes_no_heads_of_a_kind_uses_xla_at_every_length(monkeypatch):
    monkeypatch.setattr(attention, "_cudnn_obstacle", lambda *_: "the heads are float32")
    assert {attention.choose("auto", jnp.float32, 64, (n, n)) for n in LENGTHS} == {"xla"}


def test_a_choice_is_logged_once_with_its_reason(monkeypatch, caplog):
    chips.pretend(monkeypatch)
    attention._say.cache_clear()
    with caplog.at_level(logging.INFO, "crocohuman_jax"):
        for lengths in ((49, 49), (48, 196), (49, 49), (48, 196), (50, 50)):
            attention.choose("auto", jnp.bfloat16, 64, lengths)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0].startswith(
        "Attention of 49 queries to 49 keys runs by xla, because its backward"
    )
    assert said[1] == "Attention of 48 queries to 196 keys runs by cudnn."
    attention._say.cache_clear()


def test_cudnn_by_name_refuses_an_odd_length_and_names_the_fix(monkeypatch):
    chips.pretend(monkeypatch)
    message = r"even lengths only, not 49; config.data.mask.visible .* Use 'xla' or 'auto'"
    with pytest.raises(ValueError, match=message):
        traced(196, 49, "cudnn")
    assert "dot_product_attention" in traced(196, 48, "cudnn")


def test_cudnn_by_name_is_refused_before_a_run_begins(monkeypatch):
    chips.pretend(monkeypatch)
    config = pretrain.get_config("base,rule=fixed")
    config.model.attention, config.data.mask.visible = "cudnn", 49
    with pytest.raises(ValueError, match="not 49"):
        registry.find("tasks", "completion").make(config)
    config.model.image, config.data.mask.visible = (240, 240), 48  # 15 x 15 patches
    with pytest.raises(ValueError, match="not 225"):
        registry.find("tasks", "completion").make(config)


def test_cudnn_by_name_refuses_odd_multiples_where_the_length_varies(monkeypatch):
    chips.pretend(monkeypatch)
    config = pretrain.get_config("base,rule=max_human")
    config.model.attention, config.data.mask.multiple = "cudnn", 7
    with pytest.raises(ValueError, match="mask.multiple=7 makes lengths .* set an even multiple"):
        registry.find("tasks", "completion").make(config)
    config.data.mask.multiple = 6
    registry.find("tasks", "completion").make(config)


@pytest.mark.cuda_compiler
@pytest.mark.parametrize("visible", [48, 49])
def test_a_step_compiles_for_an_h200(monkeypatch, visible):
    devices = chips.h200(1)
    chips.pretend(monkeypatch)
    config = pretrain.get_config("base,rule=fixed,batch=32")
    config.data.mask.visible = visible
    mesh = sharding.make_mesh(config.mesh, devices)
    task = registry.find("tasks", "completion").make(config)
    _, step, state = loop.build(config, task, mesh, durations.of(config, 320))
    place = NamedSharding(mesh, sharding.BATCH)
    batch = {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=place)
        for name, value in task.example_batch(32).items()
    }
    options = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
    with jax.set_mesh(mesh):
        program = step.lower(state, batch).compile(compiler_options=options).as_text()
    calls = program.count('custom_call_target="__cudnn$fmha')
    # Forward and backward of what is seen, of the other picture, and twice in the decoder.
    assert calls == (8 if visible == 48 else 6)
    assert "bf16[" in program  # dtype=auto

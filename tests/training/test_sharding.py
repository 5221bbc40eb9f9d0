"""Where arrays lie: what divides is split, what does not is named, and next to nothing is whole."""

import logging
import math

import crowds
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from configs import mesh, pretrain
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.models import parameters
from crocohuman_jax.training import loop, sharding

RULES = {"width": "fsdp", "heads": "tensor", "hidden": "tensor"}
SPLIT = {"data": 1, "fsdp": 8, "tensor": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return crowds.builtin(tmp_path_factory.getbasetemp())


def placed(shape, *axes, **sizes):
    """Returns how a parameter `a` of a shape is split."""
    found = sharding.place(
        {"a": jax.ShapeDtypeStruct(shape, jnp.float32)},
        sharding.make_mesh(SPLIT | sizes),
        (("^a$", *axes),),
        RULES,
    )
    return found["a"].spec


def test_an_axis_that_does_not_divide_leaves_its_place_to_the_next_choice(caplog):
    rows, columns, whole = ("width", None), (None, "width"), (None, None)
    assert placed((16, 5), rows, columns, whole) == PartitionSpec("fsdp", None)
    assert placed((431, 256), rows, columns, whole) == PartitionSpec(None, "fsdp")
    with caplog.at_level(logging.INFO, "crocohuman_jax"):
        assert placed((431, 1723), rows, columns, whole) == PartitionSpec(None, None)
        assert placed((431, 5), rows, columns, whole) == PartitionSpec(None, None)  # small
    said = [record.getMessage() for record in caplog.records]
    fault = "a has an axis 'width' of size 431, which fsdp=8 does not divide"
    assert said == [f"{fault}: it is whole on every device."]


def test_an_axis_that_does_not_divide_is_refused_where_whole_is_no_choice():
    fault = "a has an axis 'width' of size 431, which fsdp=8 does not divide: choose"
    with pytest.raises(ValueError, match=fault):
        placed((431, 1723), ("width", None), (None, "width"))


@pytest.mark.parametrize(
    "arg",
    [
        "completion",
        "iterative,body=open_body",
        "iterative,body=open_hand_right",
        "metro,body=open_body",
        "metro,body=open_hand_right",
        "iterative,body=open_body,second=view",
    ],
)
def test_fully_sharded_less_than_a_hundredth_of_the_state_is_whole(folder, arg):
    if arg == "completion":
        config = pretrain.get_config("base")
    else:
        config = mesh.get_config(f"base,size=64,head={arg}")
        config.data.folders = str(folder)
    config.mesh = SPLIT
    task = registry.find("tasks", config.task).make(config)
    steps = durations.of(config, 10 * config.batch_size)
    _, _, state = loop.build(config, task, sharding.make_mesh(config.mesh), steps)
    total, whole = 0, {}
    for path, leaf in parameters.named_leaves(state):
        size = leaf.dtype.itemsize * math.prod(leaf.shape)
        total += size
        if leaf.sharding.shard_shape(leaf.shape) == leaf.shape:
            whole[path] = size
        else:
            assert 8 * math.prod(leaf.sharding.shard_shape(leaf.shape)) == math.prod(leaf.shape)
    assert not [path for path, size in whole.items() if size > sharding.LARGE]
    assert sum(whole.values()) < 0.01 * total
    assert total > 2**28  # the whole network was looked at

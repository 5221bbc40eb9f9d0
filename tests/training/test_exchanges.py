"""What devices tell each other in a training step: parameters and sums, never activations."""

import re

import crowds
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from configs import mesh, pretrain
from crocohuman_jax.configuration import durations, registry
from crocohuman_jax.models import layers, parameters
from crocohuman_jax.training import loop, sharding

EACH = 11  # examples a device; it divides no size of a parameter
MOVES = "all-gather|all-to-all|collective-permute"
# Only what the partitioner does is looked at: the program need not be fast.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return crowds.builtin(tmp_path_factory.getbasetemp())


def exchanged(program):
    """Yields (operation, sizes of one of its results, where it comes from) of exchanges."""
    for line in program.splitlines():
        found = re.search(rf"= (.*?) ({MOVES}|all-reduce|reduce-scatter)(-start)?\(", line)
        if found:
            source = re.search(r'op_name="([^"]*)"', line)
            for sizes in re.findall(r"\[([\d,]+)\]", found[1]):
                yield found[2], tuple(map(int, sizes.split(","))), source and source[1]


def of_activations(program, batch):
    """Returns the exchanges of activations; sums over `tensor` of a device's own are none."""
    return [
        (kind, sizes, source)
        for kind, sizes, source in exchanged(program)
        if (any(n % EACH == 0 for n in sizes) and re.fullmatch(MOVES, kind)) or batch in sizes
    ]


def compiled(config, sizes):
    """Returns the text of a config's step for a mesh of (data, fsdp, tensor), and its batch."""
    config.mesh = dict(zip(sharding.MESH, sizes, strict=True))
    devices = sharding.make_mesh(config.mesh)
    config.batch_size = EACH * sharding.batch_devices(devices)
    task = registry.find("tasks", config.task).make(config)
    steps = durations.of(config, 10 * config.batch_size)
    _, step, state = loop.build(config, task, devices, steps)
    for path, leaf in parameters.named_leaves(state):
        assert not any(n % EACH == 0 for n in leaf.shape), path
    place = NamedSharding(devices, sharding.BATCH)
    batch = {
        name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=place)
        for name, value in task.example_batch(config.batch_size).items()
    }
    with jax.set_mesh(devices):
        program = step.lower(state, batch).compile(compiler_options=QUICK).as_text()
    return program, config.batch_size


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (4, 1, 2), (2, 2, 2)])
def test_completion_exchanges_no_activations(sizes):
    program, batch = compiled(pretrain.get_config("debug,rule=fixed"), sizes)
    assert any(exchanged(program)) and not of_activations(program, batch)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (1, 8, 1), (2, 2, 2)])
@pytest.mark.parametrize("head", ["iterative", "metro"])
def test_mesh_recovery_exchanges_no_activations(folder, head, sizes):
    config = mesh.get_config(f"debug,head={head},body=open_hand_right")
    config.data.folders = str(folder)
    if head == "metro":
        config.head.update(hidden=(64, 32), outs=(32, 3))
    program, batch = compiled(config, sizes)
    assert any(exchanged(program)) and not of_activations(program, batch)


def test_picking_and_placing_tokens_stays_on_each_device_and_is_found_where_it_does_not():
    devices = sharding.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    place, batch = NamedSharding(devices, sharding.BATCH), 8 * EACH
    tokens = jax.ShapeDtypeStruct((batch, 5, 16), jnp.float32, sharding=place)
    index = jax.ShapeDtypeStruct((batch, 5), jnp.int32, sharding=place)

    def there_and_back(put, tokens, index):
        def total(tokens):
            return (put(tokens, index) ** 2).sum() + (layers.take(tokens, index) ** 2).sum()

        return jax.grad(total)(tokens)

    def of_the_whole_batch(tokens, index):
        canvas = jnp.zeros((batch, 9, 16))
        return canvas.at[jnp.arange(batch)[:, None], index].set(tokens)

    def of_each(tokens, index):
        return layers.place(tokens, index, jnp.zeros(16), 9)

    for put, fine in ((of_each, True), (of_the_whole_batch, False)):
        lowered = jax.jit(
            lambda tokens, index, put=put: there_and_back(put, tokens, index), out_shardings=place
        ).lower(tokens, index)
        found = of_activations(lowered.compile().as_text(), batch)
        assert (not found) == fine, found

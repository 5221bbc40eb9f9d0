"""How fast a prepared folder is evaluated, and how fast the forward pass alone runs."""

import pathlib
from collections.abc import Iterator

import jax

from crocohuman_jax.benchmarks import figures
from crocohuman_jax.configuration import registry
from crocohuman_jax.data.storage import records
from crocohuman_jax.evaluation import runner
from crocohuman_jax.tasks import Asked
from crocohuman_jax.training import sharding


def measure(config, folder: str, warmup: int, steps: int) -> Iterator[dict]:
    """Yields the speed on the validation split of a folder, with random weights.

    Args:
        config: of a task that has an evaluation.
        folder: the prepared folder.
        warmup: batches before those that are timed.
        steps: batches that are timed, of the forward pass alone.

    Raises:
        ValueError: no folder, or a task without evaluation.
    """
    config.data.folders = folder
    task = registry.find("tasks", config.task).make(config)
    if task.evaluation is None or not folder:
        raise ValueError(
            "benchmark evaluation needs --folders=PREPARED and a config of a task with a protocol, "
            f"as --config=configs/mesh.py:...; {config.task!r} and {folder!r} are given."
        )
    where = pathlib.Path(folder)
    evaluation = task.evaluation(Asked(where, records.read_manifest(where), "validation"))
    one_device = sharding.make_mesh(dict.fromkeys(sharding.MESH, 1), jax.devices()[:1])
    mesh, stream = one_device, evaluation.stream  # as `evaluate` does
    batch = min(config.batch_size, len(stream.elements))
    with jax.set_mesh(mesh):
        params = task.init(jax.random.key(0)) | task.from_data()
        run = jax.jit(lambda *inputs: evaluation.measure(*inputs)[0])
        one = stream.collate([stream.elements[i] for i in range(batch)])
        one = sharding.put_batch(one, mesh)
        times = figures.timed(lambda: run(params, one), warmup, steps)
        whole = runner.measure(evaluation, params, mesh, batch=batch, threads=config.data.threads)
    yield (
        figures.about()
        | times
        | {
            "batch": batch,
            "people": len(stream.elements),
            "people_per_second": len(stream.elements) / whole.seconds,
            "forward_people_per_second": batch / times["seconds"],
            "data_wait": whole.waited / whole.seconds,
        }
    )

"""Measures how fast a prepared folder is evaluated, and the speed of the forward pass alone."""

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
    """Yields one row: the speed on the validation split of a folder, with random weights.

    Args:
        config: config of a task that has an evaluation.
        folder: the prepared folder.
        warmup: number of batches before those that are timed.
        steps: number of batches that are timed, for the forward pass alone.

    Raises:
        ValueError: no folder is given, or the task has no evaluation.
    """
    if not folder or "," in folder:
        raise ValueError(f"--folders={folder!r}: one folder is evaluated, give --folders=PREPARED.")
    config.data.folders = folder
    task = registry.find("tasks", config.task).make(config)
    if task.evaluation is None:
        raise ValueError(
            f"config.task={config.task!r} has no protocol to be evaluated by: give a config of "
            "one that has, as --config=configs/mesh.py:..."
        )
    where = pathlib.Path(folder)
    evaluation = task.evaluation(Asked(where, records.read_manifest(where), "validation"))
    one_device = sharding.make_mesh(dict.fromkeys(sharding.MESH, 1), jax.devices()[:1])
    mesh, stream = one_device, evaluation.stream  # one device, as in `evaluate`
    batch = min(config.batch_size, len(stream.elements))
    with jax.set_mesh(mesh):
        params = task.init(jax.random.key(0)) | task.from_data()
        run = runner.compiled(evaluation, pictures=False)
        one = stream.collate([stream.elements[i] for i in range(batch)])
        one = sharding.put_batch(one, mesh)
        times = figures.timed(lambda: run(params, one), warmup, steps)
        threads = config.data.threads
        whole = runner.measure(evaluation, params, mesh, batch=batch, threads=threads, run=run)
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

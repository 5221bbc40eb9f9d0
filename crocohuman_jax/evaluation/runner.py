"""Measures a finished run of any task by its protocol and writes the results."""

import dataclasses
import functools
import logging
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import PIL.Image

from crocohuman_jax.data import loader
from crocohuman_jax.data.storage import records
from crocohuman_jax.evaluation import protocol
from crocohuman_jax.evaluation.extremes import Extremes
from crocohuman_jax.tasks import Asked, Evaluation, Found, Task
from crocohuman_jax.training import run_folder, sharding

log = logging.getLogger(__name__)

RESULT = "result.json"
LONGEST_NAME = 100  # characters
FILES = (RESULT, "people.npz", "worst.png", "best.png")


@dataclasses.dataclass
class Measured:
    """The results of one pass over a stream.

    Attributes:
        found: {name: [N, ...]}, the results of each example, in the order of the stream.
        worst, best: inputs of `Task.picture` for the examples with the largest and smallest errors;
            None if there are none.
        seconds: duration of the pass.
        waited: seconds of these in which the device may have been idle, waiting for data.
    """

    found: Found
    worst: Found | None
    best: Found | None
    seconds: float
    waited: float


def compiled(evaluation: Evaluation, pictures: bool) -> Callable:
    """Returns `Evaluation.measure`, jitted; without pictures it returns no inputs of them."""
    if pictures:
        return jax.jit(evaluation.measure)
    return jax.jit(lambda params, batch: (evaluation.measure(params, batch)[0], {}))


def measure(
    evaluation: Evaluation,
    params,
    mesh,
    *,
    batch: int,
    threads: int = 0,
    pictures: int = 0,
    run: Callable | None = None,
) -> Measured:
    """Returns the results of all examples of a stream; each is read and predicted once.

    Args:
        evaluation: the evaluation of a task.
        params: parameters of the network.
        mesh: the device mesh, of one device.
        batch: largest number of examples in a batch.
        threads: number of threads that read pictures; 0 for one per core.
        pictures: number of worst and of best examples that are kept for drawing.
        run: result of `compiled`, if it has been called before.
    """
    count, rows, done = len(evaluation.stream.elements), [], 0
    extremes = Extremes(evaluation.error, pictures)
    run = run or compiled(evaluation, bool(pictures))
    waiting, waited, start = None, 0.0, time.perf_counter()
    batches = loader.evaluation(evaluation.stream, min(batch, count), threads=threads)
    while True:
        before = time.perf_counter()
        one = next(batches, None)
        # Counted only if the device has finished the previous batch: otherwise it was busy.
        if waiting is None or waiting[0]["row"].is_ready():
            waited += time.perf_counter() - before
        new = None
        if one is not None:
            one = {k: v for k, v in one.items() if k != "weight"}
            new = run(params, sharding.put_batch(one, mesh))
        if waiting is not None:  # one batch behind, so that the device is never idle
            rows.append(jax.device_get(waiting[0]))
            left = count - done  # what follows in the batch is padding
            evaluation.check({name: values[:left] for name, values in rows[-1].items()})
            extremes.take(rows[-1], waiting[1], left)
            done += len(rows[-1]["row"])
        if new is None:
            break
        waiting = new
    seconds = time.perf_counter() - start
    log.info(
        "%d examples, %.1f per second; at most %.0f %% of the time was spent waiting for pictures.",
        *(count, count / seconds, 100 * waited / seconds),
    )
    found = {name: np.concatenate([r[name] for r in rows])[:count] for name in rows[0]}
    return Measured(found, extremes.worst, extremes.best, seconds, waited)


def evaluate(
    workdir: pathlib.Path,
    *,
    folder: str | None = None,
    split: str = "validation",
    output: str | None = None,
    name: str = "",
    alignment: str = "auto",
    root: str = "auto",
    allow_non_finite: bool = False,
    ema: bool = False,
    batch: int = 64,
    pictures: int = 8,
    submission: str = "",
    changes: Sequence[str] = (),
) -> str:
    """Measures a run, writes the results and returns the table to print.

    Args:
        workdir: the run's folder.
        folder: the prepared folder; None for the run's own.
        split: the part of it that is measured.
        output: folder of the results; None for one in the workdir that is named after the protocol.
        name: name of the result in tables; "" for the workdir's name.
        alignment, root, allow_non_finite, submission: see `tasks.Asked`.
        ema: whether to measure the averaged weights.
        batch: largest number of examples in a batch.
        pictures: number of worst and of best examples to draw; 0 for none.
        changes: changes of the run's config.body, as "body.male=FILE".

    Raises:
        ValueError: the run does not exist, its task has no protocol, or an argument does not fit
            the run or the folder.
    """
    point_to = functools.partial(_point_to, folder=folder, changes=tuple(changes))
    run = run_folder.opened(workdir, point_to)
    if run.task.evaluation is None:
        raise ValueError(
            f"{workdir} is a run of task {run.config.task!r}, which has no published protocol. "
            "Read its held-out metrics in metrics.jsonl."
        )
    where = pathlib.Path(run.config.data.folders)
    manifest = records.read_manifest(where)
    asked = Asked(where, manifest, split, alignment, root, allow_non_finite, submission)
    evaluation = run.task.evaluation(asked)
    _check_asked(asked, evaluation, run.config.task)
    name = name or workdir.resolve().name + ("_ema" if ema else "")
    known = _known(run.config.task, manifest, split) | evaluation.protocol
    _check_output(output, name, known)
    pictures = pictures if run.task.picture else 0
    options = {"batch": batch, "threads": run.config.data.threads, "pictures": pictures}
    with jax.set_mesh(run.mesh):
        measured = measure(evaluation, run.params(ema), run.mesh, **options)
    if evaluation.submit:  # before anything that needs ground truth, which a test set may lack
        evaluation.submit(measured.found)
    result = _result(run, name, known, evaluation, measured.found, records.Frames(where).index)
    into = _folder(workdir, output, where, result)
    files = _write(into, result, measured, run.task)
    return f"{protocol.table([result])}\n{into}: {', '.join(files)}."


def _check_asked(asked: Asked, evaluation: Evaluation, task: str) -> None:
    """Raises a ValueError for an option that the evaluation of a task would ignore."""
    ignored = [n for n in ("alignment", "root") if n not in evaluation.protocol]
    ignored = [f"--{n}={getattr(asked, n)}" for n in ignored if getattr(asked, n) != "auto"]
    if asked.submission and evaluation.submit is None:
        ignored.append(f"--submission={asked.submission}")
    if ignored:
        raise ValueError(f"{', '.join(ignored)}: the task {task!r} has no such option. Omit it.")


def _result(run, name: str, known: dict, evaluation, found: Found, index) -> protocol.Result:
    """Returns the mean errors with their protocol."""
    summary = evaluation.summarize(found, index)
    return protocol.Result(
        protocol=protocol.Protocol(**known | summary.protocol),
        metrics=summary.metrics,
        run=str(run.workdir.resolve()),
        step=run.step,
        name=name,
        non_finite=tuple(_frame(index, int(row)) for row in found["row"][summary.failed]),
    )


def _known(task: str, manifest: Mapping, split: str) -> dict:
    """Returns the fields of a protocol that are the same for all tasks."""
    return {
        "task": task,
        "dataset": manifest["settings"]["dataset"],
        "split": split,
        "left_out": manifest["counts"]["skipped"],
        "fingerprint": manifest["fingerprint"][:16],
    }


def _write(output: pathlib.Path, result: protocol.Result, measured: Measured, task: Task):
    """Writes the files of an evaluation, all or none, and returns their names."""
    temporary = output.parent / f".{output.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    np.savez_compressed(temporary / "people.npz", **measured.found)
    for name in ("worst", "best"):
        shown = getattr(measured, name)
        if shown is not None and task.picture:
            PIL.Image.fromarray(task.picture(shown)).save(temporary / f"{name}.png")
    result.save(temporary / RESULT)
    return _take_in(temporary, output)


def _point_to(saved: dict, *, folder: str | None, changes: tuple[str, ...]) -> None:
    """Edits a saved config: it then reads one folder, with the requested changes of its body model.

    Raises:
        ValueError: the run has several folders and `folder` names none of them, a folder was not
            prepared, or a change is unknown.
    """
    chosen = folder or saved["data"]["folders"]
    if "," in chosen or not chosen:
        raise ValueError(
            f"An evaluation measures one folder, not {chosen!r}: choose one with --folder=DIR."
        )
    if folder is not None:  # so that the error names the flag instead of config.data.folders
        try:
            records.read_manifest(pathlib.Path(folder))
        except ValueError as error:
            raise ValueError(f"--folder={folder}: {error}") from error
    saved["data"]["folders"] = chosen
    for change in changes:
        key, equals, value = change.partition("=")
        group, dot, key = key.partition(".")
        if not (equals and dot) or group != "body" or key not in saved.get("body", {}):
            known = ", ".join(f"body.{k}" for k in saved.get("body", {}))
            raise ValueError(f"--set={change} is not KEY=VALUE with a known key. Known: {known}.")
        try:
            saved["body"][key] = type(saved["body"][key])(value)
        except ValueError as error:
            raise ValueError(f"--set={change} cannot be used: {error}.") from error


def _frame(index: dict[str, np.ndarray], row: int) -> str:
    """Returns a text that identifies a frame: its row, source, subject, camera, instant."""
    words = [f"row {row}", *(index[name][row] for name in ("source", "subject", "camera"))]
    return " ".join(filter(None, (*words, f"instant {index['instant'][row]}")))


def _check_output(output: str | None, name: str, asked: dict) -> None:
    """Raises a ValueError if a name cannot be a folder's, or `output` has another result."""
    if output is None:
        if set(name) & set("/\\\n\0") or len(name) > LONGEST_NAME:
            raise ValueError(
                f"--name={name!r} cannot be part of a folder's name: use at most {LONGEST_NAME} "
                "characters without slashes. With --output=DIR it may be any line of text."
            )
        return
    path = pathlib.Path(output) / RESULT
    if not path.exists():
        return
    there = protocol.Result.load(path)
    theirs = dataclasses.asdict(there.protocol) | {"name": there.name}
    differences = [
        f"{key} is {theirs[key]!r} there, {value!r} here"
        for key, value in (asked | {"name": name}).items()
        if theirs[key] != value
    ]
    if differences:
        raise ValueError(
            f"{path} holds another evaluation: {'; '.join(differences)}. Choose another --output, "
            "or leave it out: the folder is then named after the result and its protocol."
        )


def _folder(workdir, output: str | None, folder: pathlib.Path, result: protocol.Result):
    """Returns the folder for a result; it never holds a result of another protocol or name."""
    mine, stamp = result.protocol, result.protocol.stamp
    if output is None:
        words = (folder.resolve().name, mine.split, result.name, stamp)
        return workdir / "evaluations" / "_".join(words)
    path = pathlib.Path(output).resolve()
    if not (path / RESULT).exists() or protocol.Result.load(path / RESULT).protocol == mine:
        return path
    beside = path.parent / f"{path.name}_{stamp}"
    log.warning("%s holds results of another protocol, so these are written to %s.", path, beside)
    return beside


def _take_in(temporary: pathlib.Path, output: pathlib.Path) -> list[str]:
    """Moves the files of an evaluation to their folder, replaces old ones, returns the names.

    The old result is removed first and the new one is moved last, so that a result never lies
    beside files of another evaluation.
    """
    output.mkdir(parents=True, exist_ok=True)
    if (output / RESULT).exists():
        log.info("Replacing the result in %s, which has the same protocol and name.", output)
    for name in FILES:
        (output / name).unlink(missing_ok=True)
    written = [name for name in FILES if (temporary / name).exists()]
    for name in written[::-1]:
        (temporary / name).replace(output / name)
    temporary.rmdir()
    return written

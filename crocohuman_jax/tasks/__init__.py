"""What is learned: a file or a room each, found by its name. Tasks do not see each other.

A task's module has `make(config) -> Task`. The loop and the commands work for any task: what they
need to know of one, they ask its `Task`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from crocohuman_jax.data import loader

Batch = dict[str, Any]
Params = dict[str, Any]
Found = dict[str, np.ndarray]  # {name: [N, ...]}, what was found of each example


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a user asks of an evaluation. A task refuses what it has no use for.

    Attributes:
        folder: the prepared folder.
        manifest: what its preparation wrote of it.
        split: its part that is measured.
        alignment: of aligned errors; "auto" for the dataset's own.
        root: what unaligned errors are about; "auto" for the usual one.
        allow_non_finite: leave examples out whose prediction is not finite.
        submission: file of predictions to write in a benchmark's own form; "" for none.
    """

    folder: pathlib.Path
    manifest: Mapping[str, Any]
    split: str
    alignment: str = "auto"
    root: str = "auto"
    allow_non_finite: bool = False
    submission: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What an evaluation comes to.

    Attributes:
        metrics: {name: mean}.
        protocol: the fields of `protocol.Protocol` that are known only now: frames, skipped, ...
        failed: [N] bool, whose prediction is not finite.
    """

    metrics: dict[str, float]
    protocol: dict[str, Any]
    failed: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How a task is measured by a protocol.

    Attributes:
        stream: the finite stream of all elements that are measured.
        protocol: the fields of `protocol.Protocol` that are known before anything is measured.
        measure: (parameters, batch) -> what is kept of each example, with its `row` in the index,
            and what `Task.picture` shows of it; {name: [B, ...]} both.
        summarize: (what was kept of all, columns of the index) -> Summary; ValueError where that
            cannot be measured.
        error: what was kept -> [N], by which the worst and best are drawn; NaN for never.
        check: what was kept of a batch -> None; ValueError where it cannot be measured as asked.
        submit: what was kept -> None, writes the file that `Asked.submission` names.
    """

    stream: loader.Stream
    protocol: dict[str, Any]
    measure: Callable[[Params, Batch], tuple[dict[str, Any], dict[str, Any]]]
    summarize: Callable[[Found, Mapping[str, np.ndarray]], Summary]
    error: Callable[[Found], np.ndarray]
    check: Callable[[Found], None] = lambda found: None
    submit: Callable[[Found], None] | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """All that the loop and the commands need to know about a problem.

    Attributes:
        init: random key -> parameters, a plain nested dict; it reads nothing.
        counts: batch -> {term: scalar}, how much each term of the loss counts in all of it, from
            labels and masks alone.
        loss: (parameters, part of a batch, random key, the whole batch's counts) -> (scalar,
            {"loss": it, further names: scalars}): what the part adds to the whole batch's loss, so
            that losses, scalars and gradients of all parts add up to those of the batch.
        metrics: (parameters, batch) -> {name: [B]}, one value per example; or ([B], [B]), where the
            second says how much each counts.
        predict: (parameters, batch) -> {name: [B, ...]}, all that `picture` needs.
        picture: predictions as numpy arrays -> [H, W, 3] uint8, or None for a task without.
        flops: batch (or its shapes) -> operations of its forward and backward pass.
        train: () -> the endless stream of training elements.
        held_out: () -> the finite stream of held-out elements, or None if there are none.
        axes: ((pattern of a parameter's path, names of its axes, ...), ...), what `sharding.place`
            goes by.
        example_batch: count -> a batch of noise with the shapes of the real one, for benchmarks.
        from_data: () -> {name: array}, the first parameters that are not drawn but read from what
            is learned from. It is asked once, by a run that begins.
        unit: what an example is.
        evaluation: Asked -> Evaluation; None for a task that no protocol measures.
        photographs: reads a user's photographs and writes what is predicted of them, see
            `inference.photographs`; None for a task that has no use for them.
    """

    init: Callable[[Any], Params]
    counts: Callable[[Batch], dict[str, Any]]
    loss: Callable[[Params, Batch, Any, dict[str, Any]], tuple[Any, dict[str, Any]]]
    metrics: Callable[[Params, Batch], dict[str, Any]]
    predict: Callable[[Params, Batch], dict[str, Any]]
    picture: Callable[[dict[str, np.ndarray]], np.ndarray] | None
    flops: Callable[[Batch], float]
    train: Callable[[], loader.Stream]
    held_out: Callable[[], loader.Stream | None]
    axes: tuple[tuple, ...]
    example_batch: Callable[[int], Batch]
    from_data: Callable[[], Params] = dict
    unit: str = "pairs"
    evaluation: Callable[[Asked], Evaluation] | None = None
    photographs: Any = None

"""Learning problems ("tasks"), one file or folder each; a config names its task's module.

A task's module defines `make(config) -> Task`. The training loop and the commands use only this
`Task`, so they work for every task. Tasks do not import each other; networks belong to `models`,
formulas of losses and errors to `metrics`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from crocohuman_jax.data import loader

Batch = dict[str, Any]
Params = dict[str, Any]
Found = dict[str, np.ndarray]  # {name: [N, ...]}, results of each example


@dataclasses.dataclass(frozen=True)
class Asked:
    """A user's options for an evaluation; the runner refuses those that a task does not have.

    Attributes:
        folder: the prepared folder.
        manifest: the content of its manifest file.
        split: the part of the folder that is measured.
        alignment: alignment of the aligned errors; "auto" for the dataset's usual one.
        root: origin of the errors without alignment; "auto" for the usual one.
        allow_non_finite: whether examples whose prediction is not finite are left out.
        submission: file of predictions to write in a benchmark's own format; "" for none.
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
    """The outcome of an evaluation.

    Attributes:
        metrics: {name: mean}.
        protocol: the fields of `protocol.Protocol` that are known only after measuring: frames,
            skipped, ...
        failed: [N] bool, the examples whose prediction is not finite.
    """

    metrics: dict[str, float]
    protocol: dict[str, Any]
    failed: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The functions that measure a task by a protocol.

    Attributes:
        stream: the finite stream of all elements that are measured.
        protocol: the fields of `protocol.Protocol` that are known before measuring.
        measure: (parameters, batch) -> the results of each example, with its `row` in the index,
            and what `Task.picture` draws of it; {name: [B, ...]} both.
        summarize: (results of all examples, columns of the index) -> Summary; ValueError if they
            allow no measurement.
        error: results -> [N] errors, which select the worst and best examples to draw; an example
            with NaN is never drawn.
        check: results of a batch -> None; ValueError if they cannot be measured as the user asked.
        submit: results -> None; writes the file `Asked.submission`.
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
    """All functions of a task that the training loop and the commands use.

    Attributes:
        init: random key -> parameters, a plain nested dict; it reads no files.
        counts: batch -> {term: scalar}, sum of the weights of the batch's examples in each term of
            the loss, from labels and masks alone.
        loss: (parameters, part of a batch, random key, the whole batch's counts) -> (scalar,
            {"loss": the same scalar, further names: scalars}): the part's contribution to the loss
            of the whole batch. Losses, scalars and gradients of all parts add up to the batch's.
        metrics: (parameters, batch) -> {name: [B]}, one value per example; or ([B], [B]), values
            and their weights.
        predict: (parameters, batch) -> {name: [B, ...]}, everything that `picture` needs.
        picture: predictions as numpy arrays -> [H, W, 3] uint8; None if the task draws no pictures.
        flops: batch (or its shapes) -> operations of its forward and backward pass.
        train: () -> the endless stream of training elements.
        held_out: () -> the finite stream of held-out elements, or None if there are none.
        axes: ((pattern of a parameter's path, names of its axes, ...), ...), from which
            `sharding.place` decides how parameters are split over devices.
        example_batch: count -> a batch of noise with the shapes of a real one, for benchmarks.
        from_data: () -> {name: array}, initial parameters that come from the training data instead
            of a random draw. It is called once, when a run starts.
        unit: what an example is, as a plural for progress lines.
        evaluation: Asked -> Evaluation; None for a task without a protocol.
        photographs: an object that makes the network's inputs from a user's photographs and writes
            the predictions, see `inference.photographs`; None for a task without such predictions.
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

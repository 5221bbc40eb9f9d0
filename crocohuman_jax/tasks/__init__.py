"""A task says what to predict and how to judge it; one file each, found by its name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from crocohuman_jax.data import loader

Batch = dict[str, Any]
Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """What the loop needs to know about a problem. A task's module has `make(config) -> Task`.

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
        from_data: () -> {name: array}, the first parameters that are not drawn but read from what
            is learned from. It is asked once, by a run that begins.
        unit: what an example is.
        everyone: split -> the finite stream of all its elements, for evaluations; None for a task
            without.
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
    from_data: Callable[[], Params] = dict
    unit: str = "pairs"
    everyone: Callable[[str], loader.Stream] | None = None

"""The learning rate of each step: a warm-up, then half a cosine."""

from collections.abc import Callable
from typing import Any

import optax

from crocohuman_jax.configuration import durations, options


def of(config, steps: durations.Durations):
    """Returns the schedule of the learning rate; its peak is base_lr * batch_size / 256."""
    settings = config.optimizer
    options.check_number("config.optimizer.base_lr", settings.base_lr, least=0)
    peak = settings.base_lr * config.batch_size / 256
    options.check_number("config.optimizer.min_lr", settings.min_lr, least=0, most=peak)
    return schedule(peak=peak, least=settings.min_lr, warmup=steps.warmup, cosine=steps.cosine)


def schedule(*, peak: float, least: float, warmup: int, cosine: int) -> Callable[[Any], Any]:
    """Returns the learning rate of a step: linear from 0 to `peak`, then half a cosine to `least`.

    Args:
        peak: the rate at the end of the warm-up.
        least: the rate at the end of the cosine.
        warmup: steps of the warm-up.
        cosine: step at which the cosine ends; beyond the end of the run the schedule is cut short.

    Raises:
        ValueError: the cosine ends before the warm-up.
    """
    if cosine < max(warmup, 1):
        raise ValueError(
            f"config.optimizer.cosine ends at step {cosine}, before the warm-up of {warmup} steps."
        )

    # A cosine of no length ends at once.
    end = max(cosine, warmup + 1)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, end, least)

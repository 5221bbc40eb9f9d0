"""Converts the durations in a config to steps."""

import dataclasses

from crocohuman_jax.configuration import options


@dataclasses.dataclass(frozen=True)
class Durations:
    """Length and intervals of a run in steps; see `options.duration`.

    Attributes:
        total: steps of the run.
        warmup: steps in which the learning rate rises.
        cosine: step at which the cosine of the learning rate ends.
        log: steps between two log lines.
        evaluate: steps between two evaluations on held-out data; 0 evaluates only at the end.
        save: steps between two checkpoints; 0 saves only at the end.
        keep_every: checkpoints at multiples of this step are kept; 0 for none.
    """

    total: int
    warmup: int
    cosine: int
    log: int
    evaluate: int
    save: int
    keep_every: int


def of(config, epoch: int) -> Durations:
    """Returns the durations of a config.

    Args:
        config: a config with `total`, `batch_size`, `optimizer`, `report` and `checkpoint`.
        epoch: number of examples in an epoch.

    Raises:
        ValueError: a duration that cannot be read, or a run without a step.
    """
    scale = {"epoch": epoch, "batch_size": config.batch_size}
    total = options.duration(config.total, name="config.total", **scale)
    if total < 1:
        raise ValueError(
            f"config.total={config.total} is {total} steps of a batch of {config.batch_size} (an "
            f"epoch has {epoch} examples). Set it to at least one step."
        )

    def steps(group: str, name: str) -> int:
        key = f"config.{group}.{name}"
        return options.duration(config[group][name], total=total, name=key, **scale)

    return Durations(
        total=total,
        warmup=steps("optimizer", "warmup"),
        cosine=steps("optimizer", "cosine"),
        log=steps("report", "log"),
        evaluate=steps("report", "evaluate"),
        save=steps("checkpoint", "save"),
        keep_every=steps("checkpoint", "keep_every"),
    )

"""The config's durations in steps."""

import dataclasses

from crocohuman_jax.configuration import options


@dataclasses.dataclass(frozen=True)
class Durations:
    """How many steps a run takes, and how often it does what; see `options.duration`.

    Attributes:
        total: of the run.
        warmup: of the learning rate's rise.
        cosine: at which the learning rate's cosine ends.
        log: between two log lines.
        evaluate: between two evaluations of what is held out; 0 for the end alone.
        save: between two checkpoints; 0 for the end alone.
        keep_every: at whose multiples checkpoints are kept; 0 for none.
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
        config: with `total`, `batch_size`, `optimizer`, `report` and `checkpoint`.
        epoch: how many examples an epoch has.

    Raises:
        ValueError: a duration that cannot be read, or a run of no step.
    """
    scale = {"epoch": epoch, "batch_size": config.batch_size}
    total = options.duration(config.total, name="config.total", **scale)
    if total < 1:
        raise ValueError(
            f"config.total={config.total} is {total} steps of a batch of {config.batch_size} (an "
            f"epoch has {epoch} examples): at least one is needed."
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

"""Measures speed on this machine: python -m crocohuman_jax.benchmark KIND."""

import json
import sys

from absl import flags
from ml_collections import config_flags

from crocohuman_jax.benchmarks import attending, evaluation, loading, people, step
from crocohuman_jax.configuration import command_line, options
from crocohuman_jax.training import metric_writer

config_flags.DEFINE_config_file("config", "configs/pretrain.py:base", "Config to measure.")
flags.DEFINE_integer("steps", 10, "Steps, batches, calls or persons to time.", lower_bound=1)
flags.DEFINE_integer(
    "warmup", 3, "Untimed steps, batches, calls or persons before these.", lower_bound=0
)
flags.DEFINE_integer(
    "visible",
    0,
    "Visible patches; 0: the config's for step, a quarter of all for attention.",
    lower_bound=0,
)
flags.DEFINE_list("attentions", None, "step: kinds of attention to compare, as xla,cudnn.")
flags.DEFINE_list("unrolls", None, "step: blocks per turn of the scan, as 1,4,12.")
flags.DEFINE_string(
    "folders", "", "loader, evaluation: prepared folders; loader makes noise by default."
)
flags.DEFINE_integer("cores", 1, "loader: number of cores; 0 for all.", lower_bound=0)


def main(argv) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    times = args.warmup, args.steps
    kinds = {
        "step": lambda: step.variants(
            args.config,
            attentions=args.attentions or (),
            unrolls=args.unrolls or (),
            visible=args.visible,
            warmup=args.warmup,
            steps=args.steps,
        ),
        "loader": lambda: loading.measure(args.config, args.folders, args.cores, *times),
        "attention": lambda: attending.measure(args.config, args.visible, *times),
        "people": lambda: people.both_ways(*times),
        "evaluation": lambda: evaluation.measure(args.config, args.folders, *times),
    }
    try:
        if len(argv) != 2:
            raise ValueError(f"Name one kind of measurement: {', '.join(kinds)}.")
        for row in options.choose("benchmark", kinds, argv[1])():
            print(json.dumps(row))
            sys.stdout.flush()
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark: {error}")


if __name__ == "__main__":
    command_line.run(main)

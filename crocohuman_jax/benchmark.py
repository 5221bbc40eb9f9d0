"""Measures speed on this machine: python -m crocohuman_jax.benchmark KIND."""

import json
import sys

from absl import flags
from ml_collections import config_flags

from crocohuman_jax.benchmarks import attending, evaluation, loading, people, step
from crocohuman_jax.configuration import command_line, options
from crocohuman_jax.training import metric_writer

config_flags.DEFINE_config_file("config", "configs/pretrain.py:base", "What to measure.")
flags.DEFINE_integer("steps", 10, "Steps, batches, calls or persons that are timed.", lower_bound=1)
flags.DEFINE_integer("warmup", 3, "Steps before these.", lower_bound=0)
flags.DEFINE_integer(
    "visible", 0, "step: visible patches; 0 for what the ratio leaves.", lower_bound=0
)
flags.DEFINE_list("attentions", None, "step: implementations to compare, as xla,cudnn.")
flags.DEFINE_list("unrolls", None, "step: blocks per turn of the scan to compare, as 1,4,12.")
flags.DEFINE_string("folders", "", "loader: prepared folders; by default made for the occasion.")
flags.DEFINE_integer("cores", 1, "loader: cores to use; 0 for all.", lower_bound=0)


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
            raise ValueError(f"Name what to measure: {', '.join(kinds)}.")
        for row in options.choose("benchmark", kinds, argv[1])():
            print(json.dumps(row))
            sys.stdout.flush()
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark: {error}")


if __name__ == "__main__":
    command_line.run(main)

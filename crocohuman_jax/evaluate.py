"""Measures a fine-tuned run by its protocol: python -m crocohuman_jax.evaluate --help."""

import pathlib
import sys

from absl import flags

from crocohuman_jax.body_models import bodies
from crocohuman_jax.configuration import command_line
from crocohuman_jax.data.storage import records
from crocohuman_jax.evaluation import protocol, runner
from crocohuman_jax.metrics import pose
from crocohuman_jax.training import metric_writer

flags.DEFINE_string("workdir", None, "The run to measure.")
flags.DEFINE_string("folder", None, "The prepared folder to measure it on; by default the run's.")
flags.DEFINE_enum("split", "validation", records.SPLITS, "Its split.")
flags.DEFINE_string(
    "output", None, "Where results go; by default WORKDIR/evaluations/FOLDER_SPLIT_NAME_STAMP."
)
flags.DEFINE_string("name", "", "What tables call the result; by default the workdir's name.")
flags.DEFINE_enum(
    "alignment",
    "auto",
    ["auto", *pose.ALIGNMENTS],
    "Of the PA- errors; auto: as the dataset's own tools do, freihand for FreiHAND.",
)
flags.DEFINE_enum(
    "root",
    "auto",
    bodies.ROOTS,
    "What unaligned errors are about; auto: the pelvis, or the wrist of hands; mid_hip is METRO's; "
    "none compares where the camera sees people.",
)
flags.DEFINE_bool(
    "allow_non_finite",
    False,
    "Leave people out of the means whose prediction is not finite; the protocol says how many.",
)
flags.DEFINE_bool("ema", False, "Measure the averaged weights.")
flags.DEFINE_integer("batch", 64, "People at once.", lower_bound=1)
flags.DEFINE_integer("pictures", 8, "Worst and best cases to draw; 0 for none.", lower_bound=0)
flags.DEFINE_string("submission", "", "Also write FreiHAND's file of predictions, as pred.json.")
flags.DEFINE_list("set", [], "Changes of the run's body, as body.male=FILE,body.truth=own.")
flags.DEFINE_list("compare", [], "Only show a table of these result.json, of one protocol.")
flags.DEFINE_bool("apart", False, "With --compare: one table for each protocol.")


def main(_) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    try:
        if args.compare:
            results = [protocol.Result.load(pathlib.Path(path)) for path in args.compare]
            print((protocol.grouped if args.apart else protocol.table)(results))
            return
        if not args.workdir:
            raise ValueError("Say what to measure: --workdir=RUN (or --compare=A.json,B.json).")
        table = runner.evaluate(
            pathlib.Path(args.workdir),
            folder=args.folder,
            split=args.split,
            output=args.output,
            name=args.name,
            alignment=args.alignment,
            root=args.root,
            allow_non_finite=args.allow_non_finite,
            ema=args.ema,
            batch=args.batch,
            pictures=args.pictures,
            submission=args.submission,
            changes=args.set,
        )
        print(table)
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate: {error}")


if __name__ == "__main__":
    command_line.run(main)

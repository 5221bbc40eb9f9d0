"""Measures a fine-tuned run by its protocol: python -m crocohuman_jax.evaluate --help."""

import pathlib
import sys

from absl import flags

from crocohuman_jax.body_models import run_body
from crocohuman_jax.configuration import command_line
from crocohuman_jax.data.storage import records
from crocohuman_jax.evaluation import protocol, runner
from crocohuman_jax.metrics import pose
from crocohuman_jax.training import metric_writer

flags.DEFINE_string("workdir", None, "The run to measure.")
flags.DEFINE_string("folder", None, "The prepared folder to measure it on; by default the run's.")
flags.DEFINE_enum("split", "validation", records.SPLITS, "Which split of the folder to measure.")
flags.DEFINE_string(
    "output", None, "Folder of the results; by default WORKDIR/evaluations/FOLDER_SPLIT_NAME_STAMP."
)
flags.DEFINE_string("name", "", "Name of the result in tables; by default the workdir's.")
flags.DEFINE_enum(
    "alignment",
    "auto",
    ["auto", *pose.ALIGNMENTS],
    "Alignment of the PA- errors; auto: as in the dataset's own tools (freihand for FreiHAND).",
)
flags.DEFINE_enum(
    "root",
    "auto",
    run_body.ROOTS,
    "Origin of the errors without alignment; auto: the pelvis, or the wrist of hands; mid_hip: the "
    "mean of the hips, as METRO; none: compare people in camera space.",
)
flags.DEFINE_bool(
    "allow_non_finite",
    False,
    "Leave people whose prediction is not finite out of the means; the protocol records how many.",
)
flags.DEFINE_bool("ema", False, "Measure the averaged weights.")
flags.DEFINE_integer("batch", 64, "Number of people in a batch.", lower_bound=1)
flags.DEFINE_integer(
    "pictures", 8, "Number of worst and of best cases to draw; 0 for none.", lower_bound=0
)
flags.DEFINE_string("submission", "", "Also write FreiHAND's file of predictions, PATH.json.")
flags.DEFINE_list("set", [], "Changes of config.body, as body.male=FILE,body.truth=own.")
flags.DEFINE_list("compare", [], "Only print a table of these result.json files.")
flags.DEFINE_bool("apart", False, "With --compare: print one table per protocol.")


def main(_) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    try:
        if args.compare:
            results = [protocol.Result.load(pathlib.Path(path)) for path in args.compare]
            print((protocol.grouped if args.apart else protocol.table)(results))
            return
        if not args.workdir:
            raise ValueError("Nothing to measure: give --workdir=RUN or --compare=A.json,B.json.")
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

"""Draws a run's completions: python -m crocohuman_jax.reconstruct --workdir=RUN --output=P.png."""

import pathlib
import sys

import jax
import PIL.Image
from absl import flags

from crocohuman_jax.configuration import command_line
from crocohuman_jax.training import metric_writer, run_folder, validation

flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string("output", None, "The picture to write (.png or .jpg).")
flags.DEFINE_integer("pairs", 8, "Number of held-out pairs to draw.")
flags.DEFINE_string("folders", "", "Prepared folders to draw from; by default the run's own.")
flags.DEFINE_bool("ema", False, "Use the averaged weights, if the run keeps them.")
flags.mark_flags_as_required(["workdir", "output"])

SUFFIXES = (".png", ".jpg", ".jpeg")


def main(_) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    try:
        if args.pairs < 1:
            raise ValueError(f"--pairs must be at least 1, not {args.pairs}.")
        output = pathlib.Path(args.output)
        if output.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"--output={args.output} has an unknown suffix: a picture's name ends in "
                f"{', '.join(SUFFIXES)}."
            )
        if not output.parent.is_dir():
            raise ValueError(
                f"--output={args.output}: the folder {output.parent} does not exist. Create it, or "
                "choose another."
            )
        picture = draw(pathlib.Path(args.workdir), args.pairs, args.folders, args.ema)
        PIL.Image.fromarray(picture).save(args.output)
    except (ValueError, OSError) as error:
        sys.exit(f"reconstruct: {error}")
    for line in metric_writer.held_out(pathlib.Path(args.workdir)):
        print(line)
    print(f"{args.output}: one row per pair: hidden | reference | completed | truth.")


def draw(workdir: pathlib.Path, pairs: int, folders: str, ema: bool):
    """Returns a picture with one row per held-out pair, [H, W, 3] uint8."""

    def point_to(saved):
        if "held_out_pairs" not in saved["data"]:
            raise ValueError(f"{workdir} is a run of {saved['task']!r}, which completes no pairs.")
        saved["data"]["held_out_pairs"] = pairs
        saved["data"]["folders"] = folders or saved["data"]["folders"]

    run = run_folder.opened(workdir, point_to)
    held_out = run.task.held_out()
    if held_out is None:
        raise ValueError(
            f"{run.config.data.folders} holds no validation pairs to draw: choose other --folders."
        )
    judged = validation.Judge(run.task, run.mesh, held_out, batch_size=pairs, threads=0)
    with jax.set_mesh(run.mesh):
        return judged.draw(run.params(ema), pairs)


if __name__ == "__main__":
    command_line.run(main)

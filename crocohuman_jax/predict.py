"""Recovers the meshes of people in photographs: python -m crocohuman_jax.predict --help."""

import pathlib
import sys

from absl import flags

from crocohuman_jax.configuration import command_line
from crocohuman_jax.inference import photographs
from crocohuman_jax.training import metric_writer

flags.DEFINE_string("workdir", None, "Folder of a run of mesh recovery.")
flags.DEFINE_list("images", None, "Pictures, or folders of pictures.")
flags.DEFINE_string("output", None, "The folder to write.")
flags.DEFINE_string("boxes", "", 'JSON: {name of a picture: [x0, y0, x1, y1] or {"anna": [...]}}.')
flags.DEFINE_list("second", [], "For a run of two pictures: the second of each.")
flags.DEFINE_float("enlarge", 1.25, "Factor by which a person's box is enlarged.")
flags.DEFINE_bool("left", False, "The pictures show left hands: mirror them.")
flags.DEFINE_bool("ema", False, "Use the averaged weights.")
flags.DEFINE_enum("format", "glb", ["glb", "obj"], "File format of the meshes.")
flags.mark_flags_as_required(["workdir", "images", "output"])


def main(_) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    try:
        lines = photographs.predict(
            pathlib.Path(args.workdir),
            args.images,
            pathlib.Path(args.output),
            boxes=args.boxes,
            second=args.second,
            enlarge=args.enlarge,
            left=args.left,
            ema=args.ema,
            mesh_format=args.format,
        )
        for line in lines:
            print(line)
    except (ValueError, OSError) as error:
        sys.exit(f"predict: {error}")


if __name__ == "__main__":
    command_line.run(main)

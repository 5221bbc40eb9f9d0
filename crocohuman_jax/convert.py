"""Imports and exports weights: python -m crocohuman_jax.convert import|export|body|3dpw|push."""

import pathlib
import sys

import jax
import numpy as np
from absl import flags

from crocohuman_jax.configuration import command_line, files, options
from crocohuman_jax.data.datasets import pw3d
from crocohuman_jax.inference import model
from crocohuman_jax.models import parameters
from crocohuman_jax.training import checkpoint, metric_writer
from crocohuman_jax.weights.exchange import body_files, conversion
from crocohuman_jax.weights.names import architectures
from crocohuman_jax.weights.sharing import hub, model_card, model_folder, provenance

flags.DEFINE_string("source", None, "The file, model folder or workdir of a run to read.")
flags.DEFINE_string("output", None, "The folder to write; for body, the .npz file to write.")
flags.DEFINE_enum("format", "safetensors", conversion.FORMATS, "export: format to write.")
flags.DEFINE_list("heads", [], "import: attention heads, ENCODER[,DECODER], if not in the file.")
flags.DEFINE_string("image", "", "import: SIDE or HEIGHTxWIDTH in pixels, if not in the file.")
flags.DEFINE_list("hooks", [], "import: blocks a dense head reads, if not CroCo's default.")
flags.DEFINE_enum(
    "class_token", "keep", conversion.CLASS_TOKEN, "import: the class token of MAE or timm's ViT."
)
flags.DEFINE_string(
    "allow_missing", "", "import: patterns of names that may be absent, such as 'dec_*,mask_token'."
)
flags.DEFINE_string(
    "allow_unexpected", "", "import: patterns of names to ignore, such as 'fc_norm.*'."
)
flags.DEFINE_alias("allow-missing", "allow_missing")
flags.DEFINE_alias("allow-unexpected", "allow_unexpected")
flags.DEFINE_bool("ema", False, "export: use the averaged weights of a run that keeps them.")
flags.DEFINE_multi_string("licence", [], "export: DATASET=LICENCE, for the model card.")
flags.DEFINE_string("repo", None, "push: OWNER/NAME on the Hugging Face hub.")
flags.DEFINE_bool("private", True, "push: whether a newly created repository is private.")
flags.mark_flags_as_required(["source"])


def main(argv) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    verbs = {"import": import_, "export": export, "body": body, "3dpw": sequences, "push": push}
    try:
        if len(argv) != 2:
            raise ValueError(f"Give one action: {', '.join(verbs)}.")
        for line in options.choose("conversion", verbs, argv[1])(args):
            print(line)
    except (ValueError, OSError) as error:
        sys.exit(f"convert: {error}")


def import_(args) -> list[str]:
    """Converts another project's weights to a model folder; returns the lines to print."""
    source, output = pathlib.Path(args.source), _new(args.output)
    description, params, passed = conversion.read(
        source,
        heads=_numbers("heads", args.heads),
        hooks=_numbers("hooks", args.hooks),
        image=options.size(args.image, "--image") if args.image else None,
        class_token=args.class_token,
        allow_missing=args.allow_missing,
        allow_unexpected=args.allow_unexpected,
    )
    file = conversion.file_of(source)
    text = model_card.of_import(description, provenance.about(file))
    written = model_folder.write(output, description, params, text)
    details = {"model": description.as_json(), "passed over": passed}
    provenance.write(output, file, written, details)
    count = sum(array.size for array in params.values())
    return [*passed, f"{output}: {_line(description)}, {count:,} parameters."]


def export(args) -> list[str]:
    """Writes a model in the chosen format; returns the lines to print."""
    source, output = pathlib.Path(args.source), _new(args.output)
    licences = dict(_licence(text) for text in args.licence)
    if model_folder.holds_model(source):
        if args.ema:
            raise ValueError(f"--ema is for a run; {source} holds one set of weights.")
        file, step = source / model_folder.WEIGHTS, None
        description, params = model_folder.read(source)
        text = (
            (source / model_folder.CARD).read_text()
            if (source / model_folder.CARD).exists()
            else ""
        )
    else:
        file, step = source / "config.json", checkpoint.newest(source)
        loaded = model.load(source, ema=args.ema)
        description = loaded.description
        params = {
            k: np.asarray(v) for k, v in parameters.named_leaves(jax.device_get(loaded.params))
        }
        text = model_card.of_run(description, source, step, licences)
    if args.format == "safetensors":
        written = model_folder.write(output, description, params, text)
    elif args.format == "torch-names":
        written = conversion.write_torch_names(output, description, params)
    else:
        written = conversion.write_timm(output, description, params)
    details = {"format": args.format, "step": step, "ema": args.ema}
    provenance.write(output, file, written, details)
    return [f"{output}: {_line(description)}, as {args.format}."]


def body(args) -> list[str]:
    """Converts a body model's file to a plain npz; returns the lines to print."""
    source, output = pathlib.Path(args.source), pathlib.Path(args.output or "")
    what = body_files.convert(source, output)
    name = f"{output.stem}.receipt.json"
    provenance.write(output.parent, source, [output], {"content": what}, name=name)
    return [f"{output}: {what}."]


def sequences(args) -> list[str]:
    """Converts 3DPW's pickled sequences to npz files beside them; returns the lines to print."""
    source, output = pathlib.Path(args.source), pathlib.Path(args.output or args.source)
    paths = sorted(source.glob("sequenceFiles/*/*.pkl"))
    if not paths:
        raise ValueError(f"No sequenceFiles/<split>/<sequence>.pkl in {source}.\n{pw3d.LAYOUT}")
    for path in paths:
        new = (output / path.relative_to(source)).with_suffix(".npz")
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            with files.whole(new) as temporary, open(temporary, "wb") as file:
                np.savez(file, **pw3d.plain(body_files.content(path)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return [f"{output}: {len(paths)} sequences."]


def push(args) -> list[str]:
    """Uploads a model to the Hugging Face hub; returns the lines to print."""
    return [hub.push(pathlib.Path(args.source), args.repo or "", args.private)]


def _new(output: str | None) -> pathlib.Path:
    if not output:
        raise ValueError("--output is empty: give the folder to write, --output=DIR.")
    path = pathlib.Path(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is not empty: choose another --output.")
    return path


def _numbers(flag: str, texts: list[str]) -> tuple[int, ...]:
    if not all(text.isdecimal() for text in texts):
        raise ValueError(f"--{flag} must be comma-separated numbers, not {texts}.")
    return tuple(int(text) for text in texts)


def _licence(text: str) -> tuple[str, str]:
    dataset, equals, licence = text.partition("=")
    if not (dataset and equals and licence):
        raise ValueError(f"--licence must be DATASET=LICENCE, not {text!r}.")
    return dataset, licence


def _line(d: architectures.Description) -> str:
    sizes = [f"{s.width}/{s.depth}/{s.heads}" for s in (d.encoder, d.decoder) if s]
    side = f"{d.image[0]}x{d.image[1]}"
    return f"{d.kind} {' + '.join(sizes)} (width/depth/heads), {side}, {d.position} positions"


if __name__ == "__main__":
    command_line.run(main)

"""Command that turns a dataset into a folder for training; for its flags, add --help."""

import os
import pathlib
import sys

import tqdm
from absl import flags

from crocohuman_jax.configuration import command_line, files, registry
from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.data import datasets
from crocohuman_jax.data.preparation import contact_sheets, pipeline
from crocohuman_jax.data.storage import labels, records, synthetic_truth
from crocohuman_jax.training import metric_writer

flags.DEFINE_string(
    "dataset", None, "Dataset: synthetic (the built-in people), video, coco_eft, ...: docs/data.md."
)
flags.DEFINE_string("source", None, "The folder to read. Leave it out for synthetic.")
flags.DEFINE_string("output", None, "The folder to write.")
flags.DEFINE_string(
    "size",
    None,
    "Size of the frames: side in pixels, or HEIGHTxWIDTH. By default 256, or 400 for most datasets "
    "with labels.",
)
flags.DEFINE_float(
    "enlarge",
    None,
    "Factor by which a person's box is enlarged. By default 1.25, or 1.77 for data with labels.",
)
flags.DEFINE_string(
    "fit",
    "contain",
    "Crop of a picture without a box: 'contain' pads it with a border, 'cover' cuts off its edges.",
)
flags.DEFINE_integer("quality", 90, "JPEG quality of the frames.")
flags.DEFINE_float(
    "held_out", None, "Share kept for validation. By default 0.1, or 0 for datasets with labels."
)
flags.DEFINE_string(
    "held_out_by",
    "auto",
    "What is kept for validation: 'sequence' (whole sequences), 'instant' (the last instants of "
    "each sequence), or 'auto', which chooses by the number of sequences.",
)
flags.DEFINE_integer(
    "seed", 0, "Random seed: selects what is held out, and makes synthetic people.", lower_bound=0
)
flags.DEFINE_integer("workers", 0, "Worker processes; 0 for one per core.", lower_bound=0)
flags.DEFINE_bool(
    "follow_links", False, "Also read files outside of --source that links in --source point to."
)
flags.DEFINE_string("options", "", "Options of the dataset, for example fps=5,takes=file.")
flags.DEFINE_string("sheet", None, "Only redraw the contact sheets of this prepared folder.")
flags.DEFINE_string("check", None, "Only verify the SHA-256 of every file of this prepared folder.")


def main(_) -> None:
    args = flags.FLAGS
    metric_writer.say_progress()
    try:
        if args.check:
            verify(pathlib.Path(args.check))
            return
        if args.sheet:
            print("Drawn:", *draw_sheets(pathlib.Path(args.sheet)))
            return
        missing = [f"--{n}" for n in ("dataset", "output") if not getattr(args, n)]
        if missing:
            raise ValueError(f"Missing: {', '.join(missing)}. --help lists every flag.")
        dataset = registry.find("data.datasets", args.dataset, "--dataset")
        try:
            options = vars(options_lib.parse(args.options, **dataset.OPTIONS))
        except ValueError as error:
            raise ValueError(f"--options={args.options}: {error}") from error
        size, enlarge = datasets.defaults(dataset, options)
        settings = pipeline.Settings(
            dataset=args.dataset,
            source=pathlib.Path(args.source) if args.source else None,
            options=options,
            size=options_lib.size(size if args.size is None else args.size, "--size"),
            enlarge=enlarge if args.enlarge is None else args.enlarge,
            fit=args.fit,
            quality=args.quality,
            held_out=args.held_out,
            held_out_by=args.held_out_by,
            seed=args.seed,
            follow_links=args.follow_links,
        )
        output = pathlib.Path(args.output)
        bar = None

        def progress(done, total):  # shows the bar only once there is work
            nonlocal bar
            bar = bar or tqdm.tqdm(unit=" frames", desc="preparing", total=total)
            bar.update(done)

        try:
            manifest = pipeline.prepare(settings, output, args.workers or os.cpu_count(), progress)
        finally:
            if bar:
                bar.close()
        if not (output / "sheet.png").exists():
            draw_sheets(output)
        print(summary(output, manifest))
    except (ValueError, OSError) as error:
        sys.exit(f"prepare: {error}")
    except KeyboardInterrupt:
        sys.exit("prepare: interrupted. Finished parts are kept: run the same command to continue.")


def verify(folder: pathlib.Path) -> None:
    """Prints that a prepared folder is intact, or raises a ValueError that lists damaged files."""
    faults = records.check(folder)
    if faults:
        raise ValueError(f"{folder} is damaged:\n  " + "\n  ".join(faults))
    count = len(records.read_manifest(folder)["files"])
    print(f"{folder}: {count} files, and the SHA-256 of each matches the manifest.")


def draw_sheets(folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws sheet.png, and truth.png if the folder has ground truth; returns their paths."""
    frames = records.Frames(folder)
    drawn = [folder / "sheet.png"]
    contact_sheets.pairs(frames).save(drawn[0])
    if (folder / synthetic_truth.NAME).is_dir():
        drawn.append(folder / "truth.png")
        contact_sheets.truths(frames, synthetic_truth.Truths(folder)).save(drawn[1])
    return drawn


def summary(output: pathlib.Path, manifest: dict) -> str:
    """Returns the text that is printed when a preparation has finished."""
    counts = manifest["counts"]
    lines = [
        f"{output}: {counts['frames']} frames of {counts['sequences']} sequences, "
        f"{counts['silhouettes']} with a silhouette."
    ]
    for split in records.SPLITS:
        part = counts[split]
        if not part["frames"] and split == "test":
            continue
        lines.append(
            f"  {split}: {part['frames']} frames, {part['view pairs']} cross-view and "
            f"{part['pose pairs']} cross-pose pairs (ordered)."
        )
    if counts["unboxed"]:
        how = "show their whole picture, padded to the shape of the frame"
        if manifest["settings"]["fit"] == "cover":
            how = "show the centre of their picture, so heads and feet may be cut off"
        lines.append(
            f"  {counts['unboxed']} frames have no bounding box and {how}. Add a boxes file "
            "(docs/data.md) to crop around each person and to tell several people apart."
        )
    if counts["skipped"]:
        lines.append(f"  skipped {counts['skipped']}, listed in manifest.json. The first:")
        first = manifest["skips"][:10]
        lines += [files.printable(f"    {name}: {reason}") for name, reason in first]
    if manifest["lone_groups"]:
        lone = ", ".join(manifest["lone_groups"][:5])
        lines.append(f"  {counts['lone groups']} groups have one frame and so no pair: {lone}")
    if not any(counts["train"][f"{kind} pairs"] for kind in ("view", "pose")):
        use = "used for pre-training"
        if (output / labels.NAME).is_dir():
            use += "; its labels are for fine-tuning"
        lines.append(f"  No pair can be drawn from this folder: it cannot be {use}.")
    drawn = " and ".join(str(path) for path in sorted(output.glob("*.png")))
    lines.append(f"  Look at {drawn} before you train.")
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main)

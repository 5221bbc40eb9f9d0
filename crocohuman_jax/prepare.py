"""Prepares pictures or videos of people for training: python -m crocohuman_jax.prepare --help."""

import os
import pathlib
import sys

import numpy as np
import PIL.Image
import PIL.ImageDraw
import tqdm
from absl import flags

from crocohuman_jax import command, registry, report
from crocohuman_jax import config as config_lib
from crocohuman_jax.data import records, shards

flags.DEFINE_string("dataset", None, "How the source lies on disk: pairs_folder, video.")
flags.DEFINE_string("source", None, "The folder to read.")
flags.DEFINE_string("output", None, "The folder to write.")
flags.DEFINE_string("size", "256", "Frames in pixels: a side, or HEIGHTxWIDTH.")
flags.DEFINE_float("enlarge", 1.25, "Factor by which a person's box is enlarged.")
flags.DEFINE_string("fit", "cover", "Crop without a box: 'cover' (no border), 'contain' (all).")
flags.DEFINE_integer("quality", 90, "JPEG quality of the frames.")
flags.DEFINE_float("held_out", 0.1, "Share that is kept for validation; 0 keeps none.")
flags.DEFINE_string("held_out_by", "auto", "Keep whole sequences or the last instants of each.")
flags.DEFINE_integer("seed", 0, "Chooses the sequences that are kept for validation.")
flags.DEFINE_integer("workers", 0, "Processes; 0 for one per core.")
flags.DEFINE_string("options", "", "The dataset's own options, as fps=5,takes=file.")
flags.DEFINE_string("check", None, "Only verify the SHA-256 of every file of a prepared folder.")


def main(_) -> None:
    args = flags.FLAGS
    report.say_progress()
    try:
        if args.check:
            verify(pathlib.Path(args.check))
            return
        missing = [f"--{n}" for n in ("dataset", "source", "output") if getattr(args, n) is None]
        if missing:
            raise ValueError(f"Needed: {', '.join(missing)}. --help lists every flag.")
        dataset = registry.find("data.datasets", args.dataset)
        settings = shards.Settings(
            dataset=args.dataset,
            source=pathlib.Path(args.source),
            options=vars(config_lib.parse(args.options, **dataset.OPTIONS)),
            size=config_lib.size(args.size),
            enlarge=args.enlarge,
            fit=args.fit,
            quality=args.quality,
            held_out=args.held_out,
            held_out_by=args.held_out_by,
            seed=args.seed,
        )
        output = pathlib.Path(args.output)
        bar = None

        def progress(done, total):  # no bar before it is known that there is work
            nonlocal bar
            bar = bar or tqdm.tqdm(unit=" frames", desc="preparing", total=total)
            bar.update(done)

        try:
            manifest = shards.prepare(settings, output, args.workers or os.cpu_count(), progress)
        finally:
            if bar:
                bar.close()
        if not (output / "sheet.png").exists():
            contact_sheet(records.Frames(output)).save(output / "sheet.png")
        print(summary(output, manifest))
    except (ValueError, OSError) as error:
        sys.exit(f"prepare: {error}")


def verify(folder: pathlib.Path) -> None:
    """Prints that a prepared folder is whole, or raises a ValueError with its damaged files."""
    faults = records.check(folder)
    if faults:
        raise ValueError(f"{folder} is damaged:\n  " + "\n  ".join(faults))
    count = len(records.read_manifest(folder)["files"])
    print(f"{folder}: {count} files, each with the SHA-256 of its manifest.")


def summary(output: pathlib.Path, manifest: dict) -> str:
    """Returns what a user wants to know of a finished preparation."""
    counts = manifest["counts"]
    lines = [
        f"{output}: {counts['frames']} frames of {counts['sequences']} sequences, "
        f"{counts['silhouettes']} with a silhouette."
    ]
    for split in records.SPLITS:
        part = counts[split]
        lines.append(
            f"  {split}: {part['frames']} frames, {part['view pairs']} cross-view and "
            f"{part['pose pairs']} cross-pose pairs (ordered)."
        )
    if counts["skipped"]:
        lines.append(f"  skipped {counts['skipped']}, listed in manifest.json. The first:")
        lines += [f"    {name}: {reason}" for name, reason in manifest["skips"][:10]]
    if manifest["lone_groups"]:
        lone = ", ".join(manifest["lone_groups"][:5])
        lines.append(f"  {counts['lone groups']} groups of one frame give no pair: {lone}")
    if not any(counts["train"][f"{kind} pairs"] for kind in ("view", "pose")):
        lines.append("  No pair can be drawn from this folder: it cannot be trained on.")
    lines.append(f"  Look at {output / 'sheet.png'} before you train.")
    return "\n".join(lines)


def contact_sheet(frames: records.Frames, rows: int = 12, columns: int = 8) -> PIL.Image.Image:
    """Draws groups of frames, one a row; silhouettes are tinted."""
    groups = [
        (kind, split, number)
        for kind in ("view_group", "pose_group")
        for split in records.SPLITS
        for number in np.unique(frames.index[kind][frames.index["split"] == split])
        if number >= 0
    ]
    spread = np.linspace(0, len(groups) - 1, min(rows, len(groups))).astype(int)
    chosen = []
    for kind, split, number in (groups[i] for i in spread):
        members = (frames.index[kind] == number) & (frames.index["split"] == split)
        chosen.append((kind, np.flatnonzero(members)))
    if not chosen:
        chosen = [("single", np.arange(min(columns, len(frames))))]
    height = 128
    width = round(height * frames.size[1] / frames.size[0])
    sheet = PIL.Image.new("RGB", (columns * width, len(chosen) * (height + 14)), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for i, (kind, members) in enumerate(chosen):
        top = i * (height + 14)
        sequence = frames.index["sequence"][members[0]]
        split = frames.index["split"][members[0]]
        label = kind.replace("view_group", "one instant").replace("pose_group", "one camera")
        draw.text((2, top + 1), f"{sequence}   {label}   {split}", "black")
        for j, row in enumerate(members[:columns]):
            image, silhouette = frames.read(int(row))
            if silhouette is not None:
                image = np.where(silhouette[..., None], image, image // 2)
            tile = PIL.Image.fromarray(image).resize((width, height))
            sheet.paste(tile, (j * width, top + 14))
    return sheet


if __name__ == "__main__":
    command.run(main)

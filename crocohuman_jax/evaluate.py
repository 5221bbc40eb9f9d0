"""Measures a fine-tuned run by its protocol: python -m crocohuman_jax.evaluate --help."""

import pathlib
import sys

import jax
import ml_collections
import numpy as np
import PIL.Image
from absl import flags

from crocohuman_jax import (
    bodies,
    checkpoint,
    command,
    drawing,
    freihand_files,
    measuring,
    mesh_results,
    metrics,
    protocol,
    registry,
    report,
    sharding,
)
from crocohuman_jax import config as config_lib
from crocohuman_jax.data import records

flags.DEFINE_string("workdir", None, "The run to measure.")
flags.DEFINE_string("folder", None, "The prepared folder to measure it on; by default the run's.")
flags.DEFINE_string("split", "validation", "Its split: train, validation or test.")
flags.DEFINE_string("output", None, "Where results go; by default WORKDIR/evaluations/NAME.")
flags.DEFINE_string("name", "", "What tables call the result; by default the workdir's name.")
flags.DEFINE_enum("alignment", "similarity", list(metrics.ALIGNMENTS), "Of the PA- errors.")
flags.DEFINE_bool("ema", False, "Measure the averaged weights.")
flags.DEFINE_integer("batch", 64, "People at once.")
flags.DEFINE_integer("pictures", 8, "Worst and best cases to draw; 0 for none.")
flags.DEFINE_string("submission", "", "Also write FreiHAND's file of predictions, as pred.json.")
flags.DEFINE_list("set", [], "Changes of the run's body, as body.male=FILE,body.truth=own.")
flags.DEFINE_list("compare", [], "Only show a table of these result.json, of one protocol.")
flags.DEFINE_bool("apart", False, "With --compare: one table for each protocol.")


def main(_) -> None:
    args = flags.FLAGS
    report.say_progress()
    try:
        if args.compare:
            results = [protocol.Result.load(pathlib.Path(path)) for path in args.compare]
            print((protocol.grouped if args.apart else protocol.table)(results))
            return
        if not args.workdir:
            raise ValueError("Say what to measure: --workdir=RUN (or --compare=A.json,B.json).")
        print(evaluate(args))
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate: {error}")


def evaluate(args) -> str:
    """Measures a run, writes what was found and returns the table."""
    workdir = pathlib.Path(args.workdir)
    config = settings(workdir, args.folder, args.set)
    task = registry.find("tasks", config.task).make(config)
    if task.everyone is None:
        raise ValueError(
            f"{workdir} is a run of {config.task!r}, which has no published protocol: its held-out "
            "numbers are in metrics.jsonl."
        )
    folder = pathlib.Path(config.data.folders)
    stream = task.everyone(args.split)
    name = args.name or workdir.resolve().name
    output = pathlib.Path(args.output or workdir / "evaluations" / f"{folder.name}_{args.split}")
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    params = checkpoint.load_whole(workdir, "ema" if args.ema else "params")
    body = bodies.Bodies(**config.body)
    with jax.set_mesh(mesh):
        run = measuring.Run(task, params, mesh, body, args.alignment)
        found = run.everyone(stream, args.batch, config.data.threads, bool(args.submission))
    result = protocol.Result(
        protocol=about(config, body, args, folder, found),
        metrics=mesh_results.means(found, records.Frames(folder).index, body.hand),
        run=str(workdir.resolve()),
        step=checkpoint.newest(workdir),
        name=name,
    )
    output.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output / "people.npz", **found)
    result.save(output / "result.json")
    if args.submission:
        freihand_files.write(
            pathlib.Path(args.submission), found["points"], found["vertices"], count=None
        )
    if args.pictures:
        with jax.set_mesh(mesh):
            draw(run, stream, found, args.pictures, output)
    return f"{protocol.table([result])}\n{output}: result.json, people.npz and pictures."


def settings(workdir: pathlib.Path, folder: str | None, changes: list[str]):
    """Returns a run's config, for one device and one folder.

    Raises:
        ValueError: no run, several folders and none named, or an unknown change.
    """
    saved = config_lib.load(workdir / "config.json")["config"]
    saved["mesh"] = {"data": 1, "fsdp": 1, "tensor": 1}
    chosen = folder or saved["data"]["folders"]
    if "," in chosen or not chosen:
        raise ValueError(
            f"One folder is measured at a time, not {chosen!r}: name it, --folder=DIR."
        )
    saved["data"]["folders"] = chosen
    for change in changes:
        key, equals, value = change.partition("=")
        group, dot, key = key.partition(".")
        if not (equals and dot) or group != "body" or key not in saved["body"]:
            known = ", ".join(f"body.{k}" for k in saved.get("body", {}))
            raise ValueError(f"--set takes KEY=VALUE, not {change!r}. Keys: {known}.")
        saved["body"][key] = type(saved["body"][key])(value)
    return ml_collections.ConfigDict(saved)


def about(config, body: bodies.Bodies, args, folder: pathlib.Path, found) -> protocol.Protocol:
    """Returns how people were measured.

    Raises:
        ValueError: there is no truth, or it is of several kinds.
    """
    known = (found["has_points"] > 0) | (found["has_mesh"] > 0)
    if not known.any():
        raise ValueError(
            f"Nobody of the {len(known)} in {folder} ({args.split}) has a truth that this run "
            f"can be measured by. Its body model is {body.body.kind!r} ({body.gender}); "
            "shapes of other "
            "genders need their models, --set=body.male=FILE,body.female=FILE, or "
            "--set=body.truth=own."
        )
    annotated = set(np.unique(found["annotated"][known]))
    if len(annotated) > 1:
        raise ValueError(
            f"{folder} ({args.split}) mixes people whose joints are annotated with others "
            "whose are not: prepare them apart, for they are measured by different protocols."
        )
    manifest = records.read_manifest(folder)
    kind, side = body.body.kind, config.model.image[0]
    truth = f"{kind} of the annotated gender" if body.gendered else f"{kind} {body.gender}"
    truth = f"{kind} {body.gender} whatever the gender" if body.rule == "own" else truth
    joints = "hand21" if body.hand else "lsp14"
    return protocol.Protocol(
        task=config.task,
        dataset=manifest["settings"]["dataset"],
        split=args.split,
        joints=f"{joints}, true ones {'annotated' if annotated == {1.0} else 'of the true mesh'}",
        regressor=body.measured.hash,
        root="wrist" if body.hand else "pelvis",
        truth_model=truth,
        predicted_model=f"{kind} {body.gender}",
        alignment=args.alignment,
        crop=f"the dataset's square to {side} px, frames of {manifest['size'][0]} px",
        frames=int(known.sum()),
        skipped=int(len(known) - known.sum()) + manifest["counts"]["skipped"],
        fingerprint=manifest["fingerprint"][:16],
    )


def draw(
    run: measuring.Run, stream, found: dict[str, np.ndarray], count: int, output: pathlib.Path
) -> None:
    """Draws the worst and the best people, worst.png and best.png."""
    error = np.where(found["has_mesh"] > 0, found["mpvpe"], np.nan)
    order = np.argsort(error)[: int(np.isfinite(error).sum())]
    for name, chosen in (("worst", order[::-1][:count]), ("best", order[:count])):
        if not len(chosen):
            continue
        batch = stream.collate([stream.elements[int(i)] for i in chosen])
        shown = jax.device_get(run.predict(run.params, sharding.put_batch(batch, run.mesh)))
        faces = run.body.body.faces.array
        rows = [
            (mesh_results.caption(shown, i), mesh_results.drawn(shown, i, faces))
            for i in range(len(chosen))
        ]
        PIL.Image.fromarray(drawing.page(rows, drawing.COLUMNS)).save(output / f"{name}.png")


if __name__ == "__main__":
    command.run(main)

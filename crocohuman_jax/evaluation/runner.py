"""Measures a fine-tuned run of mesh recovery by its protocol."""

import dataclasses
import logging
import pathlib
import shutil
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import PIL.Image

from crocohuman_jax.body_models import supervision
from crocohuman_jax.configuration import options, registry
from crocohuman_jax.data import loader
from crocohuman_jax.data.storage import records
from crocohuman_jax.evaluation import mesh as mesh_lib
from crocohuman_jax.evaluation import protocol, submissions
from crocohuman_jax.metrics import pose
from crocohuman_jax.training import checkpoint, sharding
from crocohuman_jax.visualize import drawing

log = logging.getLogger(__name__)

RESULT = "result.json"
LONGEST_NAME = 100  # characters
FILES = (RESULT, "people.npz", "worst.png", "best.png")
# As protocols name what unaligned errors are about, where it is not the pelvis or wrist.
ROOTS = {
    "mid_hip": "the mean of both hips for joints, the pelvis for vertices",
    "none": "none: as the camera sees them",
}
KEPT = (*mesh_lib.MEASURES, "points", "true_points", "has_mesh", "has_points", "annotated")


class Run:
    """A run that people are shown to.

    Args:
        task: of meshes.
        params: its parameters.
        mesh: of one device.
        body: the body model.
        alignment: of the PA- errors.
        root: what unaligned errors are about, one of `bodies.ROOTS`.

    Attributes:
        seconds, waited: that the last `everyone` took, and at most waited for pictures.
    """

    def __init__(
        self, task, params, mesh, body: supervision.Bodies, alignment: str, root: str = "auto"
    ):
        self.params, self.mesh, self.body, self.alignment = params, mesh, body, alignment
        self.root = body.root(root)
        self.predict = jax.jit(task.predict)
        self.measure = jax.jit(self._measure)
        self.seconds = self.waited = 0.0

    def _measure(self, params, batch):
        shown = self.predict(params, batch)
        found = {name: shown[name] for name in KEPT} | {"row": shown["row"]}
        if not self.root:
            *sides, found["placed"] = mesh_lib.placed(shown)
            shown = shown | sides[0] | {f"true_{name}": side for name, side in sides[1].items()}
            found |= {name: shown[name] for name in ("points", "true_points")}
        predicted = {name: shown[name] for name in ("points", "vertices")}
        truth = {name: shown[f"true_{name}"] for name in predicted}
        skip = self.body.only_root
        found |= mesh_lib.errors(predicted, truth, skip, self.root)
        points = [side["points"][:, skip:] for side in (predicted, truth)]
        meshes = [side["vertices"] for side in (predicted, truth)]
        every = [*predicted.values(), shown["camera"][:, None]]
        found["finite"] = jnp.all(jnp.stack([jnp.isfinite(x).all((1, 2)) for x in every]), 0)
        found["has_betas"] = batch["has_mesh"]
        found["pa_mpjpe"] = pose.pa_mpjpe(*points, alignment=self.alignment)
        found["pa_mpvpe"] = pose.pa_mpjpe(*meshes, alignment=self.alignment)
        found["pve_sc"] = pose.scaled_mpvpe(*meshes)
        if "betas" in shown:
            shapes = self.body.straight(shown["betas"])
            true = self.body.straight(batch["betas"], batch["gender"])
            shaped = found["has_betas"] > 0
            found["pve_t_sc"] = jnp.where(shaped, pose.scaled_mpvpe(shapes, true), jnp.nan)
        if self.body.hand:
            align = pose.ALIGNMENTS[self.alignment]
            aligned = align(*meshes)
            found["aligned_joint_distances"] = pose.distances(align(*points), points[1])
            found["aligned_vertex_distances"] = pose.distances(aligned, meshes[1])
            found["f_aligned"] = pose.f_score(aligned, meshes[1], mesh_lib.F_MM)
            if self.root:
                meshes = [s["vertices"] - s["points"][:, :1] for s in (predicted, truth)]
            found["f"] = pose.f_score(*meshes, mesh_lib.F_MM)
        return found | {"vertices": shown["vertices"], "camera": shown["camera"]}

    def everyone(self, stream, batch: int, threads: int, meshes: bool) -> dict[str, np.ndarray]:
        """Returns what is found of everybody in a stream, in its order.

        Args:
            stream: finite.
            batch: people at once.
            threads: that read pictures; 0 for one per core.
            meshes: also return the vertices.
        """
        count, rows = len(stream.elements), []
        waiting, waited, start = None, 0.0, time.perf_counter()
        batches = loader.evaluation(stream, min(batch, count), threads=threads)
        while True:
            before = time.perf_counter()
            one = next(batches, None)
            # Only what the device could not hide: it has finished the batch before meanwhile.
            if waiting is None or waiting["row"].is_ready():
                waited += time.perf_counter() - before
            new = None
            if one is not None:
                one = {k: v for k, v in one.items() if k != "weight"}
                new = self.measure(self.params, sharding.put_batch(one, self.mesh))
                if not meshes:
                    del new["vertices"]
            if waiting is not None:  # one batch behind, so that the device is never idle
                rows.append(jax.device_get(waiting))
                self._check_places(rows[-1])
            if new is None:
                break
            waiting = new
        self.seconds, self.waited = time.perf_counter() - start, waited
        log.info(
            "%d people, %.1f a second, %.0f %% of the time at most waiting for pictures.",
            *(count, count / self.seconds, 100 * waited / self.seconds),
        )
        return {name: np.concatenate([r[name] for r in rows])[:count] for name in rows[0]}

    def _check_places(self, found: dict[str, np.ndarray]) -> None:
        """Raises a ValueError where people have no place, but are to be compared there."""
        if self.root:
            return
        known = (found["has_points"] > 0) | (found["has_mesh"] > 0)
        lost = int((known & ~found["placed"]).sum())
        if lost:
            raise ValueError(
                f"--root=none compares people where the camera sees them, but the true place of "
                f"{lost} among {int(known.sum())} is unknown. It is known of built-in people, and "
                "where joints are annotated in the axes of a known camera (FreiHAND, HanCo); not "
                "of parameters alone (3DPW) or of joints about a root (Human3.6M's files). Take "
                "another --root."
            )


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
    body = supervision.Bodies(**config.body)
    if args.submission:
        submissions.check(pathlib.Path(args.submission), len(body.measured.names))
    name = args.name or workdir.resolve().name + ("_ema" if args.ema else "")
    asked = _asked(config, body, args, folder)
    _check_output(args.output, name, asked)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    params = checkpoint.load_whole(workdir, "ema" if args.ema else "params")
    with jax.set_mesh(mesh):
        run = Run(task, params, mesh, body, asked["alignment"], args.root)
        found = run.everyone(stream, args.batch, config.data.threads, bool(args.submission))
    if args.submission:  # before anything that needs a truth, which its test set may not have
        submissions.write(
            *(pathlib.Path(args.submission), found["points"], found["vertices"]),
            count=submissions.COUNT
            if asked["dataset"] == "freihand" and args.split == "test"
            else None,
        )
    index = records.Frames(folder).index
    lost = np.flatnonzero(mesh_lib.failed(found))
    result = protocol.Result(
        protocol=about(config, body, args, folder, found),
        metrics=mesh_lib.means(
            *(found, index, body.only_root, body.hand, args.allow_non_finite, run.root)
        ),
        run=str(workdir.resolve()),
        step=checkpoint.newest(workdir),
        name=name,
        non_finite=tuple(_frame(index, int(found["row"][i])) for i in lost),
    )
    output = _folder(workdir, args.output, folder, result)
    temporary = output.parent / f".{output.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    np.savez_compressed(temporary / "people.npz", **found)
    if args.pictures:
        with jax.set_mesh(mesh):
            draw(run, stream, found, args.pictures, temporary)
    result.save(temporary / RESULT)
    files = _take_in(temporary, output)
    return f"{protocol.table([result])}\n{output}: {', '.join(files)}."


def _frame(index: dict[str, np.ndarray], row: int) -> str:
    """Returns what a frame is called."""
    words = [f"row {row}", *(index[name][row] for name in ("source", "subject", "camera"))]
    return " ".join(filter(None, (*words, f"instant {index['instant'][row]}")))


def _check_output(output: str | None, name: str, asked: dict) -> None:
    """Raises a ValueError where results would replace those of something else, or have no place."""
    if output is None:
        if set(name) & set("/\\\n\0") or len(name) > LONGEST_NAME:
            raise ValueError(
                f"--name={name!r} is to be part of a folder's name: at most {LONGEST_NAME} "
                "characters, without slashes. With --output=DIR it may be any line of text."
            )
        return
    path = pathlib.Path(output) / RESULT
    if not path.exists():
        return
    there = protocol.Result.load(path)
    theirs = dataclasses.asdict(there.protocol) | {"name": there.name}
    differences = [
        f"{key} is {theirs[key]!r} there, {value!r} here"
        for key, value in (asked | {"name": name}).items()
        if theirs[key] != value
    ]
    if differences:
        raise ValueError(
            f"{path} is of another evaluation: {'; '.join(differences)}. Name another --output, or "
            "none: the folder then has the name and the protocol in its own."
        )


def _folder(workdir, output: str | None, folder: pathlib.Path, result: protocol.Result):
    """Returns where a result belongs: never where one of another protocol or name lies."""
    mine, stamp = result.protocol, result.protocol.stamp
    if output is None:
        words = (folder.resolve().name, mine.split, result.name, stamp)
        return workdir / "evaluations" / "_".join(words)
    path = pathlib.Path(output).resolve()
    if not (path / RESULT).exists() or protocol.Result.load(path / RESULT).protocol == mine:
        return path
    beside = path.parent / f"{path.name}_{stamp}"
    log.warning("%s holds results of another protocol: these are in %s.", path, beside)
    return beside


def _take_in(temporary: pathlib.Path, output: pathlib.Path) -> list[str]:
    """Moves an evaluation's files to their folder, in place of an earlier one's; returns them.

    The result goes first and comes last, so that it never lies beside the files of another.
    """
    output.mkdir(parents=True, exist_ok=True)
    if (output / RESULT).exists():
        log.info("Replacing the result in %s, of the same protocol and name.", output)
    for name in FILES:
        (output / name).unlink(missing_ok=True)
    written = [name for name in FILES if (temporary / name).exists()]
    for name in written[::-1]:
        (temporary / name).replace(output / name)
    temporary.rmdir()
    return written


def settings(workdir: pathlib.Path, folder: str | None, changes: list[str]):
    """Returns a run's config, for one device and one folder.

    Raises:
        ValueError: no run, several folders and none named, or an unknown change.
    """
    saved = options.load(workdir / "config.json")["config"]
    saved["mesh"] = {"data": 1, "fsdp": 1, "tensor": 1}
    chosen = folder or saved["data"]["folders"]
    if "," in chosen or not chosen:
        raise ValueError(
            f"One folder is measured at a time, not {chosen!r}: name it, --folder=DIR."
        )
    if folder is not None:  # said here by the flag's name; the run's own by that of its key
        try:
            records.read_manifest(pathlib.Path(folder))
        except ValueError as error:
            raise ValueError(f"--folder={folder}: {error}") from error
    saved["data"]["folders"] = chosen
    for change in changes:
        key, equals, value = change.partition("=")
        group, dot, key = key.partition(".")
        if not (equals and dot) or group != "body" or key not in saved["body"]:
            known = ", ".join(f"body.{k}" for k in saved.get("body", {}))
            raise ValueError(f"--set takes KEY=VALUE, not {change!r}. Keys: {known}.")
        try:
            saved["body"][key] = type(saved["body"][key])(value)
        except ValueError as error:
            raise ValueError(f"--set={change} cannot be used: {error}.") from error
    return ml_collections.ConfigDict(saved)


def about(config, body: supervision.Bodies, args, folder: pathlib.Path, found) -> protocol.Protocol:
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
    joints = "hand21" if body.hand else "lsp14"
    lost = int(mesh_lib.failed(found).sum()) if args.allow_non_finite else 0
    if lost == known.sum():
        raise ValueError(f"Of {lost} people in {folder} ({args.split}) no prediction is finite.")
    return protocol.Protocol(
        **_asked(config, body, args, folder),
        joints=f"{joints}, true ones {'annotated' if annotated == {1.0} else 'of the true mesh'}",
        frames=int(known.sum()) - lost,
        skipped=int(len(known) - known.sum()),
        non_finite=lost,
    )


def _asked(config, body: supervision.Bodies, args, folder: pathlib.Path) -> dict:
    """Returns the fields of a protocol that are known before anybody is measured."""
    manifest = records.read_manifest(folder)
    dataset, alignment = manifest["settings"]["dataset"], args.alignment
    if alignment == "auto":
        alignment = "freihand" if dataset == "freihand" else "similarity"
    kind, side = body.body.kind, config.model.image[0]
    truth = f"{kind} of the annotated gender" if body.gendered else f"{kind} {body.gender}"
    truth = f"{kind} {body.gender} whatever the gender" if body.rule == "own" else truth
    body.root(args.root)  # which says what it may be
    return {
        "task": config.task,
        "dataset": dataset,
        "split": args.split,
        "regressor": body.measured.hash,
        "root": ROOTS.get(args.root, "wrist" if body.hand else "pelvis"),
        "truth_model": truth,
        "predicted_model": f"{kind} {body.gender}",
        "alignment": alignment,
        "crop": f"the dataset's square to {side} px, frames of {manifest['size'][0]} px",
        "left_out": manifest["counts"]["skipped"],
        "fingerprint": manifest["fingerprint"][:16],
    }


def draw(run: Run, stream, found: dict[str, np.ndarray], count: int, output: pathlib.Path) -> None:
    """Draws the worst and the best people, worst.png and best.png."""
    error = np.where(found["has_mesh"] > 0, found["mpvpe"], np.nan)
    order = np.argsort(error)[: int(np.isfinite(error).sum())]
    for name, chosen in (("worst", order[::-1][:count]), ("best", order[:count])):
        if not len(chosen):
            continue
        batch = stream.collate([stream.elements[int(i)] for i in chosen])
        shown = jax.device_get(run.predict(run.params, sharding.put_batch(batch, run.mesh)))
        shown |= {measure: found[measure][chosen] for measure in mesh_lib.MEASURES}
        faces = run.body.body.faces.array
        rows = [
            (mesh_lib.caption(shown, i), mesh_lib.drawn(shown, i, faces))
            for i in range(len(chosen))
        ]
        PIL.Image.fromarray(drawing.page(rows, drawing.COLUMNS)).save(output / f"{name}.png")

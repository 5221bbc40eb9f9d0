"""Measures a fine-tuned run of mesh recovery by its protocol."""

import logging
import pathlib
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import PIL.Image

from crocohuman_jax import (
    bodies,
    checkpoint,
    drawing,
    freihand_files,
    mesh_results,
    metrics,
    protocol,
    registry,
    sharding,
)
from crocohuman_jax import config as config_lib
from crocohuman_jax.data import loader, records

log = logging.getLogger(__name__)

KEPT = (*mesh_results.MEASURES, "points", "true_points", "has_mesh", "has_points", "annotated")


class Run:
    """A run that people are shown to.

    Args:
        task: of meshes.
        params: its parameters.
        mesh: of one device.
        body: the body model.
        alignment: of the PA- errors.

    Attributes:
        seconds, waited: that the last `everyone` took, and at most waited for pictures.
    """

    def __init__(self, task, params, mesh, body: bodies.Bodies, alignment: str):
        self.params, self.mesh, self.body, self.alignment = params, mesh, body, alignment
        self.predict = jax.jit(task.predict)
        self.measure = jax.jit(self._measure)
        self.seconds = self.waited = 0.0

    def _measure(self, params, batch):
        shown = self.predict(params, batch)
        found = {name: shown[name] for name in KEPT} | {"row": shown["row"]}
        skip = self.body.only_root
        points = [shown[name][:, skip:] for name in ("points", "true_points")]
        meshes = [shown[name] for name in ("vertices", "true_vertices")]
        roots = [shown[name][:, 0] for name in ("points", "true_points")]
        found["pa_mpjpe"] = metrics.pa_mpjpe(*points, alignment=self.alignment)
        found["pa_mpvpe"] = metrics.pa_mpjpe(*meshes, alignment=self.alignment)
        found["pve_sc"] = metrics.scaled_mpvpe(*meshes)
        if "betas" in shown:
            shapes = self.body.straight(shown["betas"])
            true = self.body.straight(batch["betas"], batch["gender"])
            shaped = batch["has_mesh"] > 0
            found["pve_t_sc"] = jnp.where(shaped, metrics.scaled_mpvpe(shapes, true), jnp.nan)
        if self.body.hand:
            align = metrics.ALIGNMENTS[self.alignment]
            aligned = align(*meshes)
            found["aligned_joint_distances"] = metrics.distances(align(*points), points[1])
            found["aligned_vertex_distances"] = metrics.distances(aligned, meshes[1])
            found["f_aligned"] = metrics.f_score(aligned, meshes[1], mesh_results.F_MM)
            centred = [m - r[:, None] for m, r in zip(meshes, roots, strict=True)]
            found["f"] = metrics.f_score(*centred, mesh_results.F_MM)
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
            if new is None:
                break
            waiting = new
        self.seconds, self.waited = time.perf_counter() - start, waited
        log.info(
            "%d people, %.1f a second, %.0f %% of the time at most waiting for pictures.",
            *(count, count / self.seconds, 100 * waited / self.seconds),
        )
        return {name: np.concatenate([r[name] for r in rows])[:count] for name in rows[0]}


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
    body = bodies.Bodies(**config.body)
    if args.submission:
        freihand_files.check(pathlib.Path(args.submission), len(body.measured.names))
    name = args.name or workdir.resolve().name
    output = pathlib.Path(args.output or workdir / "evaluations" / f"{folder.name}_{args.split}")
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    params = checkpoint.load_whole(workdir, "ema" if args.ema else "params")
    with jax.set_mesh(mesh):
        run = Run(task, params, mesh, body, args.alignment)
        found = run.everyone(stream, args.batch, config.data.threads, bool(args.submission))
    output.mkdir(parents=True, exist_ok=True)
    if args.submission:  # before anything that needs a truth, which its test set may not have
        whole = records.read_manifest(folder)["settings"]["dataset"] == "freihand"
        freihand_files.write(
            *(pathlib.Path(args.submission), found["points"], found["vertices"]),
            count=freihand_files.COUNT if whole and args.split == "test" else None,
        )
    np.savez_compressed(output / "people.npz", **found)
    result = protocol.Result(
        protocol=about(config, body, args, folder, found),
        metrics=mesh_results.means(found, records.Frames(folder).index, body.only_root, body.hand),
        run=str(workdir.resolve()),
        step=checkpoint.newest(workdir),
        name=name,
    )
    result.save(output / "result.json")
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
        skipped=int(len(known) - known.sum()),
        left_out=manifest["counts"]["skipped"],
        fingerprint=manifest["fingerprint"][:16],
    )


def draw(run: Run, stream, found: dict[str, np.ndarray], count: int, output: pathlib.Path) -> None:
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

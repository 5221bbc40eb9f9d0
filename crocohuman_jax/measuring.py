"""Shows people to a run of mesh recovery and measures what it says of them."""

import logging
import time

import jax
import numpy as np

from crocohuman_jax import bodies, mesh_results, metrics, sharding
from crocohuman_jax.data import loader

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
            straight = [self.body.straight(b) for b in (shown["betas"], batch["betas"])]
            found["pve_t_sc"] = metrics.scaled_mpvpe(*straight)
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

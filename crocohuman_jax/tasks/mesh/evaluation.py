"""Measures predicted meshes by a protocol and writes FreiHAND's file of predictions."""

import pathlib

import jax.numpy as jnp
import numpy as np

from crocohuman_jax.metrics import freihand_scores, pose
from crocohuman_jax.tasks import Asked, Evaluation, Summary
from crocohuman_jax.tasks.mesh import data as data_lib
from crocohuman_jax.tasks.mesh import objective, results, submissions

# How protocols name the root (origin of unaligned errors) if it is not the pelvis or wrist.
ROOTS = {
    "mid_hip": "the mean of both hips for joints, the pelvis for vertices",
    "none": "none: as the camera sees them",
}
KEPT = ("row", "has_mesh", "has_points", "annotated", "camera")


def make(mesh: objective.Mesh, data: data_lib.Data, asked: Asked) -> Evaluation:
    """Returns the functions that measure a run of mesh recovery with a user's options.

    Raises:
        ValueError: the body model does not have the requested root, or FreiHAND's file of
            predictions cannot hold its points.
    """
    measured = Measurement(mesh, asked)
    if asked.submission:
        submissions.check(pathlib.Path(asked.submission), len(mesh.bodies.measured.names))
    return Evaluation(
        stream=data.everyone(asked.split),
        protocol=measured.protocol(),
        measure=measured.measure,
        check=measured.check,
        summarize=measured.summarize,
        error=lambda found: np.where(found["has_mesh"] > 0, found["mpvpe"], np.nan),
        submit=measured.submit if asked.submission else None,
    )


class Measurement:
    """Compares each person's prediction with the ground truth.

    Args:
        mesh: the network.
        asked: the user's options.
    """

    def __init__(self, mesh: objective.Mesh, asked: Asked):
        self.mesh, self.asked, self.bodies = mesh, asked, mesh.bodies
        self.root = mesh.bodies.root(asked.root)
        dataset = asked.manifest["settings"]["dataset"]
        self.alignment = asked.alignment
        if asked.alignment == "auto":
            self.alignment = "freihand" if dataset == "freihand" else "similarity"

    def protocol(self) -> dict:
        """Returns the fields of the protocol that are known before measuring."""
        bodies, asked, kind = self.bodies, self.asked, self.bodies.body.kind
        truth = f"{kind} of the annotated gender" if bodies.gendered else f"{kind} {bodies.gender}"
        truth = f"{kind} {bodies.gender} whatever the gender" if bodies.rule == "own" else truth
        size = asked.manifest["size"][0]
        return {
            "regressor": bodies.measured.hash,
            "root": ROOTS.get(asked.root, "wrist" if bodies.hand else "pelvis"),
            "truth_model": truth,
            "predicted_model": f"{kind} {bodies.gender}",
            "alignment": self.alignment,
            "crop": f"the dataset's square to {self.mesh.image[0]} px, frames of {size} px",
        }

    def measure(self, params, batch) -> tuple[dict, dict]:
        """Returns the results of each person, and what their pictures show; [B, ...] each."""
        shown, predicted, truth = self.mesh.shown(params, batch)
        found = {name: shown[name] for name in KEPT}
        if not self.root:
            predicted, truth, found["placed"] = results.placed(shown)
        found |= {"points": predicted["points"], "true_points": truth["points"]}
        skip = self.bodies.only_root
        found |= results.errors(predicted, truth, skip, self.root, self.alignment)
        meshes = [side["vertices"] for side in (predicted, truth)]
        every = [predicted["points"], predicted["vertices"], shown["camera"][:, None]]
        found["finite"] = jnp.all(jnp.stack([jnp.isfinite(x).all((1, 2)) for x in every]), 0)
        found["has_betas"] = batch["has_mesh"]
        found["pve_sc"] = pose.scaled_mpvpe(*meshes)
        if "betas" in shown:
            shapes = self.bodies.straight(shown["betas"])
            true = self.bodies.straight(batch["betas"], batch["gender"])
            shaped = found["has_betas"] > 0
            found["pve_t_sc"] = jnp.where(shaped, pose.scaled_mpvpe(shapes, true), jnp.nan)
        if self.bodies.hand:
            found |= self._of_hands(predicted, truth)
        if self.asked.submission:
            found["vertices"] = predicted["vertices"]
        return found, shown | {name: found[name] for name in results.MEASURES}

    def _of_hands(self, predicted, truth) -> dict:
        """Returns FreiHAND's aligned distances, and its F-scores with and without alignment."""
        skip, align = self.bodies.only_root, pose.ALIGNMENTS[self.alignment]
        points = [side["points"][:, skip:] for side in (predicted, truth)]
        meshes = [side["vertices"] for side in (predicted, truth)]
        aligned = align(*meshes)
        found = {
            "aligned_joint_distances": pose.distances(align(*points), points[1]),
            "aligned_vertex_distances": pose.distances(aligned, meshes[1]),
            "f_aligned": freihand_scores.f_score(aligned, meshes[1], results.F_MM),
        }
        if self.root:
            meshes = [s["vertices"] - s["points"][:, :1] for s in (predicted, truth)]
        return found | {"f": freihand_scores.f_score(*meshes, results.F_MM)}

    def check(self, found: dict[str, np.ndarray]) -> None:
        """Raises a ValueError if camera space is asked for, but a true position is unknown."""
        if self.root:
            return
        known = _known(found)
        lost = int((known & ~found["placed"]).sum())
        if lost:
            raise ValueError(
                f"--root=none compares people in camera space, but the true position of {lost} of "
                f"{int(known.sum())} people is unknown. It is known for built-in people, and where "
                "joints are annotated in the axes of a known camera (FreiHAND, HanCo), but not "
                "from body-model parameters alone (3DPW) or from joints relative to a root "
                "(Human3.6M's files). Choose another --root."
            )

    def summarize(self, found: dict[str, np.ndarray], index) -> Summary:
        """Returns the mean errors over all people, and the rest of the protocol's fields.

        Raises:
            ValueError: nobody has ground truth, only some people have annotated joints, or no
                prediction is finite.
        """
        bodies, asked, known = self.bodies, self.asked, _known(found)
        where = f"{asked.folder} ({asked.split})"
        if not known.any():
            raise ValueError(
                f"None of the {len(known)} people in {where} has ground truth for this run's body "
                f"model, {bodies.body.kind!r} ({bodies.gender}). Shapes of another gender need "
                "that gender's model: add --set=body.male=FILE,body.female=FILE, or apply the "
                "run's model to every gender with --set=body.truth=own."
            )
        annotated = set(np.unique(found["annotated"][known]))
        if len(annotated) > 1:
            raise ValueError(
                f"{where} mixes people with annotated joints and people without. They are "
                "measured by different protocols: prepare them in separate folders."
            )
        failed = results.failed(found)
        lost = int(failed.sum()) if asked.allow_non_finite else 0
        if lost == known.sum():
            raise ValueError(f"None of the {lost} predictions for {where} is finite.")
        joints = "hand21" if bodies.hand else "lsp14"
        joints += f", true ones {'annotated' if annotated == {1.0} else 'of the true mesh'}"
        return Summary(
            metrics=results.means(
                *(found, index, bodies.only_root, bodies.hand, asked.allow_non_finite, self.root)
            ),
            protocol={
                "joints": joints,
                "frames": int(known.sum()) - lost,
                "skipped": int(len(known) - known.sum()),
                "non_finite": lost,
            },
            failed=failed,
        )

    def submit(self, found: dict[str, np.ndarray]) -> None:
        """Writes FreiHAND's file of predictions, `Asked.submission`."""
        test = self.asked.manifest["settings"]["dataset"] == "freihand"
        submissions.write(
            *(pathlib.Path(self.asked.submission), found["points"], found["vertices"]),
            count=submissions.COUNT if test and self.asked.split == "test" else None,
        )


def _known(found: dict[str, np.ndarray]) -> np.ndarray:
    """Returns which people have ground truth, [N] bool."""
    return (found["has_points"] > 0) | (found["has_mesh"] > 0)

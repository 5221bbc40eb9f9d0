"""A dataset with labels that needs no files: drawn figures, of whom everything is made up."""

from collections.abc import Iterator

import numpy as np
import pictures

from crocohuman_jax.body_models import joint_names
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample

OPTIONS = {
    "sequences": 4,
    "instants": 12,
    "groups": True,  # False: pictures that have nothing to do with each other
    "model": "open_body",
    "splits": "",  # of the sequences, joined by +; by default what `prepare` decides
    "faults": "",  # of the first frames, joined by +, see FAULTS
}
LAYOUT = ""
KEYPOINTS = joint_names.PEOPLE
FAULTS = {
    "not finite": {"pose": np.full((24, 3), np.nan)},
    "no place": {"translation": np.array([0, 0, np.inf])},
    "wrong count": {"keypoints": np.zeros((23, 3))},
    "no side": {"crop": np.array([40, 40, 0])},
    "flat": {"pose": np.zeros(72)},
}


def plan(settings) -> Plan:
    """Lists the frames, one camera a sequence."""
    options, jobs = settings.options, []
    for s in range(options["sequences"]):
        name = f"s{s}"
        groups = ("", f"{name}/camera") if options["groups"] else ("", "")
        frames = [
            Frame(f"{name}/{t}", name, "", "camera", t, *groups, (8.0, 0.0, 88.0, 80.0))
            for t in range(options["instants"])
        ]
        jobs.append(Job(tuple(frames), s))
    splits = dict(zip([f"s{s}" for s in range(99)], options["splits"].split("+"), strict=False))
    return Plan(tuple(jobs), splits=splits if options["splits"] else {})


def read(settings, job: Job) -> Iterator[Sample]:
    """Draws the frames of a sequence."""
    faults = settings.options["faults"].split("+") if job.extra == 0 else []
    for frame in job.frames:
        picture, silhouette = pictures.scene(job.extra, frame.instant, 0)
        known = labels(frame, settings.options["model"])
        fault = faults[frame.instant] if frame.instant < len(faults) else ""
        if fault == "no labels":
            known = None
        elif fault == "no crop":
            del known["crop"]
        elif fault:
            known |= FAULTS[fault]
        yield Sample(frame, picture, silhouette, labels=known)


def labels(frame: Frame, model: str = "open_body") -> dict:
    """Returns what is said of a frame, in pixels of its picture of 96 by 80."""
    rng = np.random.default_rng([frame.instant, *frame.sequence.encode()])
    count = len(KEYPOINTS)
    confidence = rng.integers(0, 2, (count, 1))
    return {
        "keypoints": np.hstack([rng.uniform(0, 80, (count, 2)), confidence]),
        "joints": np.hstack([rng.normal(size=(count, 3)), confidence]),
        "pose": rng.normal(size=(16 if "hand" in model or "mano" in model else 24, 3)),
        "betas": rng.normal(size=10),
        "crop": np.array([48.0, 40.0, rng.uniform(50, 70)]),
        "intrinsics": np.array([100.0, 101.0, 47.0, 39.0]),
        "model": model,
        "gender": "neutral",
    }

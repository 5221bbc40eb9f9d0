"""Renders the built-in people from several cameras at several instants, with ground truth."""

from collections.abc import Iterator, Mapping

import numpy as np
import PIL.Image

from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.synthetic import takes

OPTIONS = {
    "kind": "body",  # or hand, both
    "people": 100,
    "takes": 1,  # of each person
    "instants": 4,  # of each take
    "views": 4,  # cameras around each take
    "pairs": "both",  # or view, pose: the kind of groups that frames belong to
    "truth": "all",  # or numbers (ground truth without maps), none
    "actions": "",  # names joined by +, as walk+run; all by default
    "hands": "",  # names of gestures and grasps, joined by +
    "place": "",  # room, outdoors or studio; all by default
    "recording": "clean",  # or camera: with sensor noise and motion blur
    "supersample": 2,  # rendered pixels per side of each pixel
    "patch": 16,  # side of the patches that the frames are divided into
    "pictures": "",  # folder of background pictures, for example COCO's
    "interiors": "",  # folder of GLB or OBJ scenes to place people in, for example Habitat's
    "motions": "",  # folder of BVH or AMASS motions
    "model": "",  # SMPL file (npz) whose mesh the AMASS motions pose
}
LAYOUT = ""  # the dataset reads no folder
LICENCE = "made by this project; the body is CC0"


def recipe(
    options: Mapping, size: tuple[int, int], seed: int, enlarge: float = 1.25
) -> takes.Recipe:
    """Returns the recipe from which the people are made.

    Args:
        options: OPTIONS with the user's values.
        size: (height, width) of the frames.
        seed: random seed.
        enlarge: factor by which the box around a person is enlarged.

    Raises:
        ValueError: an option has an invalid value.
    """
    _check_pairs(options)
    if options["truth"] not in ("all", "numbers", "none"):
        raise ValueError(f"Option truth is {options['truth']!r}, but must be all, numbers or none.")
    patch = options["patch"]
    if patch < 1 or size[0] % patch or size[1] % patch:
        near = [max(round(side / max(patch, 1)), 1) * max(patch, 1) for side in size]
        raise ValueError(
            f"--size={size[0]}x{size[1]} does not divide into patches of {patch} pixels (option "
            f"patch). The nearest size that does: {near[0]}x{near[1]}."
        )
    lists = {name: tuple(filter(None, options[name].split("+"))) for name in ("actions", "hands")}
    both = options["kind"] == "both"
    return takes.Recipe(
        kinds=takes.KINDS if both else (options["kind"],),
        size=tuple(size),
        seed=seed,
        enlarge=enlarge,
        **{name: options[name] for name in takes.PLAIN_OPTIONS},
        **lists,
    )


def _check_pairs(options: Mapping) -> None:
    pairs, views, instants = options["pairs"], options["views"], options["instants"]
    if pairs not in ("view", "pose", "both"):
        raise ValueError(f"Option pairs is {pairs!r}, but must be 'view', 'pose' or 'both'.")
    if pairs == "view" and views < 2:
        raise ValueError(f"Cross-view pairs need option views=2 or more, not {views}.")
    if pairs == "pose" and instants < 2:
        raise ValueError(f"Cross-pose pairs need option instants=2 or more, not {instants}.")
    if max(views, instants) < 2:
        raise ValueError(
            f"With views={views} and instants={instants} a take has one frame and gives no pair. "
            "Set views or instants to 2 or more."
        )


def plan(settings) -> Plan:
    """Lists the frames of every person's takes; see `datasets`."""
    made = _of(settings)
    takes.check_sources(made)
    pairs, jobs, owners = settings.options["pairs"], [], {}
    for person, number, kind in made.sequences():
        sequence = name(person, number, kind)
        owners[sequence] = owner(person)
        frames = tuple(
            Frame(
                source=f"{sequence}/t{instant}/camera{view}",
                sequence=sequence,
                subject="",
                camera=f"camera{view}",
                instant=instant,
                view_group="" if pairs == "pose" else f"{sequence}/t{instant}",
                pose_group="" if pairs == "view" else f"{sequence}/camera{view}",
            )
            for instant in range(made.instants)
            for view in range(made.views)
        )
        jobs.append(Job(frames, (person, number, kind)))
    return Plan(tuple(jobs), owners=owners, mark=takes.mark(made))


def read(settings, job: Job) -> Iterator[Sample]:
    """Renders the frames of a take; see `datasets`."""
    made = _of(settings)
    try:
        recorded = takes.record(made, *job.extra)
    except ValueError as error:  # a motion, picture or scene of the user is damaged
        yield from (Sample(frame, fault=str(error)) for frame in job.frames)
        return
    for i, frame in enumerate(job.frames):
        picture, truth = recorded.frame(*divmod(i, made.views))
        silhouette = PIL.Image.fromarray((truth["part"] > 0).astype(np.uint8) * 255)
        yield Sample(frame, PIL.Image.fromarray(picture), silhouette, truth)


def owner(person: int) -> str:
    """Returns the owner of a person's sequences, which are held out together."""
    return f"person{person:06d}"


def name(person: int, number: int, kind: str) -> str:
    """Returns the name of a sequence."""
    return f"{owner(person)}/take{number}/{kind}"


def _of(settings) -> takes.Recipe:
    return recipe(settings.options, settings.size, settings.seed, settings.enlarge)

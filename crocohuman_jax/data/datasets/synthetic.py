"""The built-in people, rendered from several cameras at several instants, with everything known."""

from collections.abc import Iterator, Mapping

import numpy as np
import PIL.Image

from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample
from crocohuman_jax.synthetic import recording

OPTIONS = {
    "kind": "body",  # hand, both
    "people": 100,
    "takes": 1,  # of each person
    "instants": 4,  # of each take
    "views": 4,  # cameras around each take
    "pairs": "both",  # view, pose: which groups the frames are put into
    "truth": "all",  # numbers: without the maps; none
    "actions": "",  # names joined by +, as walk+run; all by default
    "hands": "",  # gestures and grasps by name, joined by +
    "place": "",  # room, outdoors, studio; all by default
    "recording": "clean",  # camera: with the sensor's noise and motion blur
    "supersample": 2,  # rendered pixels a side of each pixel
    "patch": 16,  # side of the patches that the frames are cut into
    "pictures": "",  # folder of pictures to stand before, as COCO's
    "interiors": "",  # folder of GLB or OBJ scenes to stand in, as Habitat's
    "motions": "",  # folder of BVH or AMASS files to move by
    "model": "",  # SMPL file (npz) whose mesh is posed by AMASS motions
}
LAYOUT = ""  # needs no folder
LICENCE = "made by this project; the body is CC0"


def recipe(
    options: Mapping, size: tuple[int, int], seed: int, enlarge: float = 1.25
) -> recording.Recipe:
    """Returns what is to be made.

    Args:
        options: OPTIONS, changed.
        size: (height, width) of the frames.
        seed: of everything random.
        enlarge: factor on the box around a person.

    Raises:
        ValueError: something of it cannot be made; the message says what.
    """
    _check_pairs(options)
    if options["truth"] not in ("all", "numbers", "none"):
        raise ValueError(f"Option truth is all, numbers or none, not {options['truth']!r}.")
    patch = options["patch"]
    if patch < 1 or size[0] % patch or size[1] % patch:
        near = [max(round(side / max(patch, 1)), 1) * max(patch, 1) for side in size]
        raise ValueError(
            f"--size={size[0]}x{size[1]} does not divide into patches of {patch} pixels. "
            f"Nearest: {near[0]}x{near[1]}. Option patch says how large they are."
        )
    lists = {name: tuple(filter(None, options[name].split("+"))) for name in ("actions", "hands")}
    both = options["kind"] == "both"
    return recording.Recipe(
        kinds=recording.KINDS if both else (options["kind"],),
        size=tuple(size),
        seed=seed,
        enlarge=enlarge,
        **{name: options[name] for name in recording.PLAIN_OPTIONS},
        **lists,
    )


def _check_pairs(options: Mapping) -> None:
    pairs, views, instants = options["pairs"], options["views"], options["instants"]
    if pairs not in ("view", "pose", "both"):
        raise ValueError(f"Option pairs is 'view', 'pose' or 'both', not {pairs!r}.")
    if pairs == "view" and views < 2:
        raise ValueError(f"Cross-view pairs need option views=2 or more, not {views}.")
    if pairs == "pose" and instants < 2:
        raise ValueError(f"Cross-pose pairs need option instants=2 or more, not {instants}.")
    if max(views, instants) < 2:
        raise ValueError(
            f"With views={views} and instants={instants} a take has one frame and makes no pair: "
            "two views or two instants are needed."
        )


def plan(settings) -> Plan:
    """Lists the frames of every person's takes; see `datasets`."""
    made = _of(settings)
    recording.check_sources(made)
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
    return Plan(tuple(jobs), owners=owners, mark=recording.mark(made))


def read(settings, job: Job) -> Iterator[Sample]:
    """Renders the frames of a take; see `datasets`."""
    made = _of(settings)
    try:
        recorded = recording.record(made, *job.extra)
    except ValueError as error:  # of a user's motion, picture or scene that is damaged
        yield from (Sample(frame, fault=str(error)) for frame in job.frames)
        return
    for i, frame in enumerate(job.frames):
        picture, truth = recorded.frame(*divmod(i, made.views))
        silhouette = PIL.Image.fromarray((truth["part"] > 0).astype(np.uint8) * 255)
        yield Sample(frame, PIL.Image.fromarray(picture), silhouette, truth)


def owner(person: int) -> str:
    """Returns the name of a person, whose sequences are held out together."""
    return f"person{person:06d}"


def name(person: int, number: int, kind: str) -> str:
    """Returns the name of a sequence."""
    return f"{owner(person)}/take{number}/{kind}"


def _of(settings) -> recording.Recipe:
    return recipe(settings.options, settings.size, settings.seed, settings.enlarge)

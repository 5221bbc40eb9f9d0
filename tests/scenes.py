"""A person in a pose, cameras around and places, small enough for tests."""

import functools

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import cameras, rotations
from crocohuman_jax.synthetic.people import person as person_lib
from crocohuman_jax.synthetic.scenes import scene


@functools.cache
def person(seed: int = 3) -> person_lib.Person:
    return person_lib.Person(parametric_body.load(), seed)


def pose(seed: int = 3, bend: float = 0.6):
    """Returns a person in mid-step, the arms away from the trunk."""
    turns = np.tile(np.eye(3), (104, 1, 1))
    for name, vector in (
        ("upperarm01.L", (-bend, 0.5, 0)),
        ("upperarm01.R", (0.2, -0.4, 0)),
        ("lowerarm01.L", (-bend, 0, 0)),
        ("upperleg01.L", (-bend / 2, 0, 0)),
        ("lowerleg01.R", (bend / 2, 0, 0)),
    ):
        turns[parametric_body.load().bone[name]] = rotations.from_vector(np.array(vector))
    return person(seed).pose(turns)


def views(posed, azimuths=(0.2, 1.0), side: int = 96, **record) -> list[cameras.Camera]:
    """Returns cameras that show the whole person; 0 looks at the face."""
    low, high = posed.vertices.min(0), posed.vertices.max(0)
    centre = ((low + high) / 2).astype(np.float64)
    found = []
    for azimuth in azimuths:
        eye = centre + 3.2 * np.array([np.sin(azimuth), -np.cos(azimuth), 0.2])
        at = cameras.look_at(eye, centre)
        lens = (1.5 * side, 1.5 * side, side / 2, side / 2)
        found.append(cameras.Camera(lens, *at, (side, side), **record))
    return found


def place(kind: str, seed: int, seen: list[cameras.Camera], **own) -> scene.Place:
    made = scene.Place(seed, kind=kind, **own)
    made.fit(seen, 0.9)
    return made

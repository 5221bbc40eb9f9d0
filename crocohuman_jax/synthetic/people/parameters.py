"""The parameters of a posed person: those of the full body, and those of the open models."""

import numpy as np

from crocohuman_jax.synthetic.figure import open_fit, parametric
from crocohuman_jax.synthetic.graphics import rotations, surface
from crocohuman_jax.synthetic.people import person as person_lib
from crocohuman_jax.synthetic.people import smpl_person

SIDES = {"L": "left", "R": "right"}


def placement(heads: np.ndarray, turns: np.ndarray, posed: surface.Posed) -> np.ndarray:
    """Returns the translation [3] with which `parametric.Body.transforms` puts a person in place.

    Args:
        heads: [J, 3] of the bones at rest.
        turns: [J, 3, 3] rotations of the bones.
        posed: where it stands.
    """
    return posed.transforms[0, :3, 3] - (heads[0] - turns[0] @ heads[0])


def parameters(
    person: person_lib.Person | smpl_person.SmplPerson,
    turns: np.ndarray,
    posed: surface.Posed,
    side: str = "",
) -> dict[str, np.ndarray]:
    """Returns what makes a person's body again, by the names of `data.storage.synthetic_truth`.

    Args:
        person: who.
        turns: [J, 3, 3] rotations of the bones.
        posed: where it stands.
        side: "L" or "R" for the open hand of that side, "" for the open body.

    Returns:
        bones [J, 3] rotation vectors, coefficients [32], placement [3], phenotype [6], and of the
        open model, in the world: model_pose [K, 3], model_shape [10], model_translation [3].
    """
    if isinstance(person, smpl_person.SmplPerson):  # whose own parameters are the model's
        return _of_model(person, turns, posed)
    place = placement(person.heads, turns, posed)
    shape = person.coefficients
    if side:
        fitted = open_fit.fit_hand(shape, posed.skin, SIDES[side])
    else:
        fitted = open_fit.fit_body(shape, posed.skin)
    return {
        "bones": rotations.to_vector(turns),
        "coefficients": shape,
        "placement": place,
        "phenotype": np.array([person.phenotype.get(name, 0.5) for name in parametric.PHENOTYPE]),
        "model_pose": fitted.pose,
        "model_shape": fitted.betas,
        "model_translation": fitted.transl,
    }


def _of_model(person, turns, posed) -> dict[str, np.ndarray]:
    fitted = person.parameters(turns, posed)
    return {
        "bones": fitted.pose,
        "coefficients": fitted.betas,
        "placement": fitted.transl,
        "phenotype": np.zeros(len(parametric.PHENOTYPE)),
        "model_pose": fitted.pose,
        "model_shape": fitted.betas,
        "model_translation": fitted.transl,
    }

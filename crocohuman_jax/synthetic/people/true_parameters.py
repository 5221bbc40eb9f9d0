"""Returns the body parameters of a posed person, which the data set stores as ground truth.

They are those of the built-in body (104 bones) and those of the open models, which are bodies and
hands in SMPL's and MANO's format fitted to it, see `figure.open_models`.
"""

import numpy as np

from crocohuman_jax.synthetic.figure import open_fit, parametric_body
from crocohuman_jax.synthetic.graphics import rotations, surface
from crocohuman_jax.synthetic.people import person as person_lib
from crocohuman_jax.synthetic.people import smpl_person

SIDES = {"L": "left", "R": "right"}


def placement(heads: np.ndarray, turns: np.ndarray, posed: surface.Posed) -> np.ndarray:
    """Returns the translation [3] that `parametric_body.Body.transforms` needs to place a person.

    Args:
        heads: [J, 3] bone heads at rest, metres.
        turns: [J, 3, 3] rotations of the bones.
        posed: the posed person.
    """
    return posed.transforms[0, :3, 3] - (heads[0] - turns[0] @ heads[0])


def parameters(
    person: person_lib.Person | smpl_person.SmplPerson,
    turns: np.ndarray,
    posed: surface.Posed,
    side: str = "",
) -> dict[str, np.ndarray]:
    """Returns the body's parameters, under the names that `data.storage.synthetic_truth` uses.

    Args:
        person: the person.
        turns: [J, 3, 3] rotations of the bones.
        posed: the posed person.
        side: "L" or "R" fits the open hand of that side; "" fits the open body.

    Returns:
        bones [J, 3] rotation vectors, coefficients [32], placement [3] and phenotype [6]; the open
        model's model_pose [K, 3], model_shape [10] and model_translation [3], in world axes.
    """
    if isinstance(person, smpl_person.SmplPerson):  # its own parameters are the model's
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
        "phenotype": np.array(
            [person.phenotype.get(name, 0.5) for name in parametric_body.PHENOTYPE]
        ),
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
        "phenotype": np.zeros(len(parametric_body.PHENOTYPE)),
        "model_pose": fitted.pose,
        "model_shape": fitted.betas,
        "model_translation": fitted.transl,
    }

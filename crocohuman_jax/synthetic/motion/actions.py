"""Actions such as walking: each is drawn at random once and then gives postures at any times."""

import functools

import numpy as np

from crocohuman_jax.synthetic.motion import arm_actions, full_body_actions

_MAKERS = {
    "balance": full_body_actions.balance,
    "bend": full_body_actions.bend,
    "clap": arm_actions.clap,
    "cross": arm_actions.cross,
    "dance": full_body_actions.dance,
    "golf": full_body_actions.golf,
    "hips": arm_actions.hips,
    "jump": full_body_actions.jump,
    "kick": full_body_actions.kick,
    "kneel": full_body_actions.kneel,
    "lunge": full_body_actions.lunge,
    "march": functools.partial(full_body_actions.gait, march=True),
    "phone": arm_actions.phone,
    "point": arm_actions.point,
    "punch": arm_actions.punch,
    "raise_hand": arm_actions.raise_hand,
    "reach": arm_actions.reach,
    "run": functools.partial(full_body_actions.gait, run=True),
    "sit": full_body_actions.sit,
    "squat": full_body_actions.squat,
    "stand": arm_actions.stand,
    "stretch": arm_actions.stretch,
    "talk": arm_actions.talk,
    "think": arm_actions.think,
    "throw": full_body_actions.throw,
    "tpose": arm_actions.tpose,
    "turn": full_body_actions.turn,
    "type": arm_actions.type,
    "walk": full_body_actions.gait,
    "wave": arm_actions.wave,
}
ACTIONS = tuple(_MAKERS)
# Metres by which an action's arms may press into the body where they rest on it.
RESTING = {
    "clap": 0.03,
    "cross": 0.055,
    "golf": 0.06,
    "hips": 0.03,
    "kneel": 0.03,
    "phone": 0.05,
    "sit": 0.03,
    "squat": 0.02,
    "think": 0.055,
}
# Relative frequency of an action where none is requested; 1 for actions not listed.
_OFTEN = {"walk": 3, "stand": 1.5, "run": 2, "dance": 3, "reach": 2, "talk": 2, "tpose": 0.4}
WEIGHTS = np.array([_OFTEN.get(name, 1.0) for name in ACTIONS])


def draw(name: str, rng: np.random.Generator):
    """Returns a function from times [T] in seconds to a posture, see `pose_solver`.

    Raises:
        ValueError: the action is unknown.
    """
    if name not in _MAKERS:
        raise ValueError(f"Unknown action {name!r}. Known: {', '.join(ACTIONS)}.")
    return _MAKERS[name](rng)

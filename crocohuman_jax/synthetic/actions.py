"""What people do: each action is drawn once and then gives a posture for any moments."""

import functools

import numpy as np

from crocohuman_jax.synthetic import upper_body, whole_body

_MAKERS = {
    "balance": whole_body.balance,
    "bend": whole_body.bend,
    "clap": upper_body.clap,
    "cross": upper_body.cross,
    "dance": whole_body.dance,
    "golf": whole_body.golf,
    "hips": upper_body.hips,
    "jump": whole_body.jump,
    "kick": whole_body.kick,
    "kneel": whole_body.kneel,
    "lunge": whole_body.lunge,
    "march": functools.partial(whole_body.gait, march=True),
    "phone": upper_body.phone,
    "point": upper_body.point,
    "punch": upper_body.punch,
    "raise_hand": upper_body.raise_hand,
    "reach": upper_body.reach,
    "run": functools.partial(whole_body.gait, run=True),
    "sit": whole_body.sit,
    "squat": whole_body.squat,
    "stand": upper_body.stand,
    "stretch": upper_body.stretch,
    "talk": upper_body.talk,
    "think": upper_body.think,
    "throw": whole_body.throw,
    "tpose": upper_body.tpose,
    "turn": whole_body.turn,
    "type": upper_body.type,
    "walk": whole_body.gait,
    "wave": upper_body.wave,
}
ACTIONS = tuple(_MAKERS)
# Metres by which arms press into what they rest on.
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
# How often each is drawn where none is asked for; the others once.
_OFTEN = {"walk": 3, "stand": 1.5, "run": 2, "dance": 3, "reach": 2, "talk": 2, "tpose": 0.4}
WEIGHTS = np.array([_OFTEN.get(name, 1.0) for name in ACTIONS])


def draw(name: str, rng: np.random.Generator):
    """Returns a function of moments [T] in seconds to a posture, see `posture`.

    Raises:
        ValueError: an unknown action.
    """
    if name not in _MAKERS:
        raise ValueError(f"Unknown action {name!r}. Known: {', '.join(ACTIONS)}.")
    return _MAKERS[name](rng)

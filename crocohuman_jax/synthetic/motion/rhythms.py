"""Building blocks of actions: periodic functions, a relaxed stance, hands that rest on the body."""

import numpy as np

from crocohuman_jax.synthetic.motion.pose_solver import Reach

TAU = 2 * np.pi


def wave(time, period, phase=0.0):
    """Returns a smooth oscillation between 0 and 1; time and period in seconds, phase in cycles."""
    return 0.5 - 0.5 * np.cos(TAU * (time / period + phase))


def swing(time, period, phase=0.0):
    """Returns a sinusoid between -1 and 1; arguments as for `wave`."""
    return np.sin(TAU * (time / period + phase))


def hold(time, period, phase=0.0, sharp=2.5):
    """Returns an oscillation between 0 and 1 that pauses at both ends; `sharp` prolongs pauses."""
    s = np.tanh(sharp * np.sin(TAU * (time / period + phase))) / np.tanh(sharp)
    return 0.5 + 0.5 * s


class Ease:
    """A relaxed stance, from which actions start: weight on one leg, arms at rest."""

    def __init__(self, rng: np.random.Generator, weight: float = 1.0, narrow: bool = False):
        u = rng.uniform
        self.left = rng.random() < 0.5
        self.weight = weight * u(0, 1)
        self.width = u(-0.01, 0.03) if narrow else u(0.0, 0.07)
        self.stagger, self.out = u(-0.08, 0.08), u(3, 16, 2)
        self.period, self.phase = u(3.5, 7), u()
        self.arms = {
            s: (
                u(-8, 10),
                u(2, 8) + 50 * self.width,
                u(0, 28),
                u(8, 30),
                u(-10, 35),
                u(-8, 12),
                u(-6, 6),
            )
            for s in "LR"
        }
        self.turn, self.look = u(-5, 5), u(-14, 14)

    def __call__(self, time, height=0.985):
        sway = (1 if self.left else -1) * self.weight * (1 + 0.25 * swing(time, self.period))
        feet = {
            "foot.L": (self.width, self.stagger, 0, 0, self.out[0], 0),
            "foot.R": (self.width, -self.stagger, 0, 0, self.out[1], 0),
        }
        return {
            **feet,
            "pelvis": (0.028 * sway, 0, height - 0.012 * abs(sway)),
            "lean": (0, -3 * sway),
            "spine": (3, 4.5 * sway, self.turn * 0.6),
            "neck": (0, -1.5 * sway, self.look + 6 * swing(time, 1.7 * self.period, self.phase)),
            "arm.L": self.arms["L"],
            "arm.R": self.arms["R"],
        }


def on_hips() -> Reach:
    """Returns an arm pose whose hand rests on the hip."""
    return Reach(
        (0.075, 0.075, 0.1),
        "hip",
        35,
        fingers=(-0.45, 1, -0.35),
        palm=(-1, -0.4, -0.1),
        tip=(0.75, 0.1, 0.15),
    )


def on_knee() -> Reach:
    """Returns an arm pose whose hand rests on the knee."""
    return Reach(
        (-0.01, -0.06, 0.105),
        "knee",
        12,
        fingers=(-0.3, 1, -0.15),
        palm=(0, -0.1, -1),
        tip=(0.6, 0, 0.1),
    )

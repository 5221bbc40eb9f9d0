"""Actions of arms and trunk: each takes a random generator and returns a function of times."""

import numpy as np

from crocohuman_jax.synthetic.motion import full_body_actions, rhythms
from crocohuman_jax.synthetic.motion.pose_solver import Reach


def stand(rng):
    """Stands and looks around."""
    still = rhythms.Ease(rng)
    shift, depth, period = rng.uniform(), rng.uniform(15, 45), rng.uniform(3, 5)

    def posture(t):
        p = still(t)
        look = depth * rhythms.swing(t, period, shift)
        return {**p, "neck": (p["neck"][0], p["neck"][1], look), "gaze": (0.2 * look, 0)}

    return posture


def wave(rng):
    """Waves with one hand."""
    u, still = rng.uniform, rhythms.Ease(rng)
    side, period, width, up = rng.choice(["L", "R"]), u(0.7, 1.2), u(0.12, 0.3), u(0.1, 0.5)
    out = u(0.5, 0.75)

    def posture(t):
        s = rhythms.swing(t, period)
        rise = rhythms.wave(t, 5.0, 0.25)
        reach = Reach(
            (out + width * s, 0.3, up + 0.1 * rise),
            swivel=5 + 15 * rise,
            fingers=(0.45 * s, 0.1, 1),
            palm=(0, 1, 0),
        )
        return {**still(t), f"arm.{side}": reach}

    return posture


def reach(rng):
    """Reaches for something high, with one hand or both."""
    u, still = rng.uniform, rhythms.Ease(rng)
    high, period, phase = u(0.2, 0.95, 2), u(2.5, 4.5), u()
    both, side = rng.random() < 0.4, rng.choice(["L", "R"])
    out, ahead = u(-0.1, 0.6), u(0.25, 0.8)
    toe = u(0, 20)

    def posture(t):
        q = rhythms.hold(t, period, phase, 1.5)
        p = still(t)
        for k, s in enumerate("LR"):
            if both or s == side:
                p[f"arm.{s}"] = Reach(
                    (0.2 + (out - 0.2) * q, 0.15 + ahead * q, -0.7 + (0.7 + high[k]) * q),
                    wrist=(30, -20 * q, 0),
                )
        turn = 0 if both else (-18 if side == "L" else 18) * q
        p["spine"] = (3 - 9 * q, p["spine"][1], turn)
        p["neck"] = (-15 * q, 0, turn)
        for s in "LR":
            p[f"foot.{s}"] = (*p[f"foot.{s}"][:3], toe * q, *p[f"foot.{s}"][4:])
        return p

    return posture


def tpose(rng):
    """Holds both arms out."""
    u = rng.uniform
    up, period, width = u(70, 95), u(3, 5), u(0.0, 0.12)
    twist = u(0, 25)

    def posture(t):
        s = rhythms.swing(t, period)
        arm = (8, up + 8 * s, 0, 5, 10, 0, 0)
        return {
            "foot.L": (width, 0, 0, 0, 9, 0),
            "foot.R": (width, 0, 0, 0, 9, 0),
            "arm.L": arm,
            "arm.R": (8, up - 8 * s, 0, 5, 10, 0, 0),
            "spine": (3, 6 * s, twist * rhythms.swing(t, period * 1.4)),
        }

    return posture


def hips(rng):
    """Stands with the hands on the hips."""
    still, turn, period = rhythms.Ease(rng), rng.uniform(8, 25), rng.uniform(3, 5)

    def posture(t):
        p = still(t)
        s = rhythms.swing(t, period)
        return {
            **p,
            "spine": (3, p["spine"][1], turn * 0.5 * s),
            "neck": (0, 0, turn * s),
            "arm.L": rhythms.on_hips(),
            "arm.R": rhythms.on_hips(),
        }

    return posture


def cross(rng):
    """Stands with crossed arms."""
    still, period = rhythms.Ease(rng), rng.uniform(3, 5)
    over = rng.choice(["L", "R"])
    under = "R" if over == "L" else "L"

    def posture(t):
        p = still(t)
        return {
            **p,
            "neck": (0, 0, 25 * rhythms.swing(t, period)),
            f"arm.{over}": Reach(
                (-0.13, 0.235, -0.13),
                "chest",
                8,
                fingers=(-1, 0.1, 0.3),
                palm=(-0.1, -1, 0.1),
                tip=(0.4, 0, 0),
            ),
            f"arm.{under}": Reach(
                (-0.1, 0.18, -0.165),
                "chest",
                8,
                fingers=(-1, 0.0, 0.2),
                palm=(0, -1, 0.1),
                tip=(0.4, 0, 0),
            ),
        }

    return posture


def punch(rng):
    """Boxes."""
    u = rng.uniform
    lead, period = rng.choice([1, -1]), u(1.0, 1.6)

    def posture(t):
        s = rhythms.swing(t, period) * np.abs(rhythms.swing(t, period)) ** 0.3
        arms = {}
        for side, sign in (("L", 1), ("R", -1)):
            q = np.clip(sign * s, -0.2, 1)
            q = np.maximum(q, 0)
            arms[f"arm.{side}"] = Reach(
                (0.0 - 0.15 * q, 0.42 + 0.52 * q, 0.02 + 0.1 * q),
                swivel=8 + 35 * q,
                fingers=(-0.2 - 0.1 * q, 1, 0.6 - 0.6 * q),
                palm=(-0.8 + 0.6 * q, 0, -0.3 - q),
            )
        return {
            **arms,
            "foot.L": (0.03, 0.15 * lead, 0, np.maximum(0, -lead * 25 * 1.0), 15, 0),
            "foot.R": (0.03, -0.15 * lead, 0, np.maximum(0, lead * 25 * 1.0), 15, 0),
            "pelvis": (0, 0.02 * s, 0.93),
            "spine": (10, 0, -18 * s),
            "neck": (2, 0, 14 * s),
        }

    return posture


def talk(rng):
    """Talks with both hands."""
    u, still = rng.uniform, rhythms.Ease(rng)
    period, phase, both = u(1.0, 1.8), u(size=4), rng.random() < 0.7
    side = rng.choice(["L", "R"])
    out, ahead = u(0.0, 0.35), u(0.4, 0.6)

    def posture(t):
        p = still(t)
        for k, s in enumerate("LR"):
            if both or s == side:
                a, b = (
                    rhythms.swing(t, period, phase[k]),
                    rhythms.swing(t, period * 1.6, phase[2 + k]),
                )
                p[f"arm.{s}"] = Reach(
                    (out + 0.16 * b, ahead + 0.08 * a, -0.42 + 0.16 * a),
                    swivel=5,
                    wrist=(-25 + 35 * b, -8 * a, 4 * b),
                )
        p["neck"] = (
            3 * rhythms.swing(t, period),
            4 * rhythms.swing(t, 2 * period),
            p["neck"][2] * 1.5,
        )
        return p

    return posture


def clap(rng):
    """Claps."""
    u, still = rng.uniform, rhythms.Ease(rng)
    period, up, ahead = u(0.5, 0.9), u(-0.2, 0.12), u(0.27, 0.36)

    def posture(t):
        gap = 0.018 + 0.14 * rhythms.wave(t, period)
        arm = Reach(
            (gap, ahead, up),
            "chest",
            10,
            fingers=(-0.1, 0.75, 0.65),
            palm=(-1, 0, 0),
            tip=(0.8, 0, 0.12),
        )
        return {**still(t), "arm.L": arm, "arm.R": arm}

    return posture


def raise_hand(rng):
    """Raises a hand."""
    u, still = rng.uniform, rhythms.Ease(rng)
    side, period, lean = rng.choice(["L", "R"]), u(3, 5), u(0.0, 0.2)

    def posture(t):
        q = rhythms.hold(t, period, 0.1)
        arm = Reach(
            (0.25 + lean - 0.1 * q, 0.25 * (1 - q) + 0.12, 0.15 + 0.8 * q),
            swivel=5,
            wrist=(40, -5, 0),
        )
        return {**still(t), f"arm.{side}": arm}

    return posture


def stretch(rng):
    """Stretches both arms up."""
    u = rng.uniform
    period, width, way = u(3, 5), u(0.0, 0.1), rng.choice([1, -1])

    def posture(t):
        q, s = rhythms.hold(t, period, -0.1, 1.2), way * rhythms.swing(t, period * 0.7)
        arm = Reach(
            (0.42 - 0.5 * q, 0.12, 0.1 + 0.88 * q),
            swivel=15,
            fingers=(-0.25, 0, 1),
            palm=(-0.4, 0.9, 0),
        )
        return {
            "foot.L": (width, 0, 0, 0, 9, 0),
            "foot.R": (width, 0, 0, 0, 9, 0),
            "spine": (-6 * q, 20 * s * q, 0),
            "neck": (-12 * q, 10 * s * q, 0),
            "pelvis": (-0.04 * s * q, 0.02, 0.985),
            "arm.L": arm,
            "arm.R": arm,
        }

    return posture


def phone(rng):
    """Holds a phone to the ear."""
    u, still = rng.uniform, rhythms.Ease(rng)
    side, period = rng.choice(["L", "R"]), u(3, 5)
    calling = rng.random() < 0.5
    nod = u(12, 24)

    def posture(t):
        p = still(t)
        if calling:
            p[f"arm.{side}"] = Reach(
                (0.105, 0.03, 0.0),
                "head",
                0,
                fingers=(-0.2, -0.6, 0.6),
                palm=(-1, 0.2, 0),
                tip=(0.95, 0, 0.35),
            )
            p["neck"] = (3, 0, 12 * rhythms.swing(t, period))
        else:
            p[f"arm.{side}"] = Reach(
                (-0.12, 0.6, -0.2 + 0.05 * rhythms.swing(t, period)),
                swivel=0,
                fingers=(-0.35, 0.6, 0.75),
                palm=(-0.45, -0.75, 0.6),
            )
            p["neck"] = (nod + 4 * rhythms.swing(t, period), 0, 6 * rhythms.swing(t, period * 0.7))
        return p

    return posture


def type(rng):
    """Types on a keyboard."""
    u = rng.uniform
    sit, period = full_body_actions.sit(rng), u(0.7, 1.2)
    up, ahead = u(-0.5, -0.35), u(0.52, 0.7)

    def posture(t):
        p = sit(t)
        for k, s in enumerate("LR"):
            p[f"arm.{s}"] = Reach(
                (
                    -0.1 + 0.03 * rhythms.swing(t, period, 0.4 * k),
                    ahead,
                    up + 0.015 * rhythms.swing(t, period, k),
                ),
                swivel=12,
                fingers=(-0.2, 1, 0),
                palm=(0, 0, -1),
            )
        p["neck"] = (12, 0, 10 * rhythms.swing(t, 5 * period))
        return p

    return posture


def point(rng):
    """Points at something."""
    u, still = rng.uniform, rhythms.Ease(rng)
    side, period = rng.choice(["L", "R"]), u(3, 5)
    sign = 1 if side == "L" else -1
    out, up, sweep = u(-0.3, 0.8), u(-0.25, 0.4), u(0.1, 0.35)

    def posture(t):
        s = sweep * rhythms.swing(t, period)
        way = np.array([np.clip(out, -0.3, 0.8), 0.8, up])
        x, y, z = way / np.linalg.norm(way) * 0.97
        return {
            **still(t),
            "neck": (-20 * up, 0, sign * 30 * (x + s)),
            f"arm.{side}": Reach(
                (x + s, y, z), swivel=20, fingers=(x + s, y, z), palm=(-0.6, 0.3, -0.8)
            ),
        }

    return posture


def think(rng):
    """Rests the chin on a hand."""
    still, u = rhythms.Ease(rng), rng.uniform
    side, period, nod = rng.choice(["L", "R"]), u(3, 5), u(2, 10)
    other = "R" if side == "L" else "L"

    def posture(t):
        p = still(t)
        return {
            **p,
            "neck": (nod + 3 * rhythms.swing(t, period), 0, p["neck"][2]),
            f"arm.{side}": Reach(
                (0.0, 0.155, -0.105),
                "head",
                -5,
                fingers=(-0.35, -0.2, 0.9),
                palm=(-0.75, -0.65, 0.1),
                tip=(1.2, 0.5, 0.3),
            ),
            f"arm.{other}": Reach(
                (-0.05, 0.2, -0.24),
                "chest",
                8,
                fingers=(-1, 0.1, 0.2),
                palm=(0, -1, 0.1),
                tip=(0.4, 0, 0),
            ),
        }

    return posture

"""Actions of the whole body: each takes a random generator and returns a function of times."""

import numpy as np

from crocohuman_jax.synthetic.motion import rhythms
from crocohuman_jax.synthetic.motion.pose_solver import Reach


def gait(rng, run=False, march=False):
    """Walks, runs or marches."""
    u = rng.uniform
    period = u(0.62, 0.78) if run else u(0.95, 1.25)
    stride = u(0.36, 0.52) if run else u(0.24, 0.36)
    lift = u(0.28, 0.4) if run else (u(0.3, 0.4) if march else u(0.07, 0.12))
    stance = 0.38 if run else 0.6
    bend = u(75, 100) if run else u(12, 35)
    arm = u(30, 45) if run else u(16, 34)
    room = 13 if run or march else 6
    lean, phase = (u(8, 15) if run else u(0, 4)), u()
    if march:
        stride, arm, bend = 0.12, u(30, 45), u(20, 90)
    speed = 2 * stride / (stance * period) * 0.85 * (0.05 if march else 1)

    def foot(cycle):
        # On the ground the foot goes straight back; in the air it swings ahead in an arc.
        cycle = cycle % 1
        air = np.clip((cycle - stance) / (1 - stance), 0, 1)
        ground = np.clip(cycle / stance, 0, 1)
        smooth = air * air * (3 - 2 * air)
        forward = np.where(cycle < stance, stride * (1 - 2 * ground), stride * (2 * smooth - 1))
        up = lift * np.sin(np.pi * air) ** 2 * (0.6 + 0.4 * np.cos(np.pi * air))
        heel = 42 if run else 32
        push = np.clip((ground - 0.7) / 0.3, 0, 1) ** 2 * heel
        toes = np.where(cycle < stance, push, heel * (1 - smooth) - 14 * np.sin(np.pi * air) ** 2)
        strike = 0 if run else 12 * np.clip(1 - ground / 0.15, 0, 1) * (cycle < stance)
        return forward, up, toes - strike - (0 if run else 12 * smooth * (cycle >= stance))

    def posture(t):
        cycle = t / period + phase
        s = np.cos(rhythms.TAU * cycle)
        left, right = foot(cycle), foot(cycle + 0.5)
        bob = np.cos(2 * rhythms.TAU * cycle + 0.6)
        flight = np.maximum(0, np.cos(2 * rhythms.TAU * (cycle + 0.05))) * 0.06 if run else 0.0
        height = (0.9 if run else 0.955) - 0.014 * bob
        return {
            "foot.L": (-0.05, left[0], left[1], left[2], 6, 0),
            "foot.R": (-0.05, right[0], right[1], right[2], 6, 0),
            "pelvis": (0.02 * np.sin(rhythms.TAU * cycle), 0, height),
            "lift": flight,
            "path": (0, speed * t),
            "lean": (lean * 0.5, 3 * np.sin(rhythms.TAU * cycle)),
            "spine": (lean * 0.6 + 2, -3 * np.sin(rhythms.TAU * cycle), 8 * s),
            "neck": (-lean * 0.7, 0, -5 * s),
            "arm.L": (-arm * s + 3, room, 8, bend - (8 if run else 10) * s, 15, 0, 0),
            "arm.R": (arm * s + 3, room, 8, bend + (8 if run else 10) * s, 15, 0, 0),
        }

    return posture


def squat(rng):
    """Squats down and rises."""
    u = rng.uniform
    depth, period, phase, width = u(0.35, 0.52), u(2.2, 4), u(), u(0.05, 0.14)
    together = rng.random() < 0.5
    raise_ = u(60, 90)

    def posture(t):
        q = rhythms.wave(t, period, phase)
        arm = (raise_ * q + 5, 5 + 6 * q, 10, 12 + 8 * q, 20, 0, 0)
        if together:
            arm = Reach((-0.13, 0.5, -0.12), swivel=10, wrist=(20, 20, 0))
        return {
            "foot.L": (width, 0, 0, 8 * q, 22, 4),
            "foot.R": (width, 0, 0, 8 * q, 22, 4),
            "pelvis": (0, -0.28 * q * depth / 0.5, 0.98 - depth * q),
            "lean": (32 * q, 0),
            "spine": (14 * q, 0, 0),
            "neck": (-28 * q, 0, 0),
            "arm.L": arm,
            "arm.R": arm,
        }

    return posture


def sit(rng):
    """Sits."""
    u = rng.uniform
    feet = {s: (u(-0.04, 0.12), u(0.34, 0.5), u(2, 15)) for s in "LR"}
    slouch, on_lap = u(-6, 14), rng.random() < 0.6
    period, phase, look = u(3, 5), u(), u(20, 45)
    still = rhythms.Ease(rng)

    def posture(t):
        s = rhythms.swing(t, period, phase)
        arms = {
            f"arm.{k}": rhythms.on_knee()
            if on_lap
            else (25, 12, 20, 55 + 20 * rhythms.swing(t, period, 0.3), 50, 0, 0)
            for k in "LR"
        }
        p = still(t)
        return {
            **arms,
            "foot.L": (feet["L"][0], feet["L"][1], 0, 0, feet["L"][2], 0),
            "foot.R": (feet["R"][0], feet["R"][1], 0, 0, feet["R"][2], 0),
            "pelvis": (0, 0, 0.5),
            "lean": (-4 + slouch * 0.3 + 3 * s, 0),
            "spine": (6 + slouch + 5 * s, 3 * s, 8 * s),
            "neck": (-0.5 * slouch, 0, look * rhythms.swing(t, period * 1.3) + p["neck"][2] * 0.3),
        }

    return posture


def kneel(rng):
    """Kneels on one knee."""
    u = rng.uniform
    front = rng.choice(["L", "R"])
    back = "R" if front == "L" else "L"
    period, turn = u(3, 5), u(5, 20)

    def posture(t):
        s = rhythms.swing(t, period)
        return {
            f"foot.{front}": (0.03, 0.4, 0, 0, 6, 4),
            f"foot.{back}": (0.0, -0.42, 0.0, 62, 0, 0),
            "pelvis": (0, 0, 0.5),
            "lean": (4, 0),
            "spine": (8 + 4 * s, 0, turn * s),
            "neck": (0, 0, turn * s),
            f"arm.{front}": rhythms.on_knee(),
            f"arm.{back}": (5 + 10 * s, 12, 20, 25, 15, 0, 0),
        }

    return posture


def lunge(rng):
    """Lunges."""
    u = rng.uniform
    front = rng.choice(["L", "R"])
    back = "R" if front == "L" else "L"
    period, phase, far, deep = u(2.4, 4), u(), u(0.38, 0.52), u(0.2, 0.36)
    arms = {s: (u(-20, 70), u(10, 60), u(-20, 40), u(5, 95), u(0, 40), 0, 0) for s in "LR"}
    on_hips = rng.random() < 0.4

    def posture(t):
        q = 0.15 + 0.85 * rhythms.wave(t, period, phase)
        p = {f"arm.{s}": rhythms.on_hips() if on_hips else arms[s] for s in "LR"}
        return {
            **p,
            f"foot.{front}": (0, far * q, 0, 0, 5, 0),
            f"foot.{back}": (0, -far * q, 0, 50 * q, 2, 0),
            "pelvis": (0, 0.06 * q, 0.98 - deep * q),
            "lean": (6 * q, 0),
        }

    return posture


def kick(rng):
    """Kicks."""
    u = rng.uniform
    side = rng.choice(["L", "R"])
    other = "R" if side == "L" else "L"
    sign = 1 if side == "L" else -1
    high, period, phase = u(0.2, 0.7), u(1.6, 2.6), u()

    def posture(t):
        q = rhythms.wave(t, period, phase)
        back = np.maximum(0, -rhythms.swing(t, period, phase + 0.05))
        return {
            f"foot.{side}": (
                0.02,
                0.75 * q - 0.25 * back,
                high * q**1.5 + 0.1 * back,
                20 * q + 25 * back,
                5,
                0,
            ),
            f"foot.{other}": (-0.02, 0, 0, 0, 14, 0),
            "pelvis": (-sign * 0.07, 0, 0.95),
            "lean": (-10 * q, sign * 4),
            "spine": (12 * q, -sign * 5, sign * 15 * (0.5 - q)),
            f"arm.{other}": (30 * q, 38, 20, 30, 15, 0, 0),
            f"arm.{side}": (-22 * q, 35, 20, 28, 15, 0, 0),
        }

    return posture


def jump(rng):
    """Jumps with raised arms."""
    u = rng.uniform
    period, high, tuck = u(1.3, 1.8), u(0.15, 0.4), u(0, 0.25)
    out, reach = u(0, 60), u(75, 135)

    def posture(t):
        cycle = (t / period) % 1
        crouch = _bump(cycle, 0.22, 0.12) + 0.8 * _bump(cycle, 0.86, 0.09)
        air = np.clip((cycle - 0.36) / 0.4, 0, 1)
        fly = 4 * air * (1 - air)
        arm = (reach * fly - 40 * _bump(cycle, 0.22, 0.12) + 10, 12 + out * fly, 10, 20, 15, 0, 0)
        up, down = tuck * fly, 40 * np.sin(np.pi * air) ** 2
        return {
            "foot.L": (0.04, 0, up, down * 0.8, 8, 0),
            "foot.R": (0.04, 0, up, down * 0.8, 8, 0),
            "pelvis": (0, -0.1 * crouch, 0.985 - 0.25 * crouch),
            "lift": high * fly,
            "lean": (22 * crouch, 0),
            "spine": (12 * crouch, 0, 0),
            "neck": (-14 * crouch, 0, 0),
            "arm.L": arm,
            "arm.R": arm,
        }

    return posture


def bend(rng):
    """Bends down."""
    u, still = rng.uniform, rhythms.Ease(rng, 0.3)
    deep, period, phase, knees = u(0.6, 1), u(2.5, 4.5), u(), u(0.03, 0.25)

    def posture(t):
        q = rhythms.wave(t, period, phase) * deep
        p = still(t)
        arm = (68 * q + 4, 3 + 14 * q, 10, 12 + 15 * (1 - q), 20, 0, 0)
        p["pelvis"] = (p["pelvis"][0], -0.2 * q, 0.985 - knees * q)
        return {
            **p,
            "lean": (52 * q, p["lean"][1] * (1 - q)),
            "spine": (46 * q + 3, 0, 0),
            "neck": (-15 * q, 0, p["neck"][2]),
            "arm.L": arm,
            "arm.R": arm,
        }

    return posture


def balance(rng):
    """Balances on one leg."""
    u = rng.uniform
    up_side = rng.choice(["L", "R"])
    other = "R" if up_side == "L" else "L"
    sign = 1 if up_side == "L" else -1
    high, ahead, period, arm = u(0.25, 0.5), u(0.1, 0.3), u(2.5, 4), u(40, 90)

    def posture(t):
        q, s = rhythms.wave(t, 2 * period), rhythms.swing(t, period)
        return {
            f"foot.{up_side}": (0.0, ahead * q, 0.08 + high * q, 15, 8, 10),
            f"foot.{other}": (-0.09, 0, 0, 0, 8, 0),
            "pelvis": (-sign * 0.1, 0, 0.965),
            "lean": (0, -sign * 3),
            "spine": (4, sign * 4 + 4 * s, 0),
            "arm.L": (10, arm + 10 * s, 10, 15, 10, 0, 0),
            "arm.R": (10, arm - 10 * s, 10, 15, 10, 0, 0),
        }

    return posture


def turn(rng):
    """Turns around."""
    still, way = rhythms.Ease(rng, 0.2, True), rng.choice([1, -1])
    period, far = rng.uniform(3.2, 4.5), rng.uniform(120, 240)

    def posture(t):
        p = still(t, 0.97)
        steps = 3
        share = t / period
        for s, phase in (("L", 0.0), ("R", 0.5)):
            up = np.maximum(0, rhythms.swing(t, period / steps, phase)) ** 2
            forth, out = (
                0.03 * rhythms.swing(t, period / steps, phase + 0.25),
                rhythms.swing(t, period / steps, phase),
            )
            p[f"foot.{s}"] = (0.0, forth, 0.08 * up, 18 * up, 8 + 8 * way * out, 0)
        p["heading"] = way * far * share
        p["neck"] = (0, 0, way * 25)
        p["spine"] = (3, 0, way * 12)
        return p

    return posture


def dance(rng):
    """Dances."""
    u = rng.uniform
    beat = u(0.9, 1.4)

    def mix(amplitude):
        k, phase = rng.integers(1, 3, 2), u(size=2)
        a = amplitude * u(0.5, 1)
        return lambda t: (
            a
            * (
                0.7 * rhythms.swing(t, 2 * beat / k[0], phase[0])
                + 0.3 * rhythms.swing(t, 2 * beat / k[1], phase[1])
            )
        )

    hips, bob, turn, side, nod = mix(0.06), mix(0.05), mix(24), mix(16), mix(10)
    arms = {s: [mix(0.35) for _ in range(3)] for s in "LR"}
    middle = {s: (u(0.25, 0.6), u(0.2, 0.5), u(-0.4, 0.5)) for s in "LR"}
    wrists = {s: (mix(50), mix(30)) for s in "LR"}
    step, width, spin = u(0.0, 0.16), u(0.03, 0.12), u(-25, 25)

    def posture(t):
        p = {}
        for s, phase in (("L", 0.0), ("R", 0.5)):
            up = np.maximum(0, rhythms.swing(t, 2 * beat, phase))
            p[f"foot.{s}"] = (
                width,
                0.1 * rhythms.swing(t, 4 * beat, phase),
                step * up**2,
                25 * up,
                14,
                5,
            )
            m, a = middle[s], arms[s]
            p[f"arm.{s}"] = Reach(
                (m[0] + a[0](t), m[1] + 0.6 * a[1](t), m[2] + a[2](t)),
                swivel=10,
                wrist=(wrists[s][0](t), wrists[s][1](t), 0),
            )
        p["pelvis"] = (hips(t), 0, 0.93 + bob(t))
        p["lean"] = (0, -60 * hips(t))
        p["heading"] = spin * rhythms.swing(t, 4 * beat)
        p["spine"] = (4, side(t), turn(t))
        p["neck"] = (nod(t), -0.4 * side(t), -0.5 * turn(t))
        return p

    return posture


def _bump(cycle, at, width):
    """Returns a bell curve around `at` in a cycle of length 1, which wraps around."""
    return np.exp(-((((cycle - at + 0.5) % 1 - 0.5) / width) ** 2))


def throw(rng):
    """Throws something."""
    u = rng.uniform
    side = rng.choice(["L", "R"])
    other = "R" if side == "L" else "L"
    sign = 1 if side == "L" else -1
    period = u(1.8, 2.6)

    def posture(t):
        q = rhythms.wave(t, period)
        return {
            f"foot.{other}": (0.02, 0.22, 0, 0, 8, 0),
            f"foot.{side}": (0.05, -0.2, 0, 35 * q, 22, 0),
            "pelvis": (0, -0.08 + 0.14 * q, 0.93),
            "spine": (-6 + 20 * q, 0, sign * (28 - 50 * q)),
            "neck": (0, 0, -sign * (22 - 40 * q)),
            f"arm.{side}": Reach(
                (0.62 - 0.5 * q, -0.25 + 1.05 * q, 0.35 + 0.5 * np.sin(np.pi * q) - 0.4 * q),
                swivel=25,
                wrist=(20, -35 + 60 * q, 0),
            ),
            f"arm.{other}": (60 - 70 * q, 20, 20, 30 + 30 * q, 20, 0, 0),
        }

    return posture


def golf(rng):
    """Swings a club."""
    u = rng.uniform
    period, way = u(1.8, 2.8), rng.choice([1, -1])
    high = u(0.25, 0.5)

    def posture(t):
        s = way * rhythms.swing(t, period)
        arms = {}
        for side, sign in (("L", 1), ("R", -1)):
            x = sign * (0.32 * s) - 0.08
            arms[f"arm.{side}"] = Reach(
                (x, 0.32 - 0.05 * s**2, -0.28 + high * s**2 - 0.02 * sign),
                "chest",
                10,
                wrist=(20, 0, -5),
            )
        return {
            **arms,
            "foot.L": (0.08, 0, 0, 10 * np.maximum(0, -s), 12, 0),
            "foot.R": (0.08, 0, 0, 10 * np.maximum(0, s), 12, 0),
            "pelvis": (0.05 * s, -0.03, 0.93),
            "lean": (14, 0),
            "spine": (16, 0, 32 * s),
            "neck": (8, 0, -22 * s),
        }

    return posture

"""Colours the skin: complexion, eyes, brows, lips, nails, knuckles, beard stubble, wrinkles."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.graphics import noise
from crocohuman_jax.synthetic.people import fabric

TONES = (
    "f3d3c0",
    "ecc4aa",
    "e0b092",
    "cf9c79",
    "ba855f",
    "9b6b49",
    "84573b",
    "68422e",
    "533225",
    "3f261c",
)
IRISES = ("4a2c17", "5d3a1c", "3a2213", "6b5a33", "55683f", "4f6f86", "6f8794", "2a1a10")
HAIR = (
    "0d0b0b",
    "15100e",
    "221712",
    "33211a",
    "4a2f20",
    "6a452a",
    "8a6238",
    "b48a52",
    "cfae7a",
    "7a3219",
    "8f8b87",
    "c9c5c0",
)
EYE_RADIUS = 0.0142


@dataclasses.dataclass(frozen=True)
class Complexion:
    """Colours of a person's skin and face, linear RGB.

    Attributes:
        tone: index into TONES, light to dark.
        skin, lips, brows, iris, nails, beard, lids: [3].
        age: the phenotype's, in [0, 1]; wrinkles appear above 0.72.
        brow_width: metres.
        brow_weight, beard_weight, lid_weight, freckles: opacity, in [0, 1].
        offset: [3] offset into the noise.
    """

    tone: int
    skin: np.ndarray
    lips: np.ndarray
    brows: np.ndarray
    iris: np.ndarray
    nails: np.ndarray
    beard: np.ndarray
    lids: np.ndarray
    age: float
    brow_width: float
    brow_weight: float
    beard_weight: float
    lid_weight: float
    freckles: float
    offset: np.ndarray


def draw(
    rng: np.random.Generator, tone: int, female: bool, age: float, hair: np.ndarray, beard: float
) -> Complexion:
    """Returns a random complexion.

    Args:
        rng: random generator.
        tone: index into TONES.
        female: whether make-up and nail polish are drawn.
        age: the phenotype's, in [0, 1].
        hair: [3] linear RGB.
        beard: density in [0, 1].
    """
    skin = fabric.linear(TONES[tone]) * rng.uniform(0.9, 1.1) * (0.8 + 0.045 * tone)
    skin = skin * rng.uniform(0.96, 1.04, 3)
    made_up = female and rng.random() < 0.45
    natural = skin * np.array([0.86, 0.50, 0.50]) + np.array([0.02, 0.0, 0.004])
    lipstick = fabric.linear(("8e1f2c", "b23a48", "7a2a3a", "a85a52", "c2607a")[rng.integers(5)])
    lips = natural + (lipstick - natural) * (rng.uniform(0.4, 0.9) if made_up else 0)
    nails = skin * np.array([1.12, 0.98, 0.98]) + 0.03
    if female and rng.random() < 0.35:
        nails = fabric.draw_colour(rng)
    dark = tone >= 5
    iris = fabric.linear(IRISES[rng.choice([0, 1, 2, 7]) if dark else rng.integers(len(IRISES))])
    lids = skin * (0.45 if made_up else 0.72) * np.array([1.0, 0.86, 0.86])
    return Complexion(
        tone=tone,
        skin=skin,
        lips=lips,
        brows=np.minimum(hair * 0.7 + 0.004, 0.5 * skin),
        iris=iris,
        nails=np.clip(nails, 0, 0.9),
        beard=np.minimum(hair * 0.9 + 0.003, 0.6),
        lids=lids,
        age=age,
        brow_width=rng.uniform(0.0016, 0.0024) if female else rng.uniform(0.0024, 0.0036),
        brow_weight=rng.uniform(0.65, 0.95),
        beard_weight=beard,
        lid_weight=rng.uniform(0.4, 0.9) if made_up else 0.35,
        freckles=rng.uniform(0.3, 0.8) if tone < 3 and rng.random() < 0.2 else 0.0,
        offset=rng.uniform(0, 2, 3).astype(np.float32),
    )


class Skin:
    """Shades the skin of a person with a complexion."""

    def __init__(self, body: parametric_body.Body, complexion: Complexion):
        self.look = complexion
        self.eyes = np.stack([body.heads[body.bone[f"eye.{s}"]] for s in "LR"])
        self.hand = _HandLines(body)

    def shade(self, p: np.ndarray, attributes: np.ndarray, part: np.ndarray, parts: dict):
        """Returns albedo [P, 3] and gloss [P] of skin.

        Args:
            p: [P, 3] positions on the template, metres.
            attributes: [P, A], see `anatomy`.
            part: [P] number of the body part; parts: {name: number}.
        """
        look = self.look
        mottle = noise.fbm(p + look.offset, 55.0, 3)[:, None] - 0.5
        colour = look.skin * (1 + mottle * np.float32([0.22, 0.30, 0.34]))
        blood = attributes[:, anatomy.BLOOD, None] * (0.75 + mottle)
        colour *= 1 + blood * np.float32([0.06, -0.30, -0.26])
        hands = (part == parts["hand_l"]) | (part == parts["hand_r"])
        hollow = (attributes[:, anatomy.HOLLOW] * np.where(hands, 0.45, 1))[:, None]
        colour *= 1 - hollow * np.float32([0.42, 0.58, 0.60])
        gloss = np.full(len(p), 0.16, np.float32)
        # Skin beside the edge of cloth or hair is darker, as in its shade.
        near = np.clip(1 + attributes[:, anatomy.EDGE] / 0.012, 0, 1)
        colour *= (1 - 0.45 * near * near)[:, None]
        if hands.any():
            colour[hands] = self._hands(p[hands], attributes[hands], colour[hands])
        head = np.nonzero(part == parts["head"])[0]
        if len(head):
            colour[head], gloss[head] = self._head(
                p[head], attributes[head], colour[head], gloss[head]
            )
        eyes = np.nonzero(part == parts["eyes"])[0]
        if len(eyes):
            colour[eyes], gloss[eyes] = self._eyes(p[eyes])
        return np.clip(colour, 0, 1).astype(np.float32), gloss

    def _hands(self, p, attributes, colour):
        look = self.look
        lines, veins = self.hand.creases(p)
        palm = np.clip(attributes[:, anatomy.BLOOD] * 1.4 - 0.3, 0, 1)
        light = np.clip(0.30 - look.skin.mean(), 0, 0.2) * 1.2  # palms of dark hands are lighter
        colour = colour + light * palm[:, None] * np.float32([1.0, 0.72, 0.60])
        colour *= (1 - 0.42 * lines)[:, None]
        colour *= 1 - veins[:, None] * np.float32([0.16, 0.09, 0.05])
        nail = np.clip((attributes[:, anatomy.NAILS] - 0.45) / 0.12, 0, 1)[:, None]
        rim = np.clip(1 - np.abs(attributes[:, anatomy.NAILS] - 0.45) / 0.2, 0, 1)[:, None]
        colour *= 1 - 0.25 * rim
        return colour + (look.nails - colour) * nail

    def _head(self, p, attributes, colour, gloss):
        look = self.look
        x, z = np.abs(p[:, 0]), p[:, 2]
        eye = self.eyes[0]
        front = p[:, 1] < -0.085
        if look.freckles:
            spots = noise.noise(p + look.offset, 420.0) > 0.74
            where = spots & front & (np.abs(z - 0.70) < 0.03)
            colour *= (1 - 0.3 * look.freckles * where)[:, None]
        if look.age > 0.72:
            colour *= (1 - (look.age - 0.72) * 1.3 * self._wrinkles(x, p, front))[:, None]
        # Lids: shadow around the eye, and a dark line of lashes at the rim.
        across, up = x - eye[0], z - eye[2]
        ring = np.sqrt((across / 0.0225) ** 2 + ((up - 0.0035) / 0.0135) ** 2)
        shade = np.clip(1.35 - ring, 0, 1) * front * look.lid_weight
        colour += (look.lids - colour) * shade[:, None]
        lid = np.sqrt((across / 0.0158) ** 2 + (up / 0.0078) ** 2)
        lash = np.clip(1 - np.abs(lid - 0.98) / 0.17, 0, 1) * np.where(up > -0.001, 0.9, 0.3)
        colour *= (1 - lash * front * (0.55 + 0.4 * look.lid_weight))[:, None]
        arch = eye[2] + 0.0205 - 7.0 * (x - 0.036) ** 2
        hairs = noise.noise(p * np.float32([0.5, 1, 1]) + look.offset, 700.0)
        width = look.brow_width * np.clip(1.5 - (x - 0.012) / 0.04, 0.5, 1.4)
        brow = np.clip((width - np.abs(z - arch)) / 0.0016 + 0.5, 0, 1)
        brow *= np.clip((x - 0.011) / 0.004, 0, 1) * np.clip((0.055 - x) / 0.006, 0, 1) * front
        brow *= look.brow_weight * np.clip(0.55 + 0.9 * hairs, 0, 1)
        colour += (look.brows - colour) * brow[:, None]
        lips = np.clip((attributes[:, anatomy.LIPS] - 0.35) / 0.3, 0, 1)
        tint = look.lips * (1 - 0.35 * attributes[:, anatomy.HOLLOW])[:, None]
        colour += (tint - colour) * (0.85 * lips)[:, None]
        seam = np.clip(1 - np.abs(z - 0.6605 - 1.2 * x * x) / 0.0012, 0, 1) * (x < 0.023) * front
        colour *= (1 - 0.6 * seam)[:, None]
        if look.beard_weight > 0:
            field = attributes[:, anatomy.BEARD] + 0.007 * (hairs - 0.5)
            beard = np.clip(field / 0.008, 0, 1) * look.beard_weight
            beard *= np.clip(0.8 + 0.35 * hairs, 0, 1) * (1 - lips)
            colour += (look.beard * (0.6 + 0.8 * hairs[:, None]) - colour) * beard[:, None]
        return colour, gloss + 0.12 * lips

    def _wrinkles(self, x, p, front):
        z = p[:, 2]
        wave = noise.noise(p + self.look.offset, 40.0) * 0.006
        forehead = np.clip(np.sin((z + wave) * 2 * np.pi / 0.0085) * 2 - 1, 0, 1)
        forehead *= 0.6 * front * np.clip((z - 0.757) / 0.006, 0, 1) * (z < 0.79) * (x < 0.045)
        fold = np.abs(x - 0.020 - 0.45 * np.clip(0.688 - z, 0, 1)) / 0.0016
        fold = np.clip(1 - fold, 0, 1) * front * (z < 0.688) * (z > 0.648)
        crow = np.clip(np.sin(np.arctan2(z - 0.728, x - 0.047) * 11 + wave * 300) * 2 - 1, 0, 1)
        crow *= (np.hypot(z - 0.728, x - 0.055) < 0.012) * (x > 0.049) * 0.8
        return np.clip(forehead + fold + crow, 0, 1)

    def _eyes(self, p):
        centre = np.where(p[:, :1] > 0, self.eyes[0], self.eyes[1])
        d = p - centre
        d = d / np.linalg.norm(d, axis=1, keepdims=True)
        angle = np.arccos(np.clip(-d[:, 1], -1, 1))[:, None]
        white = np.float32([0.76, 0.73, 0.70]) * (1 - 0.35 * np.clip((angle - 0.7) / 0.6, 0, 1))
        streak = noise.noise(d * np.float32([1, 0.2, 1]), 9.0)[:, None]
        iris = self.look.iris * (0.7 + 0.9 * streak) * np.clip((0.56 - angle) / 0.12, 0.25, 1)
        colour = np.where(angle < 0.52, iris, white)
        colour = np.where(angle < 0.21, 0.006, colour)
        shadow = 1 - 0.55 * np.clip((d[:, 2:] - 0.12) / 0.25, 0, 1)
        colour = colour * shadow
        glint = np.linalg.norm(d - np.float32([0.17, -0.95, 0.25]), axis=1) < 0.085
        colour[glint] = 0.95
        return colour, np.full(len(p), 0.7, np.float32)


class _HandLines:
    """Creases of finger joints and palm, and veins, as functions of template positions."""

    def __init__(self, body: parametric_body.Body):
        head = {name: body.heads[number] for name, number in body.bone.items()}
        self.palm = anatomy.palm_direction(body)
        joints, axes = [], []
        for finger in range(1, 6):
            chain = [head[f"finger{finger}-{k}.L"] for k in (1, 2, 3)]
            for k in range(3):
                step = chain[min(k + 1, 2)] - chain[min(k, 1)]
                joints.append(chain[k])
                axes.append(step / np.linalg.norm(step))
        self.joints = np.array(joints, np.float32)
        self.axes = np.array(axes, np.float32)
        self.wrist = head["wrist.L"].astype(np.float32)
        self.along = _unit(head["finger3-1.L"] - head["wrist.L"])
        self.across = _unit(head["finger2-1.L"] - head["finger5-1.L"])

    def creases(self, p):
        """Returns the darkness of creases and of veins at p [P, 3], [P] each in [0, 1]."""
        p = np.abs(p) * np.sign(p) * np.where(p[:, :1] < 0, [-1, 1, 1], [1, 1, 1])
        p = p.astype(np.float32)
        squares = (self.joints**2).sum(1) - 2 * p @ self.joints.T
        near = np.argmin(squares, 1)
        d = p - self.joints[near]
        along = (d * self.axes[near]).sum(1)
        radius = np.sqrt(np.maximum((d * d).sum(1) - along * along, 0))
        palmar = (d @ self.palm.astype(np.float32)) / np.maximum(radius, 1e-4)
        reach = np.clip((0.016 - radius) / 0.004, 0, 1)
        back = np.clip(-palmar, 0, 1) * reach
        # Three arcs over each knuckle; one or two straight folds on the palm's side.
        bent = along + 25 * radius * radius
        arcs = np.clip(np.cos(2 * np.pi * bent / 0.0034) * 1.6 - 0.6, 0, 1)
        arcs *= np.exp(-((along / 0.0045) ** 2))
        first = near % 3 == 0
        knuckle = np.where(first, 0.35, 0.9) * arcs * back
        fold = np.clip(1 - np.abs(np.abs(along) - 0.0012) / 0.0009, 0, 1)
        fold *= np.clip(palmar * 1.5, 0, 1) * reach * ~first
        q = p - self.wrist
        u, v = q @ self.along.astype(np.float32), q @ self.across.astype(np.float32)
        side = q @ self.palm.astype(np.float32)
        inside = np.clip(side / 0.006, 0, 1) * (u > 0.012) * (u < 0.092)
        palm = np.maximum.reduce(
            [
                _line(np.hypot(u - 0.012, v - 0.030) - 0.034),
                _line(u - 0.066 + 6 * (v + 0.004) ** 2 - 0.25 * v) * (v > -0.018),
                _line(u - 0.082 - 0.22 * v + 5 * (v - 0.01) ** 2) * (v < 0.02),
            ]
        )
        lines = np.clip(knuckle + 0.8 * fold + 0.55 * palm * inside, 0, 1)
        wander = noise.noise(p, 60.0) * 0.012
        vein = np.clip(1 - np.abs(np.sin((v + wander + 0.1 * u) * np.pi / 0.016)) / 0.16, 0, 1)
        vein *= np.clip(-side / 0.006, 0, 1) * np.clip(u / 0.02, 0, 1) * (u < 0.08)
        return lines, vein * 0.8


def _unit(v):
    return v / np.linalg.norm(v)


def _line(distance):
    return np.clip(1 - np.abs(distance) / 0.0016, 0, 1)

"""Draws hair and beards: where they grow, how far they stand off, and the colour of strands."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.graphics import noise
from crocohuman_jax.synthetic.people import fabric, skin

STYLES = ("shaved", "crop", "short", "side part", "curls", "afro", "bob", "long", "ponytail", "bun")
_SHARE = {True: (1, 1, 3, 3, 5, 3, 9, 11, 7, 5), False: (7, 10, 14, 8, 5, 3, 1, 2, 1, 1)}
SCALP = np.array([0.0, -0.05, 0.745])  # the centre of the cranium


@dataclasses.dataclass
class Hair:
    """Hair of the head and the face.

    Attributes:
        style: one of STYLES or "bald".
        colour: [3] linear RGB.
        field: [V] metres inside the hairline; offset: [V] distance from the scalp, metres.
        beard: [V] metres inside the beard, -0.06 without one.
        beard_name, beard_weight: style, and density in [0, 1].
        curl: in [0, 1], 0 for straight strands.
        length: lowest height of loose hair on the template, metres, or None.
        thick: thickness of loose hair, metres.
        shift: [3] offset into the noise that draws the strands.
    """

    style: str
    colour: np.ndarray
    field: np.ndarray
    offset: np.ndarray
    beard: np.ndarray
    beard_name: str
    beard_weight: float
    curl: float
    length: float | None
    thick: float
    shift: np.ndarray

    def shade(self, p: np.ndarray, loose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns albedo [P, 3] and gloss [P] of hair.

        Args:
            p: [P, 3] positions on the template.
            loose: [P] bool, whether the hair hangs freely, with strands straight down.
        """
        if self.curl > 0.5:
            strands = noise.fbm(p + self.shift, 130.0, 2)
        else:
            d = p - SCALP.astype(np.float32)
            # Strands run from the crown down the sides, so the noise is stretched that way.
            angle = np.arctan2(d[:, 0], -d[:, 1])
            height = np.where(loose, d[:, 2], np.hypot(d[:, 0], d[:, 1]) - d[:, 2])
            q = np.stack([angle * 0.09, 0.12 * height, 0.05 * angle], 1)
            strands = noise.fbm(q.astype(np.float32) + self.shift, 300.0, 2)
        tone = 0.40 + 1.2 * strands
        gloss = np.clip(0.12 + 0.4 * (strands - 0.4), 0, 1) * (1 - 0.6 * self.curl)
        return np.clip(self.colour * tone[:, None], 0, 1).astype(np.float32), gloss


def draw(
    body: parametric_body.Body, rng: np.random.Generator, female: bool, age: float, tone: int
) -> Hair:
    """Returns random hair for a sex, an age (as in the phenotype) and an index of skin tone."""
    share = np.array(_SHARE[female], float)
    style = STYLES[rng.choice(len(STYLES), p=share / share.sum())]
    if not female and rng.random() < 0.06 + 0.3 * max(0.0, age - 0.75):
        style = "bald"
    grey = rng.random() < np.clip((age - 0.74) * 4, 0, 0.85)
    # The darker the skin, the fewer light hair colours are drawn.
    count = 10 if tone < 3 else 6 if tone < 5 else 4
    codes = skin.HAIR[-2:] if grey else skin.HAIR[:count]
    colour = fabric.linear(codes[int(len(codes) * rng.random() ** 1.2)]) * rng.uniform(0.8, 1.2)
    if rng.random() < 0.02:
        colour = fabric.linear(("a8324a", "3c5fa8", "7a4fa0", "2f8a7a")[rng.integers(4)])
    shift = rng.uniform(0, 2, 3).astype(np.float32)
    field = hairline(body, rng, female, age, style)
    offset, curl = _volume(body, rng, style, field, shift)
    beard, name, weight = _beard(body, rng, female)
    lengths = {"bob": (0.605, 0.635), "long": (0.34, 0.52)}
    thick = float(rng.uniform(0.008, 0.02))
    length = float(rng.uniform(*lengths[style])) if style in lengths else None
    return Hair(style, colour, field, offset, beard, name, weight, curl, length, thick, shift)


def hairline(body, rng, female, age, style) -> np.ndarray:
    """Returns the distance inside the hairline in metres, [V], negative outside."""
    a, t = anatomy.of(body), body.template
    if style == "bald":
        return np.full(len(t), -0.06, np.float32)
    x, y, z = t.T
    recede = 0.0 if female else rng.uniform(0, 0.018) + 0.04 * max(0.0, age - 0.8)
    # Above the forehead, in front of the ears, down to the nape.
    fringe = style in ("bob", "long", "side part", "short") and rng.random() < 0.35
    top = (
        (0.772 if fringe else 0.797) + 0.35 * recede - 2.5 * np.maximum(np.abs(x) - 0.035, 0) ** 1.5
    )
    top = top + recede * np.clip(1 - (np.abs(np.abs(x) - 0.035) / 0.022) ** 2, 0, 1)
    line = np.interp(
        y, [-0.15, -0.105, -0.083, -0.066, -0.03, 0.03], [0, 0.0, -0.03, -0.075, -0.09, -0.13]
    )
    field = z - (top + line)
    field = np.where(a.member["head"] | a.member["neck"], field, -0.06)
    ear = body.masks["ears"]
    return np.minimum(field, (0.4 - ear) * 0.03).astype(np.float32)


def _volume(body, rng, style, field, shift):
    t = body.template
    up = np.clip((t[:, 2] - 0.74) / 0.08, 0, 1)
    lumps = noise.fbm(t + shift, 45.0, 2)
    thick = {
        "bald": 0.0,
        "shaved": 0.0015,
        "crop": 0.006,
        "short": 0.014,
        "side part": 0.018,
        "curls": 0.026,
        "afro": 0.055,
        "bob": 0.014,
        "long": 0.012,
        "ponytail": 0.007,
        "bun": 0.007,
    }[style] * rng.uniform(0.8, 1.2)
    curl = {"curls": 1.0, "afro": 1.0}.get(style, 0.0)
    rough = 0.8 if curl else 0.3
    offset = thick * (1 + rough * (lumps - 0.5) * 2)
    if style in ("short", "crop"):
        offset = offset * (0.45 + 0.7 * up)
    if style == "side part":
        side = np.where(rng.random() < 0.5, 1, -1) * t[:, 0]
        offset = offset * (0.4 + 0.8 * up) * (1 - 0.7 * np.exp(-(((side - 0.03) / 0.006) ** 2)))
    edge = np.clip(field / max(0.02, 0.6 * thick), 0, 1)
    return (offset * np.sqrt(edge)).astype(np.float32), curl


def _beard(body, rng, female):
    """Returns the field of a beard, its name and its density."""
    t = body.template
    none = np.full(len(t), -0.06, np.float32)
    if female or rng.random() < 0.45:
        return none, "none", 0.0
    name = ("stubble", "stubble", "full", "full", "goatee", "moustache")[rng.integers(6)]
    x, y, z = np.abs(t[:, 0]), t[:, 1], t[:, 2]
    a = anatomy.of(body)
    # Below a line from the ear's root to the corner of the mouth, above the throat.
    upper = np.interp(y, [-0.16, -0.145, -0.12, -0.07], [0.683, 0.683, 0.672, 0.715]) - z
    lower = z - np.interp(y, [-0.14, -0.05], [0.600, 0.655])
    lip = np.hypot(x / 1.6, z - 0.660) - 0.0115
    field = np.minimum.reduce([upper, lower, lip, -0.062 - y])
    moustache = np.minimum.reduce([lip, 0.030 - x, z - 0.662, 0.683 - z, -0.13 - y])
    if name == "goatee":
        field = np.minimum(field, np.maximum(0.026 - x, 0))
    if name == "moustache":
        field = moustache
    field = np.where(a.member["head"] | a.member["neck"], field, -0.06)
    weight = {"stubble": 0.4, "full": 0.95}.get(name, 0.9)
    return field.astype(np.float32), name, weight

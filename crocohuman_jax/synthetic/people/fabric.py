"""Draws random fabrics and gives each position on a garment, in metres, a colour of the pattern."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import noise

# Colours of clothes: (relative frequency, sRGB as six hexadecimal digits).
COLOURS = (
    (10, "1b1b1e"),
    (6, "2e3036"),
    (5, "55585e"),
    (4, "8b8d91"),
    (3, "b9babb"),
    (8, "e9e8e4"),
    (4, "f4f1e8"),
    (8, "1f2a44"),
    (4, "33486b"),
    (3, "5c7ba3"),
    (3, "9db8d2"),
    (3, "c9b48f"),
    (3, "a58d64"),
    (2, "6b5137"),
    (2, "463527"),
    (3, "5a6044"),
    (2, "2f4a38"),
    (1, "3f7a5c"),
    (2, "6e1f2b"),
    (2, "a32a2f"),
    (1, "c8443a"),
    (1, "d98a3d"),
    (2, "d8a93a"),
    (2, "c98d8f"),
    (1, "e3b9bd"),
    (1, "8f7aa3"),
    (1, "4f3d66"),
    (1, "2b7a86"),
    (1, "3a6fc4"),
    (1, "d9cf5a"),
)
DENIM = ("1d2536", "2b3b57", "3f5778", "64809f", "8ba3ba", "15171c")
LEATHER = ("17120f", "2a1b13", "4a2e1c", "6d4526", "8d6236", "1a1a1c", "d8d4cc", "e8e6e2", "7a1f22")
KINDS = (
    "plain",
    "heather",
    "stripes",
    "pinstripes",
    "check",
    "plaid",
    "dots",
    "floral",
    "camo",
    "knit",
    "ribbed",
    "denim",
    "print",
    "leather",
    "gradient",
    "blocks",
)


def linear(code: str) -> np.ndarray:
    """Returns the linear RGB, [3] float32, of an sRGB colour in six hexadecimal digits."""
    value = np.array([int(code[k : k + 2], 16) for k in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def draw_colour(rng: np.random.Generator, codes: tuple[str, ...] = ()) -> np.ndarray:
    """Returns a random colour of clothes, [3] linear RGB: of `codes`, or of COLOURS if empty."""
    if not codes:
        share = np.array([count for count, _ in COLOURS], float)
        codes = [COLOURS[rng.choice(len(COLOURS), p=share / share.sum())][1]]
    colour = linear(codes[rng.integers(len(codes))])
    return np.clip(colour * rng.uniform(0.85, 1.15, 3) ** 0.5 * rng.uniform(0.85, 1.12), 0, 0.92)


@dataclasses.dataclass(frozen=True)
class Fabric:
    """A cloth.

    Attributes:
        kind: one of KINDS.
        colours: [3, 3] linear RGB: background, pattern, and a third.
        size: period of the pattern, metres.
        gloss: in [0, 1].
        offset: [3] offset into the noise, metres.
    """

    kind: str
    colours: np.ndarray
    size: float
    gloss: float
    offset: np.ndarray

    def colour(self, u: np.ndarray, v: np.ndarray, canonical: np.ndarray) -> np.ndarray:
        """Returns the albedo [P, 3] float32 in [0, 1].

        Args:
            u, v: [P] metres around and along the garment.
            canonical: [P, 3] positions on the template, metres.
        """
        ground, figure, third = self.colours
        weight = _WEIGHTS[self.kind](self, u, v, canonical)
        if isinstance(weight, tuple):
            first, second = weight
            result = ground + (figure - ground) * first[:, None]
            result += (third - result) * second[:, None]
        else:
            result = ground + (figure - ground) * weight[:, None]
        grain = noise.noise(canonical + self.offset, 260.0)
        result *= (0.90 + 0.2 * grain)[:, None]
        return np.clip(result, 0, 1).astype(np.float32)


def apart(cloth: Fabric, skin: np.ndarray) -> Fabric:
    """Returns the cloth with skin-like colours made bluer, so that nobody looks bare; skin: [3]."""
    ground, figure, third = cloth.colours
    cooler = [_cool(colour) if _alike(colour, skin) else colour for colour in (ground, figure)]
    if cloth.kind in _SHADES:
        cooler[1] = figure * (cooler[0] / ground)
    colours = np.clip(np.stack([*cooler, third]), 0, 1).astype(np.float32)
    return dataclasses.replace(cloth, colours=colours)


def _alike(colour, skin):
    return np.abs(np.log((colour + 0.01) / (skin + 0.01))).max() < 0.5


def _cool(colour):
    return colour.mean() * np.float32([0.55, 0.85, 1.45])


def draw(rng: np.random.Generator, kinds: tuple[str, ...]) -> Fabric:
    """Returns a random cloth of one of the kinds; repeat a kind to make it likelier."""
    kind = kinds[rng.integers(len(kinds))]
    ground = draw_colour(rng, {"denim": DENIM, "leather": LEATHER}.get(kind, ()))
    figure, third = draw_colour(rng), draw_colour(rng)
    if kind in _SHADES:
        low = 0.75 if kind == "leather" else 0.45
        figure = ground * rng.uniform(low, 0.85) if ground.mean() > 0.05 else ground * 1.7 + 0.015
    elif np.abs(figure - ground).sum() < 0.25:
        figure = np.where(ground.mean() > 0.25, figure * 0.25, 0.55 + 0.4 * figure)
    if kind == "camo":
        ground, figure, third = (linear(c) for c in _CAMO[rng.integers(len(_CAMO))])
    low, high = _SIZES.get(kind, (0.02, 0.05))
    gloss = {"leather": rng.uniform(0.3, 0.6), "denim": 0.06}.get(kind, rng.uniform(0.02, 0.12))
    return Fabric(
        kind,
        np.stack([ground, figure, third]).astype(np.float32),
        float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        float(gloss),
        rng.uniform(0, 0.1, 3).astype(np.float32),
    )


# Kinds whose pattern is a shade of the background.
_SHADES = ("heather", "knit", "ribbed", "denim", "leather", "gradient")
_CAMO = (
    ("4a4e35", "2b2c22", "7a7355"),
    ("8d7f63", "5e4f3a", "b3a683"),
    ("5d646b", "2c3036", "8b949b"),
)
_SIZES = {
    "stripes": (0.018, 0.07),
    "pinstripes": (0.010, 0.022),
    "check": (0.010, 0.03),
    "plaid": (0.04, 0.12),
    "dots": (0.018, 0.05),
    "floral": (0.03, 0.08),
    "camo": (0.05, 0.10),
    "knit": (0.007, 0.014),
    "ribbed": (0.006, 0.01),
    "print": (0.09, 0.15),
    "blocks": (0.2, 0.4),
}


def _band(x, width, soft=0.06):
    """Returns 1 in soft-edged bands that cover the fraction `width` of each unit of x, else 0."""
    centred = np.abs(x - np.floor(x) - 0.5) * 2
    return np.clip((width - centred) / (2 * soft) + 0.5, 0, 1)


def _plain(f, u, v, p):
    return np.zeros_like(u)


def _heather(f, u, v, p):
    return np.clip(noise.noise((p + f.offset) * (1, 1, 0.3), 420.0) * 1.3 - 0.2, 0, 1)


def _stripes(f, u, v, p):
    return _band(v / f.size, 0.5)


def _pinstripes(f, u, v, p):
    return _band(u / f.size, 0.16, 0.1) * 0.8


def _check(f, u, v, p):
    a, b = _band(u / f.size, 0.5), _band(v / f.size, 0.5)
    return 0.5 * (a + b)


def _plaid(f, u, v, p):
    a, b = u / f.size, v / f.size
    wide = 0.5 * (_band(a, 0.55, 0.03) + _band(b, 0.55, 0.03))
    thin = np.maximum(_band(a + 0.5, 0.1, 0.03), _band(b + 0.5, 0.1, 0.03))
    return wide, thin * 0.7


def _dots(f, u, v, p):
    row = np.floor(v / f.size)
    a = u / f.size + 0.5 * (row % 2)
    square = (a - np.floor(a) - 0.5) ** 2 + (v / f.size - row - 0.5) ** 2
    return np.clip((0.085 - square) / 0.03 + 0.5, 0, 1)


def _floral(f, u, v, p):
    """Five-petalled flowers on a jittered grid, with leaves of noise between them."""
    a, b = u / f.size, v / f.size
    i, j = np.floor(a), np.floor(b)
    shake = noise.noise(np.stack([i * 3.7, j * 5.3, i + j], 1), 1.37) - 0.5
    x, y = a - i - 0.5 + 0.3 * shake, b - j - 0.5 - 0.3 * shake
    radius = np.sqrt(x * x + y * y)
    petals = 0.27 + 0.09 * np.cos(5 * np.arctan2(y, x) + 9 * shake)
    flower = np.clip((petals - radius) / 0.04 + 0.5, 0, 1)
    leaves = np.clip((noise.fbm(p + f.offset, 3.2 / f.size, 2) - 0.62) / 0.03, 0, 1)
    heart = np.clip((0.09 - radius) / 0.03 + 0.5, 0, 1)
    return flower * (1 - heart), np.maximum(heart, leaves * (1 - flower))


def _camo(f, u, v, p):
    first = noise.fbm(p + f.offset, 1.6 / f.size, 3)
    second = noise.fbm(p + f.offset + 0.37, 1.6 / f.size, 3)
    return np.clip((first - 0.52) / 0.015, 0, 1), np.clip((second - 0.56) / 0.015, 0, 1)


def _knit(f, u, v, p):
    a, b = u / f.size, v / f.size
    stitch = np.abs(a - np.floor(a) - 0.5) + b
    return np.clip(0.5 + 0.5 * np.sin(2 * np.pi * stitch), 0, 1) * 0.7


def _ribbed(f, u, v, p):
    return 0.35 + 0.35 * np.cos(2 * np.pi * u / f.size)


def _denim(f, u, v, p):
    """Diagonal weave with washed-out patches."""
    weave = 0.5 + 0.5 * np.sin(2 * np.pi * (u + v) / 0.006)
    wash = noise.fbm(p + f.offset, 14.0, 2)
    return np.clip(0.35 * weave + 1.1 * (wash - 0.35), 0, 1)


def _print(f, u, v, p):
    """A mark on the chest: a ring, lines of letters or a picture; the cloth's offset decides."""
    x, y = p[:, 0] / f.size, (p[:, 2] - 0.40) / f.size
    front = (p[:, 1] < -0.06) & (np.abs(p[:, 0]) < 0.14)
    choice = int(f.offset[0] * 1000) % 3
    if choice == 0:
        radius = np.sqrt(x * x + y * y)
        mark = (radius < 0.55) & ~((radius > 0.32) & (radius < 0.42))
    elif choice == 1:
        # Two lines of letter-sized blocks, some of them missing.
        a, b = x * 7, y * 4
        letter = noise.noise(np.stack([np.floor(a), np.floor(b), 0 * a], 1) * 1.7, 0.731) > 0.35
        gap = (a - np.floor(a) > 0.2) & (b - np.floor(b) > 0.25)
        mark = letter & gap & (np.abs(x) < 0.62) & (np.abs(y) < 0.25)
    else:
        mark = (np.abs(x) < 0.6) & (np.abs(y) < 0.42)
        picture = noise.fbm(p + f.offset, 5.0 / f.size, 2)
        return (mark & front).astype(np.float32), (mark & front & (picture > 0.5)) * 1.0
    return (mark & front).astype(np.float32)


def _leather(f, u, v, p):
    return np.clip(noise.fbm(p + f.offset, 60.0, 2) * 1.2 - 0.1, 0, 1)


def _gradient(f, u, v, p):
    return np.clip(0.5 + v / 0.7, 0, 1)


def _blocks(f, u, v, p):
    return (v > 0.36 - f.size * 0.3).astype(np.float32)


_WEIGHTS = {
    "plain": _plain,
    "heather": _heather,
    "stripes": _stripes,
    "pinstripes": _pinstripes,
    "check": _check,
    "plaid": _plaid,
    "dots": _dots,
    "floral": _floral,
    "camo": _camo,
    "knit": _knit,
    "ribbed": _ribbed,
    "denim": _denim,
    "print": _print,
    "leather": _leather,
    "gradient": _gradient,
    "blocks": _blocks,
}

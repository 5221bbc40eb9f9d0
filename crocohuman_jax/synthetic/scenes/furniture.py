"""Makes the objects of a place: furniture, plants, trees, houses, and their materials.

Each function that makes an object takes a random generator and returns the object's parts: around
the origin, standing on the ground, with the front towards -y.
"""

import numpy as np

from crocohuman_jax.synthetic.graphics import primitives


def wood(rng) -> dict:
    """Returns color, grain, stretch and gloss of a random wood."""
    woods = ((0.42, 0.26, 0.13), (0.27, 0.14, 0.07), (0.55, 0.40, 0.24), (0.14, 0.08, 0.05))
    color = np.array(woods[rng.integers(4)]) * rng.uniform(0.8, 1.15)
    return {"color": color, "grain": 0.22, "stretch": (3.0, 40.0, 40.0), "gloss": 0.2}


def lacquer(rng) -> dict:
    """Returns color, grain and gloss of a painted surface: often white, grey or black."""
    return {"color": muted(rng, 0.04, 0.75), "grain": 0.03, "gloss": float(rng.uniform(0.1, 0.5))}


def cloth(rng) -> dict:
    """Returns color, grain, stretch and gloss of upholstery."""
    return {"color": muted(rng, 0.04, 0.5), "grain": 0.12, "stretch": (60.0,) * 3, "gloss": 0.0}


def muted(rng, low: float, high: float, strongest: float = 0.5) -> np.ndarray:
    """Returns a colour [3] of brightness in [low, high], rarely saturated (at most `strongest`)."""
    level = np.exp(rng.uniform(np.log(low), np.log(high)))
    hue = rng.uniform(0, 2 * np.pi)
    strength = strongest * rng.beta(1.2, 2.5)
    around = np.cos(hue + np.array([0, -2.1, 2.1]))
    return np.clip(level * (1 + strength * around), 0.01, 0.9)


def _legs(width, depth, height, thick, look):
    x, y = width / 2 - thick, depth / 2 - thick
    return [
        primitives.box((thick, thick, height), (i, j, 0), **look) for i in (-x, x) for j in (-y, y)
    ]


def table(rng):
    """Returns the parts of a table."""
    width, depth, height = rng.uniform((0.9, 0.6, 0.42), (1.7, 0.9, 0.78))
    look = wood(rng) if rng.random() < 0.6 else lacquer(rng)
    return [
        primitives.box((width, depth, 0.04), (0, 0, height - 0.04), **look),
        *_legs(width, depth, height - 0.04, 0.06, look),
    ]


def chair(rng):
    """Returns the parts of a chair."""
    look, seat = (wood(rng) if rng.random() < 0.6 else lacquer(rng)), cloth(rng)
    back = rng.uniform(0.38, 0.55)
    return [
        *_legs(0.44, 0.44, 0.43, 0.04, look),
        primitives.box((0.44, 0.44, 0.05), (0, 0, 0.43), **seat),
        *(primitives.box((0.04, 0.04, back), (x, 0.2, 0.48), **look) for x in (-0.2, 0.2)),
        primitives.box((0.38, 0.03, back * 0.55), (0, 0.2, 0.48 + back * 0.45), **seat),
    ]


def stool(rng, height: float):
    """Returns the parts of a stool; `height` in metres."""
    look, side = (wood(rng) if rng.random() < 0.6 else lacquer(rng)), rng.uniform(0.34, 0.46)
    return [
        *_legs(side, side, height - 0.04, 0.05, look),
        primitives.box((side, side, 0.04), (0, 0, height - 0.04), **look),
    ]


def sofa(rng):
    """Returns the parts of a sofa."""
    width, look = rng.uniform(0.9, 2.1), cloth(rng)
    seats = max(1, round(width / 0.75))
    cushion = {**look, "color": look["color"] * rng.uniform(0.85, 1.2)}
    each = (width - 0.36) / seats
    at = (np.arange(seats) - (seats - 1) / 2) * each
    return [
        primitives.box((width, 0.85, 0.3), (0, 0, 0.06), **look),
        primitives.box((width, 0.2, 0.5), (0, 0.33, 0.36), **look),
        *(
            primitives.box((0.17, 0.85, 0.26), (x, 0, 0.36), **look)
            for x in (0.085 - width / 2, width / 2 - 0.085)
        ),
        *(primitives.box((each - 0.02, 0.62, 0.13), (x, -0.1, 0.36), **cushion) for x in at),
    ]


def shelf(rng):
    """Returns the parts of a shelf with books."""
    width, height, levels = rng.uniform(0.7, 1.5), rng.uniform(1.0, 2.1), int(rng.integers(3, 6))
    look = wood(rng) if rng.random() < 0.5 else lacquer(rng)
    parts = [
        primitives.box((0.03, 0.3, height), (x, 0, 0), **look) for x in (-width / 2, width / 2)
    ]
    parts.append(primitives.box((width, 0.015, height), (0, 0.14, 0), **look))
    for level in range(levels + 1):
        z = 0.05 + (height - 0.08) * level / levels
        parts.append(primitives.box((width, 0.29, 0.025), (0, 0, z), **look))
        x = -width / 2 + 0.04
        while level < levels and x < width / 2 - 0.2:
            thick = rng.uniform(0.04, 0.2)
            size = (thick, rng.uniform(0.14, 0.2), rng.uniform(0.5, 0.85) * height / levels)
            if rng.random() < 0.75:
                book = primitives.box(
                    size, (x + thick / 2, 0, z + 0.025), color=muted(rng, 0.05, 0.6, 0.9)
                )
                parts.append(book)
            x += thick + 0.01
    return parts


def cabinet(rng):
    """Returns the parts of a cabinet."""
    width, depth, height = rng.uniform((0.6, 0.38, 0.5), (1.6, 0.55, 1.9))
    look = wood(rng) if rng.random() < 0.5 else lacquer(rng)
    doors, knob = max(1, round(width / 0.5)), muted(rng, 0.03, 0.5)
    each = width / doors
    parts = [primitives.box((width, depth, height), **look)]
    for x in (np.arange(doors) - (doors - 1) / 2) * each:
        front = {**look, "color": look["color"] * 1.06}
        parts.append(
            primitives.box(
                (each - 0.02, 0.02, height - 0.12), (x, -depth / 2 - 0.01, 0.08), **front
            )
        )
        handle = (x + each * 0.35, -depth / 2 - 0.035, height * 0.5)
        parts.append(primitives.box((0.02, 0.03, 0.12), handle, color=knob, gloss=0.6))
    return parts


def bed(rng):
    """Returns the parts of a bed."""
    sheet, look = cloth(rng), wood(rng)
    width = rng.uniform(0.9, 1.7)
    pale = {**sheet, "color": muted(rng, 0.5, 0.75, 0.2)}
    return [
        primitives.box((width, 2.0, 0.28), (0, 0, 0.05), **look),
        primitives.box((width, 0.06, 0.9), (0, 1.0, 0), **look),
        primitives.box((width - 0.04, 1.94, 0.2), (0, 0, 0.33), **pale),
        primitives.box((width, 1.3, 0.06), (0, -0.35, 0.5), **sheet),
        *(
            primitives.box((0.5, 0.35, 0.12), (x, 0.72, 0.52), **pale)
            for x in (-width / 4, width / 4)
        ),
    ]


def lamp(rng):
    """Returns the parts of a standing lamp."""
    height, metal = rng.uniform(1.3, 1.7), {"color": muted(rng, 0.03, 0.4), "gloss": 0.5}
    shade = {"color": muted(rng, 0.5, 0.85, 0.3), "grain": 0.03}
    return [
        primitives.turned([(0.15, 0), (0.15, 0.03)], **metal),
        primitives.turned([(0.015, 0.03), (0.015, height)], **metal),
        primitives.turned([(0.22, height), (0.14, height + 0.28)], **shade),
    ]


def plant(rng):
    """Returns the parts of a potted plant."""
    size, pot = rng.uniform(0.6, 1.5), lacquer(rng)
    wide = rng.uniform(0.11, 0.2)
    leaf = np.array([0.07, 0.16, 0.045]) * rng.uniform(0.6, 1.6)
    parts = [primitives.turned([(wide * 0.7, 0), (wide, 0.3)], **pot)]
    parts.append(primitives.turned([(0.02, 0.3), (0.015, size * 0.8)], color=(0.16, 0.1, 0.06)))
    for _ in range(rng.integers(4, 8)):
        at = np.array([*rng.normal(0, 0.12, 2) * size, rng.uniform(0.5, 1.0) * size + 0.1])
        radii = rng.uniform(0.09, 0.2, 3) * size
        parts.append(
            primitives.blob(
                rng, radii, at, leaf * rng.uniform(0.7, 1.4), 0.4, grain=0.4, gloss=0.15
            )
        )
    return parts


def crates(rng):
    """Returns the parts of a pile of crates."""
    card = np.array([0.42, 0.28, 0.16]) * rng.uniform(0.7, 1.1)
    parts, z = [], 0.0
    for _ in range(rng.integers(1, 4)):
        size = rng.uniform((0.3, 0.3, 0.22), (0.6, 0.5, 0.45))
        one = primitives.box(size, (*rng.normal(0, 0.03, 2), z), color=card, grain=0.08)
        parts += primitives.place([one], (0, 0), rng.normal(0, 0.2))
        z += size[2]
    return parts


def screen(rng):
    """Returns the parts of a television on a stand."""
    width, stand = rng.uniform(0.9, 1.5), lacquer(rng)
    return [
        primitives.box((width * 1.1, 0.4, 0.45), **stand),
        primitives.box(
            (width, 0.04, width * 0.56), (0, 0.05, 0.53), color=(0.015, 0.015, 0.018), gloss=0.8
        ),
        primitives.box((width * 0.3, 0.2, 0.09), (0, 0.05, 0.45), color=(0.03, 0.03, 0.03)),
    ]


ALONG_WALLS = (shelf, cabinet, sofa, bed, screen, table, shelf)
ANYWHERE = (chair, plant, lamp, crates, table, chair)


def tree(rng):
    """Returns the parts of a tree."""
    tall, bark = rng.uniform(3.0, 6.5), np.array([0.13, 0.09, 0.06]) * rng.uniform(0.7, 1.5)
    leaf = np.array([0.07, 0.12, 0.03]) * rng.uniform(0.6, 1.5)
    if rng.random() < 0.15:
        leaf = np.array([0.3, 0.13, 0.03]) * rng.uniform(0.7, 1.2)
    trunk = rng.uniform(0.09, 0.2)
    parts = [
        primitives.turned(
            [(trunk * 1.4, 0), (trunk, 0.3), (trunk * 0.5, tall * 0.8)],
            color=bark,
            grain=0.4,
            stretch=(18.0, 18.0, 3.0),
        )
    ]
    for _ in range(rng.integers(4, 8)):
        at = [*rng.normal(0, 0.12 * tall, 2), tall * rng.uniform(0.55, 0.95)]
        radii = rng.uniform(0.14, 0.26, 3) * tall
        leaves = leaf * rng.uniform(0.75, 1.3)
        parts.append(primitives.blob(rng, radii, at, leaves, 0.35, grain=0.6, stretch=(9.0,) * 3))
    return parts


def conifer(rng):
    """Returns the parts of a conifer."""
    tall, leaf = rng.uniform(2.5, 7.0), np.array([0.035, 0.07, 0.035]) * rng.uniform(0.7, 1.5)
    levels = [(1 - k / 5, 0.12 + 0.17 * k) for k in range(5)]
    cones = [
        primitives.turned(
            [(0.3 * tall * r * 0.75, z * tall), (0.01, (z + 0.26) * tall)],
            color=leaf * rng.uniform(0.85, 1.15),
            grain=0.6,
            stretch=(14.0, 14.0, 5.0),
        )
        for r, z in levels
    ]
    return [primitives.turned([(0.12, 0), (0.08, tall * 0.3)], color=(0.1, 0.07, 0.05)), *cones]


def bush(rng):
    """Returns the parts of a bush."""
    leaf, wide = np.array([0.07, 0.11, 0.035]) * rng.uniform(0.6, 1.6), rng.uniform(0.4, 0.9)
    return [
        primitives.blob(
            rng,
            wide * rng.uniform(0.6, 1.0, 3),
            [*rng.normal(0, wide * 0.4, 2), wide * 0.45],
            leaf * rng.uniform(0.8, 1.25),
            0.4,
            grain=0.7,
            stretch=(12.0,) * 3,
        )
        for _ in range(rng.integers(2, 5))
    ]


def rock(rng):
    """Returns the parts of a rock."""
    grey = muted(rng, 0.12, 0.35, 0.15)
    return [primitives.blob(rng, rng.uniform(0.25, 0.7, 3), (0, 0, 0.05), grey, 0.2, grain=0.35)]


def bench(rng):
    """Returns the parts of a bench."""
    look, iron = wood(rng), {"color": (0.04, 0.04, 0.045), "gloss": 0.4}
    slats = [
        primitives.box((1.6, 0.1, 0.035), (0, y, 0.43), **look) for y in (-0.18, -0.06, 0.06, 0.18)
    ]
    backs = [primitives.box((1.6, 0.03, 0.1), (0, 0.26, z), **look) for z in (0.58, 0.72)]
    feet = [primitives.box((0.05, 0.45, 0.43), (x, 0, 0), **iron) for x in (-0.65, 0.65)]
    stays = [primitives.box((0.05, 0.04, 0.45), (x, 0.24, 0.4), **iron) for x in (-0.65, 0.65)]
    return [*slats, *backs, *feet, *stays]


def lamppost(rng):
    """Returns the parts of a lamp post."""
    tall, metal = rng.uniform(3.2, 5.0), {"color": muted(rng, 0.03, 0.2), "gloss": 0.4}
    return [
        primitives.turned([(0.12, 0), (0.09, 0.5), (0.045, 0.55), (0.035, tall)], **metal),
        primitives.turned([(0.1, tall), (0.2, tall + 0.35)], color=(0.7, 0.68, 0.6), gloss=0.5),
        primitives.turned([(0.22, tall + 0.35), (0.02, tall + 0.5)], **metal),
    ]


def bollard(rng):
    """Returns the parts of a bollard."""
    color = muted(rng, 0.04, 0.5)
    return [primitives.turned([(0.09, 0), (0.08, 0.8), (0.04, 0.9)], color=color, gloss=0.3)]


def fence(rng):
    """Returns the parts of a fence."""
    look, width = wood(rng), rng.uniform(2.0, 4.0)
    posts = np.arange(0, width, 0.14) - width / 2
    rails = [primitives.box((width, 0.04, 0.08), (0, 0.03, z), **look) for z in (0.3, 0.8)]
    return [*(primitives.box((0.09, 0.025, 1.05), (x, 0, 0.04), **look) for x in posts), *rails]


def planter(rng):
    """Returns the parts of a planter."""
    stone = muted(rng, 0.2, 0.5, 0.15)
    return [
        primitives.box((1.2, 0.6, 0.5), color=stone),
        *primitives.place(bush(rng)[:2], (0, 0, 0.3), 0.0),
    ]


def house(rng):
    """Returns the parts of a house with 2 to 5 storeys and rows of windows at front and back."""
    width, depth, floors = rng.uniform(7, 14), rng.uniform(6, 9), int(rng.integers(2, 6))
    wall, storey = muted(rng, 0.15, 0.6, 0.35), 3.0
    tall = floors * storey + 0.8
    glass = {"color": (0.05, 0.06, 0.075), "gloss": 0.9, "grain": 0.3, "stretch": (0.6,) * 3}
    trim = {"color": np.minimum(wall * 1.4, 0.8)}
    parts = [
        primitives.box((width, depth, tall), color=wall, grain=0.08, stretch=(3.0,) * 3),
        primitives.box(
            (width + 0.5, depth + 0.5, 0.3), (0, 0, tall), color=muted(rng, 0.05, 0.3, 0.5)
        ),
    ]
    count = int(width / 2.2)
    each = width / count
    for level in range(floors):
        for x in (np.arange(count) - (count - 1) / 2) * each:
            z = 0.9 + level * storey
            for y in (-depth / 2, depth / 2):
                parts.append(primitives.box((1.3, 0.06, 1.7), (x, y, z - 0.1), **trim))
                parts.append(primitives.box((1.1, 0.12, 1.5), (x, y, z), **glass))
    return parts


IN_TOWN = (bench, lamppost, bollard, planter, tree, bollard, bush)
IN_THE_COUNTRY = (tree, tree, conifer, bush, bush, rock, bench, fence)

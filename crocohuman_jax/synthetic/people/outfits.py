"""Draws outfits: which garments go together, how they layer, and what is sewn on them."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy
from crocohuman_jax.synthetic.people import accessories, fabric, skirts
from crocohuman_jax.synthetic.people import garments as garments_lib


@dataclasses.dataclass
class Outfit:
    """What a person wears, from the skin outwards.

    Attributes:
        garments: those cut from the body, and those with a mesh of their own (field None).
        pieces: the meshes of the latter; a piece's layer is its garment's index plus one.
        skirt: the skirt, or None; its mesh is the last of the pieces.
        folds: [V] heights of cloth folds, in [-1, 1].
        covered: names of body parts that the pieces hide entirely, such as feet in shoes.
    """

    garments: list
    pieces: list
    skirt: skirts.Skirt | None
    folds: np.ndarray
    covered: tuple[str, ...] = ()

    def add(self, name: str, role: str, cloth: fabric.Fabric, pieces: list, details=()) -> None:
        """Adds a garment with meshes of its own, made for the current `layer`."""
        self.garments.append(
            garments_lib.Garment(name, role, None, None, cloth, frozenset(details))
        )
        self.pieces += pieces

    @property
    def layer(self) -> int:
        """The layer number of the garment that is added next."""
        return len(self.garments) + 1


def draw(body, rest, heads, rng, female, kind, hair, skin) -> Outfit:
    """Returns a random outfit that covers chest and hips; it includes loose or tied hair.

    Colours too similar to the skin's colour `skin`, [3] linear RGB, are changed.
    """
    tailor = garments_lib.Tailor(body, rest, heads, rng, female)
    outfit = Outfit([], [], None, tailor.folds)
    skirted = female and rng.random() < 0.36
    skirt = None
    if skirted:
        skirt = _skirted(outfit, tailor)
    else:
        _trousered(outfit, tailor)
    if rng.random() < 0.28:
        name = tailor.choose(list(garments_lib.JACKETS))
        hem = skirt[1] - 0.01 if skirted else rng.uniform(-0.03, 0.04)
        outfit.garments += tailor.jacket(name, hem)
    _footwear(outfit, tailor, skirted)
    _head(outfit, tailor, hair)
    _hands(outfit, tailor, kind)
    if skirt:
        cloth, waist, hem, flare, waves, name = skirt
        outfit.skirt = skirts.make(tailor, waist, hem, flare, waves, outfit.layer)
        outfit.add(name, "skirt", cloth, [outfit.skirt.piece])
    for garment in outfit.garments:
        if garment.role in ("top", "legs", "collar", "skirt"):
            garment.fabric = fabric.apart(garment.fabric, skin)
    return outfit


def _trousered(outfit, tailor):
    """Adds trousers or shorts, and a top over them or tucked into them."""
    rng, female = tailor.rng, tailor.female
    names = ["jeans", "jeans", "trousers", "trousers", "joggers", "shorts", "shorts"]
    names += ["jeans", "leggings", "leggings", "capris"] if female else []
    name = tailor.choose(names)
    tucked = rng.random() < 0.3 and name not in ("leggings", "joggers")
    waist = rng.uniform(0.13, 0.19)
    legs = tailor.bottom(name, waist, tucked)
    tops = ["t-shirt"] * 5 + ["long-sleeve", "shirt", "shirt", "sweater", "hoodie", "polo"]
    tops += ["blouse", "blouse", "tank top", "long-sleeve"] if female else ["tank top"]
    if tucked:
        tops = [top for top in tops if top not in ("sweater", "hoodie", "tank top")]
        top = tailor.tuck(tailor.top(tailor.choose(tops), waist - 0.05), waist)
        outfit.garments += [top[0], legs, *top[1:]]
    else:
        outfit.garments += [legs, *tailor.top(tailor.choose(tops), rng.uniform(-0.02, 0.07))]


def _skirted(outfit, tailor):
    """Adds a top and tights or shorts; returns what `draw` needs to make the skirt or dress."""
    rng = tailor.rng
    dress = rng.random() < 0.5
    waist = rng.uniform(0.17, 0.21) if dress else rng.uniform(0.14, 0.19)
    hem = (rng.uniform(-0.30, -0.20), rng.uniform(-0.45, -0.36), rng.uniform(-0.66, -0.52))
    hem = hem[rng.choice(3, p=[0.3, 0.45, 0.25])]
    if rng.random() < 0.35:
        outfit.garments.append(tailor.tights())
    else:
        outfit.garments.append(tailor.underneath(max(hem + 0.06, -0.16)))
    kinds = ("plain", "plain", "floral", "floral", "dots", "plaid", "check", "stripes", "denim")
    cloth = fabric.draw(rng, kinds)
    tops = ("t-shirt", "blouse", "blouse", "long-sleeve", "tank top", "shirt")
    name = tailor.choose(("t-shirt", "blouse", "tank top", "long-sleeve") if dress else tops)
    top = tailor.top(name, waist - 0.05, cloth if dress else None)
    outfit.garments += tailor.tuck(top, waist)
    flare = tailor.choose((0.03, 0.08, 0.15, 0.22, 0.32))
    waves = int(rng.integers(6, 13))
    return cloth, waist, hem, flare, waves, "dress" if dress else "skirt"


def _footwear(outfit, tailor, skirted):
    """Adds shoes or boots, with or without socks, or leaves the feet bare."""
    rng, body = tailor.rng, tailor.body
    if rng.random() < 0.07:
        outfit.garments.append(
            dataclasses.replace(tailor.socks(-2.0), name="bare feet", role="none", field=None)
        )
        return
    styles = ["sneakers"] * 5 + ["leather shoes"] * 2 + ["boots", "boots"]
    styles += ["flats", "flats", "heels"] if tailor.female else []
    style = tailor.choose(styles)
    if rng.random() < 0.6 and style in ("sneakers", "leather shoes") and not skirted:
        outfit.garments.insert(0, tailor.socks(rng.uniform(-0.70, -0.56)))
    if style == "sneakers":
        cloth = fabric.draw(rng, ("plain", "plain", "leather", "blocks"))
    else:
        cloth = fabric.draw(rng, ("leather",))
    if style == "boots":
        outfit.garments.insert(0, tailor.shaft(rng.uniform(-0.66, -0.46), cloth))
    toe = {"sneakers": 0.1, "boots": 0.2, "leather shoes": 0.5, "flats": 0.3, "heels": 0.8}[style]
    pieces = accessories.shoes(body, tailor.rest, toe, outfit.layer)
    outfit.add(style, "shoe", cloth, pieces, (style,))
    outfit.covered = ("foot_l", "foot_r")


def _head(outfit, tailor, hair):
    """Adds loose or tied hair, glasses and hats."""
    rng, body, rest = tailor.rng, tailor.body, tailor.rest
    cloth = fabric.draw(rng, ("plain",))
    if hair.style in ("long", "bob"):
        pieces = accessories.tresses(body, rest, hair.length, hair.thick, outfit.layer)
        outfit.add("loose hair", "hair", cloth, pieces)
    if hair.style == "ponytail":
        sizes = rng.uniform(0.12, 0.26), rng.uniform(0.02, 0.032), rng.random()
        pieces = accessories.ponytail(body, rest, *sizes, outfit.layer)
        outfit.add("ponytail", "hair", cloth, pieces)
    if hair.style == "bun":
        pieces = accessories.bun(body, rest, rng.uniform(0.026, 0.04), rng.random(), outfit.layer)
        outfit.add("bun", "hair", cloth, pieces)
    if rng.random() < 0.16:
        frame = dataclasses.replace(cloth, colours=cloth.colours * 0.3, gloss=0.6)
        outfit.add(
            "glasses", "plain", frame, accessories.glasses(body, rest, rng.random(), outfit.layer)
        )
    if rng.random() < 0.12 and hair.style not in ("afro", "bun", "curls"):
        cap = rng.random() < 0.55
        hat = tailor.hat(cap)
        outfit.garments.append(hat)
        if cap:
            pieces = accessories.brim(body, rest, outfit.layer)
            outfit.add("visor", "plain", hat.fabric, pieces)


_METAL = ("c9a14a", "b8bcc2", "8d9096", "c08a6a")


def _hands(outfit, tailor, kind):
    """Adds gloves, rings, watches and bracelets; jewellery is likelier in close-ups of hands."""
    rng, body, rest, heads = tailor.rng, tailor.body, tailor.rest, tailor.heads
    often = 1.0 if kind == "hand" else 0.4
    if rng.random() < 0.04:
        outfit.garments.append(tailor.gloves())
        return
    metal = fabric.linear(tailor.choose(_METAL))
    cloth = fabric.draw(rng, ("plain",))
    gold = dataclasses.replace(cloth, colours=np.stack([metal] * 3), gloss=0.9)
    for side in "LR":
        for finger in (2, 3, 4, 5):
            if rng.random() < (0.16 if finger == 4 else 0.05) * often:
                pieces = accessories.ring(body, rest, heads, finger, side, outfit.layer)
                outfit.add("ring", "plain", gold, pieces)
        if rng.random() < 0.22 * often:
            watch = rng.random() < 0.5
            band = fabric.draw(rng, ("leather",)) if watch else gold
            width = rng.uniform(0.016, 0.022) if watch else rng.uniform(0.004, 0.009)
            pieces = accessories.bracelet(body, rest, heads, side, width, outfit.layer)
            outfit.add("watch" if watch else "bracelet", "plain", band, pieces)


def stack(worn, groove):
    """Returns each garment's distance from the skin, [V] metres each, so that none intersect.

    Args:
        worn: garments cut from the body, from the inside outwards.
        groove: [V] depth in metres of hollows that cloth spans, see `anatomy`.
    """
    height = np.zeros(len(groove), np.float32)
    heights = []
    for garment in worn:
        spanned = groove if garment.role in ("top", "legs") else 0
        own = np.maximum(garment.offset + spanned, np.where(height > 0, height + 0.004, 0.002))
        heights.append(own.astype(np.float32))
        height = np.where(garment.field > -0.03, own, height)
    return heights


def shade(body, garment, p, attributes):
    """Returns albedo [P, 3] and gloss [P] of a garment at positions p [P, 3] on the template."""
    u, v = coordinates(body, garment.role, p)
    colour = garment.fabric.colour(u, v, p)
    edge, fold = attributes[:, anatomy.EDGE], attributes[:, anatomy.FOLD]
    # Folds are shadowed; a hem shows the line of its seam.
    deep = 0.05 if garment.role in ("glove", "sock") else 0.16
    colour *= (0.86 + deep * fold)[:, None]
    hem = np.clip(1 - np.abs(edge - 0.018) / 0.0016, 0, 1) * 0.25
    colour *= (1 - hem)[:, None]
    inside = edge < -0.2
    colour[inside] *= 0.5
    colour = _details(garment, p, attributes, colour)
    gloss = np.full(len(p), garment.fabric.gloss, np.float32)
    return np.clip(colour, 0, 1), gloss


def _details(garment, p, attributes, colour):
    """Draws details such as buttons, zips, pockets, seams, belts, soles and laces, in place."""
    x, y, z = p.T
    has, front = garment.details, p[:, 1] < -0.05
    dark, light = colour * 0.45, np.clip(colour * 1.8 + 0.05, 0, 0.9)

    def paint(mask, with_colour):
        mask = np.broadcast_to(np.asarray(mask, np.float32), x.shape)[:, None]
        colour[:] = colour + (with_colour - colour) * mask

    def line(distance, width=0.0016):
        return np.clip(1 - np.abs(distance) / width, 0, 1)

    if has & {"buttons", "placket"}:
        low = 0.36 if "placket" in has else -1.0
        strip = front & (z > low)
        paint(line(np.abs(x) - 0.013) * strip * 0.6, dark)
        knob = np.hypot(x, (z + 0.02) % 0.075 - 0.0375)
        paint((knob < 0.0055) & strip, light if garment.fabric.colours[0].mean() < 0.2 else dark)
    if "zip" in has:
        paint((np.abs(x) < 0.005) & front, np.float32([0.05, 0.05, 0.055]))
        paint((np.abs(x) < 0.0022) & front, np.float32([0.4, 0.4, 0.42]))
    if "pocket" in has:
        across, up = np.abs(np.where(x > 0, x - 0.078, 1.0)), z - 0.385
        box = np.maximum(across - 0.042, np.abs(up) - 0.048)
        paint(line(box) * front * 0.7, dark)
        paint(line(up - 0.035) * (across < 0.042) * front * 0.7, dark)
    if "pouch" in has:
        box = np.maximum(np.abs(x) + 0.35 * (z - 0.09) - 0.105, np.abs(z - 0.13) - 0.062)
        paint(line(box, 0.0025) * front * 0.8, dark)
        cord = line(np.abs(x) - 0.022 - 0.06 * (0.53 - z), 0.003)
        paint(cord * front * (z > 0.40) * (z < 0.53), light)
    if "lapels" in has:
        edge = attributes[:, anatomy.EDGE]
        wide = 0.006 + 0.20 * np.clip(z - 0.30, 0, 0.16)
        paint(line(edge - wide, 0.003) * front * (z > 0.28) * 0.7, dark)
    if has & {"belt", "fly", "seams"}:
        edge = attributes[:, anatomy.EDGE]
        hips = z > -0.05
        paint(line(edge - 0.036, 0.002) * hips * 0.6, dark)
        if "belt" in has:
            paint((edge < 0.030) & hips, np.float32([0.03, 0.02, 0.015]))
            buckle = (np.abs(x) < 0.022) & (edge < 0.030) & front & hips
            paint(buckle, np.float32([0.45, 0.42, 0.36]))
        fly = line(x - 0.016, 0.0016) * front * (z > 0.01) * (edge > 0.03)
        paint(fly * 0.6, dark)
        slant = line(np.abs(x) - 0.125 - 0.35 * (0.10 - z) - 0.0, 0.002)
        paint(slant * front * (z > 0.0) * (z < 0.12) * 0.8, dark)
        behind = (y > 0.02) & hips
        box = np.maximum(np.abs(np.abs(x) - 0.082) - 0.05, np.abs(z - 0.035) - 0.055)
        paint(line(box, 0.002) * behind * 0.7, dark)
    if "side stripe" in has:
        side = np.abs(np.abs(np.arctan2(y + 0.02, np.abs(x) - 0.15)))
        paint((side < 0.16) & (z < 0.1), light)
    if garment.role == "shoe" and garment.field is None:
        _shoe(garment, p, colour, paint, line)
    return colour


def _shoe(garment, p, colour, paint, line):
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    third = garment.fabric.colours[2]
    sporty = "sneakers" in garment.details
    sole = np.float32([0.72, 0.71, 0.68]) if sporty and third[0] > 0.05 else np.float32([0.025] * 3)
    if {"flats", "heels"} & garment.details:
        # Low shoes show the top of the foot; here only a line in another colour indicates it.
        paint((z > -0.805) & (z < -0.802), colour * 0.6)
    else:
        throat = (np.abs(x - 0.216) < 0.017) & (y < -0.02) & (y > -0.105) & (z > -0.785)
        paint(throat * 0.5, colour * 0.4)
        lace = np.clip(np.abs((y * 85) % 1 - 0.5) * 4 - 0.6, 0, 1) * throat
        paint(lace, np.float32([0.7, 0.7, 0.68]) if sporty else colour * 0.6)
        if sporty:
            flash = line(np.abs(y + 0.045 + 0.9 * (z + 0.79)), 0.010)
            paint(flash * (np.abs(x - 0.218) > 0.03) * (z < -0.76), third)
    edge = -0.8195 + 0.007 * np.clip((y + 0.03) / 0.08, 0, 1)
    paint(z < edge + (0.010 if sporty else 0.0), sole)


def coordinates(body, role, p):
    """Returns the coordinates around and along a garment, metres, [P] float32 each."""
    x, y, z = p.T
    if role in ("legs", "sock"):
        axis = anatomy.leg_axis(body.heads, body.bone, z).astype(np.float32)
        angle = np.arctan2(np.abs(x) - axis[:, 0], axis[:, 1] - y)
        return angle * np.float32(0.085) * np.sign(x), z
    u = np.arctan2(x, np.float32(-0.03) - y) * np.float32(0.14)
    sleeve = np.nonzero(anatomy.armhole(p) > 0)[0] if role == "top" else ()
    if len(sleeve):
        v = z.copy()
        u[sleeve] = anatomy.arm_angle(body, p[sleeve]) * 0.055
        v[sleeve] = 0.5 - anatomy.arm_coordinate(body, p[sleeve])
        return u, v
    return u, z

"""Cuts the garments that follow the body: tops, trousers, jackets, socks, gloves, hats.

A field is the signed distance in metres to a garment's edge, positive inside, one value per vertex
of the template body. An offset is the distance of the cloth from the skin in metres.
"""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.graphics import noise
from crocohuman_jax.synthetic.people import fabric as fabric_lib

OUTSIDE = np.float32(-0.06)
NECKLINES = ("crew", "v", "scoop", "collar", "turtle")
TOPS = {
    # name: fabric kinds, range of sleeve lengths and necklines, offset (metres), fold strength
    "t-shirt": (
        ("plain", "plain", "plain", "heather", "stripes", "print", "print", "camo", "gradient"),
        (0.13, 0.21),
        ("crew", "crew", "v"),
        0.008,
        0.5,
    ),
    "long-sleeve": (
        ("plain", "heather", "stripes", "stripes", "print"),
        (0.425, 0.445),
        ("crew", "v", "scoop"),
        0.007,
        0.5,
    ),
    "tank top": (("plain", "ribbed", "heather", "print"), (-0.004, 0.01), ("scoop",), 0.005, 0.3),
    "blouse": (
        ("floral", "dots", "plain", "stripes", "gradient"),
        (0.08, 0.40),
        ("v", "scoop"),
        0.013,
        0.9,
    ),
    "shirt": (
        ("plain", "plain", "plaid", "plaid", "check", "pinstripes", "denim", "floral"),
        (0.20, 0.445),
        ("collar",),
        0.011,
        0.9,
    ),
    "polo": (("plain", "heather", "stripes", "blocks"), (0.17, 0.21), ("collar",), 0.008, 0.5),
    "sweater": (
        ("knit", "knit", "ribbed", "heather", "stripes", "blocks"),
        (0.43, 0.45),
        ("crew", "crew", "v", "turtle"),
        0.016,
        0.9,
    ),
    "hoodie": (("plain", "heather", "print", "blocks"), (0.43, 0.45), ("crew",), 0.019, 1.0),
}
JACKETS = {
    "cardigan": (("knit", "ribbed", "heather"), 0.018, 0.8),
    "blazer": (("plain", "pinstripes", "check", "heather"), 0.019, 0.5),
    "denim jacket": (("denim",), 0.018, 0.8),
    "leather jacket": (("leather",), 0.019, 0.7),
    "zip jacket": (("plain", "blocks", "camo"), 0.021, 1.0),
    "waistcoat": (("plain", "pinstripes", "knit"), 0.014, 0.3),
}
BOTTOMS = {
    # name: fabric kinds, range of hem heights, hem radii (None: tight); metres
    "jeans": (("denim",), (-0.76, -0.72), (None, None, 0.062, 0.07)),
    "trousers": (
        ("plain", "plain", "plain", "pinstripes", "check", "heather"),
        (-0.765, -0.73),
        (0.062, 0.072, 0.09),
    ),
    "joggers": (("plain", "heather", "camo"), (-0.735, -0.71), (0.06,)),
    "leggings": (("plain", "plain", "heather", "blocks", "camo"), (-0.73, -0.52), (None,)),
    "capris": (("plain", "denim", "check", "floral"), (-0.60, -0.48), (None, 0.07)),
    "shorts": (
        ("plain", "denim", "denim", "camo", "check", "plaid", "floral"),
        (-0.42, -0.22),
        (0.095, 0.11, 0.12),
    ),
}


@dataclasses.dataclass
class Garment:
    """One garment.

    Attributes:
        name: such as "t-shirt".
        role: "top", "legs", "skirt", "shoe", "sock", "glove", "collar", "hat", "plain", "hair",
            or "none" for bare feet.
        field: [V] metres, or None if the garment has a mesh of its own.
        offset: [V] metres, or None.
        fabric: the cloth.
        details: what is sewn on: "buttons", "zip", "pocket", "lapels", ...
    """

    name: str
    role: str
    field: np.ndarray | None
    offset: np.ndarray | None
    fabric: fabric_lib.Fabric
    details: frozenset[str] = frozenset()


class Tailor:
    """Measures a person once and cuts garments to fit.

    Args:
        body: the parametric body.
        rest, heads: [V, 3] vertices and [J, 3] bone heads of the person at rest, metres.
        rng: random generator of all choices.
        female: whether women's clothes are drawn too.
    """

    def __init__(
        self,
        body: parametric_body.Body,
        rest: np.ndarray,
        heads: np.ndarray,
        rng: np.random.Generator,
        female: bool,
    ):
        self.body, self.rest, self.heads, self.rng, self.female = body, rest, heads, rng, female
        self.anatomy = anatomy.of(body)
        self.folds = _folds(body, self.anatomy, rng)

    def choose(self, options):
        """Returns a random option, each equally likely."""
        return options[self.rng.integers(len(options))]

    def top(self, name: str, hem: float, cloth: fabric_lib.Fabric | None = None) -> list[Garment]:
        """Returns a top with its collar or hood; `hem` is a height on the template in metres."""
        kinds, sleeves, necks, off, folds = TOPS[name]
        a, rng = self.anatomy, self.rng
        neck = self.choose(necks)
        sleeve = rng.uniform(*sleeves)
        if name == "shirt" and sleeve > 0.24:
            sleeve = rng.choice([0.3, 0.44])
        line = neckline(self.body, neck, rng.uniform(0.6, 1.3))
        field = top_field(self.body, sleeve, hem, line)
        cloth = cloth or fabric_lib.draw(rng, kinds)
        loose = rng.uniform(0, 1)
        offset = self._torso_offset(hem, off, loose) + folds * 0.006 * self.folds
        on_arm = a.arm > 0.02
        sleeve_off = off + loose * 0.014 * np.clip(a.arm / 0.1, 0, 1) + folds * 0.006 * self.folds
        if sleeve > 0.4:  # narrow again at the cuff
            sleeve_off = sleeve_off * np.clip((sleeve - a.arm) / 0.05, 0.45, 1)
        offset = np.where(on_arm, sleeve_off, offset)
        offset = 0.003 + (offset - 0.003) * np.clip(0.15 + line / 0.04, 0.15, 1)  # tight there
        details = {"shirt": {"buttons", "pocket"}, "polo": {"placket"}, "hoodie": {"pouch"}}
        own = frozenset(details.get(name, set()))
        result = [Garment(name, "top", field, offset, cloth, own)]
        if neck == "collar":
            result.append(self._collar(cloth, off))
        if name == "hoodie":
            result.append(self._hood(cloth))
        return result

    def jacket(self, name: str, hem: float) -> list[Garment]:
        """Returns a jacket, open or closed; `hem` is a height on the template in metres."""
        kinds, off, folds = JACKETS[name]
        rng, t = self.rng, self.body.template
        closed = name == "zip jacket" and rng.random() < 0.6
        line = neckline(self.body, "crew", 1.0) - (0.0 if closed else 0.01)
        sleeve = 0.0 if name == "waistcoat" else rng.uniform(0.435, 0.455)
        field = top_field(self.body, sleeve, hem, line)
        if not closed:
            flare = rng.uniform(0.0, 0.25) * np.clip(0.3 - t[:, 2], 0, 1)
            lapel = rng.uniform(0.05, 0.3) * np.clip(t[:, 2] - 0.28, 0, 1)
            gap = np.abs(t[:, 0]) - (rng.uniform(0.012, 0.05) + flare + lapel)
            field = np.minimum(field, np.where(t[:, 1] < -0.035, gap, 0.06))
        loose = rng.uniform(0.3, 1)
        offset = self._torso_offset(hem, off, loose) + folds * 0.007 * self.folds
        arm = off + loose * 0.008 + folds * 0.007 * self.folds
        offset = np.where(self.anatomy.arm > 0.02, arm, offset)
        details = {"zip jacket": {"zip"}, "denim jacket": {"pocket"}}.get(name, set())
        details = details | (set() if closed else {"lapels"})
        cloth = fabric_lib.draw(rng, kinds)
        result = [Garment(name, "top", field, offset, cloth, frozenset(details))]
        if name in ("zip jacket", "denim jacket", "leather jacket"):
            result.append(self._collar(cloth, off))
        return result

    def bottom(self, name: str, waist: float, over: bool) -> Garment:
        """Returns trousers; `over` says that the waistband shows because the top is tucked in."""
        kinds, hems, widths = BOTTOMS[name]
        rng, t, a = self.rng, self.body.template, self.anatomy
        hem = rng.uniform(*hems)
        field = legs_field(self.body, waist, hem)
        folds = 0.002 if name == "leggings" else 0.006
        offset = 0.005 + folds * self.folds
        width = self.choose(widths)
        if width is not None:
            offset = np.maximum(offset, self._leg_offset(hem, width) + folds * self.folds)
        if name == "joggers":
            offset = offset * np.clip((t[:, 2] - hem) / 0.06, 0.3, 1)
        seat = np.clip((t[:, 2] - anatomy.CROTCH) / 0.1, 0, 1)
        offset = a.smooth(offset * (1 - 0.3 * seat), 2)
        details = {"belt"} if over and name in ("jeans", "trousers", "shorts") else set()
        details |= {"seams", "fly"} if name == "jeans" else {"fly"} if name == "trousers" else set()
        if name in ("leggings", "joggers") and rng.random() < 0.3:
            details.add("side stripe")
        return Garment(name, "legs", field, offset, fabric_lib.draw(rng, kinds), frozenset(details))

    def underneath(self, low: float) -> Garment:
        """Returns the tight shorts worn under a skirt, down to the height `low` on the template."""
        field = legs_field(self.body, 0.19, low)
        cloth = fabric_lib.draw(self.rng, ("plain",))
        dark = dataclasses.replace(cloth, colours=cloth.colours * 0.15)
        offset = np.full(len(field), 0.003, np.float32)
        return Garment("under-shorts", "legs", field, offset, dark)

    def tights(self) -> Garment:
        """Returns tights, 2 mm off the skin."""
        field = legs_field(self.body, 0.19, -2.0)
        cloth = fabric_lib.draw(self.rng, ("plain",))
        black = self.rng.random() < 0.7
        colours = np.full((3, 3), 0.012, np.float32) if black else cloth.colours
        cloth = dataclasses.replace(cloth, kind="plain", colours=colours, gloss=0.15)
        return Garment("tights", "legs", field, np.full(len(field), 0.002, np.float32), cloth)

    def socks(self, height: float) -> Garment:
        """Returns socks up to a height on the template."""
        a, t = self.anatomy, self.body.template
        region = a.inside("foot_l", "foot_r", "shin_l", "shin_r") * -OUTSIDE
        field = np.minimum(region, height - t[:, 2])
        cloth = fabric_lib.draw(self.rng, ("plain", "plain", "stripes", "ribbed"))
        if self.rng.random() < 0.6:
            shade = self.choose([0.75, 0.02])
            cloth = dataclasses.replace(cloth, colours=np.full((3, 3), shade, np.float32))
        return Garment("socks", "sock", field, np.full(len(t), 0.004, np.float32), cloth)

    def shaft(self, height: float, cloth: fabric_lib.Fabric) -> Garment:
        """Returns the upper part of boots, up to a height on the template."""
        t = self.body.template
        region = self.anatomy.inside("foot_l", "foot_r", "shin_l", "shin_r") * -OUTSIDE
        field = np.minimum.reduce([region, height - t[:, 2], t[:, 2] + 0.79])
        offset = 0.010 + 0.003 * self.folds
        return Garment("boots", "shoe", field, offset, cloth)

    def gloves(self) -> Garment:
        """Returns gloves of both hands."""
        cuff = self.rng.uniform(-0.03, 0.01)
        field = np.where(self.anatomy.arm > 0.3, self.anatomy.arm - 0.45 - cuff, OUTSIDE)
        cloth = fabric_lib.draw(self.rng, ("knit", "leather", "plain", "leather"))
        return Garment("gloves", "glove", field, np.full(len(field), 0.003, np.float32), cloth)

    def tuck(self, top: list[Garment], waist: float) -> list[Garment]:
        """Returns the top, made tight below a waistband at the height `waist` (in place)."""
        height = self.body.template[:, 2] - waist
        torso = self.anatomy.arm < -0.05
        draw = np.where(torso, np.clip((height - 0.005) / 0.07, 0, 1), 1)
        body = top[0]
        body.offset = (0.004 + (body.offset - 0.004) * draw).astype(np.float32)
        return top

    def hat(self, cap: bool) -> Garment:
        """Returns the crown of a cap if `cap`, otherwise a woollen hat."""
        x, y, z = self.body.template.T
        tilt = 0.762 if cap else self.rng.uniform(0.745, 0.765)
        field = z - tilt - 0.22 * np.maximum(-0.05 - y, 0)
        field = np.where(self.anatomy.member["head"], field, OUTSIDE)
        round_ = np.hypot(np.hypot(x / 0.90, (y + 0.055)), z - 0.745)
        offset = np.clip(0.124 - round_, 0.006, 0.03) * np.clip(0.35 + field / 0.03, 0, 1)
        if not cap:
            offset = offset + 0.016 * np.clip((z - 0.80) / 0.05, 0, 1)
        offset = offset + 0.001 * self.folds
        kinds = ("plain", "denim", "camo") if cap else ("knit", "ribbed", "stripes")
        name = "cap" if cap else "woollen hat"
        return Garment(name, "hat", field, offset, fabric_lib.draw(self.rng, kinds))

    def _collar(self, cloth, off):
        t = self.body.template
        line = neckline(self.body, "crew", 1.0)
        up = (self.body.template[:, 2] - 0.60 - 0.35 * (self.body.template[:, 1] + 0.02)) - 0.022
        field = np.minimum(-up, 0.004 - line)
        field = np.minimum(field, np.where(t[:, 1] < -0.03, np.abs(t[:, 0]) - 0.010, 0.06))
        field = np.where(self.anatomy.inside("neck", "torso_upper") > 0, field, OUTSIDE)
        offset = off + 0.004 + 0.25 * np.clip(line + 0.016, -0.01, 0.03)
        return Garment("collar", "collar", field, offset, cloth)

    def _hood(self, cloth):
        """Returns a hood that lies on the back and around the neck."""
        t = self.body.template
        line = neckline(self.body, "crew", 1.0)
        back = np.clip((t[:, 1] + 0.05) / 0.06, 0, 1)
        field = np.minimum(line + 0.03 * back + 0.006, 0.015 + 0.075 * back - line)
        field = np.minimum(field, np.where(t[:, 1] < -0.06, np.abs(t[:, 0]) - 0.02, 0.06))
        field = np.minimum(field, 0.135 - np.abs(t[:, 0]))
        field = np.where(self.anatomy.inside("neck", "torso_upper") > 0, field, OUTSIDE)
        offset = 0.024 + 0.03 * back * np.clip(1 - np.abs(line - 0.015) / 0.06, 0, 1)
        return Garment("hood", "collar", field, offset, cloth)

    def _torso_offset(self, hem, off, loose):
        """Returns the offset of cloth that hangs from chest and belly, away from the waist, [V]."""
        t, rest = self.body.template, self.rest
        torso = self.anatomy.inside("torso_upper", "torso_lower") > 0
        band = torso & (t[:, 2] > hem - 0.02) & (t[:, 2] < 0.43)
        x, y = rest[:, 0], rest[:, 1] - rest[band, 1].mean()
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        bins = 24
        place = (angle / (2 * np.pi) + 0.5) * bins
        reach = np.zeros(bins)
        np.maximum.at(reach, place[band].astype(int) % bins, radius[band])
        reach = (np.roll(reach, 1) + 2 * reach + np.roll(reach, -1)) / 4
        wide = np.interp(
            place, np.arange(-1, bins + 1) + 0.5, reach[np.arange(-1, bins + 1) % bins]
        )
        hang = np.clip(wide - radius, 0, 0.05) * (0.15 + 0.75 * loose)
        hang *= torso * np.clip((0.44 - t[:, 2]) / 0.10, 0, 1)
        return (off + self.anatomy.smooth(hang, 3)).astype(np.float32)

    def _leg_offset(self, hem, width):
        """Returns the offset of cloth that falls straight from the thigh to the hem, [V]."""
        t, rest = self.body.template, self.rest
        legs = self.anatomy.inside("thigh_l", "thigh_r", "shin_l", "shin_r") > 0
        axis = anatomy.leg_axis(self.heads, self.body.bone, rest[:, 2])
        radius = np.hypot(np.abs(rest[:, 0]) - axis[:, 0], rest[:, 1] - axis[:, 1])
        thigh = legs & (np.abs(t[:, 2] + 0.16) < 0.05)
        start = np.quantile(radius[thigh], 0.8) + 0.006
        end = max(width, 0.6 * start)
        along = np.clip((-0.16 - t[:, 2]) / (-0.16 + 0.745), 0, 1)
        wide = start + (end - start) * along
        offset = np.clip(wide - radius, 0.005, 0.05) * np.clip((-0.1 - t[:, 2]) / 0.1, 0, 1)
        return np.where(legs, np.maximum(offset, 0.005), 0.005).astype(np.float32)


def neckline(body: parametric_body.Body, kind: str, depth: float = 1.0) -> np.ndarray:
    """Returns the distance below a neckline in metres, [V]; `depth` scales it, about one."""
    x, y, z = body.template.T
    # Distance to a capsule that rises from the base of the neck: it meets every slope steeply.
    line = np.sqrt(x * x + (y + 0.018) ** 2 + np.minimum(z - 0.605, 0) ** 2) - 0.088
    front = np.clip((-0.01 - y) / 0.04, 0, 1)
    if kind == "turtle":
        return np.maximum(line, 0.642 - z)
    if kind == "v":
        return line - 0.002 - depth * 0.085 * np.clip(1 - np.abs(x) / 0.085, 0, 1) * front
    if kind == "scoop":
        return line - 0.016 - depth * 0.045 * np.clip(1 - (x / 0.12) ** 2, 0, 1) * front
    if kind == "collar":
        return line - 0.060 * np.clip(1 - np.abs(x) / 0.035, 0, 1) * front
    return line


def top_field(
    body: parametric_body.Body, sleeve: float, hem: float, line: np.ndarray
) -> np.ndarray:
    """Returns the field [V] of a top from sleeve length, hem height (metres) and a neckline [V]."""
    a, t = anatomy.of(body), body.template
    torso = a.inside("torso_upper", "torso_lower", "neck", "thigh_l", "thigh_r") * -OUTSIDE
    cut = np.where(a.arm > -0.05, sleeve - a.arm, -OUTSIDE)
    trunk = np.minimum.reduce([torso, t[:, 2] - hem, line, cut])
    arms = a.inside(*(f"{p}_{s}" for p in ("upperarm", "forearm", "hand") for s in "lr"))
    return np.maximum(trunk, np.minimum.reduce([arms * -OUTSIDE, cut, line + 0.03]))


def legs_field(body: parametric_body.Body, waist: float, hem: float) -> np.ndarray:
    """Returns the field [V] of trousers between two heights of the template."""
    a, z = anatomy.of(body), body.template[:, 2]
    parts = ["torso_upper", "torso_lower"]
    parts += [f"{p}_{s}" for p in ("thigh", "shin", "foot") for s in "lr"]
    return np.minimum.reduce([a.inside(*parts) * -OUTSIDE, waist - z, z - hem])


def _folds(body, a, rng):
    """Returns heights of cloth folds in [-1, 1], [V], stronger at elbows, knees and ankles."""
    t = body.template
    shift = rng.uniform(0, 3, 3).astype(np.float32)
    drape = noise.fbm(t * np.float32([1, 1, 0.55]) + shift, 16.0, 2)
    pull = noise.fbm(t * np.float32([0.6, 0.6, 1.8]) + shift + 1, 13.0, 2)
    jitter = 9 * (pull - 0.5)
    elbow = np.exp(-(((a.arm - anatomy.ELBOW) / 0.07) ** 2))
    knee = np.exp(-(((t[:, 2] - anatomy.KNEE) / 0.08) ** 2)) * (np.abs(t[:, 0]) < 0.27)
    ankle = np.exp(-(((t[:, 2] + 0.69) / 0.07) ** 2))
    arm = np.sin(2 * np.pi * a.arm / 0.045 + jitter)
    leg = np.sin(2 * np.pi * t[:, 2] / 0.05 + jitter + 3 * t[:, 1] / 0.05)
    folds = 1.6 * (drape + pull - 1) + 0.5 * elbow * arm + 0.5 * (knee + 0.9 * ankle) * leg
    return np.clip(folds, -1, 1).astype(np.float32)

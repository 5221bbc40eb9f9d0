"""Builds a random dressed adult, poses the mesh and gives each pixel its material."""

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.graphics import noise, surface
from crocohuman_jax.synthetic.people import garment_mesh, garments, hair, outfits
from crocohuman_jax.synthetic.people import skin as skin_lib

KINDS = ("body", "hand")
# The body asset's age is 1/3 for a child, 2/3 for a young adult (fully grown) and 1 for old age.
# All people are adults.
YOUNGEST = 0.67


class Person:
    """An adult, always dressed; the seed determines everything about them.

    Args:
        body: the parametric body.
        seed: any non-negative integer.
        kind: "body", or "hand" for close-ups of hands (the same person with more jewellery).

    Attributes:
        phenotype: the attributes of `parametric_body.PHENOTYPE`.
        coefficients: [32] shape; rest: [V, 3] and heads: [J, 3], metres, of the `parametric_body`.
        surface: the dressed mesh.

    Raises:
        ValueError: the kind is unknown.
    """

    def __init__(self, body: parametric_body.Body, seed: int, kind: str = "body"):
        if kind not in KINDS:
            raise ValueError(f"Unknown person kind {kind!r}; expected one of {KINDS}.")
        self.body, self.seed, self.kind = body, seed, kind
        rng = np.random.default_rng([seed, 1])
        self.phenotype = draw_phenotype(rng)
        self.coefficients = body.coefficients(self.phenotype)
        rest, heads = body.rest(self.coefficients)
        self.rest, self.heads = rest.astype(np.float32), heads
        female, age = self.phenotype["gender"] > 0.5, self.phenotype["age"]
        tone = int(rng.integers(len(skin_lib.TONES)))
        self.hair = hair.draw(body, np.random.default_rng([seed, 2]), female, age, tone)
        self.complexion = skin_lib.draw(
            np.random.default_rng([seed, 3]),
            tone,
            female,
            age,
            self.hair.colour,
            self.hair.beard_weight,
        )
        self.outfit = outfits.draw(
            body,
            self.rest,
            heads,
            np.random.default_rng([seed, 4]),
            female,
            kind,
            self.hair,
            self.complexion.skin,
        )
        self._skin = skin_lib.Skin(body, self.complexion)
        self._build()

    def describe(self) -> dict:
        """Returns a description of the person in plain values."""
        return {
            "seed": int(self.seed),
            "phenotype": {k: round(float(v), 4) for k, v in self.phenotype.items()},
            "garments": [g.name for g in self.outfit.garments],
            "fabrics": [g.fabric.kind for g in self.outfit.garments],
            "skin_tone": self.complexion.tone,
            "hair": self.hair.style,
            "beard": self.hair.beard_name,
        }

    def _build(self):
        """Cuts the garments from the body and joins all meshes into one surface."""
        body, a = self.body, anatomy.of(self.body)
        bare = np.zeros((len(body.template), anatomy.ATTRIBUTES), np.float32)
        bare[:, anatomy.HOLLOW] = a.hollow
        bare[:, anatomy.BLOOD] = a.blood
        bare[:, anatomy.HAIR], bare[:, anatomy.BEARD] = self.hair.field, self.hair.beard
        bare[:, anatomy.LIPS], bare[:, anatomy.NAILS] = body.masks["lips"], body.masks["nails"]
        bare[:, anatomy.FOLD] = self.outfit.folds
        normal = a.smooth(surface.normals(self.rest, body.faces), 1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        worn = [(k, g) for k, g in enumerate(self.outfit.garments) if g.field is not None]
        pieces = []
        cover = np.full(len(body.template), garments.OUTSIDE)  # by the garments further out
        heights = outfits.stack([g for _, g in worn], a.groove)
        for (number, garment), height in zip(reversed(worn), reversed(heights), strict=True):
            attributes = bare.copy()
            attributes[:, anatomy.EDGE] = garment.field
            drop = garment_mesh.lowest(cover, body.faces) > 0.015
            displacement = normal * height[:, None]
            pieces.append(
                garment_mesh.cut(
                    body, self.rest, garment.field, displacement, attributes, number + 1, drop
                )
            )
            cover = np.maximum(cover, garment.field)
        bare[:, anatomy.EDGE] = np.minimum(cover, 0)
        if self.outfit.covered:
            low = body.template[:, 2] < anatomy.ANKLE - 0.03
            cover = np.where((a.inside(*self.outfit.covered) > 0) & low, 0.05, cover)
        skip = a.hidden | (garment_mesh.lowest(cover, body.faces) > 0.004)
        self._join(bare, skip, normal * self.hair.offset[:, None], pieces + self.outfit.pieces)

    def _join(self, bare, skip, displacement, pieces):
        """Joins body and pieces; a skirt comes last because its vertices have more bones."""
        body = self.body
        start = np.cumsum([len(body.template)] + [len(p.rest) for p in pieces])
        self._dressed = np.concatenate([self.rest + displacement, *(p.rest for p in pieces)])
        skirt = self.outfit.skirt
        narrow = pieces[:-1] if skirt else pieces
        self._weights = np.concatenate([body.weights, *(p.weights for p in narrow)])
        self._bones = np.concatenate([body.weight_bones, *(p.bones for p in narrow)])
        self._layer = np.repeat(
            np.array([0] + [p.layer for p in pieces], np.uint8),
            [len(body.faces)] + [len(p.faces) for p in pieces],
        )
        connected = [body.faces, *(p.faces + s for p, s in zip(pieces, start, strict=False))]
        count = sum(len(p.faces) for p in pieces)
        self.surface = surface.Surface(
            faces=np.concatenate(connected).astype(np.int32),
            canonical=np.concatenate([body.template, *(p.canonical for p in pieces)]),
            attributes=np.concatenate([bare, *(p.attributes for p in pieces)]),
            part=np.concatenate([body.face_part, *(p.part for p in pieces)]),
            uv=np.concatenate([body.uv[body.faces_uv], *(p.uv for p in pieces)]),
            skip=np.concatenate([skip, np.zeros(count, bool)]),
        )

    def pose(
        self,
        rotations: np.ndarray,
        translation: np.ndarray | None = None,
        lift: float = 0.0,
    ) -> surface.Posed:
        """Returns the person in a pose, its lowest point `lift` metres above the ground.

        Args:
            rotations: [J, 3, 3], see `parametric`.
            translation: [3] of the root, metres; its height is ignored.
            lift: metres.
        """
        body = self.body
        transforms = body.transforms(self.heads, rotations, translation)
        narrow = len(self._weights)
        vertices = parametric_body.skin(
            self._dressed[:narrow], self._weights, self._bones, transforms
        )
        skirt = self.outfit.skirt
        if skirt:
            joints = parametric_body.apply(transforms, self.heads)
            loose = parametric_body.skin(
                self._dressed[narrow:], skirt.piece.weights, skirt.piece.bones, transforms
            )
            vertices = np.concatenate([vertices, skirt.drape(loose, body.bone, joints)])
        skin = parametric_body.skin(self.rest, body.weights, body.weight_bones, transforms)
        rise = np.float32(lift) - vertices[:, 2].min()
        vertices[:, 2] += rise
        skin[:, 2] += rise
        transforms = transforms.copy()
        transforms[:, 2, 3] += rise
        return surface.Posed(
            vertices=vertices,
            normals=surface.normals(vertices, self.surface.faces),
            skin=skin,
            joints=parametric_body.apply(transforms, self.heads),
            transforms=transforms,
        )

    def shade(self, pixels: surface.Pixels) -> surface.Material:
        """Returns the material of points on the person's surface."""
        layer = self._layer[pixels.face]
        part = self.surface.part[pixels.face]
        albedo = np.empty((len(layer), 3), np.float32)
        gloss = np.empty(len(layer), np.float32)
        names = {name: k for k, name in enumerate(self.body.parts)}
        normal = pixels.normal.copy()
        bare = np.nonzero(layer == 0)[0]
        if len(bare):
            albedo[bare], gloss[bare] = self._shade_bare(pixels, bare, part[bare], names)
        for number, garment in enumerate(self.outfit.garments, 1):
            worn = np.nonzero(layer == number)[0]
            if not len(worn):
                continue
            p = pixels.canonical[worn]
            if garment.role == "hair":
                albedo[worn], gloss[worn] = self.hair.shade(p, np.ones(len(worn), bool))
                continue
            attributes = pixels.attributes[worn]
            albedo[worn], gloss[worn] = outfits.shade(self.body, garment, p, attributes)
            if garment.role in ("top", "legs", "skirt"):
                normal[worn] = _ruffle(p, normal[worn], 30.0, 0.0042)
        if self.kind == "hand":  # pores, in close-ups only
            close = np.nonzero(
                (layer == 0) & (part >= names["hand_l"]) & (part <= names["hand_r"])
            )[0]
            normal[close] = _ruffle(pixels.canonical[close], normal[close], 700.0, 0.0001)
        return surface.Material(albedo, gloss, normal)

    def _shade_bare(self, pixels, at, part, names):
        p, attributes = pixels.canonical[at], pixels.attributes[at]
        albedo, gloss = self._skin.shade(p, attributes, part, names)
        hairy = np.nonzero((attributes[:, anatomy.HAIR] > -0.01) & (part != names["eyes"]))[0]
        if len(hairy) and self.hair.style != "bald":
            q = p[hairy]
            colour, shine = self.hair.shade(q, np.zeros(len(q), bool))
            fuzz = 0.5 + 0.8 * (colour.mean(1) / max(self.hair.colour.mean(), 1e-3) - 1)
            share = np.clip((attributes[hairy, anatomy.HAIR] + 0.007 * fuzz - 0.001) / 0.007, 0, 1)
            if self.hair.style == "shaved":
                share *= 0.8
            albedo[hairy] += (colour - albedo[hairy]) * share[:, None]
            gloss[hairy] += (shine - gloss[hairy]) * share
        return albedo, gloss


def _ruffle(p, normal, frequency, depth):
    """Returns the normals [P, 3] bent by noise whose depth is in metres (bump mapping)."""
    step = np.float32(0.3 / frequency)
    here = noise.noise(p, frequency)
    slope = np.stack(
        [noise.noise(p + a, frequency) - here for a in step * np.eye(3, dtype=p.dtype)], 1
    )
    slope *= np.float32(depth) / step
    along = np.einsum("pk,pk->p", slope, normal)[:, None]
    bent = normal * (1 + along) - slope
    bent /= np.sqrt(np.einsum("pk,pk->p", bent, bent))[:, None]
    return bent


def draw_phenotype(rng: np.random.Generator) -> dict[str, float]:
    """Returns a random adult's phenotype: mostly clearly male or female, of any build."""
    female = rng.random() < 0.5
    gender = rng.beta(1.5, 8)
    return {
        "gender": float(1 - gender if female else gender),
        "age": float(YOUNGEST + (1 - YOUNGEST) * rng.beta(1.0, 2.4)),
        "muscle": float(rng.beta(2.2, 2.2)),
        "weight": float(rng.beta(2.0, 2.4)),
        # Men 1.76 +- 0.07 m, women 1.63 +- 0.07 m.
        "height": float(np.clip(rng.normal(0.375, 0.066), 0.2, 0.58)),
        "proportions": float(rng.uniform(0.25, 1)),
    }

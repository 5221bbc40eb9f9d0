"""The parametric body: rest mesh and skeleton of a phenotype, and linear blend skinning.

World axes at rest: z up, the face looks along -y, the left hand lies at +x; metres. The mesh and
its variation are MakeHuman's (CC0); `NOTICE` and `export_body.py` describe how they were exported.

A pose is one rotation per bone, [104, 3, 3], about the bone's own head (its start point) and in the
axes of the rest pose; it moves the bone's children too.
"""

import functools
import pathlib

import numpy as np

ASSET = pathlib.Path(__file__).with_name("body.npz")
# Number of variations of each attribute in the asset's basis; race and bust stay at their mean.
VARIATIONS = {
    "race": 3,
    "gender": 2,
    "age": 5,
    "muscle": 3,
    "weight": 3,
    "height": 2,
    "proportions": 2,
    "cupsize": 3,
    "firmness": 3,
}
# Attributes of a person, each in [0, 1]: gender 0 is male; age 1/3 is a child, 2/3 a young adult, 1
# old; height 0.38 is the average of adults (men 1.77 m, women 1.64 m), and a step of 0.1 is 11 cm.
PHENOTYPE = ("gender", "age", "muscle", "weight", "height", "proportions")
ADULT = 2 / 3  # the youngest age of the built-in people


class Body:
    """The arrays of the body model: V = 13718 vertices, F = 27420 faces, J = 104 bones.

    Attributes:
        template: [V, 3] float32, the mean body at rest.
        faces: [F, 3] int32, counter-clockwise from outside.
        uv, faces_uv: [T, 2] float32 in [0, 1] and [F, 3] int32, the texture atlas.
        weights, weight_bones: [V, 4] float32 skinning weights that sum to one, and their bones.
        heads: [J, 3] float32, start points of the template's bones.
        parents: [J] int, each before its children; -1 for the root.
        bones: names; `bone` maps a name to its index.
        parts: names of body parts; index 0 is the background.
        face_part, bone_part: [F] and [J] uint8, part of each face, and part that each bone moves.
        part_weights: [V, 18] float32 summing to one, share of each part in the skinning weights;
            the largest interpolated weight gives smoother part borders than `face_part`.
        masks: {name: [V] float32 in [0, 1]}: lips, nails, face, eyelids, ears.
    """

    def __init__(self, path: pathlib.Path = ASSET):
        with np.load(path) as asset:
            a = {name: asset[name] for name in asset.files}
        self.template = a["template"]
        rank = len(a["bs_scale"])
        basis = a["bs_q"].astype(np.float32) * a["bs_scale"][:, None, None]
        self._basis = basis.reshape(rank, -1)
        self.heads = a["heads"]
        self._heads_basis = a["heads_bs"].reshape(rank, -1)
        self._mask, self._projection = a["ph_mask"].astype(np.float64), a["ph_proj"]
        self.faces = a["faces"].astype(np.int32)
        self.uv = a["uv"].astype(np.float32) / 65535
        self.faces_uv = a["faces_uv"].astype(np.int32)
        weights = a["w"].astype(np.float32)
        self.weights = weights / weights.sum(1, keepdims=True)
        self.weight_bones = a["wi"].astype(np.int32)
        self.parents = a["parents"].astype(int)
        self.bones = tuple(str(name) for name in a["bone_names"])
        self.bone = {name: i for i, name in enumerate(self.bones)}
        self.parts = tuple(str(name) for name in a["part_names"])
        self.face_part, self.bone_part = a["face_part"], a["bone_part"]
        names = ("lips", "nails", "face", "eyelids", "ears")
        masks = a["vmask"].astype(np.float32) / 255
        self.masks = {name: masks[:, i] for i, name in enumerate(names)}

    @functools.cached_property
    def part_weights(self) -> np.ndarray:
        """Share of each part in a vertex's skinning weights, see the class."""
        weights = np.zeros((len(self.weights), len(self.parts)), np.float32)
        rows = np.arange(len(weights))
        for k in range(self.weights.shape[1]):
            weights[rows, self.bone_part[self.weight_bones[:, k]]] += self.weights[:, k]
        return weights

    def coefficients(self, phenotype: dict[str, float]) -> np.ndarray:
        """Returns the shape coefficients [32] of a phenotype; missing attributes are 0.5.

        Raises:
            ValueError: the phenotype has an unknown attribute.
        """
        unknown = phenotype.keys() - set(PHENOTYPE)
        if unknown:
            raise ValueError(f"Unknown phenotype attributes {sorted(unknown)}. Known: {PHENOTYPE}.")
        parts = []
        for name, count in VARIATIONS.items():
            if name == "race":
                parts.append(np.full(3, 1 / 3))
                continue
            anchors = np.linspace(-1 / 3 if name == "age" else 0.0, 1, count)
            parts.append(_hats(phenotype.get(name, 0.5), anchors))
        present = np.concatenate(parts)
        products = np.prod(present * self._mask + (1 - self._mask), -1)
        return (products @ self._projection).astype(np.float32)

    def rest(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the vertices [V, 3] and bone heads [J, 3] at rest of shape coefficients [32]."""
        vertices = self.template + (coefficients @ self._basis).reshape(-1, 3)
        return vertices, self.heads + (coefficients @ self._heads_basis).reshape(-1, 3)

    def transforms(
        self, heads: np.ndarray, rotations: np.ndarray, translation: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the transform of each bone from rest to its pose, [J, 4, 4] float64.

        Args:
            heads: [J, 3], bone heads at rest.
            rotations: [J, 3, 3], see the module.
            translation: [3] of the whole body, metres.
        """
        local = np.zeros((len(heads), 4, 4))
        local[:, :3, :3] = rotations
        local[:, :3, 3] = heads - np.einsum("jab,jb->ja", rotations, heads)
        local[:, 3, 3] = 1
        if translation is not None:
            local[0, :3, 3] += translation
        for child in range(1, len(heads)):
            local[child] = local[self.parents[child]] @ local[child]
        return local

    def skin(self, vertices: np.ndarray, transforms: np.ndarray) -> np.ndarray:
        """Returns rest vertices [V, 3] moved by the bones' transforms [J, 4, 4], float32."""
        return skin(vertices, self.weights, self.weight_bones, transforms)


def skin(vertices, weights, bones, transforms) -> np.ndarray:  # [V, 3], [V, W] twice, [J, 4, 4]
    """Returns vertices [V, 3] moved by the weighted mean of their bones' transforms, float32."""
    rows = transforms[:, :3].reshape(-1, 12).astype(np.float32)
    blended = np.zeros((len(vertices), 12), np.float32)
    for k in range(weights.shape[1]):
        blended += rows[bones[:, k]] * weights[:, k, None]
    blended = blended.reshape(-1, 3, 4)
    return np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]


def apply(transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns points [J, 3] moved by transforms [J, 4, 4], one each."""
    return np.einsum("jab,jb->ja", transforms[:, :3, :3], points) + transforms[:, :3, 3]


@functools.cache
def load() -> Body:
    """Returns the body in the package, read once."""
    return Body()


def _hats(value: float, anchors: np.ndarray) -> np.ndarray:
    """Returns the weights of linear interpolation between anchors, clamped at both ends."""
    value = float(np.clip(value, anchors[0], anchors[-1]))
    i = int(np.clip(np.searchsorted(anchors, value, side="right") - 1, 0, len(anchors) - 2))
    share = (value - anchors[i]) / (anchors[i + 1] - anchors[i])
    weights = np.zeros(len(anchors))
    weights[i : i + 2] = 1 - share, share
    return weights

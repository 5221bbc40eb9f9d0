"""Builds people whose mesh comes from a user's own SMPL file and whose motion comes from AMASS.

They have the interface of `person.Person`: surface, pose, shade, describe. The mesh may have any
topology, so clothes are regions of the skinning weights: shirt, trousers, shoes and hair, with
sleeves and legs of any length.
"""

import numpy as np

from crocohuman_jax.synthetic.figure import open_fit, parametric_body, smpl_joints, smpl_model
from crocohuman_jax.synthetic.graphics import rotations, surface
from crocohuman_jax.synthetic.motion import amass, motion
from crocohuman_jax.synthetic.people import fabric
from crocohuman_jax.synthetic.people import skin as skin_lib

# The body part that each SMPL joint moves. SMPL+H and SMPL-X share the first 22 joints; then SMPL+H
# has the fingers, and SMPL-X has jaw, eyes and fingers.
_PARTS = [
    "torso_lower",
    "thigh_l",
    "thigh_r",
    "torso_lower",
    "shin_l",
    "shin_r",
    "torso_upper",
    "foot_l",
    "foot_r",
    "torso_upper",
    "foot_l",
    "foot_r",
    "neck",
    "torso_upper",
    "torso_upper",
    "head",
    "upperarm_l",
    "upperarm_r",
    "forearm_l",
    "forearm_r",
    "hand_l",
    "hand_r",
]
_MORE_PARTS = {
    24: ["hand_l", "hand_r"],
    52: ["hand_l"] * 15 + ["hand_r"] * 15,
    55: ["head", "eyes", "eyes"] + ["hand_l"] * 15 + ["hand_r"] * 15,
}
# The attributes of a vertex: its skinning weight for each of these regions.
_REGIONS = {
    "torso": ("torso_lower", "torso_upper"),
    "legs": ("thigh_l", "thigh_r", "shin_l", "shin_r"),
    "arms": ("upperarm_l", "upperarm_r", "forearm_l", "forearm_r"),
    "feet": ("foot_l", "foot_r"),
    "head": ("head", "eyes"),
}


class SmplPerson:
    """A dressed person on a body model; the seed determines everything but the mesh.

    Args:
        model: SMPL (24 joints), SMPL+H (52) or SMPL-X (55).
        seed: any non-negative integer.
        betas: [S] the shape, such as a clip's; None draws it from the seed.

    Attributes:
        betas: [S]; rest: [V, 3] and heads: [K, 3], vertices and joints at rest in world axes.
        root: [3], the pelvis at rest in the model's axes; the first rotation turns about it.
        surface: see `surface.Surface`; its canonical is the model's template in world axes.

    Raises:
        ValueError: the model has an unsupported number of joints.
    """

    kind = "body"

    def __init__(self, model: smpl_model.SmplBody, seed: int, betas: np.ndarray | None = None):
        joints = len(model.parents)
        if joints not in _MORE_PARTS:
            raise ValueError(
                f"The body model has {joints} joints; expected one of {tuple(_MORE_PARTS)}: use "
                "an SMPL, SMPL+H or SMPL-X file."
            )
        self.model, self.seed = model, seed
        rng = np.random.default_rng([seed, 1])
        drawn = np.clip(rng.normal(size=min(10, model.shapes.shape[-1])), -2, 2)
        self.betas = np.asarray(drawn if betas is None else betas, np.float64)
        vertices, self.joints = model.rest(self.betas)
        self.root = self.joints[0]
        self.rest, self.heads = vertices @ smpl_joints.AXES, self.joints @ smpl_joints.AXES
        self.surface = self._surface(_PARTS + _MORE_PARTS[joints])
        self._dress(np.random.default_rng([seed, 2]))
        # Clothes are as far from the skin as they are thick.
        worn = self._worn(self.surface.canonical, self.surface.attributes)
        thick = np.array([0, self._loose, self._loose, 0.012, self._hair_depth], np.float32)
        normal = surface.normals(vertices, model.faces)
        self._offset = normal * thick[worn][:, None]

    def describe(self) -> dict:
        """Returns a description of the person in plain values."""
        return {
            "seed": int(self.seed),
            "betas": [round(float(beta), 4) for beta in self.betas],
            "fabrics": [self._shirt.kind, self._trousers.kind],
            "skin_tone": self._tone,
        }

    def pose(
        self, turns: np.ndarray, translation: np.ndarray | None = None, lift: float = 0.0
    ) -> surface.Posed:
        """Returns the person in a pose, its lowest point `lift` metres above the ground.

        Args:
            turns: [K, 3, 3] rotations relative to the parent; the first one takes the model's axes
                to world axes.
            translation: [3] metres; its height is ignored.
            lift: metres.
        """
        model = self.model
        skin, _ = model.rest(self.betas)
        skin = model.corrected(skin, turns)
        transforms = model.transforms(self.joints, turns, translation)
        vertices = model.skin(skin + self._offset, transforms)
        skin = model.skin(skin, transforms)
        rise = np.float32(lift) - vertices[:, 2].min()
        vertices[:, 2] += rise
        skin[:, 2] += rise
        transforms[:, 2, 3] += rise
        return surface.Posed(
            vertices=vertices.astype(np.float32),
            normals=surface.normals(vertices, model.faces),
            skin=skin.astype(np.float32),
            joints=parametric_body.apply(transforms, self.joints),
            transforms=transforms,
        )

    def turns(self, clip: amass.Clip, time: float) -> np.ndarray:
        """Returns the rotations [K, 3, 3] for `pose` at a time of a clip, in seconds."""
        joints = len(self.model.parents)
        pose = np.zeros((joints, 3))
        pose[:22] = clip.at(time)[1][:22]
        if joints == 24:
            pose[22:] = clip.at(time)[1][22:]
        elif clip.fingers is not None:
            pose[-30:] = clip.fingers_at(time).reshape(30, 3)
        return rotations.from_vector(pose)

    def parameters(self, turns: np.ndarray, posed: surface.Posed) -> open_fit.Parameters:
        """Returns the model parameters that give this pose in world axes; see `pose`."""
        root = self.joints[0] - turns[0] @ self.joints[0]
        transl = posed.transforms[0, :3, 3] - root
        return open_fit.Parameters(self.betas, rotations.to_vector(turns), transl)

    def shade(self, pixels: surface.Pixels) -> surface.Material:
        """Returns the material of points on the person's surface."""
        place = pixels.canonical
        worn = self._worn(place, pixels.attributes)
        # Metres around and along the garment; the sleeves extend along x.
        sleeve = pixels.attributes[:, 2] > 0.5
        around = np.where(
            sleeve, place[:, 1] - place[:, 2], np.arctan2(place[:, 0], -place[:, 1]) * 0.15
        )
        along = np.where(sleeve, np.abs(place[:, 0]), place[:, 2])
        albedo = np.tile(self._skin, (len(place), 1))
        gloss = np.full(len(place), 0.25, np.float32)
        clothes = (self._shirt, self._trousers, self._shoes, self._hair)
        for number, cloth in enumerate(clothes, 1):
            at = np.flatnonzero(worn == number)
            if len(at):
                albedo[at] = cloth.colour(around[at], along[at], place[at])
                gloss[at] = cloth.gloss
        return surface.Material(albedo.astype(np.float32), gloss, pixels.normal)

    def _surface(self, parts: list[str]) -> surface.Surface:
        model, names = self.model, parametric_body.load().parts
        attributes = np.zeros((len(model.template), len(_REGIONS)), np.float32)
        for k, members in enumerate(_REGIONS.values()):
            attributes[:, k] = model.weights[:, [part in members for part in parts]].sum(1)
        shares = np.zeros((len(model.template), len(names)), np.float32)
        for joint, part in enumerate(parts):
            shares[:, names.index(part)] += model.weights[:, joint]
        uv = np.zeros((len(model.faces), 3, 2), np.float32)
        if model.uv is not None:
            uv = model.uv[model.faces_uv]
        return surface.Surface(
            faces=model.faces,
            canonical=(model.template @ smpl_joints.AXES).astype(np.float32),
            attributes=attributes,
            part=shares[model.faces].sum(1).argmax(1).astype(np.uint8),
            uv=uv,
            skip=np.zeros(len(model.faces), bool),
        )

    def _dress(self, rng: np.random.Generator) -> None:
        """Draws the clothes; hems and sleeves end at heights measured on the template's limbs."""
        place = (self.model.regressor @ self.model.template) @ smpl_joints.AXES
        shoulder, elbow, wrist = (abs(place[joint, 0]) for joint in (16, 18, 20))
        knee, ankle = (place[joint, 2] for joint in (4, 7))
        self._sleeve = float(rng.choice([0.45 * shoulder + 0.55 * elbow, wrist]))
        self._cuff = float(rng.choice([knee, ankle + 0.02, ankle + 0.02]))
        self._waist = float(place[0, 2] + 0.03)
        head = self.surface.canonical[self.surface.attributes[:, 4] > 0.9]
        low, high = (head.min(0), head.max(0)) if len(head) else (place[15], place[15])
        self._hairline = low + (high - low) * (0, rng.uniform(0.35, 0.5), rng.uniform(0.72, 0.8))
        self._loose = float(rng.uniform(0.004, 0.012))
        self._hair_depth = float(rng.uniform(0.002, 0.018))
        kinds = ("plain", "plain", "heather", "stripes", "check", "plaid", "knit")
        self._shirt = fabric.draw(rng, kinds)
        self._trousers = fabric.draw(rng, ("plain", "denim", "denim"))
        self._shoes = fabric.draw(rng, ("leather", "plain"))
        colour = fabric.linear(skin_lib.HAIR[rng.integers(len(skin_lib.HAIR))])
        colours = np.stack([colour, colour * 0.6, colour])
        self._hair = fabric.Fabric("heather", colours, 0.01, 0.3, np.zeros(3, np.float32))
        self._tone = int(rng.integers(len(skin_lib.TONES)))
        self._skin = fabric.linear(skin_lib.TONES[self._tone]) * rng.uniform(0.74, 0.88)

    def _worn(self, place: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Returns the layer of points, [P] uint8: 0 skin, 1 shirt, 2 trousers, 3 shoes, 4 hair."""
        torso, legs, arms, feet, head = attributes.T
        below = place[:, 2] < self._waist
        worn = np.zeros(len(place), np.uint8)
        worn[(torso + arms > 0.5) & (np.abs(place[:, 0]) < self._sleeve)] = 1
        worn[((torso > 0.5) & below) | ((legs + torso > 0.5) & below & (legs > 0.1))] = 2
        worn[(legs > 0.5) & (place[:, 2] < self._cuff)] = 0
        worn[feet > 0.5] = 3
        behind = (place[:, 1] > self._hairline[1]) & (place[:, 2] > self._hairline[2] - 0.12)
        worn[(head > 0.5) & (behind | (place[:, 2] > self._hairline[2]))] = 4
        return worn


class Recorded:
    """A random excerpt of a clip that moves a `SmplPerson`; stands in for a `motion.Motion`.

    Args:
        person: the person to move.
        clip: the recorded motion.
        seed: draws the excerpt, 2.5 to 6 s if the clip is that long, and its heading.

    Attributes:
        name: "clip"; duration: seconds; hand_names: {"L": name, "R": name}.
    """

    name = "clip"

    def __init__(self, person: SmplPerson, clip: amass.Clip, seed: int):
        rng = np.random.default_rng([seed, 3])
        self.duration = float(min(clip.duration, rng.uniform(2.5, 6)))
        self.hand_names = {"L": "recorded", "R": "recorded"}
        self._person, self._clip = person, clip
        self._start = rng.uniform(0, clip.duration - self.duration)
        self._heading = rotations.about(rotations.Z, rng.uniform(0, 2 * np.pi))

    def at(self, time: float) -> motion.Pose:
        """Returns the pose at a time in seconds; at time 0 the pelvis is above the origin."""
        moment = self._start + min(max(time, 0.0), self.duration)
        turns = self._person.turns(self._clip, moment)
        turns[0] = self._heading @ turns[0]
        path = self._clip.place(moment) - self._clip.place(self._start)
        return motion.Pose(turns, self._heading @ path - self._person.root * (1, 1, 0))

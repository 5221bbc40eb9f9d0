"""Makes skirts: fits them to the hips, skins them to both legs and pushes them out of the legs."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.people import garment_mesh

AROUND, ROWS = 40, 15
_LEGS = ("upperleg01", "lowerleg01", "foot")


@dataclasses.dataclass
class Skirt:
    """A skirt's mesh, and the leg radii that keep it off the legs.

    Attributes:
        piece: an outer and an inner wall, each of ROWS rings of AROUND vertices, waist to hem.
        radii: [3] metres around hip, knee and ankle that the cloth keeps clear.
    """

    piece: garment_mesh.Piece
    radii: np.ndarray

    def drape(self, vertices: np.ndarray, bone: dict, joints: np.ndarray) -> np.ndarray:
        """Returns the skinned vertices pushed out of the legs.

        Args:
            vertices: [2 * AROUND * ROWS, 3] world axes, metres.
            bone: {name of a bone: its number}.
            joints: [J, 3] bone heads in world axes, metres.
        """
        wall = vertices[: AROUND * ROWS].reshape(ROWS, AROUND, 3)
        middle = wall.mean(1, keepdims=True)
        outward = wall - middle
        outward /= np.linalg.norm(outward, axis=2, keepdims=True) + 1e-6
        moved = wall.copy()
        legs = [[joints[bone[f"{name}.{side}"]] for name in _LEGS] for side in "LR"]
        self._fall(moved, legs)
        for _ in range(2):
            for leg in legs:
                for k in range(2):
                    _push(moved, outward, leg[k], leg[k + 1], *self.radii[k : k + 2])
        shift = moved - wall
        # Cloth is stiff, so neighbouring vertices move along.
        soft = (np.roll(shift, 1, 1) + 2 * shift + np.roll(shift, -1, 1)) / 4
        shift = np.where(np.abs(soft) > np.abs(shift), soft, shift).reshape(-1, 3)
        return vertices + np.concatenate([shift, shift])

    def _fall(self, points, legs):
        """Lowers the cloth onto thighs that are not vertical, in place."""
        ceiling, tilt = np.full(points.shape[:2], -np.inf), 0.0
        for hip, knee, _ in legs:
            axis = knee - hip
            along = np.clip((points - hip) @ axis / (axis @ axis), 0, 1)
            radius = self.radii[0] + (self.radii[1] - self.radii[0]) * along
            beside = points[..., :2] - (hip[:2] + along[..., None] * axis[:2])
            over = np.maximum(np.linalg.norm(beside, axis=-1) - radius, 0)
            ceiling = np.maximum(ceiling, hip[2] + along * axis[2] + radius - 1.3 * over)
            tilt = max(tilt, 1 - abs(axis[2]) / np.linalg.norm(axis))
        share = np.clip((tilt - 0.15) / 0.4, 0, 1) * np.linspace(0, 3, ROWS).clip(0, 1)
        points[..., 2] -= share[:, None] * np.maximum(points[..., 2] - ceiling, 0)


def _push(points, outward, a, b, start, end):
    """Moves points [..., 3] out of a cone around the segment from a to b, in place."""
    axis = (b - a).astype(np.float32)
    along = np.clip((points - a) @ axis / (axis @ axis), 0, 1)[..., None]
    away = points - (a + along * axis)
    distance = np.linalg.norm(away, axis=-1, keepdims=True)
    depth = np.maximum(start + (end - start) * along - distance, 0)
    # Away from the leg and outwards, so that cloth never passes through to the other side.
    direction = away / np.maximum(distance, 1e-4) + 0.9 * outward
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-6
    points += depth * direction * 1.2


def make(tailor, waist: float, hem: float, flare: float, waves: int, layer: int) -> Skirt:
    """Returns a skirt between two heights on the template.

    Args:
        tailor: a `garments.Tailor` with the person's measurements.
        waist, hem: heights on the template, metres.
        flare: metres of radius gained per metre of length.
        waves: number of folds around the hem.
        layer: layer number, see `outfits.Outfit`.
    """
    body, rng = tailor.body, tailor.rng
    levels = np.linspace(0, 1, ROWS) ** 1.1
    heights = waist + (hem - waist) * levels
    phase = rng.uniform(0, 6.28)
    canonical = _walls(body, body.template, heights, flare, waves, phase, body.heads)
    rest = _walls(body, tailor.rest, heights, flare, waves, phase, tailor.heads)
    outer = garment_mesh.loft(ROWS, AROUND)
    inner = outer[:, ::-1] + AROUND * ROWS
    attributes = np.zeros((2 * AROUND * ROWS, anatomy.ATTRIBUTES), np.float32)
    wall = slice(0, AROUND * ROWS)
    attributes[wall, anatomy.EDGE] = np.repeat((1 - levels) * abs(waist - hem), AROUND)
    attributes[AROUND * ROWS :, anatomy.EDGE] = -1
    angle = np.tile(np.arange(AROUND) * 2 * np.pi / AROUND, ROWS)
    attributes[wall, anatomy.FOLD] = np.cos(waves * angle + phase) * np.repeat(levels, AROUND) * 0.8
    a = anatomy.of(body)
    around = np.nonzero(a.member["torso_lower"] | a.member["torso_upper"])[0]
    weights, bones = _skinning(body, canonical, around)
    below = a.inside("torso_lower", "thigh_l", "thigh_r", "shin_l", "shin_r") > 0
    near = garment_mesh.nearest(body, canonical, np.nonzero(below)[0])
    piece = garment_mesh.attach(
        body,
        canonical,
        rest,
        np.concatenate([outer, inner]),
        near,
        attributes,
        layer,
        (weights, bones),
    )
    radii = _radii(body, tailor.rest, tailor.heads)
    return Skirt(piece, radii)


def _heights(body, heads, levels):
    """Returns the person's heights for heights on the template, interpolated between joints."""
    names = ["foot.L", "lowerleg01.L", "upperleg01.L", "spine03", "spine02"]
    numbers = [body.bone[name] for name in names]
    return np.interp(levels, body.heads[numbers, 2], heads[numbers, 2])


def _walls(body, vertices, heights, flare, waves, phase, heads):
    """Returns the outer and the inner wall, [2 * ROWS * AROUND, 3]."""
    a = anatomy.of(body)
    z = _heights(body, heads, heights)
    some = vertices[
        a.inside("torso_lower", "torso_upper", "thigh_l", "thigh_r", "shin_l", "shin_r") > 0
    ]
    some = some[(some[:, 2] < z[0] + 0.03) & (some[:, 2] > z[-1] - 0.03)]
    y = -0.02 + heads[body.bone["root"], 1] - body.heads[body.bone["root"], 1]
    place = (np.arctan2(some[:, 0], -(some[:, 1] - y)) / (2 * np.pi) * AROUND + 0.5).astype(int)
    row = np.clip(np.interp(-some[:, 2], -z, np.arange(ROWS)).astype(int), 0, ROWS - 2)
    reach = np.zeros((ROWS, AROUND))
    radius = np.hypot(some[:, 0], some[:, 1] - y)
    for shift in (0, 1):
        np.maximum.at(reach, (row + shift, place % AROUND), radius)
    turns = range(-6, 7)
    hull = np.max([np.roll(reach, k, 1) * np.cos(2 * np.pi * k / AROUND) for k in turns], axis=0)
    hull[1:] = np.maximum.accumulate(hull, 0)[1:]  # cloth hangs: the radius never shrinks downwards
    hull = (np.roll(hull, 1, 1) + hull + np.roll(hull, -1, 1)) / 3
    depth = z[0] - z[:, None]
    angle = np.arange(AROUND) * 2 * np.pi / AROUND
    wide = hull + 0.010 + flare * depth
    wide *= 1 + 0.12 * min(flare, 0.5) * (depth / 0.5) * np.cos(waves * angle + phase)
    wide[0] = hull[0] - 0.004  # the waistband closes
    walls = []
    for gap in (0, 0.006):
        r = wide - gap
        level = np.broadcast_to(z[:, None], r.shape)
        walls.append(np.stack([r * np.sin(angle), y - r * np.cos(angle), level], -1))
    return np.concatenate(walls).reshape(-1, 3).astype(np.float32)


def _skinning(body, canonical, torso):
    """Returns weights and bones, [m, 8] each: hips at the top, blending into both legs below."""
    near = garment_mesh.nearest(body, canonical, torso)
    x, z = canonical[:, 0], canonical[:, 2]
    legs = _ramp(z, 0.03, -0.22)
    left = _ramp(x, -0.13, 0.13)
    lower = 0.92 * _ramp(z, -0.31, -0.46)
    shares = [left * (1 - lower), (1 - left) * (1 - lower), left * lower, (1 - left) * lower]
    weights = np.concatenate(
        [body.weights[near] * (1 - legs)[:, None], np.stack(shares, 1) * legs[:, None]], 1
    )
    names = ("upperleg02.L", "upperleg02.R", "lowerleg01.L", "lowerleg01.R")
    own = np.tile([body.bone[name] for name in names], (len(canonical), 1))
    return weights.astype(np.float32), np.concatenate([body.weight_bones[near], own], 1)


def _ramp(x, start, end):
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _radii(body: parametric_body.Body, rest, heads):
    """Returns leg radii at hip, knee and ankle plus 12 mm of clearance, [3] metres."""
    t = body.template
    a = anatomy.of(body)
    legs = a.member["thigh_l"] | a.member["shin_l"]
    axis = anatomy.leg_axis(heads, body.bone, rest[:, 2])
    radius = np.hypot(rest[:, 0] - axis[:, 0], rest[:, 1] - axis[:, 1])
    result = []
    for height in (-0.13, -0.37, -0.62):
        result.append(np.quantile(radius[legs & (np.abs(t[:, 2] - height) < 0.05)], 0.85) + 0.012)
    return np.float32(result)

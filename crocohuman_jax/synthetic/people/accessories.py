"""Makes the meshes of shoes, glasses, visors, rings, watches, and tied and loose hair.

Each mesh is made on the template body and then moved to the person at rest.
"""

import functools

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.people import garment_mesh

SOLE = 0.016  # thickness of a sole, metres
_EVERYWHERE = 0.05  # distance from a garment's edge, metres: large enough to show no hem


def attributes(count: int) -> np.ndarray:
    """Returns attributes [count, A] of points far from any edge of a garment."""
    result = np.zeros((count, anatomy.ATTRIBUTES), np.float32)
    result[:, anatomy.EDGE] = _EVERYWHERE
    return result


def follow(body, rest, canonical, near, rounds=0, shape=None) -> np.ndarray:
    """Returns a mesh [m, 3] that was made on the template, moved to a person at rest.

    Args:
        body, rest: the body, and the person's vertices at rest, [V, 3].
        canonical: [m, 3] on the template.
        near: [m] the body vertex that each vertex moves with.
        rounds: rounds of smoothing the displacement over the grid `shape`.
        shape: (rows, columns) of the mesh; None moves the whole mesh by the mean displacement.
    """
    shift = (rest - body.template)[near]
    if shape is None:
        return canonical + shift.mean(0)
    shift = shift.reshape(*shape, 3)
    for _ in range(rounds):
        rows = np.concatenate([shift[:1], shift, shift[-1:]])
        shift = (rows[:-2] + 2 * shift + rows[2:]) / 4
        shift = (np.roll(shift, 1, 1) + 2 * shift + np.roll(shift, -1, 1)) / 4
    return canonical + shift.reshape(-1, 3)


def rigid(count: int, *shares: tuple[np.ndarray | float, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns skinning weights and bones, [count, 4] each, from up to four (weights, bone)."""
    weights = np.zeros((count, 4), np.float32)
    bones = np.zeros((count, 4), np.int32)
    for k, (weight, bone) in enumerate(shares):
        weights[:, k], bones[:, k] = weight, bone
    return weights / weights.sum(1, keepdims=True), bones


def shoes(body: parametric_body.Body, rest: np.ndarray, toe: float, layer: int) -> list:
    """Returns a pair of shoes; `toe` goes from 0 (round) to 1 (pointed)."""
    pieces = []
    for side in "lr":
        canonical, shape, near = _last(body, side, toe)
        moved = follow(body, rest, canonical, near, 6, shape)
        y = canonical[:, 1]
        toes = np.clip((-0.115 - y) / 0.03, 0, 1)
        bone = body.bone
        skinning = rigid(
            len(canonical),
            (1 - toes, bone[f"foot.{side.upper()}"]),
            (toes, bone[f"toe3-1.{side.upper()}"]),
        )
        faces = garment_mesh.loft(*shape)
        values = attributes(len(canonical))
        pieces.append(
            garment_mesh.attach(body, canonical, moved, faces, near, values, layer, skinning)
        )
    return pieces


@functools.cache
def _last(body, side, toe):
    """Returns a shoe on the template: rings from heel to toe, shape, nearest body vertices."""
    foot = body.template[anatomy.of(body).member[f"foot_{side}"]]
    low = foot[foot[:, 2] < anatomy.ANKLE - 0.015]
    rows, around = 18, 18
    heel_y, toe_y = low[:, 1].max() + 0.008, low[:, 1].min() - 0.012 - 0.02 * toe
    share = np.array([0, 0.0, 0.02, 0.06, *np.linspace(0.12, 0.9, rows - 8), 0.955, 0.985, 1, 1])
    y = heel_y + (toe_y - heel_y) * share
    left, right, top = (np.empty(rows) for _ in range(3))
    for k in range(rows):
        near = low[np.abs(low[:, 1] - np.clip(y[k], low[:, 1].min(), low[:, 1].max())) < 0.016]
        left[k], right[k], top[k] = near[:, 0].min(), near[:, 0].max(), near[:, 2].max()
    middle, half = (left + right) / 2, (right - left) / 2 + 0.006
    half = np.minimum(half, 0.053)
    ends = np.sqrt(np.clip(1 - np.clip((share - 0.78) / 0.225, 0, 1) ** (2.6 - toe), 0, 1))
    start = np.sqrt(np.clip(1 - np.clip((0.16 - share) / 0.165, 0, 1) ** 2.4, 0, 1))
    half = half * ends * start
    bottom = foot[:, 2].min()
    upper = np.interp(
        share, [0, 0.3, 0.45, 0.62, 0.8, 0.92, 1], [0.075, 0.07, 0.078, 0.066, 0.05, 0.042, 0.024]
    )
    upper = np.minimum(upper, np.maximum(top - bottom + 0.010, 0.03))
    upper[share < 0.3] = np.interp(share[share < 0.3], [0, 0.3], [0.068, 0.07])
    spring = np.interp(share, [0, 0.75, 1], [0, 0, 0.3 * SOLE])  # toes rise a little
    angle = np.arange(around) * 2 * np.pi / around
    up, side_ = np.cos(angle), np.sin(angle)
    width = np.sign(side_) * np.abs(side_) ** 0.75
    height = np.where(up > 0, np.abs(up) ** 0.9, -np.minimum(np.abs(up) * 3, 1))
    x = middle[:, None] + half[:, None] * width
    z = np.where(height > 0, bottom + upper[:, None] * height, bottom + SOLE * height)
    z = z + spring[:, None]
    for row in (0, rows - 1):
        x[row], z[row] = x[row].mean(), bottom + 0.012
    points = np.stack([x, np.broadcast_to(y[:, None], x.shape), z], -1)
    points = points.reshape(-1, 3).astype(np.float32)
    return points, (rows, around), garment_mesh.nearest(body, points, _near(body, f"foot_{side}"))


def tube(path: np.ndarray, radii: np.ndarray, around: int, flat=(1.0, 1.0)) -> np.ndarray:
    """Returns rings [rows * around, 3] along a path; faces from `loft` point outwards.

    Args:
        path: [rows, 3] centres of the rings, metres.
        radii: [rows] metres.
        around: points per ring.
        flat: factors on the radius sideways (x) and across.
    """
    step = np.gradient(path, axis=0)
    up = -step / np.linalg.norm(step, axis=1, keepdims=True)  # loft goes downwards
    first = np.cross(np.broadcast_to([0.0, 1.0, 0.0], up.shape), up)
    weak = np.linalg.norm(first, axis=1, keepdims=True) < 0.2
    first = np.where(weak, np.cross(np.broadcast_to([1.0, 0.0, 0.0], up.shape), up), first)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(up, first)
    angle = np.arange(around) * 2 * np.pi / around
    ring = flat[0] * np.cos(angle)[None, :, None] * first[:, None]
    ring = ring + flat[1] * np.sin(angle)[None, :, None] * second[:, None]
    return (path[:, None] + radii[:, None, None] * ring).reshape(-1, 3).astype(np.float32)


def _near(body, *parts):
    return np.nonzero(anatomy.of(body).inside(*parts) > 0)[0]


def _on_head(body, rest, canonical, faces, layer, skinning=None):
    near = garment_mesh.nearest(body, canonical, _near(body, "head"))
    moved = follow(body, rest, canonical, near)
    skinning = skinning or rigid(len(canonical), (1.0, body.bone["head"]))
    return garment_mesh.attach(
        body, canonical, moved, faces, near, attributes(len(canonical)), layer, skinning
    )


def ponytail(body, rest, length: float, thick: float, high: float, layer: int) -> list:
    """Returns a ponytail of a length and thickness in metres; `high` in [0, 1] is its position."""
    s = np.linspace(0, 1, 12)
    root = np.array([0.0, 0.028, 0.755 + 0.045 * high])
    out = 0.05 * np.sin(np.minimum(s * 2.2, 1.4)) + 0.02 * s
    path = root + np.stack([0 * s, out, 0.02 * np.sin(s * 3.1) - length * s**1.3], 1)
    radii = thick * np.interp(s, [0, 0.06, 0.12, 0.4, 0.8, 1], [0.35, 0.55, 0.6, 1, 0.8, 0.05])
    canonical = tube(path, radii, 10)
    low = np.repeat(0.55 * s**1.5, 10)
    skinning = rigid(len(canonical), (1 - low, body.bone["head"]), (low, body.bone["spine01"]))
    return [_on_head(body, rest, canonical, garment_mesh.loft(12, 10), layer, skinning)]


def bun(body, rest, size: float, high: float, layer: int) -> list:
    """Returns a bun of radius `size` in metres; `high` in [0, 1] is its position."""
    s = np.linspace(0, np.pi, 9)
    center = np.array([0.0, 0.040 - 0.035 * high, 0.765 + 0.085 * high])
    axis = np.array([0.0, 0.8 - 0.6 * high, 0.35 + 0.6 * high])
    axis /= np.linalg.norm(axis)
    path = center + size * np.cos(s)[:, None] * axis * 0.85
    canonical = tube(path, size * np.maximum(np.sin(s), 0.02), 12)
    return [_on_head(body, rest, canonical, garment_mesh.loft(9, 12), layer)]


def tresses(body, rest, length: float, thick: float, layer: int) -> list:
    """Returns loose hair around the back of the head, down to the height `length` (metres)."""
    rows, columns = 14, 27
    z = np.concatenate([np.linspace(0.80, 0.70, 5), np.linspace(0.68, length, rows - 5)])
    z = np.repeat(z[:, None], columns, 1)
    angle = np.linspace(1, -1, columns)[None] * 2.0
    down = np.clip((0.66 - z) / 0.12, 0, 1)
    turn = angle * (1 - 0.52 * down)
    wide = np.interp(-z, [-0.80, -0.76, -0.70, -0.62, -0.5], [0.066, 0.078, 0.082, 0.076, 0.085])
    wide = wide + thick * np.interp(-z, [-0.8, -0.76], [0.2, 1])
    deep = np.interp(-z, [-0.80, -0.76, -0.70, -0.62, -0.5], [0.078, 0.088, 0.086, 0.07, 0.06])
    deep = deep + thick * np.interp(-z, [-0.8, -0.76], [0.2, 1])
    y = -0.045 + deep * np.cos(turn)
    torso = body.template[_near(body, "torso_upper", "neck")]
    torso = torso[np.abs(torso[:, 0]) < 0.11]
    back = [torso[np.abs(torso[:, 2] - h) < 0.03, 1].max(initial=-0.1) for h in z[:, 0]]
    behind = np.array(back)[:, None] + 0.012 * np.cos(turn)
    y = y + np.maximum(behind - y, 0) * np.clip((0.61 - z) / 0.06, 0, 1)
    x = wide * np.sin(turn) * (1 + 0.04 * np.sin(angle * 9) * down)
    z = z + 0.006 * np.cos(angle * 7) * (z < length + 0.02)
    outer = np.stack([x, y, z], -1).reshape(-1, 3)
    center = np.stack([0 * x, np.full_like(x, -0.045), z], -1).reshape(-1, 3)
    inward = center - outer
    inner = outer + 0.012 * inward / np.linalg.norm(inward, axis=1, keepdims=True)
    canonical = np.concatenate([outer, inner]).astype(np.float32)
    # Seen from above, the columns run from the left around the back to the right.
    faces = garment_mesh.loft(rows, columns, closed=False)
    count = rows * columns
    faces = np.concatenate([faces, faces[:, ::-1] + count, _rim(rows, columns, count)])
    near = garment_mesh.nearest(body, canonical, _near(body, "head", "neck", "torso_upper"))
    moved = follow(body, rest, canonical, near, 5, (2 * rows, columns))
    height = canonical[:, 2]
    head = np.clip((height - 0.52) / 0.14, 0.12, 1)
    skinning = rigid(2 * count, (head, body.bone["head"]), (1 - head, body.bone["spine01"]))
    values = attributes(2 * count)
    return [garment_mesh.attach(body, canonical, moved, faces, near, values, layer, skinning)]


def _rim(rows, columns, count):
    """Returns faces that join a sheet and its inner copy along both sides and the bottom."""
    grid = np.arange(count).reshape(rows, columns)
    loops = [grid[:, 0], grid[-1, :], grid[::-1, -1]]
    faces = []
    for loop in loops:
        a, b = loop[:-1], loop[1:]
        faces += [np.stack([a, a + count, b], 1), np.stack([b, a + count, b + count], 1)]
    return np.concatenate(faces).astype(np.int32)


def glasses(body, rest, round_: float, layer: int) -> list:
    """Returns the frame of glasses; `round_` goes from 0 (angular) to 1 (round)."""
    pieces = []
    eye = body.heads[body.bone["eye.L"]]
    angle = np.linspace(0, 2 * np.pi, 19)
    power = 0.55 + 0.45 * round_
    for side in (1, -1):
        ring = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * 0.0225
        rise = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * 0.0175
        path = np.stack(
            [
                eye[0] * 1.02 + ring,
                -0.158 + 10 * ring**2 + 0.12 * np.maximum(ring, 0),
                eye[2] - 0.003 + rise,
            ],
            1,
        )
        pieces.append(path * (side, 1, 1))
        temple = np.array(
            [
                [0.054, -0.146, 0.736],
                [0.068, -0.135, 0.737],
                [0.077, -0.09, 0.733],
                [0.079, -0.055, 0.729],
                [0.077, -0.035, 0.712],
            ]
        )
        pieces.append(temple * (side, 1, 1))
    bridge = np.array([[-0.010, -0.158, 0.730], [0, -0.163, 0.732], [0.010, -0.158, 0.730]])
    pieces.append(bridge)
    points, faces, start = [], [], 0
    for path in pieces:
        points.append(tube(path, np.full(len(path), 0.0014), 5))
        faces.append(garment_mesh.loft(len(path), 5) + start)
        start += len(points[-1])
    canonical, faces = np.concatenate(points), np.concatenate(faces)
    return [_on_head(body, rest, canonical, faces, layer)]


def brim(body, rest, layer: int) -> list:
    """Returns the visor of a cap."""
    columns, rows = 13, 4
    across = np.linspace(-1, 1, columns)[None]
    out = np.linspace(0, 1, rows)[:, None]
    x = 0.074 * np.sin(across * 1.35) * (1 - 0.08 * out)
    y = -0.055 - 0.105 * np.cos(across * 1.25) - 0.066 * out * np.cos(across * 1.5)
    z = 0.792 - 0.016 * out - 0.014 * across**2 * (0.5 + out)
    top = np.stack(np.broadcast_arrays(x, y, z), -1).reshape(-1, 3)
    canonical = np.concatenate([top, top - [0, 0, 0.004]]).astype(np.float32)
    faces = garment_mesh.loft(rows, columns, closed=False)
    count = rows * columns
    return [
        _on_head(
            body,
            rest,
            canonical,
            np.concatenate([faces, faces[:, ::-1] + count, _rim(rows, columns, count)]),
            layer,
        )
    ]


def ring(body, rest, heads, finger: int, side: str, layer: int) -> list:
    """Returns a ring on the finger numbered `finger` (1 is the thumb); side: "L" or "R"."""
    a, b = (body.bone[f"finger{finger}-{k}.{side}"] for k in (1, 2))
    return [
        _band(
            body, rest, heads, a, b, 0.62, 0.0045, 0.0012, 0.012, f"hand_{side.lower()}", a, layer
        )
    ]


def bracelet(body, rest, heads, side: str, width: float, layer: int) -> list:
    """Returns a band around the wrist, `width` metres wide; side: "L" or "R"."""
    a, b = body.bone[f"lowerarm02.{side}"], body.bone[f"wrist.{side}"]
    part = f"forearm_{side.lower()}"
    return [_band(body, rest, heads, a, b, 0.86, width, 0.0025, 0.05, part, a, layer)]


def _band(body, rest, heads, a, b, at, width, lift, reach, part, bone, layer):
    """Returns a band around a limb, at the fraction `at` of the way from bone a to bone b."""
    among = _near(body, part, part.replace("forearm", "hand"))
    meshes = []
    for vertices, joints in ((body.template, body.heads), (rest, heads)):
        axis = joints[b] - joints[a]
        axis = axis / np.linalg.norm(axis)
        center = joints[a] + at * (joints[b] - joints[a])
        d = vertices[among] - center
        along = d @ axis
        near = (np.abs(along) < max(0.5 * width, 0.006)) & (np.linalg.norm(d, axis=1) < reach)
        d, along = d[near], along[near]
        center = center + (d - along[:, None] * axis).mean(0)
        first = np.cross(axis, [0.3, 0.9, 0.1])
        first /= np.linalg.norm(first)
        second = np.cross(axis, first)
        q = vertices[among][near] - center
        around = 20
        place = np.arctan2(q @ second, q @ first) / (2 * np.pi) * around
        radius = np.hypot(q @ first, q @ second)
        angle = np.arange(around)
        gap = np.abs((place[None] - angle[:, None] + around / 2) % around - around / 2)
        reach_out = np.where(gap < 1.6, radius, 0).max(1)
        wide = np.where(reach_out > 0, reach_out, np.median(radius))
        for _ in range(3):
            wide = (np.roll(wide, 1) + 2 * wide + np.roll(wide, -1)) / 4
        wide = wide + lift
        profile = [
            (0.5, -lift - 0.001),
            (0.5, 0.0),
            (0.2, 0.3 * lift),
            (-0.2, 0.3 * lift),
            (-0.5, 0.0),
            (-0.5, -lift - 0.001),
        ]
        theta = angle * 2 * np.pi / around
        spoke = np.cos(theta)[:, None] * first + np.sin(theta)[:, None] * second
        rings = [center + h * width * axis + (wide + r)[:, None] * spoke for h, r in profile]
        meshes.append(np.concatenate(rings))
    canonical, moved = (m.astype(np.float32) for m in meshes)
    faces = garment_mesh.loft(len(profile), around)
    skinning = rigid(len(canonical), (1.0, bone))
    values = attributes(len(canonical))
    near = garment_mesh.nearest(body, canonical, among)
    return garment_mesh.attach(body, canonical, moved, faces, near, values, layer, skinning)

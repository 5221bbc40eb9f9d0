"""Makes meshes that people wear: pieces cut from the body along a garment's edge, and lofts.

A loft is a mesh whose faces join consecutive rings of points. A field is the signed distance in
metres to a garment's edge, positive inside.
"""

import dataclasses
import functools

import numpy as np

from crocohuman_jax.synthetic.figure import anatomy, parametric_body


@dataclasses.dataclass
class Piece:
    """A mesh that a person wears: m vertices, f faces.

    Attributes:
        canonical, rest: [m, 3] float32, vertices on the template and on the person at rest, metres.
        weights, bones: [m, W] skinning.
        faces: [f, 3] int32.
        part: [f] uint8; uv: [f, 3, 2] float32; both are those of the body underneath.
        attributes: [m, A] float32, see `anatomy`.
        layer: number of the garment in the person's list of layers, from 1.
    """

    canonical: np.ndarray
    rest: np.ndarray
    weights: np.ndarray
    bones: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    uv: np.ndarray
    attributes: np.ndarray
    layer: int


def cut(
    body: parametric_body.Body,
    rest: np.ndarray,
    field: np.ndarray,
    displacement: np.ndarray,
    attributes: np.ndarray,
    layer: int,
    drop: np.ndarray,
) -> Piece:
    """Returns the part of the body where a field is positive, moved away from the skin.

    The cut splits faces exactly where the field is zero. A rim closes the gap between cloth and
    skin, so that the inside cannot be seen.

    Args:
        body: the parametric body.
        rest: [V, 3] the person at rest, metres.
        field: [V] metres inside the garment.
        displacement: [V, 3] of the cloth from the skin, metres.
        attributes: [V, A]; rims get -1 as `anatomy.EDGE`.
        layer: number of the garment.
        drop: [F] bool, faces to leave out because another garment covers them.
    """
    whole, corners, orders, sources, edges = _split(body.faces, field, drop)
    kept, crossed, index = _number(body.faces[whole], corners, len(field))

    # Each vertex lies at the fraction w of the way from body vertex i to j. Vertices on the cut
    # exist three times: on the cloth's edge, on the rim's outer side and on its base.
    i, j = crossed // len(field), crossed % len(field)
    w = (field[i] / (field[i] - field[j])).astype(np.float32)
    i, j = np.concatenate([kept, i, i, i]), np.concatenate([kept, j, j, j])
    share = np.concatenate([np.zeros(len(kept), np.float32), w, w, w])
    size, rim = len(kept) + len(crossed), len(crossed)
    outer = index[edges[:, 0][:, None], edges[:, 1:]] + rim
    p1, q1, p0, q0 = *outer.T, *(outer + rim).T
    rims = np.concatenate([np.stack([q1, p1, p0], 1), np.stack([q1, p0, q0], 1)])

    def blend(values):
        return values[i] + share[:, None] * (values[j] - values[i])

    lifted = blend(displacement)
    lifted[size + rim :] *= -0.15  # the rim's base lies under the skin
    values = blend(attributes)
    values[size:, anatomy.EDGE] = -1
    nearest_vertex = np.where(share < 0.5, i, j)
    moved = share[index]  # zero where a corner is a vertex
    rim_source = np.tile(sources[edges[:, 0]], 2)
    return Piece(
        canonical=blend(body.template),
        rest=blend(rest) + lifted,
        weights=body.weights[nearest_vertex],
        bones=body.weight_bones[nearest_vertex],
        faces=np.concatenate([np.searchsorted(kept, body.faces[whole]), index, rims]).astype(
            np.int32
        ),
        part=body.face_part[np.concatenate([whole, sources, rim_source])],
        uv=_cut_uv(body, whole, sources, orders, moved, rim_source),
        attributes=values,
        layer=layer,
    )


def _number(whole, corners, count):
    """Returns the vertices of a cut piece and the vertex numbers of its new faces.

    Returns:
        kept: body vertices inside.
        crossed: [E'] edges across the cut, each encoded as from * count + to.
        index: [G, 3] corners of the new faces, as indices into `kept` followed by `crossed`.
    """
    plain = corners[..., 0] == corners[..., 1]
    used = np.zeros(count, bool)
    used[whole] = True
    used[corners[..., 0][plain]] = True
    kept = np.nonzero(used)[0]
    number = np.cumsum(used) - 1
    keys = corners[..., 0].astype(np.int64) * count + corners[..., 1]
    crossed, inverse = np.unique(keys[~plain], return_inverse=True)
    index = np.empty(keys.shape, np.int64)
    index[plain] = number[corners[..., 0][plain]]
    index[~plain] = len(kept) + inverse
    return kept, crossed, index


def _split(faces, field, drop):
    """Splits the faces that the zero of a field crosses.

    Returns:
        whole: [W] faces entirely inside.
        corners: [G, 3, 2] corners of the new faces; each is a pair of vertices, one inside and one
            outside, whose edge the cut crosses, or the same vertex twice.
        orders: [G, 3, 2] the same corners as corner numbers 0 to 2 of the source faces.
        sources: [G] the face that each new face was cut from.
        edges: [E, 3] a new face and its two corners along the cut, the garment on the left.
    """
    positive = field > 0
    inside = np.stack([positive[faces[:, k]] for k in range(3)], 1)
    count = inside.view(np.int8) @ np.ones(3, np.int8)
    count[drop] = 0
    one, two = np.nonzero(count == 1)[0], np.nonzero(count == 2)[0]
    # Rotated so that the only corner inside comes first, or the only corner outside comes last.
    turn_one = (np.argmax(inside[one], 1)[:, None] + np.arange(3)) % 3
    turn_two = (np.argmin(inside[two], 1)[:, None] + (1, 2, 0)) % 3
    shapes = (
        (one, turn_one, (0, 0, 0, 1, 0, 2)),
        (two, turn_two, (0, 0, 1, 1, 1, 2)),
        (two, turn_two, (0, 0, 1, 2, 0, 2)),
    )
    orders = np.concatenate([turn[:, list(at)].reshape(-1, 3, 2) for _, turn, at in shapes])
    sources = np.concatenate([source for source, _, _ in shapes])
    corners = faces[sources[:, None, None], orders]
    rows = np.concatenate([np.arange(len(one)), len(one) + len(two) + np.arange(len(two))])
    edges = np.stack([rows, np.ones_like(rows), np.full_like(rows, 2)], 1)
    return np.nonzero(count == 3)[0], corners, orders, sources, edges


def _cut_uv(body, whole, sources, orders, moved, rim_source):
    """Returns texture coordinates [f, 3, 2] at the corners of whole, cut and rim faces."""
    corners = body.uv[body.faces_uv[sources]]
    start = np.take_along_axis(corners, orders[..., :1], 1)
    end = np.take_along_axis(corners, orders[..., 1:], 1)
    rims = np.repeat(body.uv[body.faces_uv[rim_source]][:, :1], 3, 1)
    middle = start + moved[..., None] * (end - start)
    return np.concatenate([body.uv[body.faces_uv[whole]], middle, rims])


def loft(rows: int, around: int, closed: bool = True) -> np.ndarray:
    """Returns the faces of a tube of rings, [f, 3] int32.

    Vertex r * around + k is number k of ring r. If rings run from the top down and k runs
    counter-clockwise seen from above, the faces point outwards. With closed=False the result is an
    open sheet: the faces between the last and the first column are left out.
    """
    r, k = np.meshgrid(np.arange(rows - 1), np.arange(around - (not closed)), indexing="ij")
    k2 = (k + 1) % around
    a, b = r * around + k, r * around + k2
    c, d = (r + 1) * around + k, (r + 1) * around + k2
    return (
        np.stack([np.stack([a, c, d], -1), np.stack([a, d, b], -1)], 2)
        .reshape(-1, 3)
        .astype(np.int32)
    )


def lowest(values: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns the smallest of the values [V] at each face's corners, [F]."""
    first, second, third = (values[faces[:, k]] for k in range(3))
    return np.minimum(np.minimum(first, second), third)


def nearest(body: parametric_body.Body, points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Returns a template vertex, out of the indices `among`, close to each point [P, 3], [P].

    At most about 500 evenly chosen vertices of `among` are compared.
    """
    among = among[:: 1 + len(among) // 500]
    some = body.template[among]
    distance = np.zeros((len(points), len(among)), np.float32)
    for k in range(3):  # sums: a multithreaded product of such thin matrices is slower
        step = points[:, k, None].astype(np.float32) - some[:, k]
        distance += step * step
    return among[np.argmin(distance, 1)]


def attach(
    body: parametric_body.Body,
    canonical: np.ndarray,
    rest: np.ndarray,
    faces: np.ndarray,
    near: np.ndarray,
    attributes: np.ndarray,
    layer: int,
    skinning: tuple[np.ndarray, np.ndarray],
) -> Piece:
    """Returns a lofted piece; body part and texture come from the nearest body vertices `near` [m].

    Other arguments: see `Piece`; skinning: (weights, bones).
    """
    part, positions = _vertex_labels(body)
    weights, bones = skinning
    uv = positions[near[faces]]
    torn = np.ptp(uv, axis=1).max(1) > 0.1  # corners in different charts of the texture atlas
    uv[torn] = uv[torn][:, :1]
    return Piece(
        canonical=canonical.astype(np.float32),
        rest=rest.astype(np.float32),
        weights=weights,
        bones=bones,
        faces=faces,
        part=part[near[faces[:, 0]]],
        uv=uv,
        attributes=attributes,
        layer=layer,
    )


@functools.cache
def _vertex_labels(body):
    """Returns the part [V] and the texture coordinates [V, 2] of each body vertex."""
    part = np.zeros(len(body.template), np.uint8)
    uv = np.zeros((len(body.template), 2), np.float32)
    for k in range(3):
        part[body.faces[:, k]] = body.face_part
        uv[body.faces[:, k]] = body.uv[body.faces_uv[:, k]]
    return part, uv

"""Open models in the format of SMPL and MANO files, made from the body in the package.

    python -m crocohuman_jax.synthetic.open_models --output=models

writes `open_body.npz`, `open_hand_right.npz` and `open_hand_left.npz` and prints how well they fit
the full body of 104 bones. Each has the fields of the file that it replaces (v_template,
shapedirs, posedirs, J_regressor, J, weights, kintree_table, f, bs_style, bs_type; the hands also
hands_components, hands_mean, hands_coeffs), with the same joints in the same order, the same axes
(y up, facing +z, the left at +x, metres) and the same zero pose: the body stands with its arms
stretched sideways, palms down, legs straight; the hand is flat, its fingers along -x on the right.
The mesh and the shape directions differ, so betas of the original models have another meaning.

Additional fields:
    vt, ft: [T, 2] in [0, 1] and [F, 3], the texture atlas (v up).
    vertices: [V], index of each vertex in the mesh of the full body.
    face_part, part_names: [F] uint8 and the names of the full body's 17 parts.
    dense_part: [F] uint8, 1..24, parts numbered as in DensePose (right hand 3, left hand 4).
    vert_sym_idxs, face_sym_idxs, joint_sym_idxs: indices of the mirrored partners; in a hand each
        element's own index, since the left hand is the mirrored right one, vertex by vertex.
    joint_names: [K].
    shape_mean, shape_projection: [32] and [32, S]: betas are (coefficients - mean) @ projection.
"""

import functools
import pathlib

import numpy as np
import threadpoolctl

from crocohuman_jax.synthetic.figure import joint_regressor, parametric_body, smpl_joints
from crocohuman_jax.synthetic.graphics import rotations

ADULTS = 2048  # number of random adults that the shape directions are computed from
NO_PARENT = np.uint32(2**32 - 1)
# DensePose's part numbers (back, front) of each part of the full body.
_DENSE = {
    "torso_upper": (1, 2),
    "torso_lower": (1, 2),
    "hand_r": (3, 3),
    "hand_l": (4, 4),
    "foot_l": (5, 5),
    "foot_r": (6, 6),
    "thigh_r": (7, 9),
    "thigh_l": (8, 10),
    "shin_r": (11, 13),
    "shin_l": (12, 14),
    "upperarm_l": (15, 17),
    "upperarm_r": (16, 18),
    "forearm_l": (19, 21),
    "forearm_r": (20, 22),
}
_DENSE_HEAD = (23, 24)  # (right half, left half) of head, neck and eyes


def adults(count: int, seed: int) -> np.ndarray:
    """Returns the shape coefficients [count, 32] of adults.

    All attributes are drawn uniformly, except height: it is normal with a deviation of 10 cm.
    """
    body, rng = parametric_body.load(), np.random.default_rng(seed)
    drawn = []
    for values in rng.uniform(0, 1, (count, len(parametric_body.PHENOTYPE))):
        phenotype = dict(zip(parametric_body.PHENOTYPE, values.tolist(), strict=True))
        phenotype["age"] = parametric_body.ADULT + (1 - parametric_body.ADULT) * phenotype["age"]
        phenotype["height"] = float(np.clip(rng.normal(0.38, 0.09), 0.1, 0.66))
        drawn.append(body.coefficients(phenotype))
    return np.stack(drawn).astype(np.float64)


@functools.cache
def _population() -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean [32] and covariance [32, 32] of the adults' coefficients."""
    drawn = adults(ADULTS, 0)
    return drawn.mean(0), np.cov(drawn.T)


@functools.cache
def body_rig() -> smpl_joints.Rig:
    """Returns the rig of SMPL's joints; its zero pose straightens the mean adult."""
    body = parametric_body.load()
    return smpl_joints.smpl(body, body.rest(_population()[0]))


@functools.cache
def hand_rig(side: str) -> smpl_joints.Rig:
    """Returns the rig of MANO's joints for the "left" or "right" hand."""
    body = parametric_body.load()
    return smpl_joints.mano(body, body.rest(_population()[0]), side)


@functools.cache
def body(components: int = 10) -> dict[str, np.ndarray]:
    """Returns the open body in SMPL's format: 13718 vertices, 27420 faces, 24 joints.

    Pose directions are zero. `open_fit` lists the errors relative to the full body.

    Args:
        components: S, number of shape directions, 1 to 32; each beta has variance one among adults.
    """
    full, rig = parametric_body.load(), body_rig()
    vertices, heads = _zero_meshes(rig)
    partner, face_partner = _mirror()
    swap = {"left": "right", "right": "left"}
    mirrored = ["_".join(swap.get(w, w) for w in name.split("_")) for name in rig.joints]
    model = _model(rig, vertices, heads, np.arange(len(full.template)), full.faces, components)
    faces = model["v_template"][full.faces]
    model |= {
        "ft": full.faces_uv.astype(np.uint32),
        "face_part": full.face_part,
        "dense_part": _dense_parts(full, faces),
        "vert_sym_idxs": partner,
        "face_sym_idxs": face_partner,
        "joint_sym_idxs": np.array([rig.joints.index(name) for name in mirrored]),
    }
    return _frozen(model)


@functools.cache
def hand(side: str = "right", components: int = 10) -> dict[str, np.ndarray]:
    """Returns an open hand in MANO's format: 1611 vertices, 16 joints, open at the wrist.

    The mean adult's wrist is the origin. Rows of hands_components are directions of plausible hand
    poses, most important first; hands_mean is a relaxed hand.

    Args:
        side: "right" or "left", which is the mirrored right one.
        components: S, number of shape directions, 1 to 32; each beta has variance one among adults.

    Raises:
        ValueError: the side or the number of components is invalid.
    """
    if side not in smpl_joints.SIDES:
        raise ValueError(f"Unknown side {side!r} of a hand. Known: {', '.join(smpl_joints.SIDES)}.")
    full, rig = parametric_body.load(), hand_rig("right")
    vertices, heads = _zero_meshes(rig)
    wrist = np.einsum("j,cja->ca", rig.heads[0], heads)[:, None]
    number = full.parts.index("hand_r")
    numbers = np.flatnonzero(full.face_part == number)
    used = np.unique(full.faces[numbers])
    faces = np.searchsorted(used, full.faces[numbers]).astype(np.int32)
    model = _model(rig, vertices[:, used] - wrist, heads - wrist, used, faces, components)
    model |= _hand_poses(rig, _joints(rig, heads - wrist)[0])
    model["ft"] = full.faces_uv[numbers].astype(np.uint32)
    if side == "left":
        model |= _mirrored_hand(model, numbers)
        number = full.parts.index("hand_l")
    model |= {
        "face_part": np.full(len(faces), number, np.uint8),
        "dense_part": np.full(len(faces), _DENSE[full.parts[number]][0], np.uint8),
        "vert_sym_idxs": np.arange(len(used)),
        "face_sym_idxs": np.arange(len(faces)),
        "joint_sym_idxs": np.arange(len(rig.joints)),
    }
    return _frozen(model)


def save(model: dict[str, np.ndarray], path: str | pathlib.Path) -> None:
    """Writes a model as a compressed `.npz` of plain arrays."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **model)


def _zero_meshes(rig: smpl_joints.Rig) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean adult and 32 shape directions in the zero pose, in the models' axes.

    At fixed bone rotations the skinned mesh is linear in mesh and heads, so each shape direction
    can be posed alone. Vertices are [33, V, 3], bone heads [33, J, 3]; the mean comes first.
    """
    full = parametric_body.load()
    mean = _population()[0]
    origin, directions = full.rest(np.zeros(len(mean))), [full.rest(mean)]
    for direction in np.eye(len(mean)):
        vertices, heads = full.rest(direction)
        directions.append((vertices - origin[0], heads - origin[1]))
    posed = []
    for vertices, heads in directions:
        transforms = full.transforms(heads, rig.zero)
        posed.append((full.skin(vertices, transforms), parametric_body.apply(transforms, heads)))
    vertices, heads = (np.stack(x) @ smpl_joints.AXES.T for x in zip(*posed, strict=True))
    return vertices, heads


def _joints(rig: smpl_joints.Rig, heads: np.ndarray) -> np.ndarray:  # [C, J, 3]
    """Returns the positions of the joints, [C, K, 3]."""
    return np.einsum("kj,cja->cka", rig.heads, heads)


def _model(rig, vertices, heads, numbers, faces, components) -> dict[str, np.ndarray]:
    """Returns the fields that body and hand share, of vertices [33, V, 3] and heads [33, J, 3]."""
    full = parametric_body.load()
    if not 1 <= components <= len(vertices) - 1:
        raise ValueError(f"{components} shape components; expected 1 to {len(vertices) - 1}.")
    turn, projection = _directions(vertices[1:])
    shapes = np.einsum("cs,cva->vas", turn[:, :components], vertices[1:])
    samples = np.concatenate([vertices[:1], np.einsum("cs,cva->sva", turn, vertices[1:])])
    places = _joints(rig, heads)
    places = np.concatenate([places[:1], np.einsum("cs,cka->ska", turn, places[1:])])
    joints = len(rig.joints)
    weights = np.zeros((len(full.template), joints), np.float32)
    for k in range(full.weights.shape[1]):
        weights += full.weights[:, k, None] * rig.follows[full.weight_bones[:, k]]
    weights = weights[numbers]
    weights /= weights.sum(1, keepdims=True)
    regressor = joint_regressor.fit(samples, places, weights, rig.parents)
    parents = np.where(rig.parents < 0, NO_PARENT, rig.parents).astype(np.uint32)
    template = vertices[0].astype(np.float32)
    return {
        "v_template": template,
        "shapedirs": np.ascontiguousarray(shapes, np.float32),
        "posedirs": np.zeros((len(template), 3, 9 * (joints - 1)), np.float32),
        "J_regressor": regressor,
        "J": regressor @ template,
        "weights": weights,
        "kintree_table": np.stack([parents, np.arange(joints, dtype=np.uint32)]),
        "f": faces.astype(np.uint32),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
        "vt": full.uv,
        "vertices": numbers.astype(np.int64),
        "part_names": np.array(full.parts),
        "joint_names": np.array(rig.joints),
        "shape_mean": _population()[0],
        "shape_projection": projection[:, :components],
    }


def _directions(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [32, V, 3]
    """Returns the principal directions of the adults' meshes and the projection to betas.

    Both are [32, 32] with one direction per column. A mesh is mean + betas @ (turn.T @ basis), and
    betas are (coefficients - mean) @ projection. The first S betas are the least squares fit of S.
    """
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    gram = flat @ flat.T
    variance, axes = np.linalg.eigh(_population()[1])
    root = (axes * np.sqrt(np.maximum(variance, 0))) @ axes.T
    spread, turn = np.linalg.eigh(root @ gram @ root)
    spread, turn = spread[::-1], root @ turn[:, ::-1]
    # An eigenvector's sign is arbitrary; chosen so that the vertex that moves most in y moves up.
    height = turn.T @ basis[..., 1].astype(np.float64)
    most = np.take_along_axis(height, np.abs(height).argmax(1)[:, None], 1)[:, 0]
    turn = turn * np.where(most < 0, -1.0, 1.0)
    return turn, gram @ turn / spread


@functools.cache
def _mirror() -> tuple[np.ndarray, np.ndarray]:
    """Returns the mirrored partners of the full body's vertices and faces, indices [V] and [F]."""
    full = parametric_body.load()

    def keys(points):
        return map(tuple, np.round(points * 1e5).astype(int).tolist())

    number = {key: v for v, key in enumerate(keys(full.template))}
    partner = np.array([number[key] for key in keys(full.template * (-1, 1, 1))])
    face = {key: f for f, key in enumerate(map(tuple, np.sort(full.faces, 1).tolist()))}
    mirrored = map(tuple, np.sort(partner[full.faces], 1).tolist())
    return partner, np.array([face[key] for key in mirrored])


def _mirrored_hand(model: dict[str, np.ndarray], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the fields that differ in the left hand; `numbers` are the right hand's faces."""
    full = parametric_body.load()
    partner, face_partner = _mirror()
    flip = np.array([-1, 1, 1], np.float32)
    vertices = partner[model["vertices"]]
    # Texture coordinates of the left hand, at the partner of each of the right hand's corners.
    right, left = full.faces[numbers], full.faces[face_partner[numbers]]
    corner = (partner[right][:, :, None] == left[:, None]).argmax(2)
    atlas = np.take_along_axis(full.faces_uv[face_partner[numbers]], corner, 1)
    # Mirroring a rotation keeps the x component of its axis and negates the others.
    turn = np.tile([1.0, -1, -1], len(model["hands_mean"]) // 3)
    return {
        "v_template": model["v_template"] * flip,
        "shapedirs": model["shapedirs"] * flip[:, None],
        "J": model["J"] * flip,
        "f": model["f"][:, ::-1],
        "ft": atlas[:, ::-1].astype(np.uint32),
        "vertices": vertices,
        "hands_mean": model["hands_mean"] * turn,
        "hands_components": model["hands_components"] * turn,
    }


def _hand_poses(rig: smpl_joints.Rig, joints: np.ndarray) -> dict[str, np.ndarray]:  # [16, 3]
    """Returns principal directions of random hand poses; those of MANO come from scans.

    The poses combine a common curl of all fingers, a curl of each, a spread, and a thumb that
    opposes and bends. The last bone of a finger follows the second, as tendons couple them.
    """
    rng, poses = np.random.default_rng(0), np.zeros((1554, 15, 3))
    common = rng.beta(1.2, 1.6, 1554) * 80
    spread = rng.normal(0, 6, 1554)
    for finger, name in enumerate(("index", "middle", "pinky", "ring")):
        first = rig.joints.index(f"{name}1")
        line = rotations.unit(joints[first + 2] - joints[first])
        # Curling bends the fingers of the flat hand down, about the axis across the finger.
        across = rotations.unit(np.cross(line, (0, -1.0, 0)))
        own = rng.normal(0, 14, 1554)
        base = np.clip(common + own - 5, -15, 88)
        middle = np.clip(1.1 * common + own + rng.normal(0, 10, 1554), 0, 105)
        poses[:, first - 1] = np.radians(base)[:, None] * across
        poses[:, first - 1, 1] += np.radians((1.5, 0.3, -1.8, -0.7)[finger] * spread)
        poses[:, first] = np.radians(middle)[:, None] * across
        poses[:, first + 1] = np.radians(0.67 * middle)[:, None] * across
    first = rig.joints.index("thumb1")
    line = rotations.unit(joints[first + 2] - joints[first + 1])
    across = rotations.unit(np.cross(line, (-0.3, -0.5, -0.8)))
    bend = 0.4 * common + rng.normal(5, 12, 1554)
    oppose = 0.3 * common + rng.normal(0, 10, 1554)
    poses[:, first - 1] = np.radians(0.4 * bend)[:, None] * across
    poses[:, first - 1, 0] += np.radians(oppose)
    poses[:, first] = np.radians(0.6 * bend)[:, None] * across
    poses[:, first + 1] = np.radians(np.clip(bend, -10, 70))[:, None] * across
    flat = poses.reshape(len(poses), 45)
    mean = flat.mean(0)
    with threadpoolctl.threadpool_limits(1, user_api="blas"):  # same bytes in every process
        components = np.linalg.svd(flat - mean, full_matrices=False)[2]
        largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
        components *= np.sign(largest)
        coefficients = (flat - mean) @ components.T
    return {"hands_mean": mean, "hands_components": components, "hands_coeffs": coefficients}


def _dense_parts(full: parametric_body.Body, faces: np.ndarray) -> np.ndarray:  # corners [F, 3, 3]
    """Returns DensePose's parts, [F] uint8 in 1..24; normals tell front from back."""
    normal = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    front, left = normal[:, 2] > 0, faces[..., 0].mean(1) > 0
    table = np.array([_DENSE.get(name, _DENSE_HEAD) for name in full.parts], np.uint8)
    head = ~np.isin(np.array(full.parts), list(_DENSE))[full.face_part]
    return np.where(np.where(head, left, front), *table[full.face_part].T[::-1])


def _frozen(model: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the model with read-only arrays, since it is cached and shared."""
    for array in model.values():
        array.flags.writeable = False
    return model

"""Named points of a body model: its joints, some vertices, and points that regressors give."""

import dataclasses
import hashlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax.body_models import joint_names, lbs

# Vertices of SMPL's mesh that are points of the face, as in SMPLify's and SPIN's joint lists.
_SMPL_VERTICES = {"nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071}
_SMPL_VERTICES |= {"left_ear": 583}
# The nine rows of SPIN's J_regressor_extra, in its order.
EXTRA = (
    *("right_hip_lsp", "left_hip_lsp", "neck_lsp", "head_top", "pelvis_mpii"),
    *("thorax_mpii", "spine_h36m", "jaw_h36m", "head_h36m"),
)
# Tips of MANO's fingers. FreiHAND's own tools and those of manopth differ by a vertex or two.
TIPS = {
    "freihand": {"thumb": 744, "index": 320, "middle": 443, "ring": 555, "pinky": 672},
    "manopth": {"thumb": 745, "index": 317, "middle": 444, "ring": 556, "pinky": 673},
}
H36M_ORDERS = {"spin": joint_names.H36M_SPIN, "metro": joint_names.H36M}
MANO_VERTICES, SMPL_VERTICES = 778, 6890
# {missing point: the model's joint that replaces it}, though it lies a little apart.
ALIASES = {
    "right_hip_lsp": "right_hip",
    "left_hip_lsp": "left_hip",
    "neck_lsp": "neck",
    "pelvis_mpii": "pelvis",
}


@dataclasses.dataclass(frozen=True)
class Landmarks:
    """Points that are computed from a posed mesh and its joints.

    Attributes:
        names: [L], name of each point.
        joints: [L], index of each point among the model's joints; -1 if the mesh gives the point.
        matrix: [L, V], weights of the vertices; rows of joints are zero.
    """

    names: tuple[str, ...]
    joints: np.ndarray
    matrix: np.ndarray

    def __call__(self, vertices: jax.Array, places: jax.Array | None) -> jax.Array:
        """Returns the points [B, L, 3] of vertices [B, V, 3] and joints [B, K, 3].

        `places`, the joints, may be None if the mesh gives all points.
        """
        found = jnp.zeros((len(vertices), len(self.names), 3))
        joints_, rows = np.flatnonzero(self.joints >= 0), np.flatnonzero(self.joints < 0)
        if len(joints_):
            found = found.at[:, joints_].set(places[:, self.joints[joints_]])
        if len(rows):
            used = self.used()
            small = jnp.asarray(self.matrix[np.ix_(rows, used)])
            seen = jnp.einsum("lv,bva->bla", small, vertices[:, used], precision="highest")
            found = found.at[:, rows].set(seen)
        return found

    def used(self) -> np.ndarray:
        """Returns the indices of the vertices on which at least one point depends."""
        return np.flatnonzero(self.matrix.any(0))

    def within(self, vertices: np.ndarray) -> "Landmarks":
        """Returns the same points for a mesh with only these vertices, see `lbs.part`."""
        return dataclasses.replace(self, matrix=self.matrix[:, vertices])

    @property
    def hash(self) -> str:
        """The SHA-256 of names and weights; part of an evaluation's protocol."""
        content = repr(self.names).encode() + self.joints.tobytes() + self.matrix.tobytes()
        return hashlib.sha256(content).hexdigest()

    def select(self, names: tuple[str, ...]) -> "Landmarks":
        """Returns the points with the given names.

        Raises:
            ValueError: a name is not among the points.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown:
            raise ValueError(
                f"The body model has no {', '.join(unknown)}. It has: {', '.join(self.names)}."
            )
        at = [self.names.index(name) for name in names]
        return Landmarks(tuple(names), self.joints[at], self.matrix[at])


def keypoints(body: lbs.Body, extra: np.ndarray | None = None, tips: str = "freihand") -> Landmarks:
    """Returns the points on which a model is trained.

    For SMPL these are SPIN's 24 (without `extra`, those that need no regressor), for the open body
    its 24 joints and the top of its head, for hands 16 joints and five tips in FreiHAND's order.

    Args:
        body: the model.
        extra: [9, V], SPIN's J_regressor_extra.
        tips: convention for MANO's finger tips, "freihand" or "manopth". In other hands the tip is
            the farthest vertex of each finger.

    Raises:
        ValueError: a regressor of another shape.
    """
    vertices = len(body.template)
    if len(body.names) == len(joint_names.MANO):
        return _build(body, joint_names.HAND, _tips(body, tips))
    if body.kind == "open_body":
        return _build(body, (*body.names, "head_top"), _top(body))
    found: dict[str, int | np.ndarray] = {}
    if vertices == SMPL_VERTICES:
        found |= _SMPL_VERTICES
    if extra is not None:
        found |= dict(zip(EXTRA, checked(extra, (len(EXTRA), vertices), "extra"), strict=True))
    names = tuple(n for n in joint_names.PEOPLE if n in found or n in body.names)
    return _build(body, names, found)


def evaluated(
    body: lbs.Body,
    h36m: np.ndarray | None = None,
    order: str = "spin",
    tips: str = "freihand",
    from_mesh: bool = True,
) -> tuple[Landmarks, int]:
    """Returns the points for evaluation, and the number of leading points used only as the root.

    For bodies these are the pelvis, used only as the root, and LSP's 14 joints, which Human3.6M's
    regressor gives for SMPL and its own regressor for the open body. For hands these are 21 points,
    of which the wrist is also the root.

    Args:
        body: the model.
        h36m: [17, V], Human3.6M's regressor for SMPL.
        order: order of its rows: "spin" or "metro".
        tips: see `keypoints`.
        from_mesh: find the joints of hands from the posed mesh, as heads that predict a mesh must;
            else take those of the model's chain. Joints of bodies always come from the mesh.

    Raises:
        ValueError: SMPL without the regressor, or a regressor of another shape or order.
    """
    own = dict(zip(body.names, np.asarray(body.regressor), strict=True))
    if len(body.names) == len(joint_names.MANO):
        found = _tips(body, tips) | (own if from_mesh else {})
        return _build(body, joint_names.HAND, found), 0
    names = ("pelvis", *joint_names.LSP)
    if body.kind == "open_body":
        return _build(body, names, own | _top(body)), 1
    if h36m is None:
        raise ValueError(
            "SMPL is evaluated on the joints of Human3.6M, which need a regressor: convert "
            "J_regressor_h36m.npy with `convert body`, name the result in config.body.h36m and the "
            f"order of its rows in config.body.h36m_order: {', '.join(H36M_ORDERS)}."
        )
    if order not in H36M_ORDERS:
        raise ValueError(f"Unknown row order {order!r}. Known: {', '.join(H36M_ORDERS)}.")
    shape = (len(joint_names.H36M), len(body.template))
    rows = dict(zip(H36M_ORDERS[order], checked(h36m, shape, "h36m"), strict=True))
    return _build(body, names, rows), 1


def checked(matrix: np.ndarray, shape: tuple[int, int], name: str) -> np.ndarray:
    """Returns the regressor; raises a ValueError if it does not have this shape."""
    if matrix.shape != shape:
        raise ValueError(
            f"The regressor config.body.{name} has shape {matrix.shape}, expected {shape}. Files "
            "of the same name differ between projects."
        )
    return matrix


def _top(body: lbs.Body) -> dict[str, int]:
    """Returns the highest vertex of the head of a body that stands upright at rest."""
    head = np.asarray(body.weights)[:, body.names.index("head")] > 0.9
    return {"head_top": int(np.where(head, np.asarray(body.template)[:, 1], -np.inf).argmax())}


def _tips(body: lbs.Body, kind: str) -> dict[str, int]:
    if kind not in TIPS:
        raise ValueError(f"Unknown finger tips {kind!r}. Known: {', '.join(TIPS)}.")
    if len(body.template) == MANO_VERTICES:
        return {f"{finger}_tip": vertex for finger, vertex in TIPS[kind].items()}
    weights, rest, at = (np.asarray(x) for x in (body.weights, body.template, body.joints))
    found = {}
    for finger in TIPS[kind]:
        last, before = (body.names.index(f"{finger}{i}") for i in (3, 2))
        along = (rest - at[last]) @ (at[last] - at[before])
        mine = weights[:, last] >= 0.5
        found[f"{finger}_tip"] = int(np.where(mine, along, -np.inf).argmax())
    return found


def _build(body, names: tuple[str, ...], found: Mapping) -> Landmarks:
    """Returns landmarks, by the vertex or matrix row in `found`, else by the model's joint."""
    matrix = np.zeros((len(names), len(body.template)), np.float32)
    which = np.full(len(names), -1)
    for i, name in enumerate(names):
        if name not in found:
            which[i] = body.names.index(name)
        elif isinstance(found[name], int | np.integer):
            matrix[i, found[name]] = 1
        else:
            matrix[i] = found[name]
    return Landmarks(tuple(names), which, matrix)

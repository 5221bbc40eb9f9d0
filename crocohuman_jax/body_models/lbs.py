"""Linear blend skinning: the mesh of a body model from its shape and pose."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

# Products run in full float32; the default precision of accelerators costs half a millimetre.
PRECISION = "highest"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=(
        *("template", "shapes", "poses", "joints", "joint_shapes", "weights", "mean_pose"),
        "regressor",
    ),
    meta_fields=("kind", "names", "parents", "faces"),
)
@dataclasses.dataclass(frozen=True)
class Body:
    """A body or hand model in SMPL's or MANO's form, with lengths in metres.

    Attributes:
        kind: "smpl", "mano_right", "open_body", ...
        names: names of the K joints.
        parents: index of each joint's parent, -1 for the root; parents come before their children.
        faces: the triangles, as a hashable array.
        template: [V, 3], the mesh at rest of the mean shape.
        shapes: [S, V, 3], change of the mesh per unit of each beta.
        poses: [9 (K - 1), V, 3], change of the mesh with the joints' rotations; None for no change.
        joints: [K, 3], the joints at rest of the mean shape.
        joint_shapes: [S, K, 3], change of the joints per unit of each beta.
        weights: [V, K], skinning weights; each row sums to one.
        regressor: [K, V], gives the joints of a mesh at rest.
        mean_pose: [K, 3], rotation vectors added to poses that exclude them (MANO); else zeros.
    """

    kind: str
    names: tuple[str, ...]
    parents: tuple[int, ...]
    faces: "Faces"
    template: jax.Array
    shapes: jax.Array
    poses: jax.Array | None
    joints: jax.Array
    joint_shapes: jax.Array
    weights: jax.Array
    regressor: jax.Array
    mean_pose: jax.Array


class Faces:
    """Triangles [F, 3] int32 that can be hashed and compared, as static inputs of jit must be."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array, np.int32)
        self._bytes = self.array.tobytes()

    def __eq__(self, other) -> bool:
        return isinstance(other, Faces) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)


def part(body: Body, vertices: np.ndarray) -> Body:
    """Returns a model with all joints but only some vertices and no faces, which poses faster.

    Args:
        body: the whole model.
        vertices: [U], indices of the vertices.
    """
    return dataclasses.replace(
        body,
        faces=Faces(np.zeros((0, 3))),
        template=body.template[vertices],
        shapes=body.shapes[:, vertices],
        poses=None if body.poses is None else body.poses[:, vertices],
        weights=body.weights[vertices],
        regressor=body.regressor[:, vertices],
    )


def pose(
    body: Body, betas: jax.Array, turns: jax.Array, translation: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Returns the posed mesh and joints (SMPL's equations 2 to 10).

    Args:
        body: the model.
        betas: [B, up to S].
        turns: [B, K, 3, 3], each joint's rotation relative to its parent.
        translation: [B, 3] metres, or None.

    Returns:
        vertices [B, V, 3] and joints [B, K, 3], metres.
    """
    count = betas.shape[-1]
    product = functools.partial(jnp.einsum, precision=PRECISION)
    vertices = body.template + product("bs,sva->bva", betas, body.shapes[:count])
    joints = body.joints + product("bs,ska->bka", betas, body.joint_shapes[:count])
    if body.poses is not None:
        feature = (turns[:, 1:] - jnp.eye(3)).reshape(len(turns), -1)
        vertices = vertices + product("bp,pva->bva", feature, body.poses)
    rotations, places = chain(body.parents, joints, turns)
    offsets = places - product("bkac,bkc->bka", rotations, joints)
    transforms = jnp.concatenate([rotations, offsets[..., None]], -1)  # [B, K, 3, 4]
    blended = product("vk,bkx->bvx", body.weights, transforms.reshape(*joints.shape[:2], 12))
    blended = blended.reshape(*vertices.shape[:2], 3, 4)
    vertices = product("bvac,bvc->bva", blended[..., :3], vertices) + blended[..., 3]
    if translation is not None:
        vertices, places = vertices + translation[:, None], places + translation[:, None]
    return vertices, places


def chain(
    parents: tuple[int, ...], joints: jax.Array, turns: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the rotations and positions of a chain of joints, one generation after the other.

    Args:
        parents: index of each joint's parent.
        joints: [B, K, 3] at rest.
        turns: [B, K, 3, 3], relative to the parent.

    Returns:
        The rotations [B, K, 3, 3] and positions [B, K, 3] in the model's frame.
    """
    parents = np.asarray(parents)
    rotations, places = [None] * len(parents), [None] * len(parents)
    rotations[0], places[0] = turns[:, :1], joints[:, :1]
    for mine in _generations(parents)[1:]:
        above = parents[mine]
        up = jnp.concatenate([rotations[i] for i in above], 1)
        at = jnp.concatenate([places[i] for i in above], 1)
        new = jnp.matmul(up, turns[:, mine], precision=PRECISION)
        arm = joints[:, mine] - joints[:, above]
        spot = at + jnp.einsum("bkac,bkc->bka", up, arm, precision=PRECISION)
        for i, k in enumerate(mine):
            rotations[k], places[k] = new[:, i : i + 1], spot[:, i : i + 1]
    return jnp.concatenate(rotations, 1), jnp.concatenate(places, 1)


def _generations(parents: np.ndarray) -> list[np.ndarray]:
    """Returns the joints grouped by their depth below the root."""
    depth = np.zeros(len(parents), int)
    for k in range(1, len(parents)):
        depth[k] = depth[parents[k]] + 1
    return [np.flatnonzero(depth == d) for d in range(depth.max() + 1)]

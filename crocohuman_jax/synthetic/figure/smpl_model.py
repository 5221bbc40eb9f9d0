"""Poses a body or hand of a file with SMPL's or MANO's fields, by linear blend skinning."""

import pathlib
from collections.abc import Mapping

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import rotations

FIELDS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


class SmplBody:
    """One body model: V vertices, F faces, K joints, S shape directions.

    The formula is that of SMPL: v = W(T + shapes(betas) + corrections(pose), joints, pose).

    Attributes:
        template: [V, 3], metres, in the model's axes.
        shapes: [V, 3, S]; corrections: [V, 3, 9 (K - 1)], or None if all are zero.
        regressor: [K, V]; weights: [V, K]; parents: [K] int, -1 for the root.
        faces: [F, 3] int32.
        uv, faces_uv: [T, 2] and [F, 3] of the file's `vt` and `ft`; None if the file lacks them.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str = "the arrays"):
        """Checks and converts the fields of a file; error texts name it by `source`.

        Raises:
            ValueError: fields are missing or their shapes do not fit each other.
        """
        missing = [name for name in FIELDS if name not in arrays]
        if missing:
            raise ValueError(f"{source} lacks {missing}. A body model has the fields {FIELDS}.")
        a = {name: np.asarray(arrays[name]) for name in FIELDS}
        count, joints = a["weights"].shape
        expected = {
            "v_template": (count, 3),
            "shapedirs": (count, 3, a["shapedirs"].shape[-1]),
            "posedirs": (count, 3, 9 * (joints - 1)),
            "J_regressor": (joints, count),
            "kintree_table": (2, joints),
            "f": (len(a["f"]), 3),
        }
        wrong = {name: a[name].shape for name, shape in expected.items() if a[name].shape != shape}
        if wrong:
            raise ValueError(
                f"{source}: shapes {wrong} do not fit {count} vertices and {joints} joints; "
                f"expected { ({name: expected[name] for name in wrong}) }."
            )
        self.template = a["v_template"].astype(np.float32)
        self.shapes = a["shapedirs"].astype(np.float32)
        self.corrections = a["posedirs"].astype(np.float32) if a["posedirs"].any() else None
        self.regressor = a["J_regressor"].astype(np.float32)
        self.weights = a["weights"].astype(np.float32)
        self.parents = a["kintree_table"][0].astype(np.int64)
        self.parents[0] = -1  # the files write 2^32 - 1
        self.faces = a["f"].astype(np.int32)
        self.uv = self.faces_uv = None
        if "vt" in arrays and "ft" in arrays:
            self.uv = np.asarray(arrays["vt"], np.float32)
            self.faces_uv = np.asarray(arrays["ft"]).astype(np.int32)

    def rest(self, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns vertices [V, 3] and joints [K, 3] in the zero pose for up to S betas."""
        betas = np.asarray(betas, np.float32)[: self.shapes.shape[-1]]
        vertices = self.template + self.shapes[..., : len(betas)] @ betas
        return vertices, self.regressor @ vertices

    def corrected(self, vertices: np.ndarray, turns: np.ndarray) -> np.ndarray:
        """Returns rest vertices [V, 3] plus the pose corrections of rotations `turns` [K, 3, 3]."""
        if self.corrections is None:
            return vertices
        return vertices + self.corrections @ (turns[1:] - np.eye(3)).ravel().astype(np.float32)

    def transforms(
        self, joints: np.ndarray, turns: np.ndarray, transl: np.ndarray | None = None
    ) -> np.ndarray:
        """Returns the transform of each joint from rest to its pose, [K, 4, 4] float64.

        Args:
            joints: [K, 3] at rest.
            turns: [K, 3, 3] rotations, each relative to the parent.
            transl: [3] metres.
        """
        transforms = np.zeros((len(joints), 4, 4))
        transforms[:, :3, :3] = turns
        transforms[:, :3, 3] = joints - np.einsum("kab,kb->ka", turns, joints)
        transforms[:, 3, 3] = 1
        if transl is not None:
            transforms[0, :3, 3] += transl
        for child in range(1, len(joints)):
            transforms[child] = transforms[self.parents[child]] @ transforms[child]
        return transforms

    def skin(self, vertices: np.ndarray, transforms: np.ndarray) -> np.ndarray:
        """Returns corrected vertices [V, 3] moved by the joints' transforms [K, 4, 4]."""
        blended = self.weights @ transforms[:, :3].reshape(-1, 12).astype(np.float32)
        blended = blended.reshape(-1, 3, 4)
        return np.einsum("vab,vb->va", blended[..., :3], vertices) + blended[..., 3]

    def pose(
        self, betas: np.ndarray, pose: np.ndarray, transl: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the posed vertices [V, 3] and joints [K, 3].

        Args:
            betas: up to S of them.
            pose: [K, 3] axis-angles, each relative to the parent.
            transl: [3] metres.
        """
        vertices, joints = self.rest(betas)
        turns = rotations.from_vector(np.asarray(pose, np.float64).reshape(-1, 3))
        transforms = self.transforms(joints, turns, transl)
        posed = self.skin(self.corrected(vertices, turns), transforms)
        return posed, parametric_body.apply(transforms, joints)


def load(path: str | pathlib.Path) -> SmplBody:
    """Returns the model in a `.npz` of plain arrays, such as `open_models.save` writes.

    Raises:
        ValueError: the file is broken, holds pickled objects, or is not a body model.
    """
    return SmplBody(read(path), str(path))


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns all arrays of a `.npz`; refuses pickled objects.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is broken or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and struct raise errors of their own
        raise ValueError(
            f"{path} cannot be read as a .npz of plain arrays ({type(error).__name__}). If it "
            "holds pickled objects, convert it: python -m crocohuman_jax.convert body."
        ) from error

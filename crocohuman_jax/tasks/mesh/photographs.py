"""Makes the network's inputs from a user's photographs and writes the predicted meshes."""

import pathlib

import numpy as np
import PIL.Image

from crocohuman_jax.body_models import cameras
from crocohuman_jax.data.streams import person_augmentation
from crocohuman_jax.tasks.mesh import objective
from crocohuman_jax.visualize import mesh_export, mesh_overlay, panels


class Photographs:
    """Mesh recovery from photographs.

    Args:
        mesh: the network.

    Attributes:
        two: whether the network takes two pictures.
    """

    def __init__(self, mesh: objective.Mesh):
        self.mesh, self.bodies, self.two = mesh, mesh.bodies, mesh.decoder is not None

    def check(self, left: bool) -> None:
        """Raises a ValueError if left hands are asked for, but the run predicts bodies."""
        if left and not self.bodies.hand:
            raise ValueError(
                f"--left needs a run on hands, but this run's body model is "
                f"{self.bodies.body.kind!r}: leave --left out."
            )

    def element(self, whole: np.ndarray, square: np.ndarray, left: bool) -> dict[str, np.ndarray]:
        """Returns a batch of one person, with a picture but without annotations.

        Args:
            whole: [H, W, 3] uint8.
            square: (centre x, y, side) of the person, pixels.
            left: whether to mirror the picture.
        """
        return self.bodies.unknown(1) | {"image": self.picture(whole, square, left)}

    def picture(self, whole: np.ndarray, square: np.ndarray, left: bool) -> np.ndarray:
        """Returns the crop that the network gets, [1, S, S, 3]; for the arguments see `element`."""
        placed = person_augmentation.place(square, person_augmentation.UNCHANGED, left)
        return placed.picture(whole, self.mesh.image[0])[None]

    def write(
        self, path: pathlib.Path, whole, square, shown: dict, left: bool, mesh_format: str
    ) -> str:
        """Writes PATH.png, the mesh and PATH.npz of a person; returns a line that names them.

        Vertices and points in the .npz are in the axes of a camera with its principal point at the
        centre of the crop, and with the fixed focal length by which weak perspective is converted
        to a position. Everything about a left hand is the mirrored prediction of a right hand.
        """
        faces = self.bodies.body.faces.array
        place = shown["translation"][0]
        vertices, points = (shown[name][0] + place for name in ("vertices", "points"))
        if left:
            mirror = np.array([-1, 1, 1], np.float32)
            vertices, points, place = vertices * mirror, points * mirror, place * mirror
            faces = faces[:, ::-1]
        focal = cameras.FOCAL / cameras.SIDE * square[2]
        intrinsics = (focal, focal, square[0], square[1])
        row = [whole, mesh_overlay.overlay(whole, vertices, faces, intrinsics)]
        row.append(mesh_overlay.side_view(vertices, faces, whole.shape[:2]))
        named = {end: path.with_name(f"{path.name}.{end}") for end in ("png", mesh_format, "npz")}
        PIL.Image.fromarray(panels.page([("", row)])).save(named["png"])
        mesh_export.write(named[mesh_format], vertices - place, faces)
        numbers = {name: shown[name][0] for name in ("camera", "pose", "betas") if name in shown}
        if left:
            numbers["camera"] = numbers["camera"] * (1, -1, 1)
            if "pose" in numbers:
                numbers["pose"] = mirror[:, None] * numbers["pose"] * mirror
        np.savez(
            named["npz"],
            **numbers,
            vertices=vertices,
            points=points,
            names=np.array(self.bodies.measured.names),
            intrinsics=np.array(intrinsics),
            crop=square,
        )
        return f"{path}.png, .{mesh_format}, .npz"

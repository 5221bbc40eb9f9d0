"""Crops, rotates and mirrors pictures of people, together with their points, pose and camera."""

import dataclasses

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import options
from crocohuman_jax.synthetic.graphics import rotations


@dataclasses.dataclass(frozen=True)
class Change:
    """Strength of the augmentation of a person's square crop, as in SPIN.

    Attributes:
        flip: probability that a person is mirrored.
        scale: standard deviation of the factor on the crop's side, which is about 1 and is clipped
            at one standard deviation.
        rotation: standard deviation of the rotation in degrees, clipped at two of them.
        still: probability that a person is not rotated.
        noise: x; colour channels are multiplied by factors uniform in [1 - x, 1 + x].

    Raises:
        ValueError: a value is out of range.
    """

    flip: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    still: float = 0.6
    noise: float = 0.0

    def __post_init__(self):
        name = "config.data.augment."
        for share in ("flip", "still", "noise"):
            options.check_number(name + share, getattr(self, share), least=0, most=1)
        options.check_number(name + "scale", self.scale, least=0, below=1)
        options.check_number(name + "rotation", self.rotation, least=0, most=90)

    def draw(self, rng: np.random.Generator) -> dict:
        """Draws one picture's augmentation: `scale`, `angle` in radians, `color` [3]."""
        scale = 1 + np.clip(rng.normal(), -1, 1) * self.scale
        angle = np.deg2rad(np.clip(rng.normal(), -2, 2) * self.rotation)
        return {
            "scale": scale,
            "angle": 0.0 if rng.random() < self.still else angle,
            "color": (1 + self.noise * rng.uniform(-1, 1, 3)).astype(np.float32),
        }

    @property
    def reach(self) -> float:
        """Returns the smallest side of a frame, relative to the square, that fills every crop."""
        angle = np.deg2rad(min(2 * self.rotation, 45))
        return float((1 + self.scale) * (np.cos(angle) + np.sin(angle)))


UNCHANGED = {"scale": 1.0, "angle": 0.0, "color": np.ones(3, np.float32)}


@dataclasses.dataclass(frozen=True)
class Placing:
    """How the picture that a network sees is cut out of a frame: a square, rotated and mirrored.

    Attributes:
        frame_from_crop: [3, 3], maps the picture, which spans [-1, 1], to pixels of the frame.
        turn: [3, 3], applies the same rotation and mirroring to points in the camera's axes; its
            determinant is -1 if mirrored.
        flipped: whether the picture is mirrored.
    """

    frame_from_crop: np.ndarray
    turn: np.ndarray
    flipped: bool

    def picture(self, frame: np.ndarray, side: int) -> np.ndarray:
        """Returns the picture [side, side, 3] cut out of a frame [H, W, 3], black outside."""
        # Pixel centres have half coordinates, in the picture, in the frame and in Pillow.
        to_unit = np.array([[2 / side, 0, -1], [0, 2 / side, -1], [0, 0, 1]])
        matrix = self.frame_from_crop @ to_unit
        step = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # frame pixels per picture pixel
        image = PIL.Image.fromarray(frame)
        factor = int(step + 1e-6)  # rounding may make an 8 a little less than 8
        if factor > 1:  # averages pixels first, to prevent aliasing of thin things
            image = image.reduce(factor)
            matrix = np.diag([1 / factor, 1 / factor, 1]) @ matrix
        coefficients = tuple(matrix[:2].reshape(-1))
        resample = PIL.Image.Resampling.BILINEAR
        size = (side, side)
        return np.asarray(image.transform(size, PIL.Image.Transform.AFFINE, coefficients, resample))

    def points(self, pixels: np.ndarray) -> np.ndarray:
        """Returns points [N, 2], given in pixels of the frame, in the picture's [-1, 1]."""
        inverse = np.linalg.inv(self.frame_from_crop)
        return pixels @ inverse[:2, :2].T + inverse[:2, 2]

    def matrix(self, intrinsics: np.ndarray) -> np.ndarray:
        """Returns the homogeneous matrix [3, 3] that projects points to the picture's [-1, 1].

        The points are in the camera's axes and `turn` has been applied to them.

        Args:
            intrinsics: fx, fy, cx, cy in pixels of the frame.
        """
        fx, fy, cx, cy = intrinsics
        camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        return np.linalg.inv(self.frame_from_crop) @ camera @ self.turn.T

    def pose(self, vectors: np.ndarray, mirror: tuple[int, ...]) -> np.ndarray:
        """Returns the pose [K, 3] of a person who is rotated and mirrored with the picture.

        Args:
            vectors: rotation vectors [K, 3], the root's in the camera's axes.
            mirror: [K], the index of each joint's counterpart on the other side of the body.
        """
        signs = np.array([-1.0, 1, 1]) if self.flipped else np.ones(3)
        proper = np.diag(signs) @ self.turn  # the rotation without the mirroring
        vectors = np.array(vectors, np.float64)
        vectors[0] = rotations.to_vector(proper @ rotations.from_vector(vectors[0]))
        if self.flipped:
            vectors = vectors[list(mirror)] * np.array([1.0, -1, -1])
        return vectors


def place(crop: np.ndarray, change: dict, flipped: bool) -> Placing:
    """Returns the placing of a person's crop with its augmentation.

    Args:
        crop: centre x, y and side in pixels of the frame.
        change: the augmentation, from `Change.draw`.
        flipped: whether to mirror the picture.
    """
    cos, sin = np.cos(change["angle"]), np.sin(change["angle"])
    mirror = np.diag([-1.0 if flipped else 1.0, 1.0])
    linear = np.array([[cos, -sin], [sin, cos]]) @ mirror  # the picture's axes in the frame
    matrix = np.eye(3)
    matrix[:2, :2] = linear * (crop[2] * change["scale"] / 2)
    matrix[:2, 2] = crop[:2]
    turn = np.eye(3)
    turn[:2, :2] = linear.T
    return Placing(matrix, turn, flipped)

"""Random augmentation of a picture: crop, rotation, perspective, zoom and colours.

The host crops and warps the picture and its silhouette. It only draws the colour factors: the
device applies them, so that the batch stays uint8.
"""

import dataclasses

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import options

MOST_ZOOM = 100  # beyond this factor a picture shows only a few pixels of its frame


@dataclasses.dataclass(frozen=True)
class Augment:
    """Strength of the augmentation; the two pictures of a pair are augmented independently.

    Attributes:
        crop: "random" or "center", if the frame is larger than the picture asked for.
        brightness: x; the factor is uniform in [1 - x, 1 + x]; 0 changes nothing.
        contrast: the same for contrast.
        saturation: the same for saturation.
        rotation: largest angle in degrees, either way; 0 changes nothing.
        homography: largest shift of a corner along an axis, relative to half a side; 0 changes
            nothing.
        zoom: largest magnification of a part of the frame; 1 changes nothing.

    Raises:
        ValueError: a value is out of range.
    """

    crop: str = "random"
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    rotation: float = 0.0
    homography: float = 0.0
    zoom: float = 1.0

    def __post_init__(self):
        if self.crop not in ("random", "center"):
            raise ValueError(
                f"config.data.augment.crop is {self.crop!r}, but must be 'random' or 'center'."
            )
        limits = dict.fromkeys(("brightness", "contrast", "saturation", "homography"), (0, 1))
        limits |= {"rotation": (0, 180), "zoom": (1, MOST_ZOOM)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            options.check_number(f"config.data.augment.{name}", value, least=least, most=most)

    def draw(self, rng: np.random.Generator, aspect: float = 1.0) -> dict:
        """Draws one picture's augmentation: `where` [2], `corners` [4, 2], `color` [3, 2].

        Args:
            rng: random generator.
            aspect: width / height of the frame, needed to rotate it without shearing it.
        """
        where = rng.random(2) if self.crop == "random" else np.full(2, 0.5)
        corners = _square() * 1.0
        if self.rotation:
            angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
            cos, sin = np.cos(angle), np.sin(angle)
            scale = np.array([aspect, 1.0])
            corners = (corners * scale) @ np.array([[cos, -sin], [sin, cos]]) / scale
        if self.homography:
            corners = corners + rng.uniform(-self.homography, self.homography, (4, 2))
        if self.zoom > 1:
            share = 1 / rng.uniform(1, self.zoom)
            corners = corners * share + rng.uniform(share - 1, 1 - share, 2)
        spreads = np.array([self.brightness, self.contrast, self.saturation])
        factors = 1 + spreads * rng.uniform(-1, 1, 3)
        which = rng.permutation(3)
        color = np.stack([which, factors[which]], 1).astype(np.float32)
        return {"where": where, "corners": corners, "color": color}

    @property
    def moves(self) -> bool:
        return bool(self.rotation or self.homography or self.zoom > 1)


def _square() -> np.ndarray:
    """Returns the corners of a picture relative to its centre, in units of half a side, [4, 2]."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)


def cut(array: np.ndarray, where: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns a (height, width) window of [H, W, ...]; `where` in [0, 1] is its place per axis."""
    top, left = (
        int(share * (full - side + 1)) if share < 1 else full - side
        for share, full, side in zip(where, array.shape, size, strict=False)
    )
    return array[top : top + size[0], left : left + size[1]]


def warp(array: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the part of a picture between four corners, warped to the picture's size.

    Args:
        array: [H, W, 3] uint8, or [H, W] bool; pixels outside of it count as black.
        corners: [4, 2], in the units of `_square`; `_square` itself changes nothing.
    """
    height, width = array.shape[:2]
    half = np.array([width, height]) / 2
    old, new = (_square() + 1) * half, (corners + 1) * half
    rows, values = [], []
    for (x, y), (u, v) in zip(old, new, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(values))
    is_mask = array.dtype == bool
    picture = PIL.Image.fromarray(array.astype(np.uint8) * 255 if is_mask else array)
    resample = PIL.Image.Resampling.NEAREST if is_mask else PIL.Image.Resampling.BILINEAR
    turned = picture.transform(
        (width, height), PIL.Image.Transform.PERSPECTIVE, tuple(coefficients), resample
    )
    return np.asarray(turned) > 127 if is_mask else np.asarray(turned)

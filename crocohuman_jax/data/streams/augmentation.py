"""What is drawn for each picture on the host: where it is cropped, how it is turned, its colours.

Positions move here, together with the silhouette; colours are only drawn here and applied on the
device, so that the batch stays uint8.
"""

import dataclasses

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import options

MOST_ZOOM = 100  # beyond it a picture is a few pixels of its frame


@dataclasses.dataclass(frozen=True)
class Augment:
    """How much each picture is changed; the two of a pair are drawn independently.

    Attributes:
        crop: "random" or "center", when the frame is larger than the picture asked for.
        brightness: factors are uniform in [1 - x, 1 + x]; 0 leaves it.
        contrast: the same.
        saturation: the same.
        rotation: degrees either way; 0 leaves it.
        homography: how far the corners move, as a share of the sides; 0 leaves them.
        zoom: how much a part of the frame is magnified at most; 1 leaves it.

    Raises:
        ValueError: a value out of range.
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
                f"config.data.augment.crop is 'random' or 'center', not {self.crop!r}."
            )
        limits = dict.fromkeys(("brightness", "contrast", "saturation", "homography"), (0, 1))
        limits |= {"rotation": (0, 180), "zoom": (1, MOST_ZOOM)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            options.check_number(f"config.data.augment.{name}", value, least=least, most=most)

    def draw(self, rng: np.random.Generator, aspect: float = 1.0) -> dict:
        """Draws the change of one picture: `where` [2], `corners` [4, 2], `color` [3, 2].

        Args:
            rng: what is drawn from.
            aspect: width / height of the frame, so that turning does not shear it.
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
    """The corners of a picture from its centre, x and y in units of half a side: [4, 2]."""
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64)


def cut(array: np.ndarray, where: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the (height, width) window of [H, W, ...] at `where`, in [0, 1] along each side."""
    top, left = (
        int(share * (full - side + 1)) if share < 1 else full - side
        for share, full, side in zip(where, array.shape, size, strict=False)
    )
    return array[top : top + size[0], left : left + size[1]]


def warp(array: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the picture whose corners lie at `corners` of this one; black outside.

    Args:
        array: [H, W, 3] uint8, or [H, W] bool.
        corners: [4, 2], see `_square`: the square itself changes nothing.
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

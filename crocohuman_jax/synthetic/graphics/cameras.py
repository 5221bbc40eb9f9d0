"""Cameras around a person: their position, crop, exposure, noise and motion blur."""

import dataclasses

import numpy as np

from crocohuman_jax.synthetic.graphics import rotations

LARGEST_RIG = 12


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion, OpenCV axes: x right, y down, z forward.

    Attributes:
        intrinsics: (fx, fy, cx, cy) in pixels; a pixel's centre lies at its index + 0.5.
        rotation, translation: camera_from_world, [3, 3] and [3] in metres.
        size: (height, width) in pixels.
        exposure: factor on the incoming light.
        noise: standard deviation of the sensor noise, as a fraction of the full range.
        blur: seconds that the shutter is open; 0 freezes the motion.
    """

    intrinsics: tuple[float, float, float, float]
    rotation: np.ndarray
    translation: np.ndarray
    size: tuple[int, int]
    exposure: float = 1.0
    noise: float = 0.0
    blur: float = 0.0

    @property
    def eye(self) -> np.ndarray:
        """Camera centre in world coordinates, [3], metres."""
        return -self.rotation.T @ self.translation

    def see(self, points: np.ndarray) -> np.ndarray:
        """Returns world points [..., 3] in camera coordinates."""
        return points @ self.rotation.T + self.translation

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns pixels [..., 2] and depths [...] in metres of world points [..., 3]."""
        seen = self.see(np.asarray(points, np.float64))
        depth = seen[..., 2]
        fx, fy, cx, cy = self.intrinsics
        return seen[..., :2] / depth[..., None] * (fx, fy) + (cx, cy), depth


class Station:
    """A camera of a rig: fixed in position and orientation during a whole take.

    The camera does not turn to follow the person. Each frame is cropped from one wide picture, as
    people are cropped from real pictures, so two crops differ only in their intrinsics.

    Args:
        rng: draws height, distance, lens, roll, exposure, noise and motion blur.
        azimuth: angle around the centre, radians; 0 sees the face of a person who faces -y.
        centre: [3], the point that the camera looks at, metres.
        radius: of the sphere around the centre that must be visible, metres.
        recording: "clean" (no noise, no motion blur) or "camera" (sensor noise and motion blur).
        close: True for a close-up of a hand, which may be seen from any height.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        azimuth: float,
        centre: np.ndarray,
        radius: float,
        recording: str = "clean",
        close: bool = False,
    ):
        field = np.deg2rad(rng.uniform(20, 40) if close else rng.uniform(26, 58))
        elevation = rng.uniform(-0.5, 0.9) if close else rng.triangular(-0.12, 0.1, 0.6)
        distance = radius / np.sin(field / 2) * rng.uniform(0.95, 1.2)
        away = np.array([np.sin(azimuth), -np.cos(azimuth)]) * np.cos(elevation)
        eye = centre + distance * np.array([*away, np.sin(elevation)])
        eye[2] = max(eye[2], 0.25)  # above the ground
        target = centre + rng.normal(0, 0.03 * radius, 3)
        roll = rng.normal(0, 0.25 if close else 0.04)
        self.rotation, self.translation = look_at(eye, target, roll)
        self.eye = eye
        self.exposure = float(np.exp(rng.normal(0, 0.18)))
        noisy = recording == "camera"
        self.noise = float(rng.uniform(0.003, 0.02)) if noisy else 0.0
        self.blur = float(rng.choice([0.004, 0.01, 0.02, 0.033])) if noisy else 0.0

    def crop(self, points: np.ndarray, size: tuple[int, int], enlarge: float) -> Camera:
        """Returns the camera whose image frames the bounding box of points.

        Args:
            points: [n, 3] in the world, in front of the camera.
            size: (height, width) of the image in pixels.
            enlarge: factor on the box, which is also widened to the aspect ratio of the image.

        Raises:
            ValueError: a point lies behind the camera or less than 0.05 m in front of it.
        """
        seen = points @ self.rotation.T + self.translation
        if seen[:, 2].min() <= 0.05:
            raise ValueError(
                f"A point to show has depth {seen[:, 2].min():.3f} m; expected more than 0.05 m in "
                "front of the camera. Move the camera back or turn it to the points."
            )
        flat = seen[:, :2] / seen[:, 2:]
        low, high = flat.min(0), flat.max(0)
        height, width = size
        scale = 1 / (enlarge * max((high[0] - low[0]) / width, (high[1] - low[1]) / height))
        middle = (low + high) / 2
        intrinsics = (
            *(float(scale), float(scale)),
            *(width / 2 - float(scale * middle[0]), height / 2 - float(scale * middle[1])),
        )
        record = {"exposure": self.exposure, "noise": self.noise, "blur": self.blur}
        return Camera(intrinsics, self.rotation, self.translation, size, **record)


def rig(
    rng: np.random.Generator,
    count: int,
    centre: np.ndarray,
    radius: float,
    recording: str = "clean",
    close: bool = False,
) -> list[Station]:
    """Returns cameras spread over all azimuths around a centre, in no particular order.

    Args:
        rng: draws the azimuths and the cameras.
        count: number of cameras, 1 to 12.
        centre, radius: the sphere that must be visible, [3] and length in metres.
        recording, close: see `Station`.
    """
    if not 1 <= count <= LARGEST_RIG:
        raise ValueError(f"A rig has 1 to {LARGEST_RIG} cameras, not {count}.")
    step = 2 * np.pi / count
    azimuths = rng.uniform(0, 2 * np.pi) + step * (
        np.arange(count) + rng.uniform(-0.35, 0.35, count)
    )
    # Two cameras stand less than half a turn apart: opposite ones share no visible surface.
    if count == 2:
        azimuths[1] = azimuths[0] + rng.choice([-1, 1]) * rng.uniform(0.3, 2.2)
    return [Station(rng, a, centre, radius, recording, close) for a in azimuths]


def look_at(eye: np.ndarray, target: np.ndarray, roll: float = 0.0):
    """Returns camera_from_world, [3, 3] and [3], of a camera that looks at a point; z is up.

    Args:
        eye, target: [3] in metres, the camera centre and the point that it looks at.
        roll: rotation about the line of sight, radians.
    """
    forward = rotations.unit(target - eye)
    right = rotations.unit(np.cross(forward, rotations.Z))
    down = np.cross(forward, right)
    rotation = rotations.about(rotations.Z, roll) @ np.stack([right, down, forward])
    return rotation, -rotation @ eye

"""Draws scenes for the tests and the README: a jointed figure in a room, seen by several cameras.

python tests/pictures.py FOLDER     # writes a pairs_folder of a few people, to try things on
"""

import pathlib
import sys

import numpy as np
import PIL.Image
import PIL.ImageDraw

# Bones as (name, parent, length in heights, angle from straight down in degrees, swing in degrees).
BONES = [
    ("spine", None, 0.30, 180, 4),
    ("head", "spine", 0.10, 180, 6),
    ("arm", "spine", 0.17, 20, 70),
    ("forearm", "arm", 0.15, 20, 60),
    ("other arm", "spine", 0.17, -20, 70),
    ("other forearm", "other arm", 0.15, -20, 60),
    ("thigh", None, 0.24, 8, 40),
    ("shin", "thigh", 0.24, 8, 25),
    ("other thigh", None, 0.24, -8, 40),
    ("other shin", "other thigh", 0.24, -8, 25),
]


def joints(sequence: int, instant: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {bone: (start, end)} in heights: x to the side, y down, z away."""
    rng = np.random.default_rng([sequence, 1])
    ends: dict[str | None, np.ndarray] = {None: np.array([0.0, 0.48, 0.0])}
    found = {}
    for name, parent, length, angle, swing in BONES:
        phase, rate, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2), rng.uniform(-0.6, 0.6)
        turned = np.deg2rad(angle + swing * np.sin(phase + rate * instant))
        tilt = lean * np.sin(phase + 0.7 * rate * instant) * (swing > 10)
        direction = np.array([np.sin(turned), np.cos(turned) * np.cos(tilt), np.sin(tilt)])
        found[name] = (ends[parent], ends[parent] + length * direction)
        ends[name] = found[name][1]
    return found


def scene(sequence: int, instant: int, camera: int, size=(96, 80)):
    """Returns (picture, silhouette) of one sequence's figure, (width, height) = size."""
    rng = np.random.default_rng(sequence)
    width, height = size
    wall, floor, shirt, trousers, skin = (tuple(c) for c in rng.integers(30, 226, (5, 3)).tolist())
    picture = PIL.Image.new("RGB", size, wall)
    draw = PIL.ImageDraw.Draw(picture)
    turn = 0.6 * camera
    draw.rectangle((0, height * 0.72, width, height), fill=floor)
    for _ in range(5):  # furniture, which the cameras see shifted
        x, y, w, h = rng.uniform((-0.4, 0.05, 0.08, 0.1), (1.0, 0.5, 0.3, 0.35))
        x = (x + 0.25 * camera) % 1.3 - 0.2
        box = (x * width, y * height, (x + w) * width, (y + h) * height)
        draw.rectangle(box, fill=tuple(rng.integers(0, 256, 3).tolist()))
    silhouette = PIL.Image.new("L", size)
    canvases = ((draw, None), (PIL.ImageDraw.Draw(silhouette), 255))
    side = np.array([np.cos(turn), 0.0, np.sin(turn)])
    away = np.array([-np.sin(turn), 0.0, np.cos(turn)])
    place = np.array([width * (0.5 + 0.04 * np.sin(instant)), height * 0.08])

    def seen(point):
        return tuple(place + height * 0.88 * np.array([point @ side, point[1]]))

    bones = joints(sequence, instant)
    for name in sorted(bones, key=lambda n: -(bones[n][0] + bones[n][1]) @ away):
        start, end = map(seen, bones[name])
        color = {"head": skin, "forearm": skin, "shin": trousers, "thigh": trousers}
        color = color.get(name.removeprefix("other "), shirt)
        thick = height * {"spine": 0.16, "head": 0.11}.get(name, 0.065)
        for canvas, fill in canvases:
            canvas.line((start, end), fill=fill or color, width=round(thick))
            for x, y in (start, end):
                r = thick / 2
                canvas.ellipse((x - r, y - r, x + r, y + r), fill=fill or color)
    return PIL.Image.fromarray(_shade(np.asarray(picture), rng)), silhouette


def _shade(picture: np.ndarray, rng) -> np.ndarray:
    """Lights a picture unevenly and smoothly, so that no part of it is quite flat."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] / max(picture.shape[:2])
    light = np.ones(picture.shape[:2])
    for _ in range(3):
        fx, fy, phase = rng.uniform((-3, -3, 0), (3, 3, 2 * np.pi))
        light += 0.1 * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
    return (picture * light[..., None]).clip(0, 255).astype(np.uint8)


def write(folder: pathlib.Path, sequences=6, instants=3, cameras=2, masks=True, size=(96, 80)):
    """Writes scenes as a pairs_folder."""
    for s in range(sequences):
        for t in range(instants):
            for c in range(cameras):
                path = folder / f"seq{s}" / f"t{t:03d}" / f"cam{c}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture, silhouette = scene(s, t, c, size)
                picture.save(path, quality=95)
                if masks:
                    silhouette.save(path.with_name(f"cam{c}.mask.png"))
    return folder


if __name__ == "__main__":
    where = write(pathlib.Path(sys.argv[1]), sequences=60, instants=8, cameras=3, size=(320, 320))
    print(f"{where}: 60 figures, 8 instants, 3 cameras, with silhouettes (a pairs_folder).")

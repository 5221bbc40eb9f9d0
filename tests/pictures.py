"""Draws small scenes for the tests: a coloured figure, seen by cameras at instants."""

import pathlib

import numpy as np
import PIL.Image
import PIL.ImageDraw


def scene(sequence: int, instant: int, camera: int, size=(96, 80)):
    """Returns (picture, silhouette) of one sequence's figure, (width, height) = size."""
    rng = np.random.default_rng(sequence)
    width, height = size
    ground, skin = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
    texture = np.random.default_rng([sequence, camera]).integers(-20, 20, (height, width, 3))
    picture = PIL.Image.fromarray(
        (np.full((height, width, 3), ground) + texture).clip(0, 255).astype(np.uint8)
    )
    silhouette = PIL.Image.new("L", size)
    x = width * (0.3 + 0.1 * (instant % 5) + 0.05 * camera)
    box = (x - 12, height * 0.2, x + 12, height * 0.9)
    PIL.ImageDraw.Draw(picture).ellipse(box, fill=skin)
    PIL.ImageDraw.Draw(silhouette).ellipse(box, fill=255)
    return picture, silhouette


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

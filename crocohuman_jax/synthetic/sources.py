"""The user's own folders: motions to move by, pictures to stand before, scenes to stand in."""

import functools
import pathlib

import numpy as np
import PIL.Image
import PIL.ImageOps

from crocohuman_jax.synthetic import amass, bvh, interiors, smpl_body

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SCENES = (".glb", ".obj")
NO_MOTION = ("shape.npz", "neutral_stagei.npz", "male_stagei.npz", "female_stagei.npz")
LARGEST_PICTURE = 1600  # pixels of the longer side that are kept


@functools.lru_cache(8)
def motions(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the BVH and AMASS files of a folder, () for "".

    Raises:
        ValueError: no such folder, or no such file in it.
    """
    paths = _listed("motions", folder, (".bvh", ".npz"))
    return tuple(path for path in paths if path.name not in NO_MOTION)


@functools.lru_cache(8)
def pictures(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the readable pictures of a folder, () for "".

    Only the first few are opened here; one that turns out to be damaged skips the take.

    Raises:
        ValueError: no such folder, or no readable picture in it.
    """
    paths = _listed("pictures", folder, PICTURES)
    faults = []
    for path in paths[:20]:
        try:
            picture(path)
            return paths
        except ValueError as error:
            faults.append(str(error))
    if paths:
        raise ValueError(f"Option pictures={folder}: no readable picture. {' '.join(faults[:3])}")
    return paths


@functools.lru_cache(8)
def scenes(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the GLB and OBJ files of a folder, () for "".

    Raises:
        ValueError: no such folder, or no such file in it.
    """
    return _listed("interiors", folder, SCENES)


def _listed(option: str, folder: str, suffixes: tuple[str, ...]) -> tuple[pathlib.Path, ...]:
    if not folder:
        return ()
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"Option {option}={folder} is not a folder.")
    found = (path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in suffixes)
    paths = tuple(sorted(found))
    if not paths:
        raise ValueError(f"Option {option}={folder}: no {', '.join(suffixes)} file in it.")
    return paths


@functools.lru_cache(32)
def clip(path: pathlib.Path) -> "amass.Clip | bvh.Clip":
    """Returns a recorded motion; a ValueError names the file and what is wrong with it."""
    return bvh.Clip(path) if path.suffix.lower() == ".bvh" else amass.Clip(path)


@functools.lru_cache(4)
def scene(path: pathlib.Path) -> "interiors.Interior":
    """Returns a scene's mesh; a ValueError names the file and what is wrong with it."""
    return interiors.load(path)


@functools.lru_cache(2)
def model(path: str) -> smpl_body.SmplBody:
    """Returns a user's body model; a ValueError names the file and what is wrong with it."""
    return smpl_body.load(path)


@functools.lru_cache(16)
def picture(path: pathlib.Path) -> np.ndarray:
    """Returns a picture, upright, [H, W, 3] uint8; a ValueError names one that is damaged."""
    try:
        with PIL.Image.open(path) as opened:
            upright = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    upright.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    return np.asarray(upright)

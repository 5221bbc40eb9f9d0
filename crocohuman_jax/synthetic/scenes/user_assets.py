"""The user's own folders: motions to move by, pictures to stand before, scenes to stand in."""

import functools
import pathlib
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageOps

from crocohuman_jax.synthetic.figure import smpl_model
from crocohuman_jax.synthetic.motion import amass, bvh
from crocohuman_jax.synthetic.scenes import scans

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SCENES = (".glb", ".obj")
NO_MOTION = ("shape.npz", "neutral_stagei.npz", "male_stagei.npz", "female_stagei.npz")
SHORTEST = 0.3  # seconds of a recorded motion
LARGEST_PICTURE = 1600  # pixels of the longer side that are kept


@functools.lru_cache(8)
def motions(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the BVH and AMASS files of a folder, () for "".

    Raises:
        ValueError: no such folder, or no such file in it.
    """
    return _listed("motions", folder, (".bvh", ".npz"))


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
    paths = tuple(
        path
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix.lower() in suffixes and path.name not in NO_MOTION and path.is_file()
    )
    if not paths:
        raise ValueError(f"Option {option}={folder}: no {', '.join(suffixes)} file in it.")
    return paths


def one_of(read: Callable, option: str, folder: str, paths: tuple[pathlib.Path, ...]) -> None:
    """Raises a ValueError if none of the first few files of a folder can be read."""
    faults = []
    for path in paths[:5]:
        try:
            read(path)
            return
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError(f"Option {option}={folder}: no readable file. {' '.join(faults[:3])}")


@functools.lru_cache(8)
def clip(path: pathlib.Path) -> "amass.Clip | bvh.Clip":
    """Returns a recorded motion; a ValueError names the file and what is wrong with it."""
    read = bvh.Clip if path.suffix.lower() == ".bvh" else amass.Clip
    found = _read(read, path)
    if not found.duration > SHORTEST:
        raise ValueError(f"{path} lasts {found.duration:.2f} s; motions of {SHORTEST} s are used.")
    return found


@functools.lru_cache(1)
def scene(path: pathlib.Path) -> scans.Interior:
    """Returns a scene's mesh; a ValueError names the file and what is wrong with it."""
    return _read(scans.load, path)


def _read(read: Callable, path: pathlib.Path):
    """Returns what a reader makes of a file; whatever it raises of a broken one is a ValueError."""
    try:
        return read(path)
    except ValueError:
        raise
    except Exception as error:  # a broken file makes a parser raise anything
        raise ValueError(f"{path} is broken: {type(error).__name__}: {error}.") from error


@functools.lru_cache(2)
def model(path: str) -> smpl_model.SmplBody:
    """Returns a user's body model; a ValueError names the file and what is wrong with it."""
    return smpl_model.load(path)


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

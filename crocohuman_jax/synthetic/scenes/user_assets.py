"""Finds and reads users' own files: recorded motions, backdrop pictures, 3D scenes, body models."""

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
SHORTEST = 0.3  # minimum duration of a recorded motion, seconds
LARGEST_PICTURE = 1600  # larger pictures are scaled down to this longer side, pixels


@functools.lru_cache(8)
def motions(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the BVH and AMASS files in a folder and its subfolders; () for "".

    Raises:
        ValueError: the folder does not exist or contains no such file.
    """
    return _listed("motions", folder, (".bvh", ".npz"))


@functools.lru_cache(8)
def pictures(folder: str) -> tuple[pathlib.Path, ...]:
    """Returns the picture files in a folder and its subfolders; () for "".

    At most the first 20 are opened here, until one is readable; a take that draws a damaged
    picture later is skipped.

    Raises:
        ValueError: the folder does not exist, or none of these pictures can be read.
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
    """Returns the GLB and OBJ files in a folder and its subfolders; () for "".

    Raises:
        ValueError: the folder does not exist or contains no such file.
    """
    return _listed("interiors", folder, SCENES)


def _listed(option: str, folder: str, suffixes: tuple[str, ...]) -> tuple[pathlib.Path, ...]:
    if not folder:
        return ()
    if not pathlib.Path(folder).is_dir():
        raise ValueError(f"Option {option}={folder} is not a folder: give an existing one.")
    paths = tuple(
        path
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.suffix.lower() in suffixes and path.name not in NO_MOTION and path.is_file()
    )
    if not paths:
        raise ValueError(f"Option {option}={folder}: there is no {', '.join(suffixes)} file in it.")
    return paths


def one_of(read: Callable, option: str, folder: str, paths: tuple[pathlib.Path, ...]) -> None:
    """Raises a ValueError if none of the first five files of a folder can be read."""
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
    """Returns a recorded motion; raises a ValueError that names a faulty file and its fault."""
    read = bvh.Clip if path.suffix.lower() == ".bvh" else amass.Clip
    found = _read(read, path)
    if not found.duration > SHORTEST:
        raise ValueError(f"{path} lasts {found.duration:.2f} s; more than {SHORTEST} s is needed.")
    return found


@functools.lru_cache(1)
def scene(path: pathlib.Path) -> scans.Interior:
    """Returns a scene's mesh; raises a ValueError that names a faulty file and its fault."""
    return _read(scans.load, path)


def _read(read: Callable, path: pathlib.Path):
    """Returns `read(path)`; every exception becomes a ValueError that names the file."""
    try:
        return read(path)
    except ValueError:
        raise
    except Exception as error:  # parsers raise any exception on a broken file
        raise ValueError(f"{path} is broken: {type(error).__name__}: {error}.") from error


@functools.lru_cache(2)
def model(path: str) -> smpl_model.SmplBody:
    """Returns a user's body model; raises a ValueError that names a faulty file and its fault."""
    return smpl_model.load(path)


@functools.lru_cache(16)
def picture(path: pathlib.Path) -> np.ndarray:
    """Returns a picture, upright, [H, W, 3] uint8; a ValueError names a file that is damaged."""
    try:
        with PIL.Image.open(path) as opened:
            upright = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # Pillow's decoders raise any exception on a broken file
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    upright.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    return np.asarray(upright)

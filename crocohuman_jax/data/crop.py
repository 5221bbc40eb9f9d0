"""Opens pictures of every kind and crops people out of them."""

import pathlib
import stat

import numpy as np
import PIL.Image
import PIL.ImageOps

from crocohuman_jax.configuration import files

LARGEST_CROP = 4  # longest side of a crop, relative to the picture's
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


class Skip(Exception):
    """Says why a frame cannot be used. The frame is counted and listed, and the work goes on."""


def inside(settings, folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the path of a file in a source folder, see `files.within`.

    Args:
        settings: `pipeline.Settings`, of which `follow_links` is used.
        folder: the folder that must contain the file.
        name: path relative to the folder.

    Raises:
        Skip: the path leads out of the folder, or no file can have such a name.
    """
    try:
        path = files.within(folder, name, settings.follow_links)
        path.exists()  # raises an OSError if the name is too long
    except files.LeadsOut as error:
        raise Skip(f"{error}; --follow_links takes such files, if the links are yours") from error
    except (OSError, ValueError) as error:
        raise Skip(str(error)) from error
    return path


def check_file(path: pathlib.Path) -> None:
    """Raises Skip for a file that would block its reader, as a FIFO, or whose name is not UTF-8."""
    if files.printable(str(path)) != str(path):
        raise Skip("its name is not UTF-8: rename it")
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError):  # missing or unreadable: opening it will say so
        return
    if not stat.S_ISREG(kind):
        raise Skip("not a file but a FIFO, device, socket or folder")


def open_picture(path: pathlib.Path, upright: bool = True) -> PIL.Image.Image:
    """Returns a picture as 8-bit RGB, also if it is grey, palette, RGBA, CMYK or 16-bit.

    Transparent pixels become black, the value of padding.

    Args:
        path: the file.
        upright: whether to rotate it by its EXIF orientation; else pixels stay as they are stored.

    Raises:
        Skip: the file is missing, truncated, not a picture, or not a regular file.
    """
    check_file(path)
    try:
        with PIL.Image.open(path) as picture:
            picture.load()
            picture = PIL.ImageOps.exif_transpose(picture) if upright else picture
    except FileNotFoundError as error:
        raise Skip("the file is missing") from error
    except Exception as error:  # Pillow's decoders raise errors of any type for a broken file
        raise Skip(f"not a readable picture: {error}") from error
    return to_rgb(picture)


def to_rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Returns the picture as 8-bit RGB."""
    if picture.mode.startswith("I"):  # 16-bit grey, in 16 or 32 bits
        values = np.asarray(picture).astype(np.int64)
        picture = PIL.Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
    elif picture.mode == "F":
        raise Skip("a picture of floating-point values has no known range")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = picture.convert("RGBA")
        black = PIL.Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = PIL.Image.alpha_composite(black, picture)
    return picture.convert("RGB")


def open_silhouette(path: pathlib.Path, size: tuple[int, int]) -> PIL.Image.Image:
    """Returns a silhouette as an 8-bit picture, 255 where there is a person.

    Args:
        path: a grey, binary or RGB picture; every pixel that is not black shows a person.
        size: (width, height) of the picture that it belongs to.

    Raises:
        Skip: the silhouette cannot be read, or its size differs from the picture's.
    """
    grey = open_picture(path).convert("L")
    if grey.size != size:
        raise Skip(f"its silhouette is {grey.size} pixels, the picture {size}")
    return grey.point(lambda value: 255 if value else 0)


def whole(size: tuple[int, int], aspect: float, fit: str) -> Box:
    """Returns the crop of a picture that has no box.

    Args:
        size: (width, height) of the picture.
        aspect: width / height of the crop.
        fit: "cover", the largest centred crop inside the picture, or "contain", the smallest crop
            around it.
    """
    width, height = size
    scale = (min if fit == "cover" else max)(width / aspect, height)
    return _centred(width / 2, height / 2, scale * aspect, scale)


def around(box: Box, size: tuple[int, int], aspect: float, enlarge: float) -> Box:
    """Returns the crop of a person: the bounding box widened to the aspect, then enlarged.

    Args:
        box: bounding box of the person.
        size: (width, height) of the picture.
        aspect: width / height of the crop.
        enlarge: factor on both sides.

    Raises:
        Skip: the box is not four finite numbers, is empty, or lies outside the picture.
    """
    if len(box) != 4 or not np.isfinite(box).all():
        raise Skip(f"the box {list(box)} is not four finite numbers x0, y0, x1, y1")
    x0, y0, x1, y1 = box
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise Skip(f"the box {list(box)} is empty (x0, y0, x1, y1 are expected)")
    width, height = size
    if min(x1, width) - max(x0, 0) < 1 or min(y1, height) - max(y0, 0) < 1:
        raise Skip(f"the box {list(box)} lies outside the picture of {width}x{height}")
    scale = max((x1 - x0) / aspect, y1 - y0) * enlarge
    if scale * max(aspect, 1) > LARGEST_CROP * max(size):
        raise Skip(f"the box {list(box)} is many times larger than the picture {width}x{height}")
    return _centred((x0 + x1) / 2, (y0 + y1) / 2, scale * aspect, scale)


def _centred(x: float, y: float, width: float, height: float) -> Box:
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def shown(box: Box, size: tuple[int, int], frame: tuple[int, int]) -> Box:
    """Returns the part of a frame that shows the picture; the rest is black padding.

    Args:
        box: the crop, in pixels of the picture.
        size: (width, height) of the picture.
        frame: (height, width) of the frame.

    Returns:
        x0, y0, x1, y1 in pixels of the frame.
    """
    x0, y0, x1, y1 = box
    across, down = frame[1] / (x1 - x0), frame[0] / (y1 - y0)
    left, right = (min(max((x - x0) * across, 0), frame[1]) for x in (0, size[0]))
    top, bottom = (min(max((y - y0) * down, 0), frame[0]) for y in (0, size[1]))
    return left, top, right, bottom


def cut(picture: PIL.Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Returns the crop resized to (height, width), antialiased, black outside the picture.

    Returns:
        [H, W, 3] uint8, or [H, W] for a picture of one channel.
    """
    x0, y0, x1, y1 = box
    left, top = int(np.floor(x0)), int(np.floor(y0))
    right, bottom = int(np.ceil(x1)), int(np.ceil(y1))
    outside = left < 0 or top < 0 or right > picture.width or bottom > picture.height
    if outside:  # Pillow's crop fills with black; only the part that is needed is copied
        picture = picture.crop((left, top, right, bottom))
        x0, x1, y0, y1 = x0 - left, x1 - left, y0 - top, y1 - top
    height, width = size
    resized = picture.resize(
        (width, height), PIL.Image.Resampling.BICUBIC, box=(x0, y0, x1, y1), reducing_gap=3.0
    )
    return np.asarray(resized)

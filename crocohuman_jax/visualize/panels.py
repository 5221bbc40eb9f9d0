"""Puts pictures side by side: one row for each person, and pages of rows."""

from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from crocohuman_jax.visualize import mesh_overlay

COLUMNS = ("picture", "prediction", "from the side", "error", "truth")
GAP, TEXT = 4, 13  # gap between pictures of a page and text height, pixels


def compared(
    image: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    intrinsics: Sequence[float],
    *,
    truth: np.ndarray | None = None,
    errors: np.ndarray | None = None,
    truth_intrinsics: Sequence[float] | None = None,
    largest: float = 100.0,
) -> list[np.ndarray]:
    """Returns one row of a `page` about a predicted mesh; `COLUMNS` names its pictures.

    Without ground truth the row ends after the view from the side.

    Args:
        image, vertices, faces, intrinsics: as for `mesh_overlay.overlay`.
        truth: [V, 3], the ground-truth mesh.
        errors: [V] mm, after the alignment (if any) of the metric that the row shows.
        truth_intrinsics: of the ground truth's camera; None uses `intrinsics`.
        largest: mm, see `mesh_overlay.error_colors`.

    Raises:
        ValueError: as `mesh_overlay.overlay` and `mesh_overlay.error_colors`; or only one of truth
            and errors is given, or their number of vertices differs from the prediction's.
    """
    pictures = [
        image,
        mesh_overlay.overlay(image, vertices, faces, intrinsics),
        mesh_overlay.side_view(vertices, faces, image.shape[:2]),
    ]
    if truth is None and errors is None:
        return pictures
    if np.shape(truth) != np.shape(vertices) or np.shape(errors) != np.shape(vertices)[:1]:
        raise ValueError(
            f"The truth is {np.shape(truth)} and the errors are {np.shape(errors)}; both are "
            f"expected, or neither, for a prediction of {np.shape(vertices)}."
        )
    colors = mesh_overlay.error_colors(errors, largest)
    return [
        *pictures,
        mesh_overlay.overlay(image, vertices, faces, intrinsics, values=colors),
        mesh_overlay.overlay(
            image, truth, faces, intrinsics if truth_intrinsics is None else truth_intrinsics
        ),
    ]


def page(
    rows: Sequence[tuple[str, Sequence[np.ndarray]]], headings: Sequence[str] = ()
) -> np.ndarray:
    """Returns one sheet of rows of pictures, each under its caption, [H, W, 3] uint8.

    Pictures are in columns and keep their sizes; captions may have several lines.

    Args:
        rows: (caption, pictures [h, w, 3] uint8) each; an empty caption takes no space.
        headings: titles of the columns, such as `COLUMNS`.

    Raises:
        ValueError: there are no rows, or a picture is not [h, w, 3] uint8.
    """
    if not rows:
        raise ValueError("The page has no rows; at least one (caption, pictures) is expected.")
    for _, pictures in rows:
        for picture in pictures:
            mesh_overlay.check_picture(picture)
    font = PIL.ImageFont.load_default(TEXT)
    line = TEXT + GAP
    columns = max(len(headings), *(len(pictures) for _, pictures in rows))
    widths = [int(np.ceil(font.getlength(text))) for text in headings]
    widths += [0] * (columns - len(headings))
    for _, pictures in rows:
        for j, picture in enumerate(pictures):
            widths[j] = max(widths[j], picture.shape[1])
    lefts = GAP + np.cumsum([0, *(width + GAP for width in widths)])
    texts = [text for caption, _ in rows for text in caption.splitlines()]
    longest = max((font.getlength(text) for text in texts), default=0)
    heights = [max((len(p) for p in pictures), default=0) for _, pictures in rows]
    lines = [len(caption.splitlines()) for caption, _ in rows]
    height = GAP + line * (sum(lines) + bool(headings)) + sum(h + GAP for h in heights)
    width = max(int(lefts[-1]), int(np.ceil(longest)) + 2 * GAP)
    sheet = PIL.Image.new("RGB", (width, height), "white")
    draw, top = PIL.ImageDraw.Draw(sheet), GAP
    for text, left in zip(headings, lefts, strict=False):
        draw.text((left, top), text, (110, 110, 110), font=font)
    top += line * bool(headings)
    for (caption, pictures), tall in zip(rows, heights, strict=True):
        for text in caption.splitlines():
            draw.text((GAP, top), text, "black", font=font)
            top += line
        for left, picture in zip(lefts, pictures, strict=False):
            sheet.paste(PIL.Image.fromarray(picture), (int(left), top))
        top += tall + GAP
    return np.asarray(sheet)

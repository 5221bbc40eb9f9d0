"""Draws contact sheets of a prepared folder: its pairs, and the ground truth of its frames."""

import colorsys

import numpy as np
import PIL.Image
import PIL.ImageDraw

from crocohuman_jax.data.storage import records, synthetic_truth

HEIGHT = 128  # of a tile, in pixels
LINE = 14  # height of a line of text, in pixels
# One colour for each body part. Neighbouring numbers differ much in hue; 0 (nobody) is black.
PALETTE = np.array(
    [(0, 0, 0)]
    + [
        [round(255 * c) for c in colorsys.hsv_to_rgb(0.618 * i % 1, 0.5 + 0.1 * (i % 3), 0.95)]
        for i in range(1, 32)
    ],
    np.uint8,
)


def pairs(frames: records.Frames, rows: int = 12, columns: int = 8) -> PIL.Image.Image:
    """Draws groups of frames, one group per row; everything outside the silhouettes is darkened."""
    groups = [
        (kind, split, number)
        for kind in ("view_group", "pose_group")
        for split in records.SPLITS
        for number in np.unique(frames.index[kind][frames.index["split"] == split])
        if number >= 0
    ]
    spread = np.linspace(0, len(groups) - 1, min(rows, len(groups))).astype(int)
    chosen = []
    for kind, split, number in (groups[i] for i in spread):
        members = (frames.index[kind] == number) & (frames.index["split"] == split)
        chosen.append((kind, np.flatnonzero(members)))
    if not chosen:
        chosen = [("single", np.arange(min(columns, len(frames))))]
    width = round(HEIGHT * frames.size[1] / frames.size[0])
    sheet = PIL.Image.new("RGB", (columns * width, len(chosen) * (HEIGHT + LINE)), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for i, (kind, members) in enumerate(chosen):
        top = i * (HEIGHT + LINE)
        sequence = frames.index["sequence"][members[0]]
        split = frames.index["split"][members[0]]
        label = kind.replace("view_group", "one instant").replace("pose_group", "one camera")
        draw.text((2, top + 1), f"{sequence}   {label}   {split}", "black")
        for j, row in enumerate(members[:columns]):
            image, silhouette = frames.read(int(row))
            if silhouette is not None:
                image = np.where(silhouette[..., None], image, image // 2)
            tile = PIL.Image.fromarray(image).resize((width, HEIGHT))
            sheet.paste(tile, (j * width, top + LINE))
    return sheet


def truths(
    frames: records.Frames, known: synthetic_truth.Truths, rows: int = 10
) -> PIL.Image.Image:
    """Draws the ground truth of frames, one frame per row.

    The columns are the picture and the joints, and, if the maps were written, body parts, texture
    atlas coordinates, depth and position on the template body.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, rows).astype(int))
    width = round(HEIGHT * frames.size[1] / frames.size[0])
    lines = []
    for row in chosen:
        image, _ = frames.read(int(row))
        lines.append([image, *_drawn(image, known.read(int(row)))])
    columns = max(map(len, lines))
    sheet = PIL.Image.new("RGB", (columns * width, len(lines) * (HEIGHT + LINE)), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for i, (row, tiles) in enumerate(zip(chosen, lines, strict=True)):
        about, top = known.read(int(row)), i * (HEIGHT + LINE)
        words = [about[name] for name in ("action", "left_hand", "right_hand")]
        draw.text((2, top + 1), f"{frames.index['sequence'][row]}   {', '.join(words)}", "black")
        for j, tile in enumerate(tiles):
            tile = PIL.Image.fromarray(tile).resize((width, HEIGHT))
            sheet.paste(tile, (j * width, top + LINE))
    return sheet


def _drawn(image: np.ndarray, about: dict) -> list[np.ndarray]:
    dotted = PIL.Image.fromarray(image // 2)
    draw = PIL.ImageDraw.Draw(dotted)
    radius = max(image.shape[0] // 128, 1)
    for x, y in about["joints_2d"]:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 230, 60))
    tiles = [np.asarray(dotted)]
    if "part" in about:
        inside = about["part"][..., None] > 0
        near = np.where(about["depth"] > 0, 1 / np.maximum(about["depth"], 1e-3), 0)
        seen = near[near > 0]
        low, high = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)
        scaled = 0.2 + 0.8 * (near - low) / max(high - low, 1e-6)
        uv = np.concatenate([about["uv"], np.full_like(about["uv"][..., :1], 0.6)], -1)
        place = about["canonical"]
        place = (place - place.min((0, 1))) / np.maximum(np.ptp(place, (0, 1)), 1e-6)
        tiles.append(PALETTE[about["part"] % len(PALETTE)])
        for values in (uv, np.repeat(scaled[..., None], 3, -1), place):
            tiles.append(np.round(255 * np.where(inside, values, 0).clip(0, 1)).astype(np.uint8))
    return tiles

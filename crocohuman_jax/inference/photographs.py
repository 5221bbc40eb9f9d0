"""Recovers the meshes of people in photographs and writes them."""

import json
import pathlib
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np
import PIL.Image

from crocohuman_jax.body_models import cameras, supervision
from crocohuman_jax.configuration import filenames, options, registry
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import people
from crocohuman_jax.data.streams import placing
from crocohuman_jax.training import checkpoint, sharding
from crocohuman_jax.visualize import drawing, mesh_export

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def predict(args) -> Iterator[str]:
    """Writes picture, mesh and numbers of every person; yields a line for each."""
    workdir, output = pathlib.Path(args.workdir), pathlib.Path(args.output)
    saved = options.load(workdir / "config.json")["config"]
    if saved["task"] != "mesh":
        raise ValueError(f"{workdir} is a run of {saved['task']!r}, not of mesh recovery.")
    saved["mesh"] = {"data": 1, "fsdp": 1, "tensor": 1}
    config = ml_collections.ConfigDict(saved)
    task = registry.find("tasks", "mesh").make(config)
    body = supervision.Bodies(**config.body)
    if args.left and not body.hand:
        raise ValueError(f"--left is for hands; the run's body model is {config.body.model!r}.")
    paths = pictures(args.images)
    seconds = pictures(args.second) if args.second else paths
    two = config.data.second != "none"
    if args.second and not two:
        raise ValueError(f"--second: {workdir} is a run of one picture.")
    if len(seconds) != len(paths):
        raise ValueError(f"--second names {len(seconds)} pictures for {len(paths)} of --images.")
    _check_names(paths)
    options.check_number("--enlarge", args.enlarge, above=0)
    boxes = read_boxes(args.boxes)
    yield from unmatched(boxes, [*paths, *seconds], args.boxes)
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    params = checkpoint.load_whole(workdir, "ema" if args.ema else "params")
    run, distinct = jax.jit(task.predict), filenames.Distinct()
    output.mkdir(parents=True, exist_ok=True)
    written, skips = 0, []
    for path, other in zip(paths, seconds, strict=True):
        try:
            whole = np.asarray(crop.open_picture(path))
            found = entries(boxes, path, whole.shape[:2], args.enlarge)
            elsewhere = None
            if two:
                elsewhere = np.asarray(crop.open_picture(other))
                elsewhere = elsewhere, entries(boxes, other, elsewhere.shape[:2], args.enlarge)
        except crop.Skip as skip:
            yield filenames.printable(f"{path}: skipped, {skip}")
            skips.append(filenames.printable(f"{path}: {skip}"))
            continue
        for name, square in found.items():
            batch = element(whole, square, config, body, args.left)
            if two:
                picture, squares = elsewhere
                there = squares[name] if name in squares else next(iter(squares.values()))
                placed = placing.place(there, placing.UNCHANGED, args.left)
                batch["second"] = placed.picture(picture, config.model.image[0])[None]
            with jax.set_mesh(mesh):
                shown = jax.device_get(run(params, sharding.put_batch(batch, mesh)))
            plain = f"{path.stem}_{name}" if name else path.stem
            stem = distinct(f"{path.stem}_{filenames.clean(name)}" if name else path.stem)
            line = write(output / stem, whole, square, shown, body, args)
            whose = "" if stem == plain else f" ({name!r} of {path.name})"
            yield filenames.printable(line + whose)
            written += 1
    if not written:
        raise ValueError("Not one of --images could be used:\n  " + "\n  ".join(skips[:10]))


def _check_names(paths: list[pathlib.Path]) -> None:
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"Several of --images are called {', '.join(twice[:5])}: what is written of them would "
            "have one name. Take them in turns, with an --output each."
        )


def pictures(names: list[str]) -> list[pathlib.Path]:
    """Returns the pictures that are named or lie in the folders named.

    Raises:
        ValueError: one does not exist, or there is none.
    """
    found: list[pathlib.Path] = []
    for name in names:
        path = pathlib.Path(name)
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"{path} does not exist.")
    if not found:
        raise ValueError(f"No picture in {', '.join(names)} ({', '.join(SUFFIXES)}).")
    return found


def read_boxes(path: str) -> dict:
    """Returns the boxes of a file, {} for none.

    Raises:
        ValueError: it is no JSON object.
    """
    if not path:
        return {}
    try:
        found = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--boxes={path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"--boxes={path} is {type(found).__name__}, not {{picture: box}}.")
    return found


def unmatched(boxes: dict, paths: list[pathlib.Path], file: str) -> Iterator[str]:
    """Yields a line that names the boxes of no picture.

    Raises:
        ValueError: none of them is of a picture.
    """
    names = {name for path in paths for name in (str(path), path.name, path.stem)}
    lost = sorted(boxes.keys() - names)
    if not lost:
        return
    first = ", ".join(lost[:10])
    if len(lost) == len(boxes):
        raise ValueError(
            f"--boxes={file} names pictures that --images does not contain: {first}. Name them as "
            f"they are called: {paths[0].name}."
        )
    yield (
        f"--boxes={file} names pictures that --images does not contain: {first} ({len(lost)} of "
        f"{len(boxes)} names)."
    )


def entries(boxes: dict, path: pathlib.Path, size: tuple[int, int], enlarge: float) -> dict:
    """Returns {name: (centre x, y, side)} of the people in a picture, the whole of it without box.

    Raises:
        crop.Skip: a box that cannot be used.
    """
    height, width = size
    known = next((boxes[k] for k in (str(path), path.name, path.stem) if k in boxes), None)
    if known is None:
        return {"": np.array([width / 2, height / 2, max(height, width)])}
    found = {}
    for name, box in people(known).items():
        x0, y0, x1, y1 = crop.around(box, (width, height), 1.0, enlarge)
        found[name] = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0])
    return found


def element(
    whole: np.ndarray, square: np.ndarray, config, body: supervision.Bodies, left: bool
) -> dict:
    """Returns a batch of one person of whom nothing is known."""
    placed = placing.place(square, placing.UNCHANGED, left)
    return body.unknown(1) | {"image": placed.picture(whole, config.model.image[0])[None]}


def write(path: pathlib.Path, whole, square, shown: dict, body: supervision.Bodies, args) -> str:
    """Writes a person's picture, mesh and numbers beside `path`; returns a line about it.

    The camera of the numbers has its principal point at the crop's centre, and the focal length
    that weak perspective is taken for; vertices and points are in its axes. The numbers of a left
    hand are all those of the right one, mirrored.
    """
    faces = body.body.faces.array
    place = shown["translation"][0]
    vertices, points = (shown[name][0] + place for name in ("vertices", "points"))
    if args.left:
        mirror = np.array([-1, 1, 1], np.float32)
        vertices, points, place = vertices * mirror, points * mirror, place * mirror
        faces = faces[:, ::-1]
    focal = cameras.FOCAL / cameras.SIDE * square[2]
    intrinsics = (focal, focal, square[0], square[1])
    row = [whole, drawing.overlay(whole, vertices, faces, intrinsics)]
    row.append(drawing.side_view(vertices, faces, whole.shape[:2]))
    named = {end: path.with_name(f"{path.name}.{end}") for end in ("png", args.format, "npz")}
    PIL.Image.fromarray(drawing.page([("", row)])).save(named["png"])
    mesh_export.write(named[args.format], vertices - place, faces)
    numbers = {name: shown[name][0] for name in ("camera", "pose", "betas") if name in shown}
    if args.left:
        numbers["camera"] = numbers["camera"] * (1, -1, 1)
        if "pose" in numbers:
            numbers["pose"] = mirror[:, None] * numbers["pose"] * mirror
    names = np.array(body.measured.names)
    np.savez(
        named["npz"],
        **numbers,
        vertices=vertices,
        points=points,
        names=names,
        intrinsics=np.array(intrinsics),
        crop=square,
    )
    return f"{path}.png, .{args.format}, .npz"

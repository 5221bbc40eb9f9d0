"""Predicts the people in a user's photographs, one person at a time."""

import json
import pathlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from crocohuman_jax.configuration import files, options
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import people
from crocohuman_jax.training import run_folder, sharding

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def predict(
    workdir: pathlib.Path,
    images: list[str],
    output: pathlib.Path,
    *,
    boxes: str = "",
    second: Sequence[str] = (),
    enlarge: float = 1.25,
    left: bool = False,
    ema: bool = False,
    mesh_format: str = "glb",
) -> Iterator[str]:
    """Writes the predictions for every person in photographs; yields a line about each.

    Args:
        workdir: the run's folder.
        images: pictures, or folders of pictures.
        output: the folder to write.
        boxes: JSON file, {name of a picture: [x0, y0, x1, y1] in pixels, or {person: such a box}};
            "" for whole pictures.
        second: for a run of two pictures, the second one of each; by default the same picture.
        enlarge: factor by which a person's box is enlarged.
        left: the pictures show left hands; they are mirrored, because the run predicts right ones.
        ema: whether to use the averaged weights.
        mesh_format: "glb" or "obj".

    Raises:
        ValueError: an argument does not fit the run, or no picture can be used.
    """
    run = run_folder.opened(workdir)
    reader = run.task.photographs
    if reader is None:
        raise ValueError(
            f"{workdir} is a run of {run.config.task!r}, which predicts nothing in photographs: "
            "use a run of mesh recovery."
        )
    reader.check(left)
    if second and not reader.two:
        raise ValueError(f"--second is not possible: {workdir} is a run of one picture.")
    paths, seconds = _both(images, second)
    options.check_number("--enlarge", enlarge, above=0)
    named = read_boxes(boxes)
    yield from unmatched(named, [*paths, *seconds], boxes)
    params = run.params(ema)
    answer, written, skips = jax.jit(run.task.predict), 0, []
    distinct = files.Distinct()
    output.mkdir(parents=True, exist_ok=True)
    for path, name, batch, *where in _people(reader, named, paths, seconds, enlarge, left):
        if isinstance(batch, crop.Skip):
            yield files.printable(f"{path}: skipped, {batch}")
            skips.append(files.printable(f"{path}: {batch}"))
            continue
        with jax.set_mesh(run.mesh):
            shown = jax.device_get(answer(params, sharding.put_batch(batch, run.mesh)))
        stem, whose = _stem(path, name, distinct)
        line = reader.write(output / stem, *where, shown, left, mesh_format)
        yield files.printable(line + whose)
        written += 1
    if not written:
        raise ValueError("None of --images could be used:\n  " + "\n  ".join(skips[:10]))


def _stem(path: pathlib.Path, name: str, distinct: files.Distinct) -> tuple[str, str]:
    """Returns a safe name for a person's files, and a note with the true names if it differs."""
    plain = f"{path.stem}_{name}" if name else path.stem
    stem = distinct(f"{path.stem}_{files.clean(name)}" if name else path.stem)
    return stem, "" if stem == plain else f" ({name!r} of {path.name})"


def _people(reader, boxes, paths, seconds, enlarge, left) -> Iterator[tuple]:
    """Yields (path, name, batch of one, picture, square) for every person.

    A picture that cannot be used yields (path, "", `crop.Skip` with the reason) instead.
    """
    for path, other in zip(paths, seconds, strict=True):
        try:
            whole = np.asarray(crop.open_picture(path))
            squares = entries(boxes, path, whole.shape[:2], enlarge)
            if reader.two:
                elsewhere = np.asarray(crop.open_picture(other))
                there = entries(boxes, other, elsewhere.shape[:2], enlarge)
        except crop.Skip as skip:
            yield path, "", skip
            continue
        for name, square in squares.items():
            batch = reader.element(whole, square, left)
            if reader.two:
                seen = there[name] if name in there else next(iter(there.values()))
                batch["second"] = reader.picture(elsewhere, seen, left)
            yield path, name, batch, whole, square


def _both(images, second) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Returns the pictures and the second picture for each; by default the same picture."""
    paths = pictures(images)
    seconds = pictures(second) if second else paths
    if len(seconds) != len(paths):
        raise ValueError(
            f"--second names {len(seconds)} pictures for {len(paths)} of --images: give as many."
        )
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"Several of --images are called {', '.join(twice[:5])}, so their results would have "
            "the same names. Predict them one after the other, each with its own --output."
        )
    return paths, seconds


def pictures(names: list[str]) -> list[pathlib.Path]:
    """Returns the paths of pictures, given the names of pictures and of folders of pictures.

    Raises:
        ValueError: a path does not exist, or there is no picture.
    """
    found: list[pathlib.Path] = []
    for name in names:
        path = pathlib.Path(name)
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"--images or --second: {path} does not exist.")
    if not found:
        raise ValueError(f"No picture in {', '.join(names)}: expected files {', '.join(SUFFIXES)}.")
    return found


def read_boxes(path: str) -> dict:
    """Returns the boxes in a JSON file; {} if the path is "".

    Raises:
        ValueError: the file cannot be read or is not a JSON object.
    """
    if not path:
        return {}
    try:
        found = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--boxes={path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"--boxes={path} holds a {type(found).__name__}, but {{picture: box}} is expected."
        )
    return found


def unmatched(boxes: dict, paths: list[pathlib.Path], file: str) -> Iterator[str]:
    """Yields a line about boxes whose picture is not among `paths`, if there are any.

    Raises:
        ValueError: no box belongs to one of the pictures.
    """
    names = {name for path in paths for name in (str(path), path.name, path.stem)}
    lost = sorted(boxes.keys() - names)
    if not lost:
        return
    first = ", ".join(lost[:10])
    if len(lost) == len(boxes):
        raise ValueError(
            f"--boxes={file} names pictures that --images does not contain: {first}. Use the names "
            f"of the files, such as {paths[0].name}."
        )
    yield (
        f"--boxes={file} names pictures that --images does not contain: {first} ({len(lost)} of "
        f"{len(boxes)} names)."
    )


def entries(boxes: dict, path: pathlib.Path, size: tuple[int, int], enlarge: float) -> dict:
    """Returns {name: (centre x, y, side)} of the people in a picture, in pixels.

    A picture without boxes counts as one person who fills it.

    Raises:
        crop.Skip: a box cannot be used.
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

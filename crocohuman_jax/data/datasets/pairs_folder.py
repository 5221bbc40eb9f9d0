"""Reads pictures in folders <sequence>/t<instant>/<camera>.jpg, with an optional list of groups."""

import collections
import json
import pathlib
import re
from collections.abc import Iterator

from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample, people

OPTIONS: dict[str, object] = {}
LAYOUT = """\
DIR/[<any folders>/]<sequence>/t<instant>/<camera>.jpg
  pictures in one t folder    one instant seen by several cameras (cross-view)
  one camera in several t     one camera at several instants (cross-pose)
  <camera>_bg<k>.jpg          the same camera, another background composited in
  <camera>.mask.png           (optional) the silhouette of the people
DIR/index.json (optional)     {"sequences": [{"cross_view": [[paths], ...], "cross_pose": [...]}]}
                              lists the valid groups; without it all groups are valid; a sequence
                              without one of the two keys has no groups of that kind
boxes.json (optional)         in DIR or any folder below: {path from that folder: box, or
                              {name: box}}, where a box is [x0, y0, x1, y1] in pixels"""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
PER_JOB = 16
INSTANT = re.compile(r"t(\d+)")


def plan(settings) -> Plan:
    """Lists the people of the folder's pictures; see `datasets`."""
    source = settings.source
    listing = source / "index.json"
    groups = _listed_groups(listing) if listing.exists() else None
    for path in groups or ():
        try:
            crop.inside(settings, source, path)
        except crop.Skip as skip:  # a wrong list is an error, unlike a single unusable picture
            raise ValueError(f"{listing}: {skip}.") from skip
    paths = _pictures(source) if groups is None else sorted(groups)
    boxes, skips, frames = _boxes(source), [], []
    for path in paths:
        try:
            crop.check_file(source / path)
            if not (source / path).exists():
                raise crop.Skip("index.json lists it, but there is no such file")
            frames += _frames(path, groups, boxes.get(path))
        except crop.Skip as skip:
            skips.append((path, str(skip)))
    if not frames:
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in skips[:10])
        raise ValueError(f"No usable picture in {source}.{reasons}\nExpected:\n{LAYOUT}")
    for path in sorted(boxes.keys() - set(paths)):
        skips.append((path, "a boxes.json has its box, but there is no such picture"))
    jobs = [Job(tuple(frames[i : i + PER_JOB])) for i in range(0, len(frames), PER_JOB)]
    return Plan(tuple(jobs), tuple(skips))


def read(settings, job: Job) -> Iterator[Sample]:
    """Reads the pictures of a job; see `datasets`."""
    for frame in job.frames:
        name = pathlib.PurePosixPath(frame.source)
        mask_name = name.with_name(f"{name.stem}.mask.png")
        try:
            path = crop.inside(settings, settings.source, frame.source)
            mask = crop.inside(settings, settings.source, str(mask_name))
            picture = crop.open_picture(path)
            silhouette = crop.open_silhouette(mask, picture.size) if mask.exists() else None
            yield Sample(frame, picture, silhouette)
        except crop.Skip as skip:
            yield Sample(frame, fault=str(skip))


def _frames(path: str, groups: dict | None, entry) -> list[Frame]:
    """Returns the frames of a picture, one for each person in it."""
    parts = pathlib.PurePosixPath(path)
    instant = INSTANT.fullmatch(parts.parent.name)
    if not instant:
        raise crop.Skip(f"its folder is {parts.parent.name!r}, not t<instant>")
    sequence = str(parts.parent.parent)
    camera = re.sub(r"_bg\d+$", "", parts.stem)
    if groups is None:
        view, pose = f"{sequence}/{parts.parent.name}", f"{sequence}/{camera}"
    else:
        view, pose = groups[path]
    return [
        Frame(
            source=path,
            sequence=sequence,
            subject=name,
            camera=camera,
            instant=int(instant[1]),
            view_group=view and f"{view}#{name}",
            pose_group=pose and f"{pose}#{name}",
            box=box,
        )
        for name, box in ({"": None} if entry is None else people(entry)).items()
    ]


def _pictures(source: pathlib.Path) -> list[str]:
    """Returns the sorted paths of all pictures below a folder, without silhouettes."""
    return sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.endswith(".mask.png")
    )


def _listed_groups(listing: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Returns {path: (view group, pose group)} from an index.json."""
    found: dict[str, dict[str, str]] = collections.defaultdict(dict)
    try:
        crop.check_file(listing)
        sequences = json.loads(listing.read_text())["sequences"]
        for number, sequence in enumerate(sequences):
            if not {"cross_view", "cross_pose"} & set(sequence):
                raise ValueError(f"sequence {number} has neither cross_view nor cross_pose")
            for kind in ("cross_view", "cross_pose"):
                for i, paths in enumerate(sequence.get(kind, ())):
                    for path in paths:
                        if not isinstance(path, str):
                            raise ValueError(f"{path!r} is not a path")
                        if kind in found[path]:
                            raise ValueError(f"{path} is in two {kind} groups")
                        found[path][kind] = f"{number}/{kind}/{i}"
    except (KeyError, TypeError, AttributeError, ValueError, crop.Skip) as error:
        raise ValueError(
            f"{listing} is not a list of groups ({type(error).__name__}: {error}). "
            f"Expected:\n{LAYOUT}"
        ) from error
    return {path: (g.get("cross_view", ""), g.get("cross_pose", "")) for path, g in found.items()}


def _boxes(source: pathlib.Path) -> dict:
    """Returns {path relative to the source folder: entry} from all files boxes.json."""
    boxes = {}
    for file in sorted(source.rglob("boxes.json")):
        folder = file.parent.relative_to(source)
        try:
            crop.check_file(file)
            entries = json.loads(file.read_text())
            boxes |= {(folder / path).as_posix(): entry for path, entry in entries.items()}
        except (ValueError, AttributeError, crop.Skip) as error:
            raise ValueError(f"{file} is not a JSON object of boxes: {error}") from error
    return boxes

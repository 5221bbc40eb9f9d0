"""Reads videos: each gives cross-pose pairs, synchronised cameras also give cross-view pairs."""

import json
import pathlib
from collections.abc import Iterator

import av

from crocohuman_jax.data import crop
from crocohuman_jax.data.formats.samples import Frame, Job, Plan, Sample, people

OPTIONS = {
    "fps": 2.0,  # number of pictures taken per second of video
    "takes": "folder",  # "folder": videos of a subfolder are synchronised; "file": no videos are
}
LAYOUT = """\
DIR/<video>                   a take with one camera
DIR/<take>/<camera>.<ext>     synchronised cameras of one take, which start together (with option
                              takes=file each video is a separate take)
<video>.boxes.json (optional) {frame number: box, or {name: box}}, beside <video>.<ext>;
                              a box is [x0, y0, x1, y1] in pixels"""
DAMAGED = "the video is damaged before or here, and not yet whole again at a key frame"
SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def plan(settings) -> Plan:
    """Lists the pictures to take from each video; see `datasets`."""
    source, options = settings.source, settings.options
    if options["fps"] <= 0:
        raise ValueError(
            f"Option fps is {options['fps']}, but must be above 0 (pictures per second)."
        )
    if options["takes"] not in ("folder", "file"):
        raise ValueError(f"Option takes is {options['takes']!r}, but must be 'folder' or 'file'.")
    videos = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise ValueError(f"{source} contains no video. Expected:\n{LAYOUT}")
    jobs, skips = [], []
    for path in videos:
        name = path.relative_to(source)
        try:
            crop.check_file(path)
            crop.inside(settings, source, name.as_posix())
            job, absent = _job(path, name, options)
            jobs.append(job)
            skips += absent
        except crop.Skip as skip:
            skips.append((name.as_posix(), str(skip)))
    return Plan(tuple(jobs), tuple(skips))


def read(settings, job: Job) -> Iterator[Sample]:
    """Decodes a video once and yields the pictures of the job; see `datasets`."""
    pending = list(zip(job.extra, job.frames, strict=True))  # (frame number, frame), in order
    fault, damaged = "the video ends before", False
    try:
        for number, decoded in _decoded(settings.source / job.frames[0].source):
            picture, damaged = None, decoded is None
            while not damaged and pending and pending[0][0] <= number:
                at, frame = pending.pop(0)
                if at < number:
                    yield Sample(frame, fault=f"frame {at}: {DAMAGED}")
                    continue
                if picture is None:
                    picture = _upright(decoded)
                yield Sample(frame, picture)
            if not pending:
                break
    except (av.FFmpegError, OSError) as error:
        fault = f"the video cannot be decoded here: {error}"
    for number, frame in pending:
        yield Sample(frame, fault=f"frame {number}: {DAMAGED if damaged else fault}")


def _decoded(path: pathlib.Path) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Yields (number, frame) of a video; the frame is None from damage to the next key frame.

    Frames after a damaged one are decoded from it, so they are smeared without any error.
    """
    order: dict[int, int] | None = None  # {time stamp: number}, needed after the first damage
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # One thread: several threads would wait forever for a damaged frame.
        stream.thread_type = "NONE"
        stream.codec_context.options = {"err_detect": "explode"}  # raise an error, do not guess
        following, sound = 0, True
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                frames, sound = [], False
            sound = sound and not packet.is_corrupt
            for frame in frames:
                sound = (sound or frame.key_frame) and not frame.is_corrupt
                number = following if order is None else order.get(frame.pts)
                following += 1
                if sound and number is not None:
                    yield number, frame
            if not sound:
                order = order or _order(path)
                yield 0, None


def _order(path: pathlib.Path) -> dict[int, int]:
    """Returns {time stamp: number of the frame}, read from a video's container."""
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.size]
    return {stamp: i for i, stamp in enumerate(sorted(s for s in stamps if s is not None))}


def _upright(decoded: av.VideoFrame):
    """Returns the decoded picture, rotated as the video's metadata say."""
    picture = decoded.to_image()
    return picture.rotate(decoded.rotation, expand=True) if decoded.rotation else picture


def _job(path: pathlib.Path, name: pathlib.Path, options: dict) -> tuple[Job, list]:
    """Returns the job of one video, and (frame, reason) of its frames without a box."""
    count, rate = _length(path)
    fps = min(options["fps"], rate)
    numbers = []  # (frame number, milliseconds): times are shared by the cameras of a take
    while (number := round(len(numbers) / fps * rate)) < count:
        numbers.append((number, round(1000 * len(numbers) / fps)))
    together = options["takes"] == "folder" and len(name.parts) > 1
    take = name.parent.as_posix() if together else name.with_suffix("").as_posix()
    boxes = _boxes(path.with_suffix(".boxes.json"))
    frames, chosen, skips = [], [], []
    for number, instant in numbers:
        try:
            persons = {"": None} if boxes is None else _persons(boxes, number)
        except crop.Skip as skip:
            skips.append((f"{name.as_posix()} frame {number}", str(skip)))
            continue
        for person, box in persons.items():
            frames.append(
                Frame(
                    source=name.as_posix(),
                    sequence=take,
                    subject=person,
                    camera=name.stem if together else "camera",
                    instant=instant,
                    view_group=f"{take}@{instant}#{person}" if together else "",
                    pose_group=f"{name.as_posix()}#{person}",
                    box=box,
                )
            )
            chosen.append(number)
    if not frames:
        raise crop.Skip("no frame of it has a box")
    return Job(tuple(frames), tuple(chosen)), skips


def _persons(boxes: dict, number: int) -> dict:
    if str(number) not in boxes:
        raise crop.Skip("its boxes file has no box for this frame")
    return people(boxes[str(number)])


def _boxes(path: pathlib.Path) -> dict | None:
    if not path.exists():
        return None
    try:
        crop.check_file(path)
        boxes = json.loads(path.read_text())
        boxes.keys()
    except (ValueError, AttributeError, crop.Skip) as error:
        raise ValueError(f"{path} is not a JSON object of boxes: {error}") from error
    return boxes


def _length(path: pathlib.Path) -> tuple[int, float]:
    """Returns the number of frames of a video and its frames per second.

    Raises:
        crop.Skip: the video cannot be opened, or has no frames.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise crop.Skip("a file without a video stream")
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            count = stream.frames
            if not count:  # some containers do not store it: count packets without decoding
                count = sum(packet.size > 0 for packet in container.demux(stream))
    except (av.FFmpegError, OSError) as error:
        raise crop.Skip(f"not a readable video: {error}") from error
    if not count or not rate:
        raise crop.Skip("a video without frames")
    return count, rate

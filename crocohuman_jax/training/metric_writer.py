"""Writes a run's progress line and bar, TensorBoard events, metrics.jsonl and pictures."""

import json
import logging
import pathlib
import sys

import absl.logging
import numpy as np
import PIL.Image
import tensorboardX
import tqdm

from crocohuman_jax.configuration import files

log = logging.getLogger(__name__)


class Report:
    """Writes a run's progress, metrics and pictures; only the first host writes.

    Args:
        workdir: the run's folder.
        writes: whether this host writes.
        step: step at which the run starts, -1 for a new run; lines that an interrupted run wrote
            for later steps are removed.
        total: the run's last step.
        tensorboard: whether to write TensorBoard's events.
    """

    def __init__(
        self, workdir: pathlib.Path, *, writes: bool, step: int, total: int, tensorboard: bool
    ):
        self.workdir, self.writes, self.total = workdir, writes, total
        self._events = self._lines = self._bar = None
        if not writes:
            return
        path = workdir / "metrics.jsonl"
        _take_back(path, step)
        self._lines = path.open("a", buffering=1)
        if tensorboard:
            self._events = tensorboardX.SummaryWriter(str(workdir), purge_step=step + 1)
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(total=total, initial=max(step, 0), unit=" steps", leave=False)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes numbers under names of the form group/name."""
        if not self.writes:
            return
        values = {name: float(value) for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image: np.ndarray) -> pathlib.Path | None:
        """Writes a picture [H, W, 3] uint8 to pictures/<name>_<step>.png."""
        if not self.writes:
            return None
        path = self.workdir / "pictures" / f"{name}_{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(path)
        if self._events:
            self._events.add_image(name, image, step, dataformats="HWC")
        return path

    def line(self, step: int, parts: dict[str, str]) -> None:
        """Shows one progress line, above the bar on a terminal."""
        if not self.writes:
            return
        text = "  ".join(f"{name} {value}".strip() for name, value in parts.items())
        text = f"step {step}/{self.total}  {text}"
        if self._bar:
            self._bar.write(text, file=sys.stderr)
        else:
            log.info("%s", text)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar:
            self._bar.update(step - self._bar.n)

    def flush(self) -> None:
        """Writes everything to disk, so that it is not older than a checkpoint."""
        if self._events:
            self._events.flush()

    def close(self) -> None:
        if self._bar:
            self._bar.close()
        if self._events:
            self._events.close()
        if self._lines:
            self._lines.close()


def held_out(workdir: pathlib.Path) -> list[str]:
    """Returns one line per evaluation of a run: the step and its held-out metrics."""
    path = workdir / "metrics.jsonl"
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        values = json.loads(line)
        mine = {k.removeprefix("held_out/"): v for k, v in values.items() if "held_out/" in k}
        if mine:
            numbers = "  ".join(f"{name} {value:.4f}" for name, value in mine.items())
            found.append(f"step {values['step']:>7}  {numbers}")
    return found


def _take_back(path: pathlib.Path, step: int) -> None:
    """Removes the lines of later steps, and a line cut short by a crash."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            log.warning("Removed a line of %s that was cut short: %r", path, line)
    with files.whole(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept))


def say_progress() -> logging.Logger:
    """Shows the package's own messages; other libraries show warnings only."""
    absl.logging.set_verbosity(absl.logging.WARNING)
    package = logging.getLogger("crocohuman_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
    return package

"""Stores results with the protocol of their measurement; one table shows only one protocol."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from crocohuman_jax.configuration import files

# Fields that earlier versions did not write. With these values they do not change the stamp.
ADDED = {"non_finite": 0}
ADDED_TO_RESULTS = {"non_finite": ()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """All the conditions that two results must share to be comparable.

    Args:
        task: name of the task, as "mesh".
        dataset: name of the dataset, as "3dpw".
        split: part of the dataset, as "test".
        joints: name of the joint set, as "lsp14". This field and those up to `alignment` are "none"
            for tasks without meshes.
        regressor: `array_hash` of the array that gives joints from vertices, or "none".
        root: origin of the errors without alignment, as "pelvis of h36m".
        truth_model: body model of the truth, as "smpl of the annotated gender".
        predicted_model: body model of the prediction, as "smpl neutral".
        alignment: alignment of the aligned errors, as "similarity".
        crop: how pictures were cropped, as "1.2 x box of the keypoints, 224 px".
        frames: number of examples measured.
        skipped: number of frames of the split that were not measured.
        fingerprint: fingerprint of the data, as recorded by its preparation.
        units: unit of the errors.
        left_out: number of entries that the preparation of the folder left out, in all splits.
        non_finite: number of people left out of `frames` because their prediction is not finite.

    Raises:
        ValueError: a field is empty, of another type or out of range.
    """

    task: str
    dataset: str
    split: str
    joints: str = "none"
    regressor: str = "none"
    root: str = "none"
    truth_model: str = "none"
    predicted_model: str = "none"
    alignment: str = "none"
    crop: str
    frames: int
    skipped: int
    fingerprint: str
    units: str = "mm"
    left_out: int = 0
    non_finite: int = 0

    def __post_init__(self):
        least = {"frames": 1, "skipped": 0, "left_out": 0, "non_finite": 0}
        for name, value in dataclasses.asdict(self).items():
            if name in least:
                _check_count(f"Protocol field {name!r}", value, least[name])
            elif not isinstance(value, str) or not value.strip() or "\n" in value:
                raise ValueError(
                    f"Protocol field {name!r} is {value!r}: one line of text is expected, "
                    '"none" if the field does not apply.'
                )
        digits = set(self.regressor) <= set("0123456789abcdef") and len(self.regressor) == 64
        if self.regressor != "none" and not digits:
            raise ValueError(
                f"Protocol field 'regressor' is {self.regressor!r}: give the regressor's "
                '`protocol.array_hash` (64 hexadecimal digits), or "none".'
            )

    @property
    def stamp(self) -> str:
        """Hash of all fields, twelve hexadecimal digits."""
        return _stamp(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """The metrics of a run, with the protocol of their measurement.

    Args:
        protocol: how the metrics were measured.
        metrics: {name: value}, finite unless a prediction is not finite.
        run: path of the run or checkpoint that was measured.
        step: step of the checkpoint.
        name: name of the result in tables.
        non_finite: the frames whose prediction is not finite. Means over them are NaN, unless
            `protocol.non_finite` counts them as left out.

    Raises:
        ValueError: no metrics, a metric that is not finite although all predictions are, an empty
            name or a negative step.
    """

    protocol: Protocol
    metrics: dict[str, float]
    run: str
    step: int
    name: str
    non_finite: tuple[str, ...] = ()

    def __post_init__(self):
        for field in ("run", "name"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value.strip() or "\n" in value:
                raise ValueError(f"A result's {field} must be one line of text, not {value!r}.")
        _check_count("A result's step", self.step, 0)
        if not isinstance(self.metrics, dict) or not self.metrics:
            raise ValueError(f"A result needs metrics, {{name: value}}, not {self.metrics!r}.")
        for metric, value in self.metrics.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            hidden = self.non_finite and not self.protocol.non_finite and math.isnan(value)
            if not number or not (math.isfinite(value) or hidden):
                raise ValueError(
                    f"Metric {metric!r} of {self.name!r} is {value!r}: a finite float is expected. "
                    "Leave examples that cannot be measured out of the mean, and count them as "
                    "skipped."
                )

    def save(self, path: pathlib.Path) -> None:
        """Writes the result and its stamp as JSON, whole or not at all; creates the folder."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {**dataclasses.asdict(self), "stamp": self.protocol.stamp}
        # JSON has no NaN.
        record["metrics"] = {k: None if math.isnan(v) else v for k, v in self.metrics.items()}
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")

    @classmethod
    def load(cls, path: pathlib.Path) -> "Result":
        """Returns a result that `save` wrote.

        Raises:
            ValueError: the file is missing or not a result, or its protocol was edited.
        """
        path = pathlib.Path(path)
        if not path.is_file():
            raise ValueError(f"{path} does not exist: give the JSON file of a result.")
        try:
            record = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}. Measure again.") from error
        record = _of_now(record, ADDED_TO_RESULTS)
        _check_keys(path, "a result", record, (*_names(cls), "stamp"))
        record["protocol"] = _of_now(record["protocol"], ADDED)
        _check_keys(path, "a protocol", record["protocol"], _names(Protocol))
        stamp, found = record.pop("stamp"), _stamp(record["protocol"])
        if stamp != found:
            raise ValueError(
                f"{path} carries stamp {stamp!r}, but its protocol has stamp {found!r}: it was "
                "edited. Measure again under the protocol you want."
            )
        if not isinstance(record["non_finite"], list | tuple):
            raise ValueError(
                f"{path}: non_finite must be a list of frames, not {record['non_finite']!r}."
            )
        record["non_finite"] = tuple(map(str, record["non_finite"]))
        if isinstance(record["metrics"], dict):
            filled = {k: math.nan if v is None else v for k, v in record["metrics"].items()}
            record["metrics"] = filled
        try:
            return cls(**record | {"protocol": Protocol(**record["protocol"])})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def array_hash(array: Any) -> str:
    """Returns the sha256 of an array's type, shape and numbers, in hexadecimal.

    Memory layout and byte order do not matter; the dtype does.

    Args:
        array: anything that numpy converts to an array of numbers.

    Raises:
        ValueError: the array does not hold numbers; make a sparse array dense first.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "biufc":
        raise ValueError(
            f"Only arrays of numbers have a hash, not {array.dtype}: make a sparse array dense."
        )
    array = array.astype(array.dtype.newbyteorder("<"))
    head = f"{array.dtype.name} {array.shape}\n".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def table(results: Sequence[Result]) -> str:
    """Returns the protocol and a Markdown table of results that share it, one row each.

    Args:
        results: in the order of the rows; a missing metric is shown as a dash.

    Raises:
        ValueError: no results, or results of different protocols; the message names the fields
            that differ.
    """
    if not results:
        raise ValueError("A table needs at least one result.")
    if len({result.protocol.stamp for result in results}) > 1:
        raise ValueError(
            "These results were not measured in the same way, so one table cannot show them:\n"
            + "\n".join(_differences(results))
            + "\nMeasure again under one protocol, or print one table each with "
            "`protocol.grouped`."
        )
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    rows = [["name", "run", "step", *names]]
    for result in results:
        values = [_text(result.metrics[n]) if n in result.metrics else "-" for n in names]
        rows.append([result.name, result.run, str(result.step), *values])
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * widths[0], "-" * widths[1], *("-" * (w - 1) + ":" for w in widths[2:])])
    shared = results[0].protocol
    fields = ", ".join(f"{key}: {value}" for key, value in dataclasses.asdict(shared).items())
    notes = "".join(f"\n{line}" for line in filter(None, map(_failures, results)))
    lines = "\n".join(_line(row, widths) for row in rows)
    return f"Protocol {shared.stamp} ({fields})\n\n{lines}" + (notes and f"\n{notes}")


def grouped(results: Sequence[Result]) -> str:
    """Returns one table per protocol, in the order in which they first occur.

    Args:
        results: of any protocols.

    Raises:
        ValueError: no results.
    """
    if not results:
        raise ValueError("A table needs at least one result.")
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.protocol.stamp, []).append(result)
    return "\n\n".join(table(group) for group in groups.values())


def _failures(result: Result) -> str:
    """Returns a line about the predictions that are not finite, "" if all are finite."""
    if not result.non_finite:
        return ""
    some = "; ".join(result.non_finite[:5]) + ("; ..." if len(result.non_finite) > 5 else "")
    fate = "left out of the means" if result.protocol.non_finite else "so the means are NaN"
    count = len(result.non_finite)
    what = f"{count} predictions are" if count > 1 else "1 prediction is"
    return f"{result.name}: {what} not finite, {fate} ({some})"


def _of_now(record: Any, added: dict) -> Any:
    """Returns a record of any version, with the fields added that its version did not have."""
    return added | record if isinstance(record, dict) else record


def _stamp(fields: Any) -> str:
    if isinstance(fields, dict):
        fields = {k: v for k, v in fields.items() if k not in ADDED or v != ADDED[k]}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _check_count(what: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{what} is {value!r}: an int of at least {least} is expected.")


def _check_keys(path: pathlib.Path, what: str, record: Any, wanted: tuple[str, ...]) -> None:
    if not isinstance(record, dict) or set(record) != set(wanted):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{path} does not hold {what}: {sorted(wanted)} expected, not {found}.")


def _differences(results: Sequence[Result]) -> list[str]:
    """Returns a line per field that differs: its values, each with the names of its results."""
    lines = []
    for field in _names(Protocol):
        values: dict[Any, list[str]] = {}
        for result in results:
            values.setdefault(getattr(result.protocol, field), []).append(result.name)
        if len(values) > 1:
            each = "; ".join(f"{value!r} of {', '.join(n)}" for value, n in values.items())
            lines.append(f"  {field}: {each}")
    return lines


def _text(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _line(row: list[str], widths: list[int]) -> str:
    """Returns a row of a table: text to the left, numbers to the right."""
    pairs = zip(row, widths, strict=True)
    cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(pairs)]
    return f"| {' | '.join(cells)} |"

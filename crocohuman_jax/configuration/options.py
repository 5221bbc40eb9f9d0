"""Reads and checks values of a config: options after the colon, durations, and differences."""

import json
import math
import numbers
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

from crocohuman_jax.configuration import files


def parse(arg: str | None, **defaults: Any) -> types.SimpleNamespace:
    """Returns `defaults` as a namespace, overridden by the words of `arg`.

    A bare word switches a boolean on, or else sets the first option:
    parse("large,debug", variant="base", debug=False) has variant="large", debug=True.

    Raises:
        ValueError: an unknown option, or a value of another type than its default.
    """
    options = dict(defaults)
    first = next(iter(defaults), "")
    for word in filter(None, (arg or "").split(",")):
        key, equals, text = word.partition("=")
        if not equals:
            is_switch = isinstance(defaults.get(word), bool)
            key, text = (word, "true") if is_switch else (first or word, word)
        if key not in defaults:
            raise ValueError(
                f"Unknown config option {key!r} in {arg!r}. Known: {', '.join(defaults) or 'none'}."
            )
        options[key] = _cast(key, text, defaults[key])
    return types.SimpleNamespace(**options)


def _cast(key: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(f"Config option {key!r} must be true or false, not {text!r}.")
        return text == "true"
    try:
        return type(default)(text)
    except ValueError as error:
        kind = type(default).__name__
        raise ValueError(f"Config option {key!r} must be of type {kind}, not {text!r}.") from error


def choose(kind: str, table: Mapping[str, Any], name: str, or_switch: str = "") -> Any:
    """Returns `table[name]`, or raises a ValueError that lists the known names.

    Args:
        kind: what the names stand for, as "variant".
        table: the choices by name.
        name: the chosen name.
        or_switch: a switch that the user may have meant.
    """
    if name not in table:
        known = ", ".join(table) + (f"; a switch: {or_switch}" if or_switch else "")
        raise ValueError(f"Unknown {kind} {name!r}. Known: {known}.")
    return table[name]


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
) -> None:
    """Raises a ValueError that names the setting unless its value is a finite number in a range.

    Args:
        name: the setting, as the user writes it: config.ema, --batch.
        value: its value.
        least, most: ends of the range, which are allowed values themselves.
        above, below: ends of the range, which are not allowed values.
        whole: whether the value must be a whole number.
    """
    fits = isinstance(value, numbers.Integral if whole else numbers.Real)
    fits = fits and not isinstance(value, bool) and math.isfinite(value)
    ends = (("of at least", least), ("above", above), ("of at most", most), ("below", below))
    if fits:
        fits &= (least is None or value >= least) and (above is None or value > above)
        fits &= (most is None or value <= most) and (below is None or value < below)
    if not fits:
        ranges = " and ".join(f"{word} {end}" for word, end in ends if end is not None)
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} is {value!r}. Set it to {kind} {ranges}".rstrip() + ".")


def check_numbers(name: str, values: Any, count: int | None = None, **limits: Any) -> None:
    """Raises a ValueError unless a setting is a sequence of numbers that `check_number` accepts.

    Args:
        name: the setting.
        values: its value.
        count: number of numbers in it; None for any.
        limits: see `check_number`.
    """
    listed = isinstance(values, Sequence) and not isinstance(values, str)
    if not listed or count not in (None, len(values)):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise ValueError(f"{name} is {values!r}. Set it to a sequence of {wanted}.")
    for i, value in enumerate(values):
        check_number(f"Number {i + 1} of {name}={tuple(values)}", value, **limits)


def duration(
    text: str | int, *, epoch: int, batch_size: int, total: int | None = None, name: str = ""
) -> int:
    """Returns a number of steps from "2000" (steps), "300ep" (epochs) or "5%" (of `total`).

    Args:
        text: the duration.
        epoch: examples in one epoch.
        batch_size: examples in one step.
        total: steps of the run, to which a percentage refers.
        name: the setting, for the message.

    Raises:
        ValueError: another format, a negative value, or a percentage without a total.
    """
    text = str(text).strip()
    try:
        if text.endswith("ep"):
            steps = _whole(float(text[:-2]) * epoch / batch_size)
        elif text.endswith("%"):
            if total is None:
                raise ValueError("a percentage needs a total")
            steps = _whole(float(text[:-1]) / 100 * total)
        else:
            steps = int(text)
        if steps < 0:
            raise ValueError("negative")
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"{name and f'{name}: '}Duration {text!r} must have the form '2000' (steps), '300ep' "
            f"(epochs) or '5%' (of the run): {error}."
        ) from error
    return steps


def _whole(steps: float) -> int:
    """Returns the nearest whole number of steps, but at least 1 for a positive duration."""
    return max(round(steps), 1) if steps > 0 else round(steps)


def compute_type(asked: str, platform: str) -> str:
    """Returns the dtype of computation: "auto" is bfloat16 on GPUs and TPUs, float32 elsewhere.

    Args:
        asked: config.model.dtype.
        platform: platform of the devices, as "cpu", "gpu" or "tpu".
    """
    if asked != "auto":
        return asked
    return "bfloat16" if platform in ("gpu", "tpu") else "float32"


def computed_in(settings: Mapping[str, Any]) -> str:
    """Returns the dtype in which a run was computed, given the settings in its config.json."""
    # Runs from before "auto" existed have the dtype in their config only.
    return settings.get("computed", settings["config"]["model"])["dtype"]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns {"model.encoder.width": 768, ...}; sequences are single values."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns one line "key: old -> new" per difference of two nested configs."""
    a, b = flatten(old), flatten(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} -> {b.get(key, absent)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]


def without(config: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Returns the flat config without the keys or groups in `names`."""
    return {
        key: value
        for key, value in flatten(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in names)
    }


def save(config: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes a config as JSON, whole or not at all."""
    with files.whole(path) as temporary:
        temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(path: pathlib.Path) -> dict[str, Any]:
    """Returns a config that `save` wrote; keys that earlier versions did not have are added."""
    if not path.exists():
        raise ValueError(f"{path} does not exist: {path.parent} is not the workdir of a run.")
    saved = json.loads(path.read_text())
    if "config" in saved:
        _complete(saved["config"])
    return saved


def _complete(config: dict[str, Any]) -> None:
    """Brings a config of an earlier version up to date, in place.

    Missing keys are added with the value that gives the behaviour of that version. `buckets`, which
    had no effect with rule=fixed, is removed from configs with that rule.
    """
    missing = {}
    if config["task"] == "mesh":
        missing["model"] = {"keep_cls": False}
        if config["head"]["kind"] == "iterative":
            missing["head"] = {"camera": "direct"}
            missing["loss"] = {"frame": "camera", "unit": "metre", "root": 0.0}
    if "mask" in config["data"]:
        mask = config["data"]["mask"]
        for key, value in {"multiple": 1, "scope": "global", "shortage": "clamp"}.items():
            mask.setdefault(key, value)
        if mask["rule"] == "fixed":
            mask.pop("buckets", None)  # unused by rule=fixed
    for group, values in missing.items():
        config[group] = values | config[group]


def size(text: str, name: str = "size") -> tuple[int, int]:
    """Returns (height, width) from "224" or "256x192", the value of the setting `name`.

    Raises:
        ValueError: another format.
    """
    try:
        sides = [int(side) for side in text.split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError as error:
        raise ValueError(
            f"{name} must be a side or HEIGHTxWIDTH in pixels, not {text!r}."
        ) from error
    return height, width

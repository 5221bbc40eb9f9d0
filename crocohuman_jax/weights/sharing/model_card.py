"""Writes model cards: what a model is, its training data, its settings and its results."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from crocohuman_jax.configuration import options
from crocohuman_jax.weights.names import architectures

UNKNOWN = "not recorded"


def of_import(description: architectures.Description, source: Mapping[str, Any]) -> str:
    """Returns the card of a model made from another project's file.

    Args:
        description: what the model is.
        source: "name" and "sha256" of the file.
    """
    return _join(
        _head(description),
        "## Where it comes from",
        f"Converted from `{source['name']}` (SHA-256 `{source['sha256']}`). Its licence, its data "
        "and its numbers are those of that file's authors and hold here too.",
        _use(),
    )


def of_run(
    description: architectures.Description,
    workdir: pathlib.Path,
    step: int,
    licences: Mapping[str, str],
) -> str:
    """Returns the card of a run's model, filled from what the run wrote.

    Args:
        description: what the model is.
        workdir: the folder of the run.
        step: step of the checkpoint.
        licences: {dataset: licence} for datasets whose preparation did not record one.
    """
    saved = options.load(workdir / "config.json")
    config = saved["config"]
    mask, data = config["data"]["mask"], config["data"]
    rows = [
        ("steps", f"{step} of {config['total']} (batch {config['batch_size']})"),
        ("started from", pathlib.Path(config["init_from"]).name or "random weights"),
        ("masking", f"{mask['mode']}, ratio {mask['ratio']}, rule {mask['rule']}"),
        ("pairs", ", ".join(f"{k} {v}" for k, v in data["kinds"].items())),
        ("peak learning rate per 256", config["optimizer"]["base_lr"]),
        ("weight decay", config["optimizer"]["weight_decay"]),
        ("loss", f"norm_pix {config['loss']['norm_pix']}, {config['loss']['region']} patches"),
        ("computed in", options.computed_in(saved)),
        ("seed", config["seed"]),
    ]
    return _join(
        _head(description),
        "## Data",
        _table(("dataset", "folder", "frames", "licence"), _data(data["folders"], licences)),
        "## How it learned",
        "Cross-view and cross-pose completion: hidden patches of one picture of a person are "
        "completed from another picture of the same person (CVPR 2024, arXiv 2311.09104).",
        _table(("what", "value"), rows),
        "## Held-out numbers",
        _numbers(workdir, step),
        _use(),
    )


def _head(d: architectures.Description) -> str:
    rows = [("kind", d.kind)]
    for name, shape in (("encoder", d.encoder), ("decoder", d.decoder)):
        if shape:
            rows.append((name, f"{shape.width} wide, {shape.depth} deep, {shape.heads} heads"))
    rows += [
        ("trained on", f"{d.image[0]}x{d.image[1]} pixels, patches of {d.patch}"),
        ("positions", d.position),
    ]
    front = "---\nlibrary_name: crocohuman_jax\ntags:\n- human-understanding\n---"
    name = {"croco": "Cross-view completion", "mae": "Masked autoencoder"}
    title = f"# {name.get(d.kind, 'Vision transformer')}"
    return _join(front, title, _table(("what", "value"), rows))


def _data(folders: str, licences: Mapping[str, str]) -> list[tuple]:
    """Returns (dataset, folder's name, frames, licence) for every data folder of the config."""
    rows = []
    for text in filter(None, folders.split(",")):
        path = pathlib.Path(text.split(":")[0].strip())
        manifest = {}
        if (path / "manifest.json").is_file():
            manifest = json.loads((path / "manifest.json").read_text())
        dataset = manifest.get("settings", {}).get("dataset", UNKNOWN)
        frames = manifest.get("counts", {}).get("frames", UNKNOWN)
        known = manifest.get("licence") or licences.get(dataset, UNKNOWN)
        rows.append((dataset, path.name, frames, known))
    return rows or [(UNKNOWN,) * 4]


def _numbers(workdir: pathlib.Path, step: int) -> str:
    """Returns the newest held-out numbers that were measured up to the checkpoint's step."""
    path, found = workdir / "metrics.jsonl", None
    for line in path.read_text().splitlines() if path.exists() else []:
        values = json.loads(line)
        if values["step"] <= step and any(k.startswith("held_out/") for k in values):
            found = values
    if found is None:
        return "Nothing was held out, or not measured yet."
    rows = [
        (k.removeprefix("held_out/"), f"{v:.4f}")
        for k, v in found.items()
        if k.startswith("held_out/")
    ]
    return _join(f"At step {found['step']}:", _table(("number", "value"), rows))


def _use() -> str:
    return (
        "## Use\n\n```python\nimport crocohuman_jax as ch\n\n"
        'model = ch.load("this folder")\ntokens = model.encode(images)  # [B, H, W, 3] -> [B, N, D]'
        "\n```"
    )


def _table(head: tuple, rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _join(*parts: str) -> str:
    return "\n\n".join(part.rstrip() for part in parts) + "\n"

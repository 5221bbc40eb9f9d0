"""Imports the weights of other projects and exports weights for other projects."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from crocohuman_jax.configuration import options
from crocohuman_jax.models import position_embeddings
from crocohuman_jax.weights.exchange import detect
from crocohuman_jax.weights.names import architectures, leaf_names
from crocohuman_jax.weights.safe import arrays, torch_files
from crocohuman_jax.weights.sharing import model_folder

FORMATS = ("safetensors", "torch-names", "timm")
CLASS_TOKEN = ("keep", "drop")
SETTINGS, OURS = "croco_kwargs", "crocohuman_jax"  # keys of the metadata


def read(
    source: pathlib.Path,
    *,
    heads: tuple[int, ...] = (),
    image: tuple[int, int] | None = None,
    hooks: tuple[int, ...] = (),
    class_token: str = "keep",
    allow_missing: str = "",
    allow_unexpected: str = "",
) -> tuple[architectures.Description, dict[str, np.ndarray], list[str]]:
    """Returns the model in a PyTorch or safetensors file whose arrays have PyTorch's names.

    Args:
        source: the file, or a folder that `export --format=torch-names` wrote.
        heads, image, hooks: see `detect.describe`.
        class_token: for MAE and vision transformers: "keep", or "drop" to get an encoder of
            patches alone, like CroCo's.
        allow_missing, allow_unexpected: see `leaf_names.import_arrays`.

    Returns:
        The model's description, its parameters by path, and a line of text for everything skipped.

    Raises:
        ValueError: the file cannot be read safely, or its model is not supported.
    """
    if class_token not in CLASS_TOKEN:
        raise ValueError(
            f"--class_token must be one of {', '.join(CLASS_TOKEN)}, not {class_token!r}."
        )
    checkpoint, ours = _checkpoint(source)
    if ours:  # this project wrote it, with facts that the arrays do not show
        told = [shape.heads for shape in (ours.encoder, ours.decoder) if shape]
        heads, image = heads or tuple(told), image or ours.image
        hooks = hooks or (ours.dense.hooks if ours.dense else ())
    description, state = detect.describe(checkpoint, heads=heads, image=image, hooks=hooks)
    if ours:
        description = dataclasses.replace(description, norm_pix=ours.norm_pix)
    tables = architectures.tables(description)
    spare = state.get("dec_pos_embed")
    if tables and description.decoder is None and np.ndim(spare) == 2:
        # With a dense head on the encoder alone, CroCo still stores the removed decoder's table.
        tables["dec_pos_embed"] = (description.grid, spare.shape[1])
    params, passed = leaf_names.import_arrays(
        state,
        architectures.leaves(description),
        tables,
        allow_missing=allow_missing,
        allow_unexpected=allow_unexpected,
    )
    description = architectures.only(description, {path.split("/")[0] for path in params})
    params = {leaf.path: params[leaf.path] for leaf in architectures.leaves(description)}
    if class_token == "drop":
        description, params, more = without_class_token(description, params)
        passed += more
    return description, params, passed


def file_of(source: pathlib.Path) -> pathlib.Path:
    """Returns the file of weights at a path, which may be the file or its folder.

    Raises:
        ValueError: the path does not exist, or is a folder without weights.
    """
    if not source.exists():
        raise ValueError(f"{source} does not exist.")
    if not source.is_dir():
        return source
    if not (source / model_folder.WEIGHTS).is_file():
        raise ValueError(f"{source} holds no {model_folder.WEIGHTS}: give a file.")
    return source / model_folder.WEIGHTS


def _checkpoint(source: pathlib.Path) -> tuple[Mapping, architectures.Description | None]:
    """Returns the content of a file and, if this project wrote it, the model's description."""
    source = file_of(source)
    if source.suffix != ".safetensors":
        return torch_files.read(source), None
    state, metadata = arrays.read_safetensors(source)
    if metadata.get("format") == model_folder.FORMAT:
        raise ValueError(f"{source} is already a model of this project. Use it as it is.")
    checkpoint = {"model": state}
    if SETTINGS in metadata:
        checkpoint[SETTINGS] = json.loads(metadata[SETTINGS])
    ours = metadata.get(OURS)
    return checkpoint, ours and architectures.Description.from_json(json.loads(ours))


def without_class_token(
    description: architectures.Description, params: dict[str, np.ndarray]
) -> tuple[architectures.Description, dict[str, np.ndarray], list[str]]:
    """Returns the encoder of a MAE or vision transformer without its class token.

    Returns:
        The same values as `read`.

    Raises:
        ValueError: the model has no class token, or its positions are not the cosine table.
    """
    if description.kind == "croco":
        raise ValueError("--class_token=drop: a CroCo has no class token. Leave the flag out.")
    table = position_embeddings.cosine(description.grid, description.encoder.width)
    off = float(np.abs(params["encoder/positions"][1:] - table).max())
    if off > 1e-5:
        raise ValueError(
            "--class_token=drop: the file's positions are learned (they differ from the cosine "
            f"table by up to {off:.2g}) and need the class token. Use --class_token=keep."
        )
    dropped = ("encoder/class_token", "encoder/positions")
    kept = {k: v for k, v in params.items() if k.startswith("encoder/") and k not in dropped}
    passed = [f"left out: {path}" for path in params if path not in kept]
    return (
        dataclasses.replace(description, kind="croco", decoder=None, head=0, position="cosine"),
        kept,
        passed,
    )


def write_torch_names(
    output: pathlib.Path, description: architectures.Description, params: Mapping[str, np.ndarray]
) -> list[pathlib.Path]:
    """Writes a model with the names and shapes that its PyTorch module uses.

    Returns:
        The files written: config.json with the module's arguments, and model.safetensors.
    """
    state = leaf_names.export_arrays(
        params, architectures.leaves(description), architectures.tables(description)
    )
    settings = architectures.croco_kwargs(description) if description.kind == "croco" else None
    metadata = {"format": "pt", OURS: json.dumps(description.as_json())}
    metadata |= {SETTINGS: json.dumps(settings)} if settings else {}
    return _write(output, state, metadata, {"format": "torch-names", SETTINGS: settings})


def write_timm(
    output: pathlib.Path, description: architectures.Description, params: Mapping[str, np.ndarray]
) -> list[pathlib.Path]:
    """Writes a model's encoder for timm's VisionTransformer; timm loads it as "local-dir:OUTPUT".

    Returns:
        The files written.

    Raises:
        ValueError: the encoder uses rotary positions (rope100), which timm's model does not.
    """
    if description.position == "rope100":
        raise ValueError(
            "timm's VisionTransformer adds position embeddings, but this model rotates queries and "
            "keys (rope100): use --format=torch-names."
        )
    shape, whole = description.encoder, description.kind != "croco"
    ours = {path: x for path, x in params.items() if path.startswith("encoder/")}
    encoder = dataclasses.replace(description, kind="vit", decoder=None, head=0, position="table")
    leaves = architectures.leaves(encoder)
    if not whole:
        leaves = [leaf for leaf in leaves if not leaf.path.endswith(("class_token", "positions"))]
    state = leaf_names.export_arrays(ours, leaves, {})
    if not whole:
        state["pos_embed"] = position_embeddings.cosine(description.grid, shape.width)[None]
    sizes = {
        "img_size": list(description.image),
        "patch_size": description.patch,
        "embed_dim": shape.width,
        "depth": shape.depth,
        "num_heads": shape.heads,
        "class_token": whole,
        # With fc_norm, timm would move the last norm behind the pooling; this model has it before.
        "fc_norm": False,
        "global_pool": "token" if whole else "avg",
    }
    about = {
        "architecture": "vit_base_patch16_224",
        "num_classes": 0,
        "num_features": shape.width,
        "model_args": sizes,
        "pretrained_cfg": {
            "input_size": [3, *description.image],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }
    return _write(output, state, {"format": "pt"}, about)


def _write(output, state, metadata, about) -> list[pathlib.Path]:
    output.mkdir(parents=True, exist_ok=True)
    paths = [output / model_folder.DESCRIPTION, output / model_folder.WEIGHTS]
    options.save(about, paths[0])
    arrays.write_safetensors(paths[1], state, metadata)
    return paths

"""Detects from the content of a checkpoint which network it belongs to, and the network's sizes."""

import ast
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from crocohuman_jax.models import croco
from crocohuman_jax.models.croco import Shape
from crocohuman_jax.weights.names import architectures

# CroCo's own default arguments, for its first release, which stores the state dict alone.
DEFAULTS = {
    "img_size": 224,
    "patch_size": 16,
    "mask_ratio": 0.9,
    "enc_embed_dim": 768,
    "enc_depth": 12,
    "enc_num_heads": 12,
    "dec_embed_dim": 512,
    "dec_depth": 8,
    "dec_num_heads": 16,
    "mlp_ratio": 4,
    "norm_im2_in_dec": True,
    "pos_embed": "cosine",
}
POSITIONS = {"cosine": "cosine", "RoPE100": "rope100"}
# Attention heads by width, for the released sizes. The arrays do not show the number of heads.
HEADS = {192: 3, 384: 6, 512: 16, 768: 12, 1024: 16, 1280: 16}


def describe(
    checkpoint: Mapping[str, Any],
    *,
    heads: tuple[int, ...] = (),
    image: tuple[int, int] | None = None,
    hooks: tuple[int, ...] = (),
) -> tuple[architectures.Description, dict[str, np.ndarray]]:
    """Returns the description of the model in a checkpoint, and its state dict.

    Args:
        checkpoint: content of the file: a state dict, or one under "model" or "state_dict" with
            its settings beside it.
        heads: attention heads of the encoder and, if there is one, the decoder; needed if neither
            the settings nor the width determine them.
        image: (height, width) of the training images in pixels, if the file does not tell.
        hooks: the blocks that a dense head reads, if they are not CroCo's default.

    Raises:
        ValueError: the network is not supported, or the file does not tell its sizes.
    """
    state = _state(checkpoint)
    if any(name.startswith("enc_blocks.") for name in state):
        found = _croco(state, _settings(checkpoint), heads, image)
        predicted = _argument(checkpoint, "norm_pix_loss")
        if isinstance(predicted, bool | int):
            found = dataclasses.replace(found, norm_pix=bool(predicted))
        if any(name.startswith("head.dpt.") for name in state):
            found = dataclasses.replace(found, dense=_dense(state, found, hooks))
        elif hooks:
            raise ValueError(f"--hooks={hooks}: the file holds no dense head. Leave the flag out.")
        return found.checked(), state
    if any(name.startswith("blocks.") for name in state):
        return _vit(state, heads, image).checked(), state
    shown = ", ".join(sorted(state)[:8])
    raise ValueError(
        "The network is not supported: names start neither with 'enc_blocks.' (CroCo) nor with "
        f"'blocks.' (MAE, timm). The file has: {shown}, ..."
    )


def _state(checkpoint: Mapping[str, Any]) -> dict[str, np.ndarray]:
    inner = next((checkpoint[k] for k in ("model", "state_dict") if k in checkpoint), checkpoint)
    if not isinstance(inner, Mapping) or not inner:
        raise ValueError(
            f"The file holds no state dict: its top level has {', '.join(map(str, checkpoint))}."
        )
    odd = [str(k) for k, v in inner.items() if not (isinstance(k, str) and hasattr(v, "dtype"))]
    if odd:
        raise ValueError(
            f"The state dict must hold named arrays only; these are not: {', '.join(odd[:8])}."
        )
    if all(name.startswith("module.") for name in inner):  # added by DistributedDataParallel
        return {name.removeprefix("module."): array for name, array in inner.items()}
    return dict(inner)


def _settings(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the arguments that CroCo was built with, or None if the file does not hold them."""
    if "croco_kwargs" in checkpoint:
        settings = checkpoint["croco_kwargs"]
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"The file's croco_kwargs must be a dictionary, not {str(settings)[:200]!r}."
            )
        return dict(settings)
    text = _argument(checkpoint, "model")
    return None if text is None else parse_call(text)


def _argument(checkpoint: Mapping[str, Any], name: str) -> Any:
    """Returns an argument of the command that trained the checkpoint, None if not stored."""
    args = checkpoint.get("args")
    return args.get(name) if isinstance(args, Mapping) else getattr(args, name, None)


def parse_call(text: Any) -> dict[str, Any]:
    """Returns the keyword arguments of a text "CroCoNet(img_size=64, ...)", without running it.

    Raises:
        ValueError: the text is not such a call, or an argument is not a literal.
    """
    fault = ValueError(
        f"The checkpoint's args.model is not CroCoNet(name=literal, ...): {str(text)[:200]!r}."
    )
    if not isinstance(text, str) or len(text) > 10_000:
        raise fault
    try:
        call = ast.parse(text.strip(), mode="eval").body
        ours = isinstance(call, ast.Call) and not call.args
        if not (ours and isinstance(call.func, ast.Name) and call.func.id == "CroCoNet"):
            raise fault
        found = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if None in found:  # **names
            raise fault
        return found
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise fault from error


def _croco(state, told, heads, image) -> architectures.Description:
    """Returns the description of a CroCo; `told` holds its arguments, None if not stored."""
    encoder, decoder = _width_depth(state, "enc_blocks"), _width_depth(state, "dec_blocks")
    dense = any(name.startswith("head.dpt.") for name in state)
    if told is None:
        standard = encoder == (768, 12) and decoder in (None, (512, 8))
        settings = {} if standard else _sizes(state, encoder, decoder, heads, image)
        # Files of CroCo v1 (cosine positions) hold their tables; v2 (RoPE) has no tables.
        settings["pos_embed"] = "cosine" if "enc_pos_embed" in state else "RoPE100"
        if image:
            settings["img_size"] = image
    else:
        settings, standard = dict(told), False
    strange = [str(name) for name in settings if name not in DEFAULTS]
    for name, wanted in (("mlp_ratio", 4), ("norm_im2_in_dec", True)):
        if str(settings.get(name, wanted)) not in (str(wanted), str(float(wanted))):
            strange.append(f"{name}={settings[name]!r}")
    settings = DEFAULTS | settings
    if str(settings["pos_embed"]) not in POSITIONS:
        strange.append(f"pos_embed={settings['pos_embed']!r}")
    if strange:
        raise ValueError(f"CroCo with {', '.join(strange)} is not supported.")
    # A decoder that the arguments name must be in the file, unless the file has a dense head.
    promised = not dense and (standard or any(name.startswith("dec_") for name in told or ()))
    found = architectures.Description(
        kind="croco",
        encoder=_shape(settings, "enc"),
        decoder=_shape(settings, "dec") if decoder or promised else None,
        image=_image(settings["img_size"]),
        patch=settings["patch_size"],
        position=POSITIONS[str(settings["pos_embed"])],
        head=0,
    )
    _agree(found, heads, image)
    completes = "mask_token" in state or "prediction_head.weight" in state
    if found.decoder and (completes or not dense):
        found = dataclasses.replace(found, head=3 * found.patch**2)
    return found


def _sizes(state, encoder, decoder, heads, image) -> dict[str, Any]:
    """Returns the arguments of CroCo that the array shapes determine."""
    count = 2 if decoder else 1
    if len(heads) != count:
        known = ", ".join(f"{w} wide, {d} deep" for w, d in filter(None, (encoder, decoder)))
        raise ValueError(
            f"The file has no croco_kwargs and not CroCo's default size, but {known}: give the "
            f"number of attention heads with --heads={'ENCODER,DECODER' if decoder else 'ENCODER'}."
        )
    patch, table = _patch(state), "enc_pos_embed"
    settings = {
        "img_size": image or (_side(_rows(state, table)) if table in state else 14) * patch,
        "patch_size": patch,
        "enc_embed_dim": encoder[0],
        "enc_depth": encoder[1],
        "enc_num_heads": heads[0],
    }
    if decoder:
        settings |= {"dec_embed_dim": decoder[0], "dec_depth": decoder[1]}
        settings["dec_num_heads"] = heads[1]
    return settings


def _dense(state, model: architectures.Description, hooks) -> architectures.Dense:
    arrays = [
        *(f"head.dpt.act_{i}_postprocess.0.weight" for i in (1, 2, 3, 4)),
        *("head.dpt.scratch.layer1_rn.weight", "head.dpt.head.2.weight", "head.dpt.head.4.weight"),
    ]
    missing = [name for name in arrays if name not in state]
    if missing:
        raise ValueError(f"The dense head is not supported: it lacks {', '.join(missing)}.")
    *widths, features, last, channels = (_rows(state, name) for name in arrays)
    depth = model.encoder.depth + (model.decoder.depth if model.decoder else 0)
    if not hooks:
        blocks = model.decoder.depth if model.decoder else depth
        step = {8: 3, 12: 4, 24: 8}.get(blocks) if model.decoder else depth // 4
        if not step:
            raise ValueError(
                f"The file does not tell which of the {depth} blocks the dense head reads: give "
                "four numbers with --hooks, counted from 0 through encoder and decoder."
            )
        hooks = tuple(depth - 1 - step * i for i in (3, 2, 1, 0))
    if len(hooks) != 4 or not all(0 <= hook < depth for hook in hooks):
        raise ValueError(f"--hooks must be four blocks from 0 to {depth - 1}, not {hooks}.")
    return architectures.Dense(tuple(hooks), tuple(widths), features, last, channels)


def _vit(state, heads, image) -> architectures.Description:
    encoder, decoder = _width_depth(state, "blocks"), _width_depth(state, "decoder_blocks")
    found = [s for s in (encoder, decoder) if s]
    if not heads:
        unknown = [width for width, _ in found if width not in HEADS]
        if unknown:
            raise ValueError(
                f"The file does not tell how many attention heads its width of {unknown[0]} has: "
                f"give --heads={'ENCODER,DECODER' if decoder else 'ENCODER'}."
            )
        heads = tuple(HEADS[width] for width, _ in found)
    if len(heads) != len(found):
        raise ValueError(
            f"--heads={heads} has {len(heads)} numbers; the file has {len(found)} stacks of blocks."
        )
    if "pos_embed" not in state:
        raise ValueError("A vision transformer without the array 'pos_embed' is not supported.")
    patch = _patch(state)
    last = "decoder_pred.weight" if decoder else "head.weight"
    if not image:
        side = _side(np.size(state["pos_embed"]) // encoder[0] - 1) * patch
        image = (side, side)
    return architectures.Description(
        kind="mae" if decoder else "vit",
        encoder=Shape(*encoder, heads[0]),
        decoder=Shape(*decoder, heads[1]) if decoder else None,
        image=image,
        patch=patch,
        position="table",
        head=_rows(state, last) if decoder or last in state else 0,
    )


def _width_depth(state, prefix: str) -> tuple[int, int] | None:
    """Returns the width and depth of a stack of blocks, or None if it does not exist."""
    layers = {name.split(".")[1] for name in state if name.startswith(f"{prefix}.")}
    if not layers:
        return None
    norm = state.get(f"{prefix}.0.norm1.weight")
    if (
        norm is None
        or np.ndim(norm) != 1
        or not len(norm)
        or layers != {str(i) for i in range(len(layers))}
    ):
        raise ValueError(
            f"{prefix} must have layers 0, 1, 2, ..., each with norm1; found {sorted(layers)[:8]}."
        )
    return len(norm), len(layers)


def _patch(state) -> int:
    kernel = state.get("patch_embed.proj.weight")
    if kernel is None or np.ndim(kernel) != 4 or kernel.shape[1] != 3:
        raise ValueError(
            "'patch_embed.proj.weight' must be a convolution of three colours, [D, 3, P, P], not "
            f"{None if kernel is None else kernel.shape}."
        )
    return kernel.shape[2]


def _rows(state, name: str) -> int:
    """Returns the length of an array's first axis, which is its number of channels."""
    if name not in state or not np.ndim(state[name]) or not len(state[name]):
        raise ValueError(f"The file has no {name!r}, or it is empty.")
    return len(state[name])


def _side(count: int) -> int:
    side = math.isqrt(count)
    if side**2 != count or not count:
        raise ValueError(f"{count} patches form no square: give --image=HEIGHTxWIDTH in pixels.")
    return side


def _shape(settings, part: str) -> Shape:
    values = [settings[f"{part}_{name}"] for name in ("embed_dim", "depth", "num_heads")]
    if not all(isinstance(v, int) and 0 < v <= 65536 for v in values) or values[1] > 1000:
        raise ValueError(
            f"croco_kwargs gives no valid width, depth and heads for the {part}oder: {values}."
        )
    return Shape(*values)


def _image(size) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else size
    sides = tuple(sides) if isinstance(sides, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(v, int) and 0 < v < 100_000 for v in sides):
        raise ValueError(f"img_size={size!r} must be a side or (height, width) in pixels.")
    return sides


def _agree(found: architectures.Description, heads, image) -> None:
    """Raises a ValueError if the command line contradicts the file."""
    told = tuple(shape.heads for shape in (found.encoder, found.decoder) if shape)
    if heads and heads != told:
        raise ValueError(f"--heads={heads}, but the file says {told}.")
    if image and image != found.image:
        raise ValueError(f"--image={image}, but the file says {found.image}.")
    if not isinstance(found.patch, int) or found.patch < 1:
        raise ValueError(f"patch_size={found.patch!r} must be a positive integer.")
    croco.patch_grid(found.image, found.patch)

"""Lists the parameters of the supported networks: CroCo, MAE, vision transformers, DPT heads."""

import dataclasses
from typing import Any

from crocohuman_jax.models import croco
from crocohuman_jax.models.croco import Shape
from crocohuman_jax.weights.names.leaf_names import Leaf

KINDS = ("croco", "mae", "vit")
POSITIONS = ("cosine", "rope100", "table")


@dataclasses.dataclass(frozen=True)
class Dense:
    """Sizes of a dense prediction head (DPT).

    Attributes:
        hooks: the blocks whose tokens it reads, counted from 0 through encoder and decoder.
        widths: channels of its four levels before they are projected to a common width.
        features: channels of that common width.
        last: channels of its second to last layer.
        channels: number of values that it predicts for a pixel.
    """

    hooks: tuple[int, ...]
    widths: tuple[int, ...]
    features: int
    last: int
    channels: int


@dataclasses.dataclass(frozen=True)
class Description:
    """Describes a model: everything that is needed to rebuild it from its parameters.

    Attributes:
        kind: "croco", "mae" (class token, stored position tables, decoder without a second
            image) or "vit" (class token, stored position table, no decoder).
        encoder: width, depth and number of attention heads.
        decoder: the same, or None if the model has no decoder.
        image: (height, width) of the training images in pixels.
        patch: side of a patch in pixels.
        position: position embeddings: "cosine" or "rope100" for a croco; "table" for the others,
            which store them.
        head: number of values that the last layer predicts for a token, 0 without such a layer.
        dense: sizes of a DPT head, or None.
        norm_pix: whether the predicted pixels of each patch are normalised by its own mean and
            deviation; None if unknown.
    """

    kind: str
    encoder: Shape
    decoder: Shape | None
    image: tuple[int, int]
    patch: int
    position: str
    head: int
    dense: Dense | None = None
    norm_pix: bool | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of patches."""
        return self.image[0] // self.patch, self.image[1] // self.patch

    def as_json(self) -> dict[str, Any]:
        """Returns the description as plain values that `from_json` can read."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Description":
        """Returns the description that `as_json` saved.

        Raises:
            ValueError: a key or value is missing, or this version does not know it.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(saved, dict) or set(saved) != fields:
            odd = ", ".join(sorted(set(saved) ^ fields)) if isinstance(saved, dict) else saved
            raise ValueError(
                f"The description of the model must have the keys {', '.join(sorted(fields))}; "
                f"missing or unknown: {odd}."
            )
        try:
            made = {
                name: saved[name] and kind(**{k: _tuple(v) for k, v in saved[name].items()})
                for name, kind in (("encoder", Shape), ("decoder", Shape), ("dense", Dense))
            }
            return cls(**(saved | made | {"image": tuple(saved["image"])})).checked()
        except (AttributeError, TypeError) as error:
            raise ValueError(f"The description of the model is invalid: {error}.") from error

    def checked(self) -> "Description":
        """Returns itself.

        Raises:
            ValueError: a value is invalid, or the values do not fit together.
        """
        for name, value, known in (
            ("kind", self.kind, KINDS),
            ("position", self.position, POSITIONS),
            ("norm_pix", self.norm_pix, (None, True, False)),
        ):
            if value not in known:
                shown = ", ".join(map(str, known))
                raise ValueError(f"Unknown model.{name} {value!r}. Known: {shown}.")
        sizes = [*self.image, self.patch, 1 + self.head, len(self.image) - 1]
        for shape in filter(None, (self.encoder, self.decoder)):
            sizes += [shape.width, shape.depth, shape.heads]
        if not all(type(size) is int and 0 < size <= 65536 for size in sizes):
            raise ValueError(
                f"The description of the model has invalid sizes: {sizes}. Expected integers "
                "from 1 to 65536."
            )
        if (self.position == "table") != (self.kind != "croco") or not self.encoder:
            raise ValueError(
                f"A {self.kind} with {self.position!r} positions and the encoder {self.encoder} "
                "does not exist: a croco has cosine or rope100 positions, a mae or vit a table, "
                "and all have an encoder."
            )
        croco.patch_grid(self.image, self.patch)
        return self


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def leaves(model: Description) -> list[Leaf]:
    """Returns every parameter of a model, with its name here and its name in PyTorch."""
    if model.kind == "croco":
        return _croco(model)
    return _vit(model)


def tables(model: Description) -> dict[str, tuple[tuple[int, int], int]]:
    """Returns {name: (grid, width)} of the cosine tables, which only PyTorch's files hold."""
    if model.kind != "croco" or model.position != "cosine":
        return {}
    found = {"enc_pos_embed": (model.grid, model.encoder.width)}
    return found | ({"dec_pos_embed": (model.grid, model.decoder.width)} if model.decoder else {})


def parts(model: Description) -> tuple[str, ...]:
    """Returns the names of a model's parts, with which the paths of its parameters begin."""
    return tuple(dict.fromkeys(leaf.path.split("/")[0] for leaf in leaves(model)))


def only(model: Description, found: set[str]) -> Description:
    """Returns the description of a model that has only the parts in `found`.

    Raises:
        ValueError: `found` does not include the encoder.
    """
    if "encoder" not in found:
        raise ValueError(f"A model needs an encoder, but has only: {', '.join(sorted(found))}.")
    if "decoder" not in found:
        model = dataclasses.replace(model, decoder=None)
    if "head" not in found:
        model = dataclasses.replace(model, head=0)
    return model if "dense" in found else dataclasses.replace(model, dense=None)


def croco_kwargs(model: Description) -> dict[str, Any]:
    """Returns the arguments with which CroCo's own class builds a model."""
    height, width = model.image
    settings = {
        "img_size": height if height == width else [height, width],
        "patch_size": model.patch,
        "pos_embed": {"cosine": "cosine", "rope100": "RoPE100"}[model.position],
    }
    for part, shape in (("enc", model.encoder), ("dec", model.decoder)):
        if shape:
            settings |= {
                f"{part}_embed_dim": shape.width,
                f"{part}_depth": shape.depth,
                f"{part}_num_heads": shape.heads,
            }
    return settings


def _croco(model: Description) -> list[Leaf]:
    encoder, decoder = model.encoder, model.decoder
    found = [
        *_embed(model, "encoder"),
        *_blocks("encoder", "enc_blocks", encoder),
        *_norm("encoder/norm", "enc_norm", encoder.width),
    ]
    if decoder:
        found += [
            *_linear("decoder/embed", "decoder_embed", encoder.width, decoder.width),
            *_blocks("decoder", "dec_blocks", decoder, memory=True),
            *_norm("decoder/norm", "dec_norm", decoder.width),
        ]
        if model.head:  # without a head no patches are hidden, and there is no mask token
            found.append(Leaf("decoder/mask_token", "mask_token", "token", (decoder.width,)))
            found += _linear("head", "prediction_head", decoder.width, model.head)
    return found + (_dense(model, model.dense) if model.dense else [])


def _dense(model: Description, dense: Dense) -> list[Leaf]:
    """Returns the leaves of a DPT head. PyTorch stores some of its layers under a second name."""
    widths, features, there = dense.widths, dense.features, "head.dpt"
    found = []
    for i, (hook, width) in enumerate(zip(dense.hooks, widths, strict=True), 1):
        inside = hook < model.encoder.depth or model.decoder is None
        fan_in = model.encoder.width if inside else model.decoder.width
        act, listed = f"{there}.act_{i}_postprocess", f"{there}.act_postprocess.{i - 1}"
        found += _conv(f"dense/project{i}", f"{act}.0", (1, 1, fan_in, width), f"{listed}.0")
        if i in (1, 2):
            shape = (2 ** (3 - i), 2 ** (3 - i), width, width)
            found += _conv(f"dense/resize{i}", f"{act}.1", shape, f"{listed}.1", form="upconv")
        elif i == 4:
            found += _conv(f"dense/resize{i}", f"{act}.1", (3, 3, width, width), f"{listed}.1")
        level, listed = f"{there}.scratch.layer{i}_rn", f"{there}.scratch.layer_rn.{i - 1}"
        found += _conv(f"dense/level{i}", level, (3, 3, width, features), listed)[:1]
        fuse, name = f"dense/fuse{i}", f"{there}.scratch.refinenet{i}"
        for unit in (1, 2):
            for conv in (1, 2):
                path, place = f"{fuse}/unit{unit}/conv{conv}", f"resConfUnit{unit}.conv{conv}"
                found += _conv(path, f"{name}.{place}", (3, 3, features, features))
        found += _conv(f"{fuse}/out", f"{name}.out_conv", (1, 1, features, features))
    return [
        *found,
        *_conv("dense/head1", f"{there}.head.0", (3, 3, features, features // 2)),
        *_conv("dense/head2", f"{there}.head.2", (3, 3, features // 2, dense.last)),
        *_conv("dense/head3", f"{there}.head.4", (1, 1, dense.last, dense.channels)),
    ]


def _vit(model: Description) -> list[Leaf]:
    encoder, decoder = model.encoder, model.decoder
    count = 1 + model.grid[0] * model.grid[1]
    found = [
        Leaf("encoder/class_token", "cls_token", "token", (encoder.width,)),
        Leaf("encoder/positions", "pos_embed", "table", (count, encoder.width)),
        *_embed(model, "encoder"),
        *_blocks("encoder", "blocks", encoder),
        *_norm("encoder/norm", "norm", encoder.width),
    ]
    if decoder:
        found += [
            *_linear("decoder/embed", "decoder_embed", encoder.width, decoder.width),
            Leaf("decoder/mask_token", "mask_token", "token", (decoder.width,)),
            Leaf("decoder/positions", "decoder_pos_embed", "table", (count, decoder.width)),
            *_blocks("decoder", "decoder_blocks", decoder),
            *_norm("decoder/norm", "decoder_norm", decoder.width),
            *_linear("head", "decoder_pred", decoder.width, model.head),
        ]
    elif model.head:
        found += _linear("head", "head", encoder.width, model.head)
    return found


def _embed(model: Description, part: str) -> list[Leaf]:
    pixels, width = 3 * model.patch**2, model.encoder.width
    return [
        Leaf(f"{part}/embed/kernel", "patch_embed.proj.weight", "patches", (pixels, width)),
        Leaf(f"{part}/embed/bias", "patch_embed.proj.bias", "flat", (width,)),
    ]


def _blocks(part: str, there: str, shape: Shape, memory: bool = False) -> list[Leaf]:
    """Returns the leaves of a stack of blocks; with `memory`, they also have cross-attention."""
    here, name = f"{part}/blocks", f"{there}.{{i}}"
    width, depth = shape.width, shape.depth
    heads = (shape.heads, width // shape.heads)
    found = [
        *_norm(f"{here}/norm1", f"{name}.norm1", width, depth),
        *_linear(f"{here}/attention/qkv", f"{name}.attn.qkv", width, (3, *heads), depth),
        *_linear(f"{here}/attention/out", f"{name}.attn.proj", width, width, depth),
        *_norm(f"{here}/norm2", f"{name}.norm2", width, depth),
        *_linear(f"{here}/mlp/up", f"{name}.mlp.fc1", width, 4 * width, depth),
        *_linear(f"{here}/mlp/down", f"{name}.mlp.fc2", 4 * width, width, depth),
    ]
    if memory:
        cross = f"{here}/cross_attention"
        found += [
            *_norm(f"{here}/norm3", f"{name}.norm3", width, depth),
            *_norm(f"{here}/norm_memory", f"{name}.norm_y", width, depth),
            *_linear(f"{cross}/query", f"{name}.cross_attn.projq", width, heads, depth),
            *_linear(f"{cross}/key", f"{name}.cross_attn.projk", width, heads, depth),
            *_linear(f"{cross}/value", f"{name}.cross_attn.projv", width, heads, depth),
            *_linear(f"{cross}/out", f"{name}.cross_attn.proj", width, width, depth),
        ]
    return found


def _linear(path: str, name: str, fan_in: int, out, depth: int = 0) -> list[Leaf]:
    out = (out,) if isinstance(out, int) else tuple(out)
    return [
        Leaf(f"{path}/kernel", f"{name}.weight", "matrix", (fan_in, *out), depth),
        Leaf(f"{path}/bias", f"{name}.bias", "flat", out, depth),
    ]


def _conv(path: str, name: str, shape, also: str = "", form: str = "conv") -> list[Leaf]:
    again = [(f"{also}.{x}",) if also else () for x in ("weight", "bias")]
    return [
        Leaf(f"{path}/kernel", f"{name}.weight", form, tuple(shape), also=again[0]),
        Leaf(f"{path}/bias", f"{name}.bias", "flat", (shape[3],), also=again[1]),
    ]


def _norm(path: str, name: str, width: int, depth: int = 0) -> list[Leaf]:
    return [
        Leaf(f"{path}/scale", f"{name}.weight", "flat", (width,), depth),
        Leaf(f"{path}/bias", f"{name}.bias", "flat", (width,), depth),
    ]

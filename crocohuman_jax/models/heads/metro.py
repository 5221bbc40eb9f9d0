"""A mesh transformer after METRO: predicts joints and vertices from image tokens."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.models import blocks, layers

SPREAD = 0.02  # standard deviation of the initial weights of stages
MASKED = 0.01  # value that fills a masked token
CAMERA_WIDTH = 250
SPLIT = 128  # kernels that upsample meshes have a multiple of this number of columns


class Metro(nnx.Module):
    """Predicts joints, vertices and a camera from the tokens of a picture.

    Each joint and coarse vertex has a token: its position in the template and a learned mixture of
    the picture's tokens. Three transformers (stages), each narrower than the one before, turn it
    into a 3D position. A learned linear map over the vertices gives each finer mesh. The layers
    that output positions run in float32.

    Kernels outside the stages are initialised as PyTorch's linear layers, biases with zeros.

    Args:
        width: D, width of the tokens.
        patches: N, number of tokens.
        joints: [J, 3], the template's joints in metres relative to its root.
        coarse: [V0, 3], the template's coarse vertices, likewise.
        sizes: number of vertices of each mesh, from coarse to fine, as (431, 1723, 6890).
        hidden: hidden width of each stage.
        outs: width of each stage's output; the last is 3.
        depth: blocks per stage.
        heads: attention heads per block.
        feedforward: hidden width of the blocks' MLPs; 0 for four times the hidden width.
        dropout: share of values dropped in training.
        mask_share: largest share of joints, and of vertices, that is masked in training.
        feature_width: width to which tokens are projected first; 0 for no projection.
        camera: (scale, x, y), initial bias of the camera layer. METRO has no such bias; this one
            puts the whole body into the picture, as the mean camera of regressors does.
        dtype: dtype of the other products.
        rngs: random keys.

    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        width: int,
        patches: int,
        *,
        joints: np.ndarray,
        coarse: np.ndarray,
        sizes: tuple[int, ...],
        hidden: tuple[int, ...] = (1024, 256, 128),
        outs: tuple[int, ...] = (512, 128, 3),
        depth: int = 4,
        heads: int = 4,
        feedforward: int = 3072,
        dropout: float = 0.1,
        mask_share: float = 0.3,
        feature_width: int = 0,
        camera: tuple[float, float, float] = (0.9, 0.0, 0.0),
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check_numbers(
            {"hidden": hidden, "outs": outs},
            {"depth": (1, depth), "heads": (1, heads)}
            | {"feedforward": (0, feedforward), "feature_width": (0, feature_width)},
            {"dropout": dropout, "mask_share": mask_share},
        )
        _check(joints, coarse, sizes, hidden, outs, heads)
        exact = {"dtype": jnp.float32, "rngs": rngs}
        # Plain nested tuples: constants of the graph, neither parameters nor state.
        self.template = tuple(map(tuple, np.concatenate([joints, coarse]).tolist()))
        self.joints, self.count, self.stages = len(joints), len(coarse), len(hidden)
        tokens = self.joints + self.count
        if feature_width:
            self.feature = _torch_linear(width, feature_width, dtype=dtype, rngs=rngs)
        self.mix = _torch_linear(patches, tokens, dtype=dtype, rngs=rngs)
        fan_in = (feature_width or width) + 3
        for i, (inside, out) in enumerate(zip(hidden, outs, strict=True)):
            stage = Stage(
                (fan_in, inside, out),
                tokens=tokens,
                depth=depth,
                heads=heads,
                feedforward=feedforward or 4 * inside,
                dropout=dropout,
                gives_places=i == len(hidden) - 1,
                dtype=dtype,
                rngs=rngs,
            )
            setattr(self, f"stages{i}", stage)
            fan_in = out
        self.finer = len(sizes) - 1
        for i, (few, many) in enumerate(itertools.pairwise(sizes)):
            setattr(self, f"upsample{i}", Finer(few, many, rngs=rngs))
        self.camera1 = _torch_linear(3, 1, **exact)
        self.camera2 = _torch_linear(self.count, CAMERA_WIDTH, **exact)
        self.camera3 = _torch_linear(CAMERA_WIDTH, 3, **exact)
        self.camera3.bias = nnx.Param(jnp.array(camera, jnp.float32))
        self.has_feature, self.mask_share, self.dtype = bool(feature_width), mask_share, dtype

    def __call__(self, tokens: jax.Array, mean: Any = None, key: jax.Array | None = None) -> dict:
        """Returns joints, vertices and camera.

        Args:
            tokens: [B, N, D], the tokens of each picture.
            mean: unused; estimates start from the template.
            key: random key in training; None for no dropout and no masks.

        Returns:
            joints: [B, J, 3] in metres; vertices: a list of [B, V, 3], from coarse to fine;
            camera: [B, 3], (s, tx, ty) that projects x, y to (x + tx) * s, (y + ty) * s.
        """
        del mean
        if self.has_feature:
            tokens = self.feature(tokens)
        x = _along_tokens(self.mix, tokens)  # [B, T, D]
        template = jnp.asarray(np.array(self.template, np.float32), x.dtype)
        template = jnp.broadcast_to(template, (len(x), *template.shape))
        x = jnp.concatenate([template, x], -1)
        keys = [None] * self.stages
        if key is not None:
            key, *keys = jax.random.split(key, 1 + self.stages)
            hide = masks(key, len(x), (self.joints, self.count), self.mask_share)
            x = jnp.where(hide[..., None], jnp.asarray(MASKED, x.dtype), x)
        for i, one in enumerate(keys):
            x = getattr(self, f"stages{i}")(x, one)
        joints, vertices = x[:, : self.joints], [x[:, self.joints :]]
        for i in range(self.finer):
            vertices.append(_along_tokens(getattr(self, f"upsample{i}"), vertices[-1], _exact))
        along = self.camera1(vertices[0], product=_exact)[..., 0]  # [B, V0]
        camera = self.camera3(self.camera2(along, product=_exact), product=_exact)
        return {"joints": joints, "vertices": vertices, "camera": camera}


class Stage(nnx.Module):
    """Transformer between two linear layers, with a linear skip connection around all three.

    Args:
        widths: widths of the input, of the blocks and of the output.
        tokens: T, number of tokens; each has a learned position embedding.
        depth, heads, feedforward, dropout: as for `Metro`.
        gives_places: whether the output is positions, which float32 products compute.
        dtype: dtype of all other products.
        rngs: random keys.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        *,
        tokens: int,
        depth: int,
        heads: int,
        feedforward: int,
        dropout: float,
        gives_places: bool,
        dtype,
        rngs: nnx.Rngs,
    ):
        fan_in, width, out = widths
        options = {"dtype": dtype, "dropout": dropout}
        self.embed = _linear(fan_in, width, dtype=dtype, rngs=rngs)
        self.position = nnx.Param(SPREAD * jax.random.normal(rngs.params(), (tokens, width)))
        self.blocks = blocks.stack(
            lambda rngs: Block(width, heads, feedforward, rngs=rngs, **options), depth, rngs
        )
        out_dtype = jnp.float32 if gives_places else dtype
        self.out = _linear(width, out, dtype=out_dtype, rngs=rngs)
        self.skip = _linear(fan_in, out, dtype=out_dtype, rngs=rngs)
        self.depth, self.dropout = depth, dropout
        self.product = _exact if gives_places else None

    def __call__(self, tokens: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Returns [B, T, out] for tokens [B, T, in]."""
        x = self.embed(tokens)
        x = x + self.position[...].astype(x.dtype)
        keys = None
        if key is not None:
            key, *keys = jax.random.split(key, 1 + self.depth)
            keys = jnp.stack(keys)
        x = drop(x, self.dropout, key)
        graph, params = nnx.split(self.blocks)

        def body(x, inputs):
            params, key = inputs
            return blocks.keep_batch_split(nnx.merge(graph, params)(x, key)), None

        x, _ = jax.lax.scan(body, blocks.keep_batch_split(x), (params, keys))
        return self.out(x, product=self.product) + self.skip(tokens, product=self.product)


class Block(nnx.Module):
    """Block as in BERT: attention and MLP, each added to its input and then normalised."""

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        *,
        dropout: float,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.attention = Attention(width, heads, dropout=dropout, dtype=dtype, rngs=rngs)
        self.norm1 = Norm(width, dtype=dtype)
        self.mlp = Mlp(width, feedforward, dtype=dtype, rngs=rngs)
        self.norm2 = Norm(width, dtype=dtype)
        self.dropout = dropout

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:  # [B, T, D]
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        x = self.norm1(x + drop(self.attention(x, keys[0]), self.dropout, keys[1]))
        return self.norm2(x + drop(self.mlp(x), self.dropout, keys[2]))


class Mlp(nnx.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int, inside: int, *, dtype, rngs: nnx.Rngs):
        self.up = _linear(width, inside, dtype=dtype, rngs=rngs)
        self.down = _linear(inside, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:  # [B, T, D]
        return self.down(self.up(x), product=layers.gelu_product)


class Attention(nnx.Module):
    """Self-attention with dropout of the attention weights."""

    def __init__(self, width: int, heads: int, *, dropout: float, dtype, rngs: nnx.Rngs):
        self.qkv = _linear(width, (3, heads, width // heads), dtype=dtype, rngs=rngs)
        self.out = _linear(width, width, dtype=dtype, rngs=rngs)
        self.dropout = dropout

    def __call__(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:  # [B, T, D]
        q, k, v = jnp.moveaxis(self.qkv(x), 2, 0)  # [B, T, H, d] each

        # Recomputed in the backward pass: storing the weights of all blocks takes most memory.
        def attend(q, k, v):
            q = q * q.shape[-1] ** -0.5
            scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
            weights = drop(jax.nn.softmax(scores), self.dropout, key).astype(v.dtype)
            return jnp.einsum("bhnm,bmhd->bnhd", weights, v)

        return self.out(jax.checkpoint(attend, prevent_cse=False)(q, k, v).reshape(x.shape))


class Finer(layers.Linear):
    """A linear layer from coarse to finer vertices, with more columns in the kernel than outputs.

    Numbers of devices such as 8 do not divide 1723, 6890 or 13718 vertices. Unused columns of zeros
    make it possible to split this kernel, the network's largest array, over devices.
    """

    def __init__(self, few: int, many: int, *, rngs: nnx.Rngs):
        super().__init__(few, many, dtype=jnp.float32, rngs=rngs)
        limit = 1 / math.sqrt(few)  # as `_torch_linear`
        kernel = jax.random.uniform(rngs.params(), (few, many), jnp.float32, -limit, limit)
        self.kernel = nnx.Param(jnp.pad(kernel, ((0, 0), (0, -many % SPLIT))))

    def __call__(self, x: jax.Array, product=None) -> jax.Array:  # [..., few] -> [..., many]
        rows = x.astype(self.dtype).reshape(-1, x.shape[-1])
        bias = self.bias[...]
        out = (product or jnp.matmul)(rows, self.kernel[...])
        # Before the unused columns are cut off, so that the kernel is gathered, not the rows.
        out = blocks.keep_batch_split(out.reshape(*x.shape[:-1], -1))
        return out[..., : len(bias)] + bias


class Norm(layers.LayerNorm):
    """LayerNorm with BERT's epsilon of 1e-12."""

    def __call__(self, x: jax.Array) -> jax.Array:  # [..., width] -> [..., width]
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, -1, keepdims=True)
        normal = centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-12)
        return (normal * self.scale[...] + self.bias[...]).astype(self.dtype)


def drop(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Returns x with a share of values set to 0 and the others scaled up; without a key, x."""
    if key is None or not rate:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)


def masks(key: jax.Array, batch: int, counts: tuple[int, ...], share: float) -> jax.Array:
    """Returns which tokens of each group are masked, drawn at random.

    Args:
        key: random key.
        batch: B, number of examples.
        counts: number of tokens in each group.
        share: of a group of n, floor(u * share * n) are masked, with u from [0, 1) for each
            example and group.

    Returns:
        [B, sum of counts], true where masked.
    """
    found = []
    for one, count in zip(jax.random.split(key, len(counts)), counts, strict=True):
        order, many = jax.random.split(one)
        many = jnp.floor(jax.random.uniform(many, (batch, 1)) * share * count)
        found.append(jnp.argsort(jax.random.uniform(order, (batch, count))) < many)
    return jnp.concatenate(found, 1)


# Meanings of this head's axes, as in `croco.AXES`, which also covers the blocks of stages. The
# second and third choices are for kernels that cannot be split by the first, such as one of 196
# patches to 445 tokens; a choice of only None keeps a parameter whole.
AXES = (
    (r"stages\d+/(embed|skip)/kernel$", (None, "width"), (None, None)),
    (r"stages\d+/out/kernel$", ("width", None), (None, None)),
    (r"stages\d+/position$", (None, "width"), (None, None)),
    (r"head/(mix|feature)/kernel$", ("width", None), (None, "width"), (None, None)),
    (r"upsample\d+/kernel$", (None, "width")),
)


def _check(joints, coarse, sizes, hidden, outs, heads) -> None:
    for name, value in (("joints", joints), ("coarse vertices", coarse)):
        if np.ndim(value) != 2 or np.shape(value)[1] != 3:
            raise ValueError(f"The template's {name} must be [n, 3], not {np.shape(value)}.")
    if not sizes or sizes[0] != len(coarse):
        raise ValueError(
            f"The template has {len(coarse)} coarse vertices, but the sizes are {tuple(sizes)}: "
            "the first size must be the number of coarse vertices."
        )
    if len(hidden) != len(outs) or not outs or outs[-1] != 3:
        raise ValueError(
            f"config.head.hidden={tuple(hidden)} and config.head.outs={tuple(outs)} do not fit: "
            "give both one width per stage, the last of outs being 3."
        )
    odd = [width for width in hidden if width % heads]
    if odd:
        raise ValueError(
            f"Hidden width {odd[0]} does not divide into {heads} heads (config.head.hidden, "
            "config.head.heads)."
        )


def _check_numbers(widths: dict, counts: dict, shares: dict) -> None:
    for name, values in widths.items():
        options_lib.check_numbers(f"config.head.{name}", values, least=1, whole=True)
    for name, (least, value) in counts.items():
        options_lib.check_number(f"config.head.{name}", value, least=least, whole=True)
    for name, value in shares.items():
        options_lib.check_number(f"config.head.{name}", value, least=0, below=1)


def _linear(fan_in: int, shape, *, dtype, rngs: nnx.Rngs) -> layers.Linear:
    """Returns a linear layer whose kernel is initialised as in BERT."""
    layer = layers.Linear(fan_in, shape, dtype=dtype, rngs=rngs)
    layer.kernel = nnx.Param(SPREAD * jax.random.normal(rngs.params(), layer.kernel.shape))
    return layer


def _torch_linear(fan_in: int, out: int, *, dtype, rngs: nnx.Rngs) -> layers.Linear:
    """Returns a linear layer whose kernel is initialised as in PyTorch."""
    layer = layers.Linear(fan_in, out, dtype=dtype, rngs=rngs)
    limit = 1 / math.sqrt(fan_in)
    layer.kernel = nnx.Param(
        jax.random.uniform(rngs.params(), (fan_in, out), jnp.float32, -limit, limit)
    )
    return layer


def _along_tokens(layer: layers.Linear, x: jax.Array, product=None) -> jax.Array:
    """Applies a linear layer along the axis of tokens or vertices: [B, N, D] -> [B, M, D]."""
    along = blocks.keep_batch_split(layer(jnp.swapaxes(x, 1, 2), product=product))
    return jnp.swapaxes(along, 1, 2)


def _exact(rows: jax.Array, kernel: jax.Array) -> jax.Array:  # [R, D], [D, E] -> [R, E]
    """Returns a product in full float32, because positions must not be rounded."""
    return jnp.matmul(rows, kernel, precision="highest")

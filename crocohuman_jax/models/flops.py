"""Counts floating-point operations of networks by formula, for model FLOPs utilisation (MFU)."""

import itertools

from crocohuman_jax.models import croco
from crocohuman_jax.models.heads import metro as metro_lib


def completion(
    encoder: croco.Shape,
    decoder: croco.Shape,
    *,
    patches: int,
    visible: int,
    wanted: int,
    pixels: int,
) -> float:
    """Returns the floating-point operations of one pair's forward and backward pass.

    Only matrix products are counted, with two operations per multiply-add. The backward pass counts
    twice the forward pass, and recomputation by rematerialisation is not counted.

    Args:
        encoder: size of the encoder.
        decoder: size of the decoder.
        patches: N, patches of a picture.
        visible: K, patches of the first picture that are encoded.
        wanted: M, patches that the head predicts.
        pixels: number of values in a patch.
    """
    both = sum(encoding(encoder, patches=n, pixels=pixels) for n in (visible, patches))
    decoded = decoding(encoder, decoder, patches=patches, seen=visible)
    return both + decoded + 6 * wanted * decoder.width * pixels


def encoding(encoder: croco.Shape, *, patches: int, pixels: int) -> float:
    """Returns the operations of encoding one picture, forward and backward; see `completion`."""
    n, width = patches, encoder.width
    blocks_ = encoder.depth * (24 * n * width**2 + 4 * n**2 * width)
    return 3.0 * (2 * n * pixels * width + blocks_)


def decoding(encoder: croco.Shape, decoder: croco.Shape, *, patches: int, seen: int = 0) -> float:
    """Returns the operations of decoding one pair, forward and backward; see `completion`.

    Args:
        encoder, decoder: their sizes.
        patches: N, patches of a picture.
        seen: K, encoded patches of the first picture; 0 for all.
    """
    n, width = patches, decoder.width
    embedded = 2 * ((seen or n) + n) * encoder.width * width
    own = decoder.depth * (24 * n * width**2 + 4 * n**2 * width)  # self-attention and MLP
    cross = decoder.depth * (8 * n * width**2 + 4 * n**2 * width)
    return 3.0 * (embedded + own + cross)


def regressor(features: int, sizes: int, hidden: int, steps: int) -> float:
    """Returns the operations of one example's forward and backward pass; see `completion`."""
    return 6 * steps * (hidden * (features + sizes) + hidden**2 + hidden * sizes)


def metro(
    width: int,
    patches: int,
    *,
    joints: int,
    sizes: tuple[int, ...],
    hidden: tuple[int, ...] = (1024, 256, 128),
    outs: tuple[int, ...] = (512, 128, 3),
    depth: int = 4,
    feedforward: int = 3072,
    feature_width: int = 0,
) -> float:
    """Returns METRO's operations for one example, forward and backward; see `completion`.

    Args: as for `metro.Metro`; `joints` is their number J.
    """
    tokens = joints + sizes[0]
    forward = 2 * patches * width * feature_width
    width = feature_width or width
    forward += 2 * patches * tokens * width
    fan_in = width + 3
    for inside, out in zip(hidden, outs, strict=True):
        forward += 2 * tokens * (fan_in * inside + inside * out + fan_in * out)
        linear = 4 * inside**2 + 2 * inside * (feedforward or 4 * inside)
        forward += depth * (2 * tokens * linear + 4 * tokens**2 * inside)
        fan_in = out
    forward += sum(2 * 3 * few * many for few, many in itertools.pairwise(sizes))
    forward += 2 * (3 * sizes[0] + (sizes[0] + 3) * metro_lib.CAMERA_WIDTH)  # the camera
    return float(3 * forward)

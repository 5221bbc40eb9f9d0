"""Chooses the patches that stay visible: a fixed number per batch, human patches first.

The ratio hides human patches only; background patches fill the visible set up to the common
length. How long that is, is not settled by the paper, so it is a rule with a name:
"max_human" (the largest number of human patches in the batch, as written, clamped to what is
feasible), "max_kept" (the largest number of kept human patches) or "fixed".
"""

import fractions
import math

import numpy as np

from crocohuman_jax import config as config_lib

RULES = ("max_human", "max_kept", "fixed")
MODES = ("human", "uniform")


def exact(ratio: float | str) -> fractions.Fraction:
    """Returns the ratio as written: 0.7 is 7/10, not the nearest binary number.

    Raises:
        ValueError: not a number in [0, 1).
    """
    config_lib.check_number("config.data.mask.ratio", float(ratio), least=0, below=1)
    return fractions.Fraction(str(ratio))


def kept(count: int | np.ndarray, ratio: fractions.Fraction) -> int | np.ndarray:
    """Returns how many of `count` patches stay visible: count - floor(ratio * count)."""
    return count - count * ratio.numerator // ratio.denominator


def human_patches(silhouette: np.ndarray, patch: int, min_fraction: float = 0.0) -> np.ndarray:
    """Returns which patches show a human, [N] bool, row by row.

    Args:
        silhouette: [H, W] bool, after the same crop as the picture.
        patch: side of a patch in pixels.
        min_fraction: the share of a patch's pixels that must be exceeded; 0 means any pixel.
    """
    height, width = silhouette.shape
    cells = silhouette.reshape(height // patch, patch, width // patch, patch)
    return (cells.sum((1, 3), dtype=np.int32) > min_fraction * patch**2).reshape(-1)


def bucket_lengths(patches: int, ratio: fractions.Fraction, rule: str, count: int) -> np.ndarray:
    """Returns the lengths that a rule may use, sorted: few, so that few shapes are compiled.

    They are evenly spaced up to the longest feasible length, and always hold the length at
    which a picture is wholly human or wholly background.
    """
    whole = int(kept(patches, ratio))
    humans = np.arange(patches + 1)
    feasible = patches - (humans - kept(humans, ratio))
    longest = int(np.minimum(humans, feasible).max()) if rule == "max_human" else whole
    return np.unique([whole, *(math.ceil(longest * (i + 1) / count) for i in range(count))])


def length(
    human: np.ndarray,
    known: np.ndarray,
    *,
    ratio: fractions.Fraction,
    rule: str,
    lengths: np.ndarray,
) -> int:
    """Returns how many patches stay visible in every picture of a batch.

    Args:
        human: [B, N] bool, the human patches; ignored where `known` is False.
        known: [B] bool, the pictures that have a silhouette.
        ratio: share of human patches to hide.
        rule: "max_human" or "max_kept".
        lengths: the lengths to choose from, from `bucket_lengths`.
    """
    patches = human.shape[1]
    counts = human[known].sum(1)
    most = int(counts.max(initial=0))
    whole = int(kept(patches, ratio))
    if most == 0:  # nobody in sight, or no silhouettes at all: as uniform masking
        return whole
    feasible = patches - (most - int(kept(most, ratio)))
    wanted = most if rule == "max_human" else int(kept(most, ratio))
    if rule == "max_kept" and not known.all():
        wanted = max(wanted, whole)
    wanted = min(max(wanted, 1), feasible)
    above = lengths[(lengths >= wanted) & (lengths <= feasible)]
    return int(above[0] if len(above) else lengths[lengths <= feasible].max())


def visible(
    human: np.ndarray,
    known: np.ndarray,
    order: np.ndarray,
    *,
    ratio: fractions.Fraction,
    length: int,
) -> np.ndarray:
    """Draws the visible patches of each picture.

    Args:
        human: [B, N] bool; ignored where `known` is False.
        known: [B] bool; where False, the picture is masked uniformly.
        order: [B, N] uniform in [0, 1), the draw.
        ratio: share of human patches to hide.
        length: K, patches to leave visible.

    Returns:
        [B, K] int32, sorted.
    """
    human = human & known[:, None]
    among_humans = np.where(human, order, np.inf)
    rank = np.argsort(np.argsort(among_humans, 1), 1)
    most = np.minimum(kept(human.sum(1), ratio), length)
    shown = human & (rank < most[:, None])
    # The smallest keys stay visible: kept humans, then background, then the other humans.
    keys = np.where(shown, order, np.where(human, 2 + order, 1 + order))
    chosen = np.argpartition(keys, length - 1, 1)[:, :length]
    return np.sort(chosen, 1).astype(np.int32)


def complement(visible: np.ndarray, patches: int) -> np.ndarray:
    """Returns the hidden patches, [B, N - K] int32, sorted."""
    hidden = np.ones((len(visible), patches), bool)
    np.put_along_axis(hidden, visible, False, 1)
    return np.nonzero(hidden)[1].reshape(len(visible), -1).astype(np.int32)


class Masking:
    """Draws the visible patches of batches.

    Args:
        patches: N, patches in a picture.
        mode: "human" (ratio of human patches) or "uniform" (ratio of all patches).
        ratio: share to hide.
        rule: how the common length is found, see the module.
        visible: K for the rule "fixed"; 0 for N - floor(ratio * N).
        buckets: how many lengths the other rules may choose from.

    Raises:
        ValueError: an unknown mode or rule, or a length out of range.
    """

    def __init__(
        self, patches: int, *, mode: str, ratio: float, rule: str, visible: int, buckets: int
    ):
        for name, value, known in (("mode", mode, MODES), ("rule", rule, RULES)):
            if value not in known:
                raise ValueError(
                    f"Unknown config.data.mask.{name} {value!r}. Known: {', '.join(known)}."
                )
        limits = {"least": 0, "below": patches, "whole": True}
        config_lib.check_number("config.data.mask.visible", visible, **limits)
        config_lib.check_number("config.data.mask.buckets", buckets, least=1, whole=True)
        if visible and rule != "fixed":
            raise ValueError(
                f"config.data.mask.visible={visible} is for mask.rule='fixed', not {rule!r}."
            )
        self.ratio, self.mode, self.rule = exact(ratio), mode, rule
        self.fixed = visible or int(kept(patches, self.ratio))
        if not 0 < self.fixed < patches:
            raise ValueError(
                f"config.data.mask.ratio={ratio} leaves {self.fixed} of {patches} patches visible: "
                "there must be something to see and something to complete."
            )
        self.lengths = bucket_lengths(patches, self.ratio, rule, buckets)

    def __call__(self, human: np.ndarray, known: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the visible patches [B, K] int32 of a batch; arguments as `visible`."""
        if self.mode == "uniform":
            known = np.zeros_like(known)
        if self.mode == "uniform" or self.rule == "fixed":
            count = self.fixed
        else:
            count = length(human, known, ratio=self.ratio, rule=self.rule, lengths=self.lengths)
        return visible(human, known, order, ratio=self.ratio, length=count)

"""Chooses the patches that stay visible, equally many in every picture of a batch.

The ratio applies to human patches only; background patches fill the visible set up to a length
that all pictures of the batch share. The paper does not define that length, so a rule selects it:
"max_human" (the largest number of human patches in the batch, as the paper says, clamped to what is
feasible), "max_kept" (the largest number of human patches kept visible) or "fixed". Lengths are
multiples of a small number, which suits accelerators; each length is compiled separately.
"""

import fractions

import numpy as np

from crocohuman_jax.configuration import options

RULES = ("max_human", "max_kept", "fixed")
MODES = ("human", "uniform")
SCOPES = ("global", "per_host", "per_device")
SHORTAGES = ("clamp", "reveal_human", "drop_pair")


def exact(ratio: float | str) -> fractions.Fraction:
    """Returns the ratio as an exact fraction: 0.7 is 7/10, not the nearest binary number.

    Raises:
        ValueError: the ratio is not in [0, 1).
    """
    options.check_number("config.data.mask.ratio", float(ratio), least=0, below=1)
    return fractions.Fraction(str(ratio))


def kept(count: int | np.ndarray, ratio: fractions.Fraction) -> int | np.ndarray:
    """Returns the number of `count` patches that stay visible: count - floor(ratio * count)."""
    return count - count * ratio.numerator // ratio.denominator


def human_patches(silhouette: np.ndarray, patch: int, min_fraction: float = 0.0) -> np.ndarray:
    """Returns [N] bool: whether each patch shows a human; patches are in row-major order.

    Args:
        silhouette: [H, W] bool, cropped as the picture.
        patch: side of a patch in pixels.
        min_fraction: a patch is human if more than this share of its pixels is; 0: any pixel.
    """
    height, width = silhouette.shape
    cells = silhouette.reshape(height // patch, patch, width // patch, patch)
    return (cells.sum((1, 3), dtype=np.int32) > min_fraction * patch**2).reshape(-1)


def room(count: int | np.ndarray, patches: int, ratio: fractions.Fraction) -> int | np.ndarray:
    """Returns the largest visible length that still hides the ratio of `count` human patches."""
    return patches - (count - kept(count, ratio))


def ranked(
    human: np.ndarray, known: np.ndarray, order: np.ndarray, *, ratio: fractions.Fraction
) -> np.ndarray:
    """Returns each picture's patches, in the order in which they become visible, [B, N] int32.

    Human patches that the ratio keeps come first, then background, then the other human patches.

    Args:
        human: [B, N] bool; ignored where `known` is False.
        known: [B] bool, whether the picture has a silhouette; if not, it is masked uniformly.
        order: [B, N] random numbers, uniform in [0, 1).
        ratio: share of human patches to hide.
    """
    human = human & known[:, None]
    among_humans = np.where(human, order, np.inf)
    rank = np.argsort(np.argsort(among_humans, 1), 1)
    shown = human & (rank < kept(human.sum(1), ratio)[:, None])
    keys = np.where(shown, order, np.where(human, 2 + order, 1 + order))
    return np.argsort(keys, 1).astype(np.int32)


def visible(ranks: np.ndarray, length: int) -> np.ndarray:
    """Returns the first `length` patches of `ranked`, [B, K] int32, sorted."""
    return np.sort(ranks[:, :length], 1)


def complement(visible: np.ndarray, patches: int) -> np.ndarray:
    """Returns the hidden patches, [B, N - K] int32, sorted."""
    hidden = np.ones((len(visible), patches), bool)
    np.put_along_axis(hidden, visible, False, 1)
    return np.nonzero(hidden)[1].reshape(len(visible), -1).astype(np.int32)


class Masking:
    """Selects the visible patches of batches.

    Args:
        patches: N, the number of patches in a picture.
        mode: "human" (ratio of human patches) or "uniform" (ratio of all patches).
        ratio: share of patches to hide.
        rule: how the common length is chosen, see the module.
        visible: K for the rule "fixed"; 0 for the largest multiple within N - floor(ratio * N).
        multiple: all lengths are multiples of it, except `visible`.
        scope: the pictures that the rule uses: "global", all of a batch; "per_host" or
            "per_device", those of one host or device, which is drawn anew for each batch.
        shortage: what happens if a picture has too few background patches for the rule's length:
            "clamp" shortens the length for the whole batch; "reveal_human" shows more human
            patches of that picture than the ratio allows; "drop_pair" leaves it out of the loss.

    Attributes:
        varies: whether the length depends on the pictures.

    Raises:
        ValueError: a mode, rule, scope or shortage is unknown, or a length is out of range.
    """

    def __init__(
        self,
        patches: int,
        *,
        mode: str,
        ratio: float,
        rule: str,
        visible: int,
        multiple: int = 1,
        scope: str = "global",
        shortage: str = "clamp",
    ):
        for name, value, known in (
            ("mode", mode, MODES),
            ("rule", rule, RULES),
            ("scope", scope, SCOPES),
            ("shortage", shortage, SHORTAGES),
        ):
            if value not in known:
                raise ValueError(
                    f"Unknown config.data.mask.{name} {value!r}. Known: {', '.join(known)}."
                )
        limits = {"least": 0, "below": patches, "whole": True}
        options.check_number("config.data.mask.visible", visible, **limits)
        if visible and rule != "fixed":
            raise ValueError(
                f"config.data.mask.visible={visible} works only with mask.rule='fixed', but "
                f"mask.rule is {rule!r}. Set visible to 0 or change the rule."
            )
        self.varies = mode == "human" and rule != "fixed"
        if scope != "global" and not self.varies:
            raise ValueError(
                f"config.data.mask.scope={scope!r} needs lengths that depend on the pictures, but "
                f"with mask.mode={mode!r}, mask.rule={rule!r} they do not. Set it to 'global'."
            )
        self.patches, self.ratio, self.mode, self.rule = patches, exact(ratio), mode, rule
        self.multiple, self.scope, self.shortage = multiple, scope, shortage
        whole = int(kept(patches, self.ratio))
        if not 0 < whole < patches:
            raise ValueError(
                f"config.data.mask.ratio={ratio} leaves {whole} of {patches} patches visible, but "
                "at least one must be visible and one hidden. Choose another ratio."
            )
        options.check_number("config.data.mask.multiple", multiple, least=1, most=whole, whole=True)
        self.fixed = visible or whole // multiple * multiple

    def __call__(self, human: np.ndarray, known: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the visible patches [B, K] int32 of a whole batch; arguments as in `ranked`."""
        length = self.length(self.measure(human, known, order))
        return visible(self.ranked(human, known, order), length)

    def ranked(self, human: np.ndarray, known: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the patches in order, as the function `ranked` gives for this ratio and mode."""
        return ranked(human, known & (self.mode == "human"), order, ratio=self.ratio)

    def room(self, human: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Returns [B]: the largest length at which each picture still hides the ratio of humans."""
        known = known & (self.mode == "human")
        return room(human.sum(1) * known, self.patches, self.ratio)

    def least(self, human: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Returns [B]: the shortest length that hides no more human patches than the ratio asks.

        If no multiple lies between a picture's kept human patches and its room, as with 193 or more
        of 196 patches, it is the largest multiple within its room. 0 if the length does not vary.
        """
        if not self.varies:
            return np.zeros(len(human), int)
        longest = self.room(human, known) // self.multiple * self.multiple
        return np.minimum(kept(human.sum(1) * known, self.ratio), longest)

    def measure(
        self, human: np.ndarray, known: np.ndarray, order: np.ndarray, groups: int = 1
    ) -> np.ndarray:
        """Returns the numbers of one host's pictures that `length` needs.

        Args:
            human, known, order: see `ranked`; of the host's pictures.
            groups: number of devices that share these pictures in consecutive blocks.

        Returns:
            [groups, 3] float32, one row per device: the largest number of human patches in a
            picture of its group (the pictures of a host or device), whether a picture has no
            silhouette, and a random number by which one group is chosen.
        """
        counts = human.sum(1) * known
        if self.shortage == "drop_pair" and self.rule == "max_human":
            # A picture with too little background for its own number of human patches is dropped,
            # so it must not set the length.
            counts = counts * (counts <= room(counts, self.patches, self.ratio))
        rows = np.stack([counts, ~known, np.zeros(len(counts))], 1)
        split = groups if self.scope == "per_device" else 1
        found = rows.reshape(split, -1, 3).max(1)
        found[:, 2] = order.reshape(split, -1)[:, 0]
        return np.repeat(found, groups // split, 0).astype(np.float32)

    def length(self, table: np.ndarray) -> int:
        """Returns K, the number of visible patches in every picture of a batch.

        Args:
            table: [rows, 3], the rows of `measure` of all hosts, in the same order everywhere.
        """
        if not self.varies:
            return self.fixed
        most = int(table[:, 0].max())
        group = table[table[:, 2].argmax()] if self.scope != "global" else table.max(0)
        wanted = self.wanted(int(group[0]), bool(group[1]))
        # No picture may hide more human patches than the ratio, and none may show more.
        nearest = (2 * wanted + self.multiple) // (2 * self.multiple) * self.multiple
        nearest = max(nearest, -(-kept(most, self.ratio) // self.multiple) * self.multiple)
        longest = room(most, self.patches, self.ratio)
        if self.shortage == "reveal_human":
            longest = self.patches - 1
        return min(max(nearest, self.multiple), longest // self.multiple * self.multiple)

    def wanted(self, most: int, unknown: bool) -> int:
        """Returns the length by the rule, before it is rounded to a multiple.

        Args:
            most: the largest number of human patches in a picture.
            unknown: whether any picture has no silhouette.
        """
        if most == 0:  # no person, or no silhouettes at all: like uniform masking
            return self.fixed
        whole, most_kept = (int(kept(count, self.ratio)) for count in (self.patches, most))
        if self.rule == "max_kept":
            return max(most_kept, whole) if unknown else most_kept
        if self.shortage == "clamp":
            return min(most, int(room(most, self.patches, self.ratio)))
        return most

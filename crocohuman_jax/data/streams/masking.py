"""Chooses the patches that stay visible: as many in every picture of a batch, human patches first.

The ratio hides human patches only; background patches fill the visible set up to the common
length. How long that is, is not settled by the paper, so it is a rule with a name:
"max_human" (the largest number of human patches in the batch, as written, clamped to what is
feasible), "max_kept" (the largest number of kept human patches) or "fixed". Lengths are multiples
of a small number, which chips like, and each is a program of its own.
"""

import fractions

import numpy as np

from crocohuman_jax.configuration import options

RULES = ("max_human", "max_kept", "fixed")
MODES = ("human", "uniform")
SCOPES = ("global", "per_host", "per_device")
SHORTAGES = ("clamp", "reveal_human", "drop_pair")


def exact(ratio: float | str) -> fractions.Fraction:
    """Returns the ratio as written: 0.7 is 7/10, not the nearest binary number.

    Raises:
        ValueError: not a number in [0, 1).
    """
    options.check_number("config.data.mask.ratio", float(ratio), least=0, below=1)
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


def room(count: int | np.ndarray, patches: int, ratio: fractions.Fraction) -> int | np.ndarray:
    """Returns how many patches a picture with `count` human ones can show and hide the ratio."""
    return patches - (count - kept(count, ratio))


def ranked(
    human: np.ndarray, known: np.ndarray, order: np.ndarray, *, ratio: fractions.Fraction
) -> np.ndarray:
    """Returns each picture's patches in the order in which they become visible, [B, N] int32.

    The human patches that the ratio keeps come first, then background, then the other humans.

    Args:
        human: [B, N] bool; ignored where `known` is False.
        known: [B] bool; where False, the picture is masked uniformly.
        order: [B, N] uniform in [0, 1), the draw.
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
    """Draws the visible patches of batches.

    Args:
        patches: N, patches in a picture.
        mode: "human" (ratio of human patches) or "uniform" (ratio of all patches).
        ratio: share to hide.
        rule: how the common length is found, see the module.
        visible: K for the rule "fixed"; 0 for the largest multiple within N - floor(ratio * N).
        multiple: of which all lengths are, but for `visible`.
        scope: whose pictures the rule looks at: "global", all of a batch; "per_host" or
            "per_device", those of one host or device, drawn anew for each batch.
        shortage: what is done where a picture has too few background patches for the rule's
            length: "clamp" shortens the length for all; "reveal_human" shows more human patches
            of that picture than the ratio allows; "drop_pair" leaves it out of the loss.

    Attributes:
        varies: whether the length depends on the pictures.

    Raises:
        ValueError: an unknown mode, rule, scope or shortage, or a length out of range.
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
                f"config.data.mask.visible={visible} is for mask.rule='fixed', not {rule!r}."
            )
        self.varies = mode == "human" and rule != "fixed"
        if scope != "global" and not self.varies:
            raise ValueError(
                f"config.data.mask.scope={scope!r} is for lengths that depend on the pictures, but "
                f"those of mask.mode={mode!r}, mask.rule={rule!r} do not: set it to 'global'."
            )
        self.patches, self.ratio, self.mode, self.rule = patches, exact(ratio), mode, rule
        self.multiple, self.scope, self.shortage = multiple, scope, shortage
        whole = int(kept(patches, self.ratio))
        if not 0 < whole < patches:
            raise ValueError(
                f"config.data.mask.ratio={ratio} leaves {whole} of {patches} patches visible: "
                "there must be something to see and something to complete."
            )
        options.check_number("config.data.mask.multiple", multiple, least=1, most=whole, whole=True)
        self.fixed = visible or whole // multiple * multiple

    def __call__(self, human: np.ndarray, known: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the visible patches [B, K] int32 of a whole batch; arguments as `ranked`."""
        length = self.length(self.measure(human, known, order))
        return visible(self.ranked(human, known, order), length)

    def ranked(self, human: np.ndarray, known: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns `ranked` by this ratio and mode."""
        return ranked(human, known & (self.mode == "human"), order, ratio=self.ratio)

    def room(self, human: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Returns how many patches each picture can show without too many human ones, [B]."""
        known = known & (self.mode == "human")
        return room(human.sum(1) * known, self.patches, self.ratio)

    def least(self, human: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Returns the shortest length that hides no more humans than the ratio, [B].

        Where no multiple lies between a picture's kept humans and its room, as with 193 or more of
        196 patches, it is the longest that the room allows. 0 where the length does not vary.
        """
        if not self.varies:
            return np.zeros(len(human), int)
        longest = self.room(human, known) // self.multiple * self.multiple
        return np.minimum(kept(human.sum(1) * known, self.ratio), longest)

    def measure(
        self, human: np.ndarray, known: np.ndarray, order: np.ndarray, groups: int = 1
    ) -> np.ndarray:
        """Returns what `length` needs to know of one host's pictures.

        Args:
            human, known, order: see `ranked`; of the host's pictures.
            groups: over how many devices these are split, one after the other.

        Returns:
            [groups, 3] float32, a row a device: the most human patches in a picture of its group,
            whether there is one without silhouette, and a number that draws among the groups.
        """
        counts = human.sum(1) * known
        if self.shortage == "drop_pair" and self.rule == "max_human":
            # A picture with too little background for its own count is dropped, so it must not set
            # the length.
            counts = counts * (counts <= room(counts, self.patches, self.ratio))
        rows = np.stack([counts, ~known, np.zeros(len(counts))], 1)
        split = groups if self.scope == "per_device" else 1
        found = rows.reshape(split, -1, 3).max(1)
        found[:, 2] = order.reshape(split, -1)[:, 0]
        return np.repeat(found, groups // split, 0).astype(np.float32)

    def length(self, table: np.ndarray) -> int:
        """Returns K, how many patches stay visible in every picture of a batch.

        Args:
            table: [rows, 3], what `measure` returned on every host, in one order.
        """
        if not self.varies:
            return self.fixed
        most = int(table[:, 0].max())
        group = table[table[:, 2].argmax()] if self.scope != "global" else table.max(0)
        wanted = self.wanted(int(group[0]), bool(group[1]))
        # No picture hides more humans than the ratio, and none shows more.
        nearest = (2 * wanted + self.multiple) // (2 * self.multiple) * self.multiple
        nearest = max(nearest, -(-kept(most, self.ratio) // self.multiple) * self.multiple)
        longest = room(most, self.patches, self.ratio)
        if self.shortage == "reveal_human":
            longest = self.patches - 1
        return min(max(nearest, self.multiple), longest // self.multiple * self.multiple)

    def wanted(self, most: int, unknown: bool) -> int:
        """Returns the length that the rule gives, not yet a multiple.

        Args:
            most: the largest number of human patches in a picture.
            unknown: whether there is a picture without silhouette.
        """
        if most == 0:  # nobody in sight, or no silhouettes at all: as uniform masking
            return self.fixed
        whole, most_kept = (int(kept(count, self.ratio)) for count in (self.patches, most))
        if self.rule == "max_kept":
            return max(most_kept, whole) if unknown else most_kept
        if self.shortage == "clamp":
            return min(most, int(room(most, self.patches, self.ratio)))
        return most

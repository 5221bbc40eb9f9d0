"""Frames of one group, the partners of a pair: one instant, or one camera."""

import numpy as np

KINDS = ("view", "pose")


class Groups:
    """Finds the partners of a frame.

    Args:
        index: the columns of `records.Frames.index`.
        split: frames of this split only.
        kind: "view" or "pose".
        gap: for "pose", the least and the greatest distance of two instants; a greatest of 0
            is none.
    """

    def __init__(self, index: dict[str, np.ndarray], split: str, kind: str, gap: tuple[int, int]):
        group = np.where(index["split"] == split, index[f"{kind}_group"], -1)
        self.rows = np.flatnonzero(group >= 0)
        self.rows = self.rows[np.argsort(group[self.rows], kind="stable")]
        sorted_groups = group[self.rows]
        self.group = group
        self.numbers, self.starts = np.unique(sorted_groups, return_index=True)
        self.ends = np.append(self.starts, len(self.rows))[1:]
        if kind == "view":
            self.value, self.gap = np.unique(index["camera"], return_inverse=True)[1], (1, 0)
        else:
            self.value, self.gap = index["instant"], gap

    def partners(self, row: int) -> np.ndarray:
        """Returns the rows that may be the reference of a target."""
        at = np.searchsorted(self.numbers, self.group[row])
        members = self.rows[self.starts[at] : self.ends[at]]
        return members[self._apart(self.value[members] - self.value[row])]

    def other_camera(self, row: int) -> int:
        """Returns a partner of another camera; over all groups each camera comes as often."""
        partners = self.partners(row)
        cameras = np.unique(self.value[partners])
        # From the target's own camera on, in a circle, further by one from group to group.
        first = np.searchsorted(cameras, self.value[row])
        step = np.searchsorted(self.numbers, self.group[row])
        chosen = cameras[(first + step) % len(cameras)]
        mine = partners[self.value[partners] == chosen]
        return int(mine[step // len(cameras) % len(mine)])

    def eligible(self) -> np.ndarray:
        """Returns the rows that have a partner, sorted."""
        found = []
        for start, end in zip(self.starts, self.ends, strict=True):
            members = self.rows[start:end]
            values = np.unique(self.value[members])
            least, most = self.gap[0], self.gap[1] or np.iinfo(np.int64).max // 4
            mine = self.value[members]
            after = _any_between(values, mine + least, mine + most)
            before = _any_between(values, mine - most, mine - least)
            found.append(members[after | before])
        return np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def _apart(self, difference: np.ndarray) -> np.ndarray:
        distance = np.abs(difference)
        least, most = self.gap
        return (distance >= least) & ((distance <= most) | (most == 0))


def _any_between(ordered: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.searchsorted(ordered, low, "left") < np.searchsorted(ordered, high, "right")

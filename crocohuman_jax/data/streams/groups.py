"""Finds the frames that can form a pair: those of one instant, or those of one camera."""

import numpy as np

KINDS = ("view", "pose")


class Groups:
    """Finds the partners of a frame: frames of its group that can form a pair with it.

    Args:
        index: the columns of `records.Frames.index`.
        split: only frames of this split are used.
        kind: "view" (another camera at the same instant) or "pose" (another instant, same camera).
        gap: for "pose", the smallest and the largest distance of two instants; a largest of 0 means
            no limit.
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
        """Returns the rows of the frames that can be the reference of the target `row`."""
        at = np.searchsorted(self.numbers, self.group[row])
        members = self.rows[self.starts[at] : self.ends[at]]
        return members[self._apart(self.value[members] - self.value[row])]

    def other_camera(self, row: int) -> int:
        """Returns a partner of another camera; over all groups every camera comes equally often."""
        partners = self.partners(row)
        cameras = np.unique(self.value[partners])
        # Goes round the cameras, starting after the target's, one camera further in each group.
        first = np.searchsorted(cameras, self.value[row])
        step = np.searchsorted(self.numbers, self.group[row])
        chosen = cameras[(first + step) % len(cameras)]
        mine = partners[self.value[partners] == chosen]
        return int(mine[step // len(cameras) % len(mine)])

    def eligible(self) -> np.ndarray:
        """Returns the sorted rows of the frames that have a partner."""
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

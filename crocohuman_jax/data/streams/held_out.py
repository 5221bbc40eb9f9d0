"""Chooses the held-out pairs that runs are evaluated on; they depend on prepared folders only."""

import collections

import numpy as np


def pairs(
    groups: dict[tuple[int, str], object], cameras: list[np.ndarray], count: int
) -> list[tuple[int, str, int, int]]:
    """Returns pairs (folder, kind, target, reference); the same arguments give the same pairs.

    In each prefix of the list, folders, kinds and cameras appear in proportion to their numbers of
    frames. A target is repeated only after all were used, and then with its other kind or another
    reference.

    Args:
        groups: {(number of the folder, kind): `groups.Groups`}.
        cameras: for each folder, the camera of each frame.
        count: number of pairs; none are returned if no frame has a partner.
    """
    kinds: dict[tuple[int, int], list[str]] = {}  # {(folder, row) of a target: its kinds}
    for (number, kind), mine in groups.items():
        for row in mine.eligible():
            kinds.setdefault((number, int(row)), []).append(kind)
    used, found = collections.Counter(), []
    while kinds and len(found) < count:
        turn = -(-len(found) // len(kinds))
        for number, row, kind in _targets(kinds, cameras, turn)[: count - len(found)]:
            partners = groups[number, kind].partners(row)
            names = cameras[number]
            keys = {int(o): ((number, row, int(o)), (kind, names[row], names[o])) for o in partners}
            # A random one of the references that were used least often.
            shuffled = np.random.default_rng((row, turn)).permutation(partners)
            other = int(min(shuffled, key=lambda o, k=keys: [used[key] for key in k[int(o)]]))
            used.update(keys[other])
            found.append((number, kind, row, other))
    return found


def _targets(kinds: dict, cameras: list[np.ndarray], turn: int) -> list[tuple[int, int, str]]:
    """Returns (folder, row, kind), each target once, so that every prefix is evenly spread."""
    places = sorted(kinds)
    parts: dict[tuple, list] = {}  # by folder and camera
    for number, row in places:
        parts.setdefault((number, cameras[number][row]), [])
    for i in np.random.default_rng(0).permutation(len(places)):
        number, row = places[i]
        parts[number, cameras[number][row]].append(places[i])
    placed = []
    for first, part in enumerate(parts.values()):
        for i, place in enumerate(part):
            both = kinds[place]
            kind = both[(first + i + turn) % len(both)]
            placed.append(((i + 0.5) / len(part), (*place, kind)))
    return [one for _, one in sorted(placed, key=lambda each: each[0])]

"""Chooses the pairs that runs are measured on, from the prepared folders alone."""

import collections

import numpy as np


def pairs(
    groups: dict[tuple[int, str], object], cameras: list[np.ndarray], count: int
) -> list[tuple[int, str, int, int]]:
    """Returns pairs (folder, kind, target, reference), always the same.

    Each prefix is spread over folders, kinds and cameras by their numbers of frames. No target
    comes again before all were there, and then with its other kind or another reference.

    Args:
        groups: {(number of the folder, kind): `groups.Groups`}.
        cameras: of each folder, the cameras of its frames.
        count: how many pairs; fewer only where there is none at all.
    """
    kinds: dict[tuple[int, int], list[str]] = {}  # of each target
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
            # Of references that came as seldom, one by chance.
            shuffled = np.random.default_rng((row, turn)).permutation(partners)
            other = int(min(shuffled, key=lambda o, k=keys: [used[key] for key in k[int(o)]]))
            used.update(keys[other])
            found.append((number, kind, row, other))
    return found


def _targets(kinds: dict, cameras: list[np.ndarray], turn: int) -> list[tuple[int, int, str]]:
    """Returns every target once with a kind (folder, row, kind), each prefix evenly spread."""
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

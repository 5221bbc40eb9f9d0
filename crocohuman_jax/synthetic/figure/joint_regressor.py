"""Fits joints as means of vertices: sparse, non-negative, valid for every shape of the body."""

import numpy as np


def fit(samples, places, weights, parents, near: int = 100) -> np.ndarray:
    """Returns the joint regressor: non-negative [K, V] float32 whose rows sum to one.

    Args:
        samples: [1 + 32, V, 3], the mean mesh and the shape directions.
        places: [1 + 32, K, 3], the mean joints and their displacement along each direction.
        weights: [V, K], skinning weights; only skin that moves with a joint or its parent is used.
        parents: [K] int, -1 for the root.
        near: number of vertices in each octant around a joint that may be used.
    """
    regressor = np.zeros(weights.T.shape, np.float32)
    for k, parent in enumerate(parents):
        offset = samples[0] - places[0, k]
        distance = np.linalg.norm(offset, axis=1)
        moved = weights[:, k] + (weights[:, parent] if parent >= 0 else 0) > 0.2
        octant = (offset > 0) @ (1, 2, 4)
        chosen = []
        for o in range(8):
            inside = np.flatnonzero((octant == o) & moved)
            chosen.append(inside[np.argsort(distance[inside], kind="stable")[:near]])
        chosen = np.sort(np.concatenate(chosen))
        # As the weights sum to one, the weighted offsets of vertices from the joint must cancel, in
        # the mean mesh and in each shape direction; one more equation fixes the sum.
        offsets = samples[:, chosen] - places[:, None, k]
        equations = offsets.transpose(0, 2, 1).reshape(-1, len(chosen)).astype(np.float64)
        equations = np.concatenate([equations, np.ones((1, len(chosen)))])
        solved = non_negative(equations, len(equations) - 1)
        regressor[k, chosen] = solved / solved.sum()
    return regressor


def non_negative(a: np.ndarray, one: int) -> np.ndarray:  # [E, N]
    """Returns x >= 0, [N], that minimises |a x - b|, where b is 1 in row `one` and 0 elsewhere.

    This is the active set method of Lawson and Hanson.
    """
    gram, right = a.T @ a, a[one]
    x, free = np.zeros(a.shape[1]), np.zeros(a.shape[1], bool)
    for _ in range(3 * a.shape[1]):
        slope = right - gram @ x
        slope[free] = -np.inf
        best = slope.argmax()
        if slope[best] <= 1e-9:
            break
        free[best] = True
        while True:
            set_ = np.flatnonzero(free)
            solved = np.linalg.lstsq(gram[np.ix_(set_, set_)], right[set_], rcond=None)[0]
            if solved.min() > 0:
                break
            falling = set_[solved <= 0]
            toward = solved[solved <= 0]
            step = (x[falling] / (x[falling] - toward)).min()
            x[set_] += step * (solved - x[set_])
            free[falling[x[falling] <= 1e-12]] = False
            x[~free] = 0
        x[:] = 0
        x[set_] = solved
    return x

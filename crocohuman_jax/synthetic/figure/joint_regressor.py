"""Joints as means of vertices: sparse, non-negative, right for every shape of the body."""

import numpy as np


def fit(samples, places, weights, parents, near: int = 100) -> np.ndarray:
    """Returns non-negative [K, V] float32, rows summing to one: joints as means of vertices.

    Args:
        samples: [1 + 32, V, 3], the mean mesh and its directions of shape.
        places: [1 + 32, K, 3], what the joints do in each.
        weights: [V, K], for a joint is carried by skin that moves with it or its parent.
        parents: [K].
        near: how many vertices in each octant around a joint may carry it.
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
        # As the weights sum to one, offsets of the vertices from the joint want to cancel, in the
        # mean mesh and in each direction; one more equation holds the sum.
        offsets = samples[:, chosen] - places[:, None, k]
        equations = offsets.transpose(0, 2, 1).reshape(-1, len(chosen)).astype(np.float64)
        equations = np.concatenate([equations, np.ones((1, len(chosen)))])
        solved = non_negative(equations, len(equations) - 1)
        regressor[k, chosen] = solved / solved.sum()
    return regressor


def non_negative(a: np.ndarray, one: int) -> np.ndarray:  # [E, N]
    """Returns x >= 0, [N], that minimises |a x - b|, b being 1 in row `one` and else 0.

    The active set method of Lawson and Hanson.
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

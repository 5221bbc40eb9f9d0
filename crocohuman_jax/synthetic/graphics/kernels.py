"""Compiles functions with numba where it is installed, and interpolates vertex values to pixels.

Every compiled kernel has a vectorised numpy version, so numba is optional. The environment variable
CROCOHUMAN_NUMBA=0 selects the numpy versions.
"""

import os
from collections.abc import Callable

import numpy as np

try:
    import numba
except ImportError:
    numba = None

# Callers read this at each call, so that a test can compare both versions.
AVAILABLE = numba is not None and os.environ.get("CROCOHUMAN_NUMBA", "1") != "0"


def compiled(function: Callable, **options) -> Callable:
    """Returns the function compiled by numba, or unchanged where numba is missing.

    It uses neither threads nor fast maths, so results are the same bytes everywhere. Compiled code
    is cached beside the module or, where that folder is not writable, in the user's cache folder
    or in NUMBA_CACHE_DIR.
    """
    if not AVAILABLE:
        return function
    options |= {"nogil": True, "fastmath": False, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no cache folder is writable
        return numba.njit(**options)(function)


def inlined(function: Callable) -> Callable:
    """Returns the function compiled so that it is inlined into its callers."""
    return compiled(function, inline="always")


def interpolate(values, faces, face, barycentric) -> np.ndarray:
    """Returns vertex values interpolated at points on faces, [P, A] float32.

    Args:
        values: [M, A] float32, one row per vertex.
        faces: [F, 3] int32.
        face: [P] int32, the face each point lies on.
        barycentric: [P, 2] float32, weights of corners 1 and 2 of each face; corner 0 has the rest.
    """
    values = np.ascontiguousarray(values, np.float32)
    if AVAILABLE:
        return _interpolate(values, faces, face, barycentric)
    corners = faces[face]
    first = np.float32(1) - barycentric[:, 0] - barycentric[:, 1]
    out = values[corners[:, 0]] * first[:, None]
    out += values[corners[:, 1]] * barycentric[:, :1]
    out += values[corners[:, 2]] * barycentric[:, 1:]
    return out


@compiled
def _interpolate(values, faces, face, barycentric):
    count = values.shape[1]
    out = np.empty((len(face), count), np.float32)
    for p in range(len(face)):
        a, b, c = faces[face[p], 0], faces[face[p], 1], faces[face[p], 2]
        v, w = barycentric[p, 0], barycentric[p, 1]
        u = np.float32(1) - v - w
        for k in range(count):
            out[p, k] = values[a, k] * u + values[b, k] * v + values[c, k] * w
    return out

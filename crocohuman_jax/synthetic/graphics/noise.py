"""Smooth random noise in space, used for fabrics, skin, walls and hills."""

import numpy as np

from crocohuman_jax.synthetic.graphics import kernels

CELLS = 32  # a power of two; the noise repeats after this many cells
# [CELLS + 1]^3: the first plane is repeated after the last, so that no cell wraps around.
VOLUME = np.random.default_rng(12345).random((CELLS,) * 3, np.float32)
_PADDED = np.pad(VOLUME, (0, 1), mode="wrap")
GAIN = np.float32(0.5)  # amplitude of an octave relative to the octave before
LACUNARITY = np.float32(2.03)  # frequency likewise; not 2, which would align the lattices
SHIFT = np.float32(11.37)  # cells by which each octave is shifted, for the same reason


def noise(points: np.ndarray, frequency: float) -> np.ndarray:
    """Returns value noise in [0, 1], [...] float32; it repeats every 32 / frequency.

    Args:
        points: [..., 3] positions.
        frequency: cells per unit of length.
    """
    return fbm(points, frequency, 1)


def fbm(points: np.ndarray, frequency: float, octaves: int = 3) -> np.ndarray:
    """Returns noise of several octaves, [...] float32 in [0, 1] with mean 0.5.

    Args:
        points: [..., 3] positions.
        frequency: cells per unit of length of the coarsest octave.
        octaves: number of octaves, each about twice as fine and half as strong as the last.
    """
    points = np.asarray(points, np.float32)
    flat = np.ascontiguousarray(points.reshape(-1, 3))
    kernel = _fbm if kernels.AVAILABLE else _fbm_numpy
    return kernel(flat, np.float32(frequency), octaves, _PADDED).reshape(points.shape[:-1])


@kernels.compiled
def _fbm(points, frequency, octaves, volume):  # float32 throughout, as the numpy version
    one, two, three = np.float32(1), np.float32(2), np.float32(3)
    out = np.empty(len(points), np.float32)
    for p in range(len(points)):
        f, amplitude, shift = frequency, np.float32(1), np.float32(0)
        total, weight = np.float32(0), np.float32(0)
        for _ in range(octaves):
            x = points[p, 0] * f + shift
            y = points[p, 1] * f + shift
            z = points[p, 2] * f + shift
            floor_x, floor_y, floor_z = np.floor(x), np.floor(y), np.floor(z)
            x, y, z = x - floor_x, y - floor_y, z - floor_z
            i, j, k = int(floor_x) & 31, int(floor_y) & 31, int(floor_z) & 31
            x, y, z = (
                x * x * (three - two * x),
                y * y * (three - two * y),
                z * z * (three - two * z),
            )
            back = one - z
            a = volume[i, j, k] * back + volume[i, j, k + 1] * z
            b = volume[i, j + 1, k] * back + volume[i, j + 1, k + 1] * z
            c = volume[i + 1, j, k] * back + volume[i + 1, j, k + 1] * z
            d = volume[i + 1, j + 1, k] * back + volume[i + 1, j + 1, k + 1] * z
            left = a * (one - y) + b * y
            right = c * (one - y) + d * y
            total += amplitude * (left * (one - x) + right * x)
            weight += amplitude
            amplitude *= GAIN
            f *= LACUNARITY
            shift += SHIFT
        out[p] = total / weight
    return out


def _fbm_numpy(points, frequency, octaves, volume):
    amplitude, shift = np.float32(1), np.float32(0)
    total, weight = np.zeros(len(points), np.float32), np.float32(0)
    for _ in range(octaves):
        at = points * frequency + shift
        floor = np.floor(at)
        at -= floor
        i, j, k = (floor.astype(np.int64) & (CELLS - 1)).T
        x, y, z = (at * at * (3 - 2 * at)).T
        a = volume[i, j, k] * (1 - z) + volume[i, j, k + 1] * z
        b = volume[i, j + 1, k] * (1 - z) + volume[i, j + 1, k + 1] * z
        c = volume[i + 1, j, k] * (1 - z) + volume[i + 1, j, k + 1] * z
        d = volume[i + 1, j + 1, k] * (1 - z) + volume[i + 1, j + 1, k + 1] * z
        total += amplitude * ((a * (1 - y) + b * y) * (1 - x) + (c * (1 - y) + d * y) * x)
        weight += amplitude
        amplitude, frequency, shift = amplitude * GAIN, frequency * LACUNARITY, shift + SHIFT
    return total / weight

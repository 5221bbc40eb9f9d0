"""Peak speeds of chips, to compute which share of them a run uses."""

import time

import jax
import jax.numpy as jnp

# Dense bfloat16 matrix products of one chip in operations per second, from the vendors' data
# sheets, by a part of the name JAX gives to the device.
DATA_SHEET = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "V100": 125e12,
    "TPU v6": 918e12,
    "TPU v5p": 459e12,
    "TPU v5 lite": 197e12,
    "TPU v4": 275e12,
    "TPU v3": 123e12,
}


def data_sheet(device: jax.Device) -> tuple[str, float] | None:
    """Returns (name, operations per second) of a known chip, or None."""
    for name, peak in DATA_SHEET.items():
        if name.lower() in device.device_kind.lower():
            return f"{name} data sheet, bfloat16", peak
    return None


def measure(dtype: str, size: int = 0, repeats: int = 5) -> tuple[str, float]:
    """Returns (name, operations per second) of the fastest of a few large matrix products here."""
    size = size or (2048 if jax.default_backend() == "cpu" else 8192)
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.dtype(dtype))
    product = jax.jit(jnp.matmul)
    product(a, b).block_until_ready()
    fastest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        product(a, b).block_until_ready()
        fastest = min(fastest, time.perf_counter() - start)
    return f"a {size}x{size} {dtype} matrix product measured here", 2 * size**3 / fastest

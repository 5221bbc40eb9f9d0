"""A GPU that is not here, for XLA's GPU compiler: its description, and what asks for a real one."""

import jax
import pytest
from jax.experimental import topologies

from crocohuman_jax.models import attention

# What the compiler asks of an H200; from NVIDIA's data sheet and CUDA's device query.
H200 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 4800000000000
  device_memory_size: 149000000000
  clock_rate_ghz: 1.98
}
"""


def h200(count: int) -> list:
    """Returns devices to compile for; skips the test where jax has no compiler for them."""
    try:
        topology = topologies.get_topology_desc(
            "h200", "cuda", target_config=H200, topology=f"1x1x{count}"
        )
    except Exception as error:
        pytest.skip(f"jax's CUDA extra is not installed (jax[cuda13]): {error}")
    return list(topology.devices)


def pretend(patch: pytest.MonkeyPatch) -> None:
    """Lets everything that asks which device runs hear of an H200; checks of shapes stay."""
    import jax._src.cudnn.fused_attention_stablehlo as fused

    patch.setattr(jax, "default_backend", lambda: "gpu")
    patch.setattr(attention, "_cudnn_obstacle", lambda *_: "")
    patch.setattr(fused, "check_cudnn_version", lambda: 91000)
    patch.setattr(fused, "check_compute_capability", lambda *_: True)
    patch.setattr(fused, "is_cuda_compute_capability_equal", lambda *_: False)
    patch.setattr(fused, "is_cuda_compute_capability_at_least", lambda *_: True, raising=False)

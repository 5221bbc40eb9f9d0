"""People on disk and on their way to a step, with numpy and grain: never jax."""

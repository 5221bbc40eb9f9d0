"""Prepares, stores and loads pictures of people with numpy and grain, and never imports jax."""

"""Learns to understand people from pairs of pictures, in JAX."""

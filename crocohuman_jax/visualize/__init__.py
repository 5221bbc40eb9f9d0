"""Draws predictions on pictures and writes meshes to files. Nothing here predicts."""

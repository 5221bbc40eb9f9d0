"""Draws predicted meshes and joints on pictures and writes meshes to files."""

"""Renders triangle meshes: cameras, rasterisation, light and shadows, for any kind of scene."""

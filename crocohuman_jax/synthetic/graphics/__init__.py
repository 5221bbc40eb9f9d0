"""Rendering: cameras, triangles, light and shadow. Nothing here knows of people."""

"""Renders the built-in synthetic people: `recording` films moving people in scenes.

Numpy only, without learned parts.
"""

"""Renders the built-in synthetic people: `takes` films moving people in scenes.

Numpy only, without learned parts.
"""

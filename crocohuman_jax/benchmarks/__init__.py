"""Measures speed for the command `benchmark`, one topic per file.

Errors of predictions belong to `evaluation`.
"""

"""Applies trained models: the Python API, and predictions for people in photographs.

Measuring models belongs to `evaluation`.
"""

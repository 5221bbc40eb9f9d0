"""Trained models for users: the Python API, and people in photographs."""

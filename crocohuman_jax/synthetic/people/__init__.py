"""Whole persons: a figure with skin, hair, clothes and accessories."""

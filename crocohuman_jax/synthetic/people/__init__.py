"""Builds whole people: a body with skin, hair, clothes and accessories."""

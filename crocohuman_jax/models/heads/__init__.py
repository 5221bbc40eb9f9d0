"""Heads on an encoder's patches. What a head learns by is said in `tasks`."""

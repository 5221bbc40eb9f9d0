"""Builds the scenes around people: rooms, outdoors, studios, and users' own scenes and pictures."""

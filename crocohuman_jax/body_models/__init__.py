"""Body models as pure functions on arrays: skinning, cameras, landmarks, coarser meshes.

Synthetic people belong to `synthetic`, annotations of people to `data`.
"""

"""Body models as pure functions on arrays: skinning, cameras, landmarks, coarser meshes.

People who are drawn or generated belong to `synthetic`, annotations of people to `data`.
"""

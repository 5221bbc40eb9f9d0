"""Bodies as pure functions on arrays: rotations, cameras, skinning, coarse meshes."""

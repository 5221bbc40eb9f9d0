"""The body without clothes: a parametric mesh, a skeleton, models in SMPL's and MANO's format."""

"""The naked body: a parametric mesh, its skeleton, and open models in SMPL's and MANO's form."""

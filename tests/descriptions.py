"""Small networks by description, and what their files hold."""

import numpy as np

from crocohuman_jax.models.croco import Shape
from crocohuman_jax.weights.names import architectures, leaf_names

TINY = architectures.Description(
    "croco", Shape(24, 2, 3), Shape(16, 1, 2), (16, 24), 8, "cosine", head=192
)
ROPE = architectures.Description(
    "croco", Shape(24, 2, 3), Shape(16, 1, 2), (224, 224), 16, "rope100", head=768
)
MAE = architectures.Description(
    "mae", Shape(24, 2, 3), Shape(16, 1, 2), (16, 16), 8, "table", head=192
)
VIT = architectures.Description("vit", Shape(24, 2, 3), None, (16, 16), 8, "table", head=5)
EVERY = {"croco": TINY, "rope": ROPE, "mae": MAE, "vit": VIT}


def parameters(description, seed=0):
    draw = np.random.default_rng(seed)
    return {
        leaf.path: draw.standard_normal(leaf.shape_here(), np.float32)
        for leaf in architectures.leaves(description)
    }


def state_dict(description):
    params = parameters(description)
    return leaf_names.export_arrays(
        params, architectures.leaves(description), architectures.tables(description)
    )

"""Tables of positions for another grid, against what PyTorch's bicubic interpolation returns."""

import numpy as np
import pytest

from crocohuman_jax.models import position_embeddings

TABLE = np.array([[0, 1, 4, 2], [3, -1, 0, 5], [2, 2, -3, 1]], np.float32).reshape(12, 1)
# Of torch.nn.functional.interpolate(mode="bicubic", align_corners=False), torch 2.13.
RESIZED = {
    (5, 3): [
        [-0.131009, 3.177250, 2.150898],
        [1.013649, 1.146999, 3.385018],
        [2.408566, -1.343750, 4.299768],
        [2.378482, -1.353874, 2.017019],
        [2.055918, -0.830000, -0.041100],
    ],
    (2, 6): [
        [0.738580, 0.319580, 0.820046, 2.831566, 3.268310, 2.787422],
        [2.425958, 2.138916, 0.545836, -2.335386, -0.572510, 2.399969],
    ],
}


@pytest.mark.parametrize("grid", RESIZED)
def test_a_table_is_resized_as_pytorch_does_it(grid):
    found = np.asarray(position_embeddings.resize(TABLE, (3, 4), grid)).reshape(grid)
    np.testing.assert_allclose(found, RESIZED[grid], atol=2e-6)


def test_the_same_grid_leaves_a_table_as_it_is():
    assert position_embeddings.resize(TABLE, (3, 4), (3, 4)) is TABLE


def test_channels_do_not_mix_and_constants_stay():
    table = np.stack([TABLE[:, 0], np.full(12, 0.25)], 1)
    found = position_embeddings.resize(table, (3, 4), (7, 5))
    np.testing.assert_allclose(found[:, 1], 0.25, atol=1e-6)
    np.testing.assert_allclose(
        found[:, :1], position_embeddings.resize(TABLE, (3, 4), (7, 5)), atol=1e-6
    )


def test_a_table_of_another_grid_is_named():
    with pytest.raises(ValueError, match="table of 12 rows does not fit a 4x4 grid"):
        position_embeddings.resize(TABLE, (4, 4), (8, 8))

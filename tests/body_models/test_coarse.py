"""Coarse meshes: what is kept when a mesh is thinned out, and the matrices between its sizes."""

import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.body_models import mesh_decimation, mesh_downsampling
from crocohuman_jax.synthetic.figure import open_models


def grid(side=12, height=None):
    """Returns a square of side * side vertices, [0, 1] x [0, 1], open at its border."""
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    z = np.zeros_like(x) if height is None else height(x, y)
    first = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    faces = [first, first + side, first + side + 1], [first, first + side + 1, first + 1]
    return np.stack([x, y, z], -1).reshape(-1, 3), np.concatenate([np.stack(f, 1) for f in faces])


def ball(rings=10, around=16):
    """Returns a closed unit sphere whose faces look outwards."""
    up = np.linspace(0, np.pi, rings + 2)[1:-1, None]
    turn = 2 * np.pi * np.arange(around) / around
    points = np.stack(
        [np.sin(up) * np.cos(turn), np.sin(up) * np.sin(turn), np.cos(up) + 0 * turn], -1
    )
    vertices = np.concatenate([points.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    here, right = np.arange(around), (np.arange(around) + 1) % around
    top, bottom, last = rings * around, rings * around + 1, (rings - 1) * around
    faces = [np.stack([here, right, np.full(around, top)], 1)]
    faces.append(np.stack([last + right, last + here, np.full(around, bottom)], 1))
    for ring in range(rings - 1):
        a, b = ring * around + here, ring * around + right
        faces += [np.stack([a, a + around, b], 1), np.stack([b, a + around, b + around], 1)]
    return vertices, np.concatenate(faces)


def normals(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def edges(faces):
    """Returns how many faces each edge has."""
    pairs = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return np.unique(pairs, axis=0, return_counts=True)[1]


def pieces(faces, count):
    label = np.arange(count)
    while True:
        low = label[faces].min(1)
        new = label.copy()
        for corner in range(3):
            np.minimum.at(new, faces[:, corner], low)
        if (new == label).all():
            return len(np.unique(label))
        label = new


def dense(matrix):
    full = np.zeros((len(matrix.columns), matrix.width))
    np.add.at(full, (np.arange(len(full))[:, None], matrix.columns), matrix.values)
    return full


def test_a_closed_mesh_stays_closed_and_outside_stays_outside():
    vertices, faces = ball()
    found = mesh_downsampling.compute(vertices, faces, (80, 30, 4))
    assert found.levels == (162, 80, 30, 4)
    for points, one in zip(mesh_downsampling.pyramid(found, vertices), found.faces, strict=True):
        assert set(edges(one)) == {2}
        assert len(one) == 2 * len(points) - 4  # Euler's formula of a sphere
        a, b, c = (points[one[:, k]] for k in range(3))
        assert ((a + b + c) * normals(points, one)).sum(-1).min() > 0
        assert set(one.ravel()) == set(range(len(points)))


def test_coarse_vertices_are_some_of_the_finer_ones():
    vertices, faces = ball()
    found = mesh_downsampling.compute(vertices, faces, (80, 30))
    for fine, small, down in zip(
        mesh_downsampling.pyramid(found, vertices),
        mesh_downsampling.pyramid(found, vertices)[1:],
        found.down,
        strict=False,
    ):
        assert down.columns.shape == (len(small), 1) and (down.values == 1).all()
        assert (np.diff(down.columns[:, 0]) > 0).all()
        assert (fine[down.columns[:, 0]] == small).all()


def test_an_open_mesh_keeps_its_border_and_a_plane_stays_one():
    vertices, faces = grid()
    found = mesh_downsampling.compute(vertices, faces, (60, 20))
    for points, one in zip(mesh_downsampling.pyramid(found, vertices), found.faces, strict=True):
        assert len(points) - len(edges(one)) + len(one) == 1  # Euler's formula of a disc
        up = normals(points, one)
        assert up[:, 2].min() > 0 and np.abs(up[:, :2]).max() < 1e-12
        assert up[:, 2].sum() / 2 == pytest.approx(1)  # the square is still covered, once
        corners = {(0, 0), (0, 1), (1, 0), (1, 1)}
        assert corners <= {tuple(point) for point in points[:, :2].round(9).tolist()}
    for up, fine, small in zip(
        found.up,
        mesh_downsampling.pyramid(found, vertices),
        mesh_downsampling.pyramid(found, vertices)[1:],
        strict=False,
    ):
        np.testing.assert_allclose(mesh_downsampling.apply(up, small), fine, atol=1e-6)


def test_vertices_stay_where_the_surface_bends():
    vertices, faces = grid(16, lambda x, y: np.abs(x - 8 / 15))
    points = mesh_downsampling.pyramid(mesh_downsampling.compute(vertices, faces, (8,)), vertices)[
        -1
    ]
    bend = points[np.isclose(points[:, 0], 8 / 15)]
    assert {0.0, 1.0} <= set(bend[:, 1])


def test_up_is_the_nearest_point_of_the_coarse_surface():
    vertices, faces = ball()
    found = mesh_downsampling.compute(vertices, faces, (60,))
    small, up = mesh_downsampling.pyramid(found, vertices)[1], found.up[0]
    assert up.values.min() >= 0
    np.testing.assert_allclose(up.values.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(dense(up)[found.down[0].columns[:, 0]], np.eye(60), atol=1e-6)
    # Nothing on any triangle, sampled densely, is nearer.
    share = np.random.default_rng(0).dirichlet(np.ones(3), 400)
    samples = np.einsum("sk,fka->fsa", share, small[found.faces[1]]).reshape(-1, 3)
    far = np.linalg.norm(mesh_downsampling.apply(up, small) - vertices, axis=-1)
    for vertex in range(0, len(vertices), 7):
        assert np.linalg.norm(samples - vertices[vertex], axis=-1).min() > far[vertex] - 1e-9


def test_the_nearest_point_of_a_triangle_is_found_all_around_it():
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(50, 3, 3))
    points = 2 * rng.normal(size=(50, 3))
    weights = mesh_downsampling._nearest(points, corners)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1)
    found = np.linalg.norm((weights[..., None] * corners).sum(1) - points, axis=-1)
    steps = np.linspace(0, 1, 81)
    share = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    near = np.linalg.norm(np.einsum("sk,pka->psa", share, corners) - points[:, None], axis=-1).min(
        1
    )
    assert (found <= near + 1e-9).all()
    assert (near - found).max() < 0.01


def test_pieces_stay_apart_and_none_is_lost():
    vertices, faces = ball(6, 8)
    count = len(vertices)
    vertices = np.concatenate([vertices, 0.1 * vertices + [1.12, 0, 0], 3 + 0 * vertices[:1]])
    faces = np.concatenate([faces, faces + count])
    found = mesh_downsampling.compute(vertices, faces, (60, 8))
    for points, one in zip(
        mesh_downsampling.pyramid(found, vertices)[1:], found.faces[1:], strict=True
    ):
        assert pieces(one, len(points)) == 2
    assert found.down[0].columns.max() < 2 * count  # the vertex of no face is gone
    # What is merged in one piece comes back on that piece.
    rows, slots = np.nonzero(found.up[0].values)
    came_from = found.down[0].columns[:, 0][found.up[0].columns[rows, slots]]
    inside = rows < 2 * count
    assert ((rows >= count) == (came_from >= count))[inside].all()
    with pytest.raises(ValueError, match="cannot be reduced to 7: 8 are needed"):
        mesh_downsampling.compute(vertices, faces, (7,))


def test_the_open_hand_is_still_open_at_the_wrist():
    hand = open_models.hand()
    vertices, faces = hand["v_template"], hand["f"]
    found = mesh_downsampling.compute(vertices, faces, (195,))
    assert found.levels == (1611, 195)
    small = mesh_downsampling.pyramid(found, vertices)[1]
    for one in found.faces:
        assert set(edges(one)) == {1, 2}
    assert pieces(found.faces[1], 195) == pieces(faces.astype(int), 1611)
    off = np.linalg.norm(mesh_downsampling.apply(found.up[0], small) - vertices, axis=-1)
    assert off.mean() < 0.001 and off.max() < 0.006  # metres


def test_a_merge_that_would_turn_a_triangle_over_is_refused():
    # Seen from above: 4 lies in a corner of an arrow, and going to 1 would fold 2-3.
    vertices = np.array([[0, 0, 0], [4, 0, 0], [1, 1, 0], [0, 4, 0], [0.5, 0.5, 0]])
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    surface = mesh_decimation.Surface(vertices, faces)
    assert not surface._allowed(4, 1)
    assert surface._allowed(4, 0) and surface._allowed(4, 2)
    assert not surface._allowed(2, 4)  # from the border inwards


def test_triangles_without_area_are_no_obstacle():
    vertices, faces = grid(8)
    # A corner on the border is there twice, joined by a triangle of no area.
    vertices = np.concatenate([vertices, vertices[:1]])
    faces = np.concatenate([faces, [[1, 0, 64]]])
    found = mesh_downsampling.compute(vertices, faces, (8,))
    up = normals(mesh_downsampling.pyramid(found, vertices)[1], found.faces[1])
    assert up[:, 2].min() >= 0 and up[:, 2].sum() / 2 == pytest.approx(1)


def test_matrices_take_numpy_and_jax_arrays_of_any_batch():
    vertices, faces = grid(6)
    found = mesh_downsampling.compute(vertices, faces, (12,))
    x = np.random.default_rng(0).normal(size=(2, 5, 36, 3)).astype(np.float32)
    for matrix, value in ((found.down[0], x), (found.up[0], x[:, :, :12])):
        expected = np.einsum("rv,bcva->bcra", dense(matrix), value)
        out = mesh_downsampling.apply(matrix, value)
        assert isinstance(out, np.ndarray) and out.dtype == np.float32
        np.testing.assert_allclose(out, expected, atol=1e-6)
        out = mesh_downsampling.apply(matrix, jnp.asarray(value))
        assert isinstance(out, jnp.ndarray)
        np.testing.assert_allclose(out, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"takes \[..., 36, 3\], not \(2, 35, 3\)"):
        mesh_downsampling.apply(found.down[0], x[0, :2, :35])


def equal(a, b):
    assert a.levels == b.levels
    for one, other in zip(a.faces, b.faces, strict=True):
        assert (one == other).all()
    for one, other in zip((*a.down, *a.up), (*b.down, *b.up), strict=True):
        assert one.width == other.width and (dense(one) == dense(other)).all()


def test_arrays_come_back_as_they_went():
    found = mesh_downsampling.compute(*ball(), (80, 30))
    arrays = mesh_downsampling.to_arrays(found)
    equal(mesh_downsampling.from_arrays(arrays), found)
    fewer = mesh_downsampling.from_arrays(arrays, levels=2)
    assert fewer.levels == (162, 80)
    assert len(fewer.faces) == 2 and len(fewer.up) == len(fewer.down) == 1


def test_entries_come_in_any_order():
    arrays = mesh_downsampling.to_arrays(mesh_downsampling.compute(*ball(), (80, 30)))
    expected = mesh_downsampling.from_arrays(arrays)
    for name in ("D0", "D1", "U0", "U1"):
        order = np.random.default_rng(0).permutation(len(arrays[f"{name}_rows"]))
        for part in ("rows", "columns", "values"):
            arrays[f"{name}_{part}"] = arrays[f"{name}_{part}"][order]
    equal(mesh_downsampling.from_arrays(arrays), expected)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("D0_rows", None, "arrays D0_rows are missing"),
        ("F1", None, r"F0, ... of 1 levels"),
        ("D0_shape", np.array([80, 40]), "D0_columns go beyond its shape"),
        ("U0_rows", np.zeros(3, int), "U0's rows, columns, values and shape do not fit"),
        ("U0_columns", np.zeros(3), "U0's rows, columns, values and shape do not fit"),
        ("U0_shape", np.array([300, 80]), r"U0 is \(300, 80\), but converts between 162 and 80"),
        ("F1", np.full((5, 3), 80), r"F1, int64 .* must be \[F, 3\] indices of 80 vertices"),
        ("D0_values", np.full(80, np.nan), "D0_values are not all finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name, value, message):
    arrays = mesh_downsampling.to_arrays(mesh_downsampling.compute(*ball(), (80,)))
    arrays = {k: v for k, v in (arrays | {name: value}).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        mesh_downsampling.from_arrays(arrays)


def test_levels_that_are_not_there_are_refused():
    arrays = mesh_downsampling.to_arrays(mesh_downsampling.compute(*ball(), (80,)))
    with pytest.raises(ValueError, match="of 2 levels, but 3 levels are needed"):
        mesh_downsampling.from_arrays(arrays, levels=3)


def test_a_mesh_is_thinned_out_once_and_kept_by_what_it_is(tmp_path, monkeypatch):
    vertices, faces = ball()
    first = mesh_downsampling.cached(vertices, faces, (80, 30), tmp_path)
    (file,) = tmp_path.iterdir()
    assert mesh_downsampling.cached(vertices, faces, (80, 30), None) is first  # in this process
    mesh_downsampling.cached(vertices * 2, faces, (80, 30), tmp_path)
    mesh_downsampling.cached(vertices, faces, (80, 29), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    monkeypatch.setattr(mesh_decimation, "Surface", None)  # it is read, not made
    equal(mesh_downsampling.cached(vertices, faces, (80, 30), tmp_path), first)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"is damaged .* Delete it"):
        mesh_downsampling.cached(vertices, faces, (80, 30), tmp_path)


def test_what_is_no_mesh_or_no_sizes_is_refused():
    vertices, faces = ball()
    for sizes in ((30, 80), (162,), ()):
        with pytest.raises(ValueError, match="each must be smaller than the one before"):
            mesh_downsampling.compute(vertices, faces, sizes)
    with pytest.raises(ValueError, match="beyond the 162"):
        mesh_downsampling.compute(vertices, faces + 1, (80,))
    with pytest.raises(ValueError, match=r"\[V, 3\] and \[F, 3\], not \(162, 2\)"):
        mesh_downsampling.compute(vertices[:, :2], faces, (80,))
    with pytest.raises(ValueError, match="not finite"):
        mesh_downsampling.compute(vertices * np.nan, faces, (80,))

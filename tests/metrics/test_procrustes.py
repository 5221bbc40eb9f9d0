"""Alignments against formulas in float64, reference outputs, and sets of points that lie ill."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crocohuman_jax.metrics import alignment

ALIGNMENTS = {
    "similarity": jax.jit(alignment.similarity),
    "freihand": jax.jit(alignment.freihand),
    "scaled": jax.jit(alignment.scaled),
}
MIRROR = np.array([-1.0, 1, 1])


def slopes(align):
    """Returns the compiled aligned points and both gradients of their mean absolute error."""

    def loss(x, y):
        aligned = align(x, y)
        return jnp.mean(jnp.abs(aligned - y)), aligned

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))


SLOPES = {name: slopes(align) for name, align in ALIGNMENTS.items()}


def points(seed=0, shape=(17, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rotation(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def error(aligned, target):
    return float(np.linalg.norm(np.asarray(aligned, np.float64) - target, axis=-1).mean())


def formula(name, points, target, weights=None):
    """The textbook alignment of one set in float64."""
    weights = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    share = weights[:, None] / weights.sum()
    x, y = (np.asarray(p, np.float64) for p in (points, target))
    x, centre = x - (share * x).sum(0), (share * y).sum(0)
    y = y - centre
    nx, ny = (np.sqrt((weights[:, None] * p**2).sum()) for p in (x, y))
    if name == "scaled":
        return x * ny / nx + centre
    if name == "freihand":
        nx, ny = nx + 1e-8, ny + 1e-8
    u, s, vt = np.linalg.svd((weights[:, None] * y).T @ x / nx / ny)
    if name == "similarity":
        sign = np.sign(np.linalg.det(u @ vt))
        u[:, 2] *= sign
        s[2] *= sign
    return x @ (u @ vt).T * s.sum() / nx * ny + centre


def ill():
    """{name: (points, target)} of sets in which something is not determined."""
    a, b = points(0), points(1)
    line = np.linspace(-1, 1, 17)[:, None] * np.array([1.0, 2, -1]) + 0.3
    flat = a * np.array([1, 1, 0])
    same = np.full((17, 3), 0.3)
    cube = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * 1.0
    sets = {
        "mirrored": (a * MIRROR, a),
        "inverted": (-a, a),
        "mirrored cube": (cube * MIRROR, cube),
        "a cube onto itself": (cube, cube),
        "collinear points": (line, b),
        "collinear target": (a, line),
        "collinear both": (line * 2, line[::-1]),
        "coplanar points": (flat, b),
        "coplanar both": (flat, flat * MIRROR),
        "equal points": (same, b),
        "equal target": (a, same),
        "equal both": (same, same),
        "points onto themselves": (a, a),
        "tiny points": (a * 1e-20, b),
        "tiny target": (a, b * 1e-20),
        "huge points": (a * 1e15, b),
        "huge target": (a, b * 1e15),
        "one point": (a[:1], b[:1]),
        "two points": (a[:2], b[:2]),
        "nothing but zeros": (a * 0, b * 0),
    }
    return {name: tuple(np.float32(p) for p in pair) for name, pair in sets.items()}


@pytest.mark.parametrize("name", ALIGNMENTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_alignment_is_its_formula(name, weighted):
    x, y = points(0, (6, 17, 3)), points(1, (6, 17, 3))
    weights = np.random.default_rng(2).integers(0, 3, (6, 17)) if weighted else None
    found = ALIGNMENTS[name](x, y, weights)
    for i in range(6):
        wanted = formula(name, x[i], y[i], None if weights is None else weights[i])
        np.testing.assert_allclose(found[i], wanted, atol=3e-6)


def test_a_moved_turned_and_scaled_copy_lands_on_its_original():
    x = points()
    moved = 0.3 * x @ rotation().T + np.array([5.0, -2, 1])
    np.testing.assert_allclose(ALIGNMENTS["similarity"](moved, x), x, atol=3e-6)
    np.testing.assert_allclose(ALIGNMENTS["freihand"](moved, x), x, atol=3e-6)


@pytest.mark.parametrize("name", ["similarity", "freihand"])
def test_turning_moving_and_scaling_the_points_changes_nothing(name):
    x, y = points(0), points(1)
    moved = 7 * x @ rotation(3).T + np.array([0.5, -2, 1])
    before, after = (ALIGNMENTS[name](p, y) for p in (x, moved))
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_only_freihands_alignment_reflects():
    x = points()
    assert error(ALIGNMENTS["freihand"](x * MIRROR, x), x) < 1e-6
    assert error(ALIGNMENTS["similarity"](x * MIRROR, x), x) > 0.1


def test_the_scale_correction_neither_turns_nor_keeps_the_size():
    x = points()
    np.testing.assert_allclose(ALIGNMENTS["scaled"](x * 3 + 2, x), x, atol=2e-6)
    turned = x @ rotation(1).T
    assert error(ALIGNMENTS["scaled"](turned, x), x) > 0.1


def test_no_similarity_is_nearer_in_squares():
    x, y = points(0), points(1)
    best = np.sum((np.asarray(ALIGNMENTS["similarity"](x, y)) - y) ** 2)
    rng = np.random.default_rng(4)
    aligned = np.asarray(ALIGNMENTS["similarity"](x, y)) - y.mean(0)
    for _ in range(50):
        small = np.linalg.qr(np.eye(3) + 0.05 * rng.normal(size=(3, 3)))[0]
        small *= np.sign(np.diag(small))
        other = rng.normal(1, 0.05) * aligned @ small.T + y.mean(0) + rng.normal(0, 0.02, 3)
        assert np.sum((other - y) ** 2) > best


@pytest.mark.parametrize("name", ALIGNMENTS)
@pytest.mark.parametrize("case", ill())
def test_no_set_of_points_makes_a_nan(name, case):
    found, aligned = SLOPES[name](*ill()[case])
    assert np.isfinite(aligned).all()
    assert all(np.isfinite(slope).all() for slope in found)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_equal_points_land_on_the_centre_of_the_target(name):
    y = points()
    aligned = ALIGNMENTS[name](np.full((17, 3), 0.3, np.float32), y)
    np.testing.assert_allclose(aligned, np.broadcast_to(y.mean(0), (17, 3)), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e15])
def test_the_scale_of_the_points_does_not_matter(scale):
    x, y = points(0), points(1)
    wanted = formula("similarity", x, y)
    np.testing.assert_allclose(ALIGNMENTS["similarity"](x * scale, y), wanted, atol=3e-6)


def test_a_far_origin_costs_no_digits():
    x, y = points(0), points(1)
    far = np.float32(x + 1000)  # rounds; the formula starts from the same numbers
    wanted = formula("similarity", far, y)
    np.testing.assert_allclose(ALIGNMENTS["similarity"](far, y), wanted, atol=3e-6)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_the_gradient_is_that_of_the_formula(name):
    x, y, w = points(0), points(1), points(2)
    found = jax.grad(lambda x: jnp.sum(ALIGNMENTS[name](x, y) * w))(jnp.asarray(x))

    def value(x):
        return np.sum(formula(name, x, y) * w)

    wanted = np.zeros((17, 3))
    for i in np.ndindex(17, 3):
        step = np.zeros((17, 3))
        step[i] = 1e-5
        wanted[i] = (value(x + step) - value(x - step)) / 2e-5
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_batch_is_its_examples_one_at_a_time_with_any_leading_axes():
    x, y = points(0, (2, 3, 17, 3)), points(1, (2, 3, 17, 3))
    for align in ALIGNMENTS.values():
        whole = align(x, y)
        for i in np.ndindex(2, 3):
            np.testing.assert_allclose(whole[i], align(x[i], y[i]), atol=2e-6)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_points_of_weight_zero_do_not_pull_but_move_along(name):
    x, y = points(0), points(1)
    weights = np.ones(17)
    weights[[0, 5]] = 0
    wild = y.copy()
    wild[[0, 5]] = np.nan
    found = np.asarray(ALIGNMENTS[name](x, wild, weights))
    kept = weights > 0
    np.testing.assert_allclose(found[kept], ALIGNMENTS[name](x[kept], y[kept]), atol=3e-6)
    np.testing.assert_allclose(found, formula(name, x, y, weights), atol=3e-6)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_a_nan_stays_a_nan(name):
    x = points()
    x[3, 1] = np.nan
    assert np.isnan(ALIGNMENTS[name](x, points(1))).any()


def test_the_nearest_rotation_is_a_rotation_even_of_a_reflection():
    for matrix in (np.eye(3), -np.eye(3), np.diag([1, 1, -1.0]), np.zeros((3, 3)), rotation(2) * 3):
        proper = alignment.nearest_orthogonal(jnp.asarray(matrix, jnp.float32), True)
        np.testing.assert_allclose(proper @ proper.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(proper) > 0.999


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"Points \(4, 3\) and target \(5, 3\) must both be"):
        ALIGNMENTS["similarity"](points(shape=(4, 3)), points(shape=(5, 3)))
    with pytest.raises(ValueError, match=r"Points \(4, 2\) and target \(4, 2\) must both be"):
        ALIGNMENTS["freihand"](points(shape=(4, 2)), points(shape=(4, 2)))
    with pytest.raises(ValueError, match=r"Weights \(5,\) do not fit points \(4, 3\): .* \(4,\)"):
        alignment.scaled(points(shape=(4, 3)), points(shape=(4, 3)), np.ones(5))
    with pytest.raises(ValueError, match=r"Weights \(4, 3\) do not fit"):
        alignment.scaled(points(shape=(4, 3)), points(shape=(4, 3)), np.ones((4, 3)))


def test_alignments_are_the_references(oracles):
    reference = np.load(oracles / "procrustes_mpjpe.npz")
    x, y = reference["pred"], reference["gt"]
    aligned = np.asarray(ALIGNMENTS["similarity"](x, y), np.float64)
    errors = np.linalg.norm(aligned - y, axis=-1).mean(-1)
    np.testing.assert_allclose(errors, reference["horn_pa_error"], atol=1e-6)
    np.testing.assert_allclose(errors, reference["spin_pa_error"], atol=1e-6)
    unique = [not str(name).startswith("collinear") for name in reference["case_names"]]
    np.testing.assert_allclose(aligned[unique], reference["horn_aligned"][unique], atol=2e-6)
    aligned = np.asarray(ALIGNMENTS["freihand"](x, y), np.float64)
    errors = np.linalg.norm(aligned - y, axis=-1).mean(-1)
    np.testing.assert_allclose(errors, reference["freihand_aligned_error"], atol=1e-6)
    equal = ALIGNMENTS["similarity"](np.full((17, 3), 0.3), y[0])
    value = reference["all_equal_pred_value_if_scale_is_0"]
    assert abs(error(equal, y[0]) - value) < 1e-6


def test_aligned_hands_are_the_toolboxs(oracles):
    reference = np.load(oracles / "freihand_eval.npz")
    for kind in ("xyz", "verts"):
        found = ALIGNMENTS["freihand"](reference[f"{kind}_pred"], reference[f"{kind}_gt"])
        np.testing.assert_allclose(found, reference[f"{kind}_aligned"], atol=5e-7)

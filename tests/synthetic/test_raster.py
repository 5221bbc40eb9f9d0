"""The z-buffer: compiled and numpy alike, exact, without gaps, the outside in front."""

import numpy as np
import pytest
import scenes

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import cameras, kernels, noise, raster, shading, shadows

needs_numba = pytest.mark.skipif(not kernels.AVAILABLE, reason="numba is not installed")


def both(monkeypatch, act):
    """Returns what `act` returns with compiled kernels and with numpy."""
    found = []
    for available in (True, False):
        monkeypatch.setattr(kernels, "AVAILABLE", available)
        found.append(act())
    return found


def drawn(points, faces, size, cull=True):
    buffers = raster.canvas(size)
    raster.draw(points, faces, buffers, cull=cull)
    return buffers


def seen_from(camera, vertices):
    return raster.homogeneous(camera.intrinsics, camera.rotation, camera.translation, vertices)


@needs_numba
def test_compiled_and_numpy_show_the_same_faces_of_a_body(monkeypatch):
    posed, mesh = scenes.pose(), scenes.person().surface
    for camera in scenes.views(posed, (0.3, 2.5), 128):
        points = seen_from(camera, posed.vertices)
        fast, slow = both(monkeypatch, lambda p=points: drawn(p, mesh.faces, (128, 128)))
        assert (fast[0] >= 0).mean() > 0.05
        np.testing.assert_array_equal(fast[0], slow[0])
        np.testing.assert_array_equal(fast[1], slow[1])


def awkward(seed):
    """Triangles of all sizes, also flat, twice the same, out of sight and behind the camera."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 1, (900, 3)) * (4, 4, 6) + (0, 0, 9)
    near = np.repeat(rng.normal(0, 1, (100, 3)) * (2, 2, 1) + (0, 0, 4), 9, 0)
    near = near + rng.normal(0, 0.08, (900, 3))
    vertices = np.concatenate([spread, near])
    local = np.arange(900, 1800).reshape(-1, 3)
    faces = [rng.integers(0, 900, (20, 3)), local, local[:40, [0, 1, 1]], local[::-1][:50]]
    return vertices, np.concatenate(faces).astype(np.int32)


@needs_numba
@pytest.mark.parametrize("cull", [True, False])
def test_compiled_and_numpy_agree_on_awkward_triangles(monkeypatch, cull):
    for seed in range(4):
        vertices, faces = awkward(seed)
        points = vertices * (60, 60, 1) + vertices[:, 2:] * (32, 24, 0)
        fast, slow = both(monkeypatch, lambda p=points, f=faces: drawn(p, f, (48, 64), cull))
        assert len(np.unique(fast[0])) > 20
        np.testing.assert_array_equal(fast[0], slow[0])
        np.testing.assert_array_equal(fast[1], slow[1])
        row, column = np.nonzero(fast[0] >= 0)
        where = (points, faces, fast[0][row, column], row, column)
        fast, slow = both(monkeypatch, lambda w=where: raster.barycentrics(*w))
        np.testing.assert_array_equal(fast, slow)


def test_a_triangle_that_passes_through_the_image_plane_covers_what_is_ahead():
    # Ground one metre below a camera that looks along it: half of the picture, up to the horizon.
    vertices = np.array([[-1e3, 1, -1e3], [1e3, 1, -1e3], [0, 1, 1e6]])
    points = vertices * (32, 32, 1) + vertices[:, 2:] * (32, 32, 0)
    face, depth = drawn(points, np.array([[0, 1, 2]], np.int32), (64, 64), cull=False)
    assert (face[34:] == 0).all() and (face[:32] == -1).all()
    np.testing.assert_allclose(depth[63], 32 / 31.5)


def test_two_triangles_that_share_an_edge_leave_no_gap_and_nearest_then_first_wins():
    corners = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2.0]])
    points = corners * (32, 32, 1) + corners[:, 2:] * (16, 16, 0)
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 1, 2]], np.int32)
    face, _ = drawn(points, faces, (32, 32), cull=False)
    assert set(np.unique(face)) == {0, 1}


def test_face_and_weights_lead_back_to_the_pixel():
    posed, mesh = scenes.pose(), scenes.person().surface
    (camera,) = scenes.views(posed, (0.7,), 128)
    face, depth = drawn(seen_from(camera, posed.vertices), mesh.faces, camera.size)
    row, column = np.nonzero(face >= 0)
    face = face[row, column]
    points = seen_from(camera, posed.vertices)
    weights = raster.barycentrics(points, mesh.faces, face, row, column)
    assert weights.min() > -1e-6 and weights.sum(1).max() < 1 + 1e-6
    weights = np.c_[1 - weights.sum(1), weights].astype(np.float64)
    corners = posed.vertices.astype(np.float64)[mesh.faces[face]]
    pixel, z = camera.project((corners * weights[..., None]).sum(1))
    assert np.abs(pixel - np.c_[column, row] - 0.5).max() < 1e-3
    np.testing.assert_allclose(z, depth[row, column], atol=1e-5)


def test_the_outside_of_a_body_is_seen_and_a_face_shows_its_eyes():
    posed, figure = scenes.pose(), parametric_body.load()
    (camera,) = scenes.views(posed, (0.0,), 128)
    face, _ = drawn(seen_from(camera, posed.skin), figure.faces, camera.size)
    corners = posed.skin[figure.faces[face[face >= 0]]].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * (camera.eye - corners.mean(1))).sum(1) > 0).mean() > 0.99

    head = posed.joints[figure.bone["eye.L"]] * 0.5 + posed.joints[figure.bone["eye.R"]] * 0.5
    at = cameras.look_at(head - (0, 0.8, 0), head)
    close = cameras.Camera((300, 300, 48, 48), *at, (96, 96))
    face, _ = drawn(seen_from(close, posed.skin), figure.faces, close.size)
    part = figure.face_part[face[face >= 0]]
    assert (part == figure.parts.index("eyes")).sum() > 20


@needs_numba
def test_compiled_and_numpy_make_the_same_noise_and_nearly_the_same_light(monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.normal(0, 3, (500, 3))
    fast, slow = both(monkeypatch, lambda: noise.fbm(points, 7.3, 4))
    np.testing.assert_array_equal(fast, slow)
    assert fast.min() >= 0 and fast.max() <= 1 and abs(fast.mean() - 0.5) < 0.05

    posed, mesh = scenes.pose(), scenes.person().surface
    place = scenes.place("room", 5, scenes.views(posed))
    casts = both(
        monkeypatch, lambda: shadows.cast(place.lights.position, posed.vertices, mesh.faces)
    )
    np.testing.assert_array_equal(casts[0].depth, casts[1].depth)
    np.testing.assert_allclose(casts[0].floor, casts[1].floor, atol=1e-6)
    floor = np.c_[rng.uniform(-1, 1, (500, 2)), np.zeros(500)]
    where = np.concatenate([posed.vertices[::20], floor])
    normal = np.concatenate([posed.normals[::20], np.tile((0, 0, 1), (500, 1))])
    white, gloss = np.ones((len(where), 3)), rng.random(len(where))
    fast, slow = both(
        monkeypatch,
        lambda: shading.shade(
            where, normal, white, gloss, (0, -3, 1), place.lights, (casts[0], place.shadows)
        ),
    )
    assert np.abs(fast - slow).mean() < 1e-3 * slow.mean()
    assert slow.min() >= 0 and np.isfinite(fast).all()

"""Pictures of meshes: drawn where the camera sees them, and nothing else is touched."""

import functools
import time

import numpy as np
import pytest

from crocohuman_jax.models import pixels
from crocohuman_jax.synthetic.figure import open_models, smpl_model
from crocohuman_jax.synthetic.graphics import kernels, raster
from crocohuman_jax.visualize import mesh_overlay, panels

LENS = (500.0, 500.0, 112.0, 112.0)
needs_numba = pytest.mark.skipif(not kernels.AVAILABLE, reason="numba is not installed")


@pytest.fixture(params=["compiled", "numpy"])
def either(request, monkeypatch):
    """Runs a test with compiled kernels and with numpy."""
    if request.param == "compiled" and not kernels.AVAILABLE:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(kernels, "AVAILABLE", request.param == "compiled")


@functools.cache
def person():
    """Returns the open body in front of the camera and facing it, and its faces."""
    model = smpl_model.SmplBody(open_models.body())
    pose = np.zeros((24, 3))
    pose[16, 2], pose[17, 2], pose[1, 0] = -0.9, 0.5, -0.5
    vertices, _ = model.pose(np.zeros(10), pose)
    vertices = (vertices - (vertices.min(0) + vertices.max(0)) / 2) * (1, -1, -1)
    return vertices + np.array([0.1, 0, 4.5]), model.faces


def photograph(side: int = 224):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)


def silhouette(vertices, faces, fine: int):
    """Returns which of the samples of a 224 pixel picture the mesh covers."""
    lens = np.array(LENS) * fine
    points = raster.homogeneous(lens, np.eye(3), np.zeros(3), vertices)
    face, depth = raster.canvas((224 * fine, 224 * fine))
    raster.draw(points, faces, (face, depth), cull=False)
    return face >= 0


def test_the_mesh_covers_what_the_z_buffer_says_and_nothing_else_changes(either):
    vertices, faces = person()
    image = photograph()
    before = image.copy()
    drawn = mesh_overlay.overlay(image, vertices, faces, LENS)
    fine = silhouette(vertices, faces, mesh_overlay.FINE)
    samples = fine.reshape(224, mesh_overlay.FINE, 224, mesh_overlay.FINE).sum((1, 3))
    assert 0.05 < (samples > 0).mean() < 0.5
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(drawn[samples == 0], image[samples == 0])
    # Where the mesh fills a pixel nothing of the picture shines through: another gives the same.
    other = mesh_overlay.overlay(255 - image, vertices, faces, LENS)
    full = samples == mesh_overlay.FINE**2
    np.testing.assert_array_equal(drawn[full], other[full])
    assert (drawn != other).any(-1)[~full].mean() > 0.99


def test_a_pixel_that_is_half_covered_is_half_of_each(either):
    image = np.full((8, 8, 3), 100, np.uint8)
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1.0]])
    corners[1:3, 0] = 0.0625  # half a pixel beyond the middle of the picture
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    drawn = mesh_overlay.overlay(image, corners, faces, (8, 8, 4, 4), color=(0, 200, 0))
    left, edge, right = (drawn[4, x].astype(float) for x in (3, 4, 5))
    assert (right == 100).all() and left[1] > left[0]
    np.testing.assert_allclose(edge, (left + right) / 2, atol=1.5)


def test_the_brightest_is_what_faces_the_light_and_the_inside_is_darker(either):
    white = np.full((64, 64, 3), 255, np.uint8)
    square = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2.0]])
    # With y down, counter-clockwise as the camera sees it is this order.
    outside, inside = np.array([[0, 2, 1], [0, 3, 2]]), np.array([[0, 1, 2], [0, 2, 3]])
    lens = (64, 64, 32, 32)

    def middle(vertices, faces):
        return mesh_overlay.overlay(white, vertices, faces, lens, color=(120, 120, 120))[32, 32, 0]

    tilted = square + square[:, :1] * (0, 0, 0.8)
    assert middle(square, outside) > middle(tilted, outside) + 10
    assert middle(square, outside) > middle(square, inside) + 50


def test_vertices_have_their_colors(either):
    vertices, faces = person()
    image = photograph()
    red_above = np.where(vertices[:, 1:2] < 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    drawn = mesh_overlay.overlay(image, vertices, faces, LENS, values=red_above).astype(int)
    full = silhouette(vertices, faces, 1)
    rows = np.arange(224)[:, None] + np.zeros(224)
    above, below = full & (rows < 105), full & (rows > 119)
    assert above.sum() > 500 and below.sum() > 500
    assert (drawn[above][:, 0] > drawn[above][:, 2]).mean() > 0.97  # the rim shows the picture too
    assert (drawn[below][:, 2] > drawn[below][:, 0]).mean() > 0.97


def test_a_mesh_behind_the_camera_leaves_the_picture_as_it_is(either):
    vertices, faces = person()
    image = photograph()
    behind = vertices * (1, 1, -1)
    np.testing.assert_array_equal(mesh_overlay.overlay(image, behind, faces, LENS), image)
    aside = vertices + np.array([100, 0, 0])
    np.testing.assert_array_equal(mesh_overlay.overlay(image, aside, faces, LENS), image)
    # Half of it behind is no error: the half ahead is drawn.
    through = vertices - (0, 0, vertices[:, 2].mean())
    assert (mesh_overlay.overlay(image, through, faces, LENS) != image).any()


def test_turned_by_0_and_360_is_the_same_and_by_180_the_mirrored_outline(either):
    vertices, faces = person()
    front, around, back, left, right = (
        mesh_overlay.side_view(vertices, faces, (160, 120), angle)
        for angle in (0, 360, 180, 90, -270)
    )
    np.testing.assert_array_equal(front, around)
    np.testing.assert_array_equal(left, right)
    covered, mirrored = (front < 255).any(-1), (back < 255).any(-1)[:, ::-1]
    assert (covered & mirrored).sum() / (covered | mirrored).sum() > 0.9
    assert (front != left).any()


def test_at_90_degrees_what_faced_the_camera_faces_left(either):
    # A nose towards the camera, on a wide plate.
    vertices = np.array([[-1, 1, 0], [1, 1, 0], [0, -1, 0], [0, 0, -2.0]])
    faces = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
    view = (mesh_overlay.side_view(vertices, faces, (100, 100), 90) < 255).any(-1)
    columns = view.sum(0)
    used = np.flatnonzero(columns)
    assert columns[used[0] : used[0] + 10].max() < columns[used[-1] - 10 : used[-1] - 2].min()


@pytest.mark.parametrize("size", [(224, 224), (100, 300), (300, 100)])
def test_a_side_view_fills_its_frame_wherever_the_mesh_lies(either, size):
    vertices, faces = person()
    view = mesh_overlay.side_view(vertices, faces, size)
    far = mesh_overlay.side_view(1000 * vertices - (0, 0, 1e6), faces, size)
    assert np.abs(view.astype(int) - far).mean() < 0.5
    assert view.shape == (*size, 3)
    rows, columns = np.nonzero((view < 255).any(-1))
    spare = np.array(
        [rows.min(), columns.min(), size[0] - 1 - rows.max(), size[1] - 1 - columns.max()]
    )
    assert spare.min() >= 0 and np.abs(spare[:2] - spare[2:]).max() <= 1
    fills = (np.ptp(rows) + 1) / size[0], (np.ptp(columns) + 1) / size[1]
    assert max(fills) == pytest.approx(1 - 2 * mesh_overlay.MARGIN, abs=0.03)


def test_a_point_without_size_has_an_empty_side_view(either):
    white = np.full((8, 9, 3), 255, np.uint8)
    faces = np.array([[0, 1, 2]])
    np.testing.assert_array_equal(mesh_overlay.side_view(np.ones((3, 3)), faces, (8, 9)), white)
    np.testing.assert_array_equal(mesh_overlay.side_view(np.ones((0, 3)), faces[:0], (8, 9)), white)


@needs_numba
def test_compiled_and_numpy_draw_the_same_picture(monkeypatch):
    vertices, faces = person()
    values = mesh_overlay.error_colors(np.linspace(0, 120, len(vertices)))
    pictures = []
    for available in (True, False):
        monkeypatch.setattr(kernels, "AVAILABLE", available)
        pictures.append(mesh_overlay.overlay(photograph(), vertices, faces, LENS, values=values))
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1


@needs_numba
def test_a_person_is_drawn_in_a_fifth_of_a_second():
    vertices, faces = person()
    image, took = photograph(), []
    for _ in range(4):
        begun = time.perf_counter()
        mesh_overlay.overlay(image, vertices, faces, LENS)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.2


def test_larger_errors_are_brighter_and_the_largest_color_is_kept_beyond():
    colors = mesh_overlay.error_colors(np.linspace(0, 100, 400)).astype(float)
    light = np.where(
        colors / 255 <= 0.04045, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4
    )
    luminance = light @ (0.2126, 0.7152, 0.0722)
    # Rounding to a byte may take back a thousandth between neighbours of 400.
    assert np.diff(luminance).min() > -2e-3 and (np.diff(luminance[::8]) > 0).all()
    lightness = 116 * np.cbrt(luminance) - 16
    np.testing.assert_allclose(lightness, np.linspace(40, 95, 400), atol=2)
    assert (np.diff(colors[::8] @ pixels.LUMA) > 0).all()
    ends = mesh_overlay.error_colors(np.array([0, 30, 60, np.inf]), 30)
    np.testing.assert_array_equal(ends[1], ends[2])
    np.testing.assert_array_equal(ends[1], ends[3])
    np.testing.assert_array_equal(ends[:2], colors[[0, -1]])


def test_a_row_compares_prediction_and_truth():
    vertices, faces = person()
    image, errors = photograph(), np.full(len(vertices), 50.0)
    shifted = vertices + np.array([0.05, 0, 0])
    assert len(panels.compared(image, shifted, faces, LENS)) == 3
    row = panels.compared(image, shifted, faces, LENS, truth=vertices, errors=errors)
    assert len(row) == len(panels.COLUMNS) and all(p.shape == image.shape for p in row)
    np.testing.assert_array_equal(row[0], image)
    np.testing.assert_array_equal(row[1], mesh_overlay.overlay(image, shifted, faces, LENS))
    np.testing.assert_array_equal(row[4], mesh_overlay.overlay(image, vertices, faces, LENS))
    assert (row[3] != row[1]).any()
    # Another camera of the truth, twice as far with twice the focal length, shows it as large.
    far = vertices + np.array([0.1, 0, vertices[:, 2].mean()])
    lens = (1000.0, 1000.0, 112.0, 112.0)
    row = panels.compared(
        image, shifted, faces, LENS, truth=far, errors=errors, truth_intrinsics=lens
    )
    np.testing.assert_array_equal(row[4], mesh_overlay.overlay(image, far, faces, lens))


def test_a_page_holds_all_pictures_in_columns_under_their_captions():
    a, b, c = (
        np.full((h, w, 3), v, np.uint8) for h, w, v in ((30, 40, 10), (20, 60, 20), (25, 50, 30))
    )
    sheet = panels.page([("one\ntwo", [a, b]), ("", [c, c, a])], ["first", "second"])
    line, gap = panels.TEXT + panels.GAP, panels.GAP
    top, second = gap + 3 * line, gap + 3 * line + 30 + gap
    left = gap + 50 + gap
    np.testing.assert_array_equal(sheet[top : top + 30, gap : gap + 40], a)
    np.testing.assert_array_equal(sheet[top : top + 20, left : left + 60], b)
    np.testing.assert_array_equal(sheet[second : second + 25, left : left + 50], c)
    assert sheet.shape == (second + 30 + gap, left + 60 + gap + 40 + gap, 3)
    assert (sheet[gap : gap + line] < 200).any() and (sheet[gap + line : top] < 100).any()
    # A long caption makes the sheet wider instead of being cut.
    wide = panels.page([("x" * 200, [a])])
    assert wide.shape[1] > 800 and (wide[:, -2:] == 255).all()


def test_what_cannot_be_drawn_is_named():
    vertices, faces = person()
    image, broken = photograph(), vertices.copy()
    broken[9, 2] = np.nan
    page = [("", [image / 255])]
    wrong = [
        (
            lambda: mesh_overlay.overlay(image / 255, vertices, faces, LENS),
            r"float64 .*uint8 \[H, W, 3\]",
        ),
        (lambda: mesh_overlay.overlay(image[..., 0], vertices, faces, LENS), r"\(224, 224\)"),
        (lambda: mesh_overlay.overlay(image, vertices[None], faces, LENS), r"\[V, 3\]"),
        (lambda: mesh_overlay.overlay(image, broken, faces, LENS), r"1 of 13718 .* vertex 9"),
        (lambda: mesh_overlay.side_view(broken, faces, (8, 8)), r"vertex 9"),
        (lambda: mesh_overlay.overlay(image, vertices, faces / 1, LENS), "float64 .*integers"),
        (
            lambda: mesh_overlay.overlay(image, vertices[:50], faces, LENS),
            "to 13717, but there are 50",
        ),
        (lambda: mesh_overlay.overlay(image, vertices, faces - 1, LENS), "vertices -1 to"),
        (
            lambda: mesh_overlay.overlay(image, vertices, faces, LENS, values=np.ones(5)),
            "error_colors",
        ),
        (lambda: mesh_overlay.error_colors(np.array([1, np.nan])), "1 of 2 errors .* nan at 1"),
        (lambda: mesh_overlay.error_colors(np.array([-1.0])), "-1.0 at 0"),
        (lambda: mesh_overlay.error_colors(np.ones(2), 0), "0 mm; a positive"),
        (lambda: panels.compared(image, vertices, faces, LENS, truth=vertices), "both are"),
        (lambda: panels.page([]), "no rows"),
        (lambda: panels.page(page), "float64"),
    ]
    for act, words in wrong:
        with pytest.raises(ValueError, match=words):
            act()

"""Meshes for other programs: what is written is read back the same, whole, in glTF's axes."""

import numpy as np
import pytest
import trimesh

from crocohuman_jax.synthetic.figure import open_models
from crocohuman_jax.visualize import mesh_export

HALF_TURN = np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1.0]])  # by pi about x


def hand():
    """Returns vertices in camera axes, faces and colours."""
    model = open_models.hand("right")
    vertices = model["v_template"] + np.array([0.1, -0.2, 0.6])
    colors = np.random.default_rng(0).integers(0, 256, vertices.shape).astype(np.uint8)
    return vertices, model["f"], colors


def read(path):
    """Returns the one mesh of a file, its vertices in the file's order."""
    scene = trimesh.load_scene(path, process=False, maintain_order=True)
    (mesh,), (node,) = scene.geometry.values(), scene.graph.nodes_geometry
    np.testing.assert_array_equal(scene.graph[node][0], np.eye(4))  # as it lies in the file
    return mesh


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".OBJ"])
def test_a_mesh_comes_back_turned_by_pi_about_x(tmp_path, suffix):
    vertices, faces, _ = hand()
    path = mesh_export.write(tmp_path / f"hand{suffix}", vertices, faces)
    mesh = read(path)
    np.testing.assert_allclose(mesh.vertices, vertices @ HALF_TURN.T, atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, faces)


@pytest.mark.parametrize("suffix", mesh_export.SUFFIXES)
def test_what_the_camera_sees_upright_and_ahead_is_upright_and_ahead_in_the_file(tmp_path, suffix):
    # Head above feet is the smaller y in the camera and the larger one in glTF.
    vertices = np.array([[0, -1.0, 3], [0.5, 1, 3], [-0.5, 1, 3]])
    mesh = read(mesh_export.write(tmp_path / f"m{suffix}", vertices, np.array([[0, 1, 2]])))
    assert mesh.vertices[0, 1] == 1 and (mesh.vertices[1:, 1] == -1).all()
    assert (mesh.vertices[:, 2] == -3).all()  # glTF's cameras look along -z
    assert mesh.vertices[1, 0] == 0.5


@pytest.mark.parametrize("suffix", mesh_export.SUFFIXES)
def test_the_outside_stays_the_outside(tmp_path, suffix):
    ball = trimesh.creation.icosphere(subdivisions=1)
    mesh = read(mesh_export.write(tmp_path / f"ball{suffix}", ball.vertices, ball.faces))
    assert mesh.volume == pytest.approx(ball.volume, rel=1e-5) and mesh.volume > 0


def test_colors_of_an_obj_are_srgb(tmp_path):
    vertices, faces, colors = hand()
    mesh = read(mesh_export.write(tmp_path / "hand.obj", vertices, faces, colors=colors))
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)


def test_colors_of_a_glb_are_linear_as_gltf_has_them(tmp_path):
    vertices, faces, colors = hand()
    mesh = read(mesh_export.write(tmp_path / "hand.glb", vertices, faces, colors=colors))
    light = mesh.visual.vertex_attributes["color"] / 255
    assert (light[:, 3] == 1).all()
    light = light[:, :3]
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    # Eight bits of light are coarse in the dark.
    assert np.abs(255 * srgb - colors)[colors > 40].max() < 4
    assert np.abs(255 * srgb - colors).max() < 8


def test_a_glb_is_smooth_matt_and_seen_from_both_sides(tmp_path):
    vertices, faces, colors = hand()
    for known in (None, colors):
        mesh = read(mesh_export.write(tmp_path / "hand.glb", vertices, faces, colors=known))
        matt = mesh.visual.material
        assert matt.metallicFactor == 0 and matt.doubleSided
        assert "vertex_normals" in mesh._cache.cache
        np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-5)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    vertices, faces, _ = hand()
    path = mesh_export.write(tmp_path / "hand.obj", vertices, faces)
    before = path.read_bytes()
    broken = vertices.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 1611 .* vertex 7"):
        mesh_export.write(path, broken, faces)

    def killed(self, data):
        self.open("wb").write(data[:100])
        raise OSError("no space left")

    monkeypatch.setattr("pathlib.Path.write_bytes", killed)
    with pytest.raises(OSError, match="no space left"):
        mesh_export.write(path, vertices + 1, faces)
    assert path.read_bytes() == before


def test_a_new_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    vertices, faces, _ = hand()
    for shift in (0, 1):
        mesh_export.write(str(tmp_path / "hand.glb"), vertices + shift, faces)
    assert [p.name for p in tmp_path.iterdir()] == ["hand.glb"]
    np.testing.assert_allclose(read(tmp_path / "hand.glb").vertices[:, 0], vertices[:, 0] + 1)


def test_what_cannot_be_written_is_named_and_nothing_is_made(tmp_path):
    vertices, faces, colors = hand()
    wrong = [
        ("hand.stl", vertices, faces, None, r"suffix '\.stl'.*\.glb, \.obj"),
        ("hand", vertices, faces, None, r"suffix ''.*\.glb, \.obj"),
        ("a.obj", vertices[:, :2], faces, None, r"vertices are \(1611, 2\)"),
        ("a.obj", vertices, faces[:0], None, r"faces are \(0, 3\)"),
        ("a.obj", vertices, faces.astype(float), None, "float64; integers"),
        ("a.glb", vertices[:100], faces, None, r"name vertices 0 to 1610, but there are 100"),
        ("a.glb", vertices, faces.astype(int) - 1, None, "name vertices -1 to 1609"),
        ("a.glb", vertices * np.inf, faces, None, "1611 of 1611 vertices are not finite"),
        ("a.glb", vertices, faces, colors[:5], r"colors are uint8 \(5, 3\)"),
        ("a.glb", vertices, faces, colors / 255, r"colors are float64"),
    ]
    for name, v, f, c, words in wrong:
        with pytest.raises(ValueError, match=words):
            mesh_export.write(tmp_path / name, v, f, colors=c)
    with pytest.raises(FileNotFoundError):
        mesh_export.write(tmp_path / "nowhere" / "a.obj", vertices, faces)
    assert not list(tmp_path.iterdir())

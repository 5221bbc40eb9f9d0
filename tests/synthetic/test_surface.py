"""Normals and other properties of surfaces, against shapes whose answers are known."""

import numpy as np

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import surface


def test_normals_of_a_sphere_point_away_from_its_centre():
    angle, height = np.meshgrid(np.arange(24) * np.pi / 12, np.linspace(-0.98, 0.98, 21))
    ring = np.sqrt(1 - height**2)
    vertices = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(20), np.arange(24), indexing="ij")
    a, b = row * 24 + column, row * 24 + (column + 1) % 24
    faces = np.concatenate(
        [np.stack(f, -1).reshape(-1, 3) for f in ((a, b, b + 24), (a, b + 24, a + 24))]
    )
    found = surface.normals(vertices, faces)
    assert found.dtype == np.float32
    inner = np.abs(vertices[:, 2]) < 0.9
    assert ((found * vertices).sum(1)[inner] > 0.98).all()


def test_normals_have_length_one_and_are_zero_without_faces():
    template = parametric_body.load().template
    alone = np.concatenate([template, [[9, 9, 9]]])
    found = surface.normals(alone, parametric_body.load().faces)
    np.testing.assert_allclose(np.linalg.norm(found[:-1], axis=1), 1, atol=1e-5)
    assert not found[-1].any()


def test_normals_equal_the_sum_over_faces():
    b = parametric_body.load()
    corner = b.template[b.faces]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros_like(b.template)
    for k in range(3):
        np.add.at(total, b.faces[:, k], area)
    expected = total / np.linalg.norm(total, axis=1, keepdims=True)
    np.testing.assert_allclose(surface.normals(b.template, b.faces), expected, atol=1e-3)

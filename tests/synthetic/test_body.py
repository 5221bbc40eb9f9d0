"""The parametric body: its mesh, its skeleton, its skinning."""

import numpy as np
import pytest

from crocohuman_jax.synthetic import export_body
from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.graphics import rotations, surface


@pytest.fixture(scope="module")
def body():
    return parametric_body.load()


@pytest.fixture(scope="module")
def person(body):
    return body.rest(body.coefficients({"gender": 0.8, "age": 0.7, "height": 0.3, "weight": 0.8}))


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.einsum("fa,fa->f", a, np.cross(b, c)).sum() / 6


def test_the_identity_pose_returns_the_rest_mesh(body, person):
    vertices, heads = person
    transforms = body.transforms(heads, np.tile(np.eye(3), (len(heads), 1, 1)))
    assert np.abs(body.skin(vertices, transforms) - vertices).max() < 1e-6
    assert np.abs(parametric_body.apply(transforms, heads) - heads).max() < 1e-7


def test_turning_the_root_moves_the_body_rigidly(body, person):
    vertices, heads = person
    turn, shift = rotations.from_vector([0.3, -1.1, 2.0]), np.array([0.5, -2.0, 0.1])
    turns = np.tile(np.eye(3), (len(heads), 1, 1))
    turns[0] = turn
    moved = body.skin(vertices, body.transforms(heads, turns, shift))
    assert np.abs(moved - ((vertices - heads[0]) @ turn.T + heads[0] + shift)).max() < 2e-6


def test_a_bone_turns_about_its_head_and_takes_its_children_along(body, person):
    heads = person[1]
    turns = np.tile(np.eye(3), (len(heads), 1, 1))
    elbow, wrist = body.bone["lowerarm01.L"], body.bone["wrist.L"]
    turns[elbow] = rotations.about(rotations.Z, -1.0)
    moved = parametric_body.apply(body.transforms(heads, turns), heads)
    assert np.allclose(moved[elbow], heads[elbow])
    assert np.allclose(moved[wrist], heads[elbow] + turns[elbow] @ (heads[wrist] - heads[elbow]))
    assert np.allclose(moved[body.bone["wrist.R"]], heads[body.bone["wrist.R"]])


def test_skinning_equals_the_sum_over_bones(body, person):
    vertices, heads = person
    rng = np.random.default_rng(0)
    turns = rotations.from_vector(rng.normal(0, 0.3, (len(heads), 3)))
    transforms = body.transforms(heads, turns, rng.normal(size=3))
    skinned = body.skin(vertices, transforms)
    for v in rng.integers(0, len(vertices), 50):
        whole = np.append(vertices[v], 1)
        each = [transforms[bone] @ whole for bone in body.weight_bones[v]]
        assert np.abs(skinned[v] - (body.weights[v] @ np.array(each))[:3]).max() < 1e-5


def test_weights_sum_to_one(body):
    assert np.abs(body.weights.sum(1) - 1).max() < 1e-6
    assert np.abs(body.part_weights.sum(1) - 1).max() < 1e-6
    assert body.weights.min() >= 0


def test_parents_come_before_children(body):
    assert body.parents[0] == -1
    assert (body.parents[1:] < np.arange(1, len(body.parents))).all()
    assert (body.parents[1:] >= 0).all()


def test_the_surface_looks_outwards_everywhere(body, person):
    vertices, _ = person
    litres = volume(vertices, body.faces) * 1e3
    assert 40 < litres < 150
    for part in range(1, len(body.parts)):
        faces = body.faces[body.face_part == part]
        # A part with open ends: from its own middle, outwards still has the upper hand.
        middle = vertices[np.unique(faces)].mean(0)
        assert volume(vertices - middle, faces) > 0, body.parts[part]


def test_faces_agree_on_the_direction_of_their_edges(body):
    edges = body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    keys = edges[:, 0] * len(body.template) + edges[:, 1]
    assert len(np.unique(keys)) == len(keys)


def test_adults_have_the_heights_of_adults(body):
    def height(**phenotype):
        vertices, _ = body.rest(body.coefficients({"age": parametric_body.ADULT, **phenotype}))
        return float(np.ptp(vertices[:, 2]))

    assert height(gender=0, height=0.38) == pytest.approx(1.78, abs=0.03)
    assert height(gender=1, height=0.38) == pytest.approx(1.65, abs=0.03)
    assert height(age=1 / 3, gender=0, height=0.38) < 1.4  # a child


def test_knees_stay_in_the_knee_of_small_and_tall_people(body):
    def knee(height):
        heads = body.rest(body.coefficients({"age": 0.8, "height": height}))[1]
        hip, bend, foot = (
            heads[body.bone[f"{name}.L"]] for name in ("upperleg01", "lowerleg01", "foot")
        )
        return (bend[2] - foot[2]) / (hip[2] - foot[2])

    assert knee(0.1) == pytest.approx(knee(0.7), abs=0.02)


def test_an_unknown_attribute_is_an_error(body):
    with pytest.raises(ValueError, match=r"heigth.*'height'"):
        body.coefficients({"heigth": 0.5})


def test_parts_follow_the_names_of_bones(body):
    for bone, number in zip(body.bones, body.bone_part, strict=True):
        assert export_body.part_of(bone) == body.parts[number]
    assert tuple(export_body.PARTS) == body.parts
    smooth = body.part_weights[body.faces].sum(1).argmax(1)
    assert (smooth == body.face_part).mean() > 0.999


def test_normals_point_away_from_the_bones(body, person):
    vertices, heads = person
    normals = surface.normals(vertices, body.faces)
    thigh = np.flatnonzero(body.weight_bones[:, 0] == body.bone["upperleg02.L"])
    thigh = thigh[body.weights[thigh, 0] > 0.7]
    assert len(thigh) > 20
    a, b = heads[body.bone["upperleg02.L"]], heads[body.bone["lowerleg01.L"]]
    along = (vertices[thigh] - a) @ (b - a) / ((b - a) @ (b - a))
    outwards = vertices[thigh] - a - along[:, None] * (b - a)
    assert (np.einsum("va,va->v", outwards, normals[thigh]) > 0).mean() > 0.98

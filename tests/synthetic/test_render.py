"""Pictures of people in places: what is known of them is exact, what is asked for is done."""

import dataclasses
import io
import json
import struct

import numpy as np
import PIL.Image
import pytest
import scenes

from crocohuman_jax.synthetic import render
from crocohuman_jax.synthetic.graphics import kernels, primitives
from crocohuman_jax.synthetic.scenes import scans
from crocohuman_jax.synthetic.scenes import scene as scene_lib

KINDS = ("room", "outdoors", "studio")


@pytest.fixture(scope="module")
def scene():
    """(person, posed, cameras, place, [(picture, truth, shadows)])."""
    posed = scenes.pose()
    seen = scenes.views(posed)
    place = scenes.place("room", 4, seen).thin(scenes.person(), [(posed, c) for c in seen])
    shots = [render.render(scenes.person(), posed, place, camera) for camera in seen]
    return scenes.person(), posed, seen, place, shots


def on_surface(person, posed, truth):
    """Returns the points of the world, [P, 3], that the person's pixels show."""
    row, column = np.nonzero(truth.silhouette)
    weights = truth.barycentric[row, column].astype(np.float64)
    weights = np.c_[1 - weights.sum(1), weights]
    corners = posed.vertices[person.surface.faces[truth.face[row, column]]]
    return row, column, (corners * weights[..., None]).sum(1)


def test_silhouette_part_and_face_agree(scene):
    person, _, _, _, shots = scene
    for picture, truth, _ in shots:
        assert picture.dtype == np.uint8 and picture.shape == (96, 96, 3)
        assert 0.03 < truth.silhouette.mean() < 0.6
        np.testing.assert_array_equal(truth.silhouette, truth.part > 0)
        np.testing.assert_array_equal(truth.silhouette, truth.face >= 0)
        np.testing.assert_array_equal(truth.silhouette, truth.depth > 0)
        shown = truth.face[truth.silhouette]
        np.testing.assert_array_equal(truth.part[truth.silhouette], person.surface.part[shown])
        assert not person.surface.skip[shown].any()
        assert truth.uv.min() >= 0 and truth.uv.max() <= 1


def test_depth_and_weights_are_those_of_the_surface_at_the_pixels_centre(scene):
    person, posed, seen, _, shots = scene
    for camera, (_, truth, _) in zip(seen, shots, strict=True):
        row, column, points = on_surface(person, posed, truth)
        pixel, depth = camera.project(points)
        assert np.abs(pixel - np.c_[column, row] - 0.5).max() < 1e-3
        np.testing.assert_allclose(depth, truth.depth[row, column], atol=1e-4)


def test_two_views_of_a_point_show_the_same_place_on_the_body(scene):
    person, posed, seen, _, shots = scene
    row, column, points = on_surface(person, posed, shots[0][1])
    other = shots[1][1]
    pixel, depth = seen[1].project(points)
    x, y = np.floor(pixel).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < 96) & (y < 96)
    shown = np.where(inside, other.depth[y.clip(0, 95), x.clip(0, 95)], 0)
    both = np.abs(shown - depth) < 0.01
    assert both.sum() > 150
    here = shots[0][1].canonical[row, column][both]
    there = other.canonical[y[both], x[both]]
    footprint = shots[0][1].depth.max() / seen[0].intrinsics[0]
    away = np.linalg.norm(here - there, axis=1)
    assert np.median(away) < footprint and np.quantile(away, 0.9) < 4 * footprint


def test_the_same_asked_twice_gives_the_same_bytes_with_shadows_passed_on_or_not(scene):
    person, posed, seen, place, shots = scene
    again, truth, _ = render.render(person, posed, place, seen[1], shadows=shots[0][2])
    np.testing.assert_array_equal(again, shots[1][0])
    for field in dataclasses.fields(truth):
        one, two = getattr(truth, field.name), getattr(shots[1][1], field.name)
        np.testing.assert_array_equal(one, two)
    anew = scenes.place("room", 4, seen).thin(person, [(posed, c) for c in seen])
    np.testing.assert_array_equal(render.render(person, posed, anew, seen[0])[0], shots[0][0])


@pytest.mark.skipif(not kernels.AVAILABLE, reason="numba is not installed")
def test_pictures_without_numba_show_the_same(scene, monkeypatch):
    person, posed, seen, place, shots = scene
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    picture, truth, _ = render.render(person, posed, place, seen[0])
    np.testing.assert_array_equal(truth.face, shots[0][1].face)
    assert np.abs(picture.astype(int) - shots[0][0]).mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_neither_black_nor_burnt(kind):
    posed = scenes.pose()
    for seed in range(3):
        seen = scenes.views(posed, (seed, seed + 2.0), 64)
        place = scenes.place(kind, seed, seen)
        for camera in seen:
            picture, truth, _ = render.render(scenes.person(), posed, place, camera)
            assert 30 < picture.mean() < 230
            assert 20 < picture[truth.silhouette].mean() < 230


def test_exposure_noise_and_blur_do_what_they_say(scene):
    person, posed, seen, place, shots = scene
    still, truth, shadows = shots[0]

    def shot(later=None, seed=0, **record):
        camera = dataclasses.replace(seen[0], **record)
        return render.render(
            person, posed, place, camera, shadows=shadows, posed_later=later, seed=seed
        )[0].astype(float)

    assert shot(exposure=0.5).mean() < still.mean() - 20 < still.mean() < shot(exposure=1.5).mean()
    noisy = shot(noise=0.02)
    middle = (still > 40) & (still < 210)
    assert np.std((noisy - still)[middle]) == pytest.approx(0.02 * 255, rel=0.1)
    np.testing.assert_array_equal(noisy, shot(noise=0.02))
    assert (noisy != shot(noise=0.02, seed=1)).mean() > 0.5

    later = dataclasses.replace(posed, vertices=posed.vertices + np.float32((0.15, 0, 0)))
    np.testing.assert_array_equal(shot(later), still)  # the shutter of this camera is not open
    smeared = shot(later, blur=0.02)
    beside = ~truth.silhouette & (
        np.roll(truth.silhouette, 2, 1) | np.roll(truth.silhouette, -2, 1)
    )
    assert np.abs(smeared - still)[beside].mean() > 5
    far = np.ones((96, 96), bool)
    row, column = np.nonzero(truth.silhouette)
    far[row.min() - 2 : row.max() + 3, max(column.min() - 12, 0) : column.max() + 13] = False
    np.testing.assert_array_equal(smeared[far], still[far])
    resting = shot(posed, blur=0.02)
    assert np.abs(resting - still).mean() < 1


def test_size_scales_the_cameras_picture(scene):
    person, posed, seen, place, shots = scene
    _, small, _ = render.render(person, posed, place, seen[0], (48, 48))
    assert small.silhouette.shape == (48, 48)
    assert small.silhouette.mean() == pytest.approx(shots[0][1].silhouette.mean(), rel=0.1)


def test_things_hide_a_person_and_those_that_hide_too_much_go():
    posed, person = scenes.pose(), scenes.person()
    seen = scenes.views(posed, (0.0, 1.6), 64)
    place = scenes.place("studio", 0, seen)
    wall = primitives.place([primitives.box((2.0, 0.1, 2.2))], (0.0, -1.5), 0.0)
    crate = primitives.place([primitives.box((0.6, 0.3, 0.7))], (0.0, -1.0), 0.0)
    place.things = primitives.assemble([crate, wall])
    _, truth, _ = render.render(person, posed, place, seen[0])
    assert truth.hidden > 0.9
    assert scene_lib.hiding(person, posed, place.things, seen[0], 64)[1] == pytest.approx(
        truth.hidden, abs=0.05
    )
    thinned = place.thin(person, [(posed, camera) for camera in seen])
    assert set(thinned.things.thing) == {0}
    _, truth, _ = render.render(person, posed, thinned, seen[0])
    assert 0 < truth.hidden <= scene_lib.MOST_HIDDEN


def test_after_thinning_no_view_hides_more_than_is_allowed():
    posed, person = scenes.pose(), scenes.person()
    for seed in range(6):
        seen = scenes.views(posed, (seed, seed + 1.5, seed + 3.0), 64)
        place = scenes.place(("room", "outdoors")[seed % 2], seed, seen)
        assert len(place.things.faces)
        thinned = place.thin(person, [(posed, camera) for camera in seen])
        for camera in seen:
            assert 0 <= scene_lib.hiding(person, posed, thinned.things, camera, 128)[1] <= 0.4


@dataclasses.dataclass
class Held:
    side: str
    vertices: np.ndarray
    faces: np.ndarray


def test_what_is_held_is_shown_and_hides_the_person_without_counting():
    posed, person = scenes.pose(), scenes.person()
    (camera,) = scenes.views(posed, (0.0,), 64)
    place = scenes.place("studio", 0, [camera])
    bare, before, _ = render.render(person, posed, place, camera)
    box = primitives.box((0.3, 0.3, 0.3))
    wrist = person.heads[person.body.bone["wrist.L"]]
    held = Held("L", box.vertices + wrist + (0, -0.1, 0), box.faces)
    picture, truth, _ = render.render(person, posed, place, camera, held=(held,))
    assert truth.silhouette.sum() < before.silhouette.sum()
    assert truth.hidden == 0
    assert (picture != bare).any(-1).sum() > 100


def test_a_users_picture_is_the_same_from_the_same_place_wherever_one_looks():
    rng = np.random.default_rng(0)
    small = PIL.Image.fromarray(rng.integers(0, 255, (6, 9, 3), dtype=np.uint8))
    picture = np.asarray(small.resize((180, 120), PIL.Image.Resampling.BICUBIC))
    posed = scenes.pose()
    seen = scenes.views(posed, (0.0, 0.5), 64)
    place = scene_lib.Place(1, picture=picture)
    place.fit(seen, 0.9)
    assert place.kind == "picture"
    eye = seen[0].eye.astype(np.float32)
    rays = rng.normal(0, 1, (400, 3)).astype(np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    one = place.background(eye, rays, 0.01)
    two = place.background(eye, rays[::-1].copy(), 0.01)
    np.testing.assert_array_equal(one.emission, two.emission[::-1])
    # A spot of the dome has one colour for all eyes.
    spot = np.float32([6.0, 6.0, 2.0])
    scenery = place._scenery
    spot *= scenery.radius / np.linalg.norm(spot)
    colors = []
    for camera in seen:
        ray = spot - camera.eye
        ray = (ray / np.linalg.norm(ray))[None].astype(np.float32)
        colors.append(place.background(camera.eye, ray, 0.01).emission[0])
    np.testing.assert_allclose(colors[0], colors[1], atol=2e-3)
    # The ground takes a shadow.
    image, _, shadows = render.render(scenes.person(), posed, place, seen[0])
    assert image.std() > 10 and shadows.depth.min() < np.inf


def test_no_thing_stands_on_a_person_or_around_a_camera_or_in_the_ground():
    posed = scenes.pose()
    for seed in range(6):
        seen = scenes.views(posed, (seed, seed + 2.0), 64)
        things = scenes.place(("room", "outdoors")[seed % 2], seed, seen).things
        points, _ = primitives.sampled(things.vertices, things.faces, 0.3)
        assert points[:, 2].min() >= 0
        assert np.linalg.norm(points[:, :2], axis=1).min() > 0.5
        for camera in seen:
            assert np.linalg.norm(points - camera.eye, axis=1).min() > scene_lib.AROUND_EYES


def test_unknown_places_are_refused_by_name():
    with pytest.raises(ValueError, match="Unknown place 'moon'.*room, outdoors, studio"):
        scene_lib.Place(0, kind="moon")


# A room of 6 x 6 x 3 m that faces inward, its floor red, y up.
CORNERS = np.array([[x, y, z] for x in (-3, 3) for y in (0, 3) for z in (-3, 3)], np.float32)
QUADS = ((0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6), (0, 4, 6, 2), (1, 3, 7, 5))


def glb(path, **changes):
    """Writes the room: the floor has a picture, the walls a colour; a node lifts it by 1 m."""
    buffer, views, accessors = io.BytesIO(), [], []

    def add(data, **accessor):
        start = buffer.tell()
        buffer.write(data + b"\0" * (-len(data) % 4))
        views.append({"buffer": 0, "byteOffset": start, "byteLength": len(data)})
        if accessor:
            accessors.append({"bufferView": len(views) - 1, **accessor})

    add(CORNERS.tobytes(), componentType=5126, count=8, type="VEC3")
    faces = np.array([[q[0], q[k], q[k + 1]] for q in QUADS for k in (1, 2)], np.uint16)
    for some in (faces[:2], faces[2:]):
        add(some.tobytes(), componentType=5123, count=some.size, type="SCALAR")
    uv = (CORNERS[:, [0, 2]] + 3) / 6
    add(uv.astype(np.float32).tobytes(), componentType=5126, count=8, type="VEC2")
    encoded = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), (230, 20, 20)).save(encoded, "PNG")
    add(encoded.getvalue())
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"children": [1], "translation": [0, 1, 0]}, {"mesh": 0}],
        "meshes": [
            {
                "primitives": [
                    {"attributes": {"POSITION": 0, "TEXCOORD_0": 3}, "indices": 1, "material": 0},
                    {"attributes": {"POSITION": 0}, "indices": 2, "material": 1},
                ]
            }
        ],
        "materials": [
            {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}},
            {"pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.1, 0.7, 1]}},
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 4, "mimeType": "image/png"}],
        "buffers": [{"byteLength": buffer.tell()}],
        "bufferViews": views,
        "accessors": accessors,
        **changes,
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", buffer.tell(), b"BIN\0") + buffer.getvalue()
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
    return path


def obj(path):
    """Writes the room with a material for the floor and one for the rest."""
    path.with_suffix(".mtl").write_text(
        "newmtl floor\nKd 0.9 0.1 0.1\nnewmtl wall\nKd 0.3 0.3 0.9\n"
    )
    lines = [f"mtllib {path.stem}.mtl"]
    lines += [f"v {x} {y + 1} {z}" for x, y, z in CORNERS]
    for number, quad in enumerate(QUADS):
        lines.append("usemtl floor" if number == 0 else "usemtl wall")
        lines.append("f " + " ".join(str(k + 1) for k in quad))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("write, name", [(glb, "room.glb"), (obj, "room.obj")])
def test_a_users_scene_is_read_and_stood_in(tmp_path, write, name):
    interior = scans.load(write(tmp_path / name))
    assert interior.vertices[:, 2].min() == 1 and interior.vertices[:, 2].max() == 4
    posed = scenes.pose()
    seen = scenes.views(posed, (0.0, 2.0), 64)
    place = scene_lib.Place(0, interior=interior)
    place.fit(seen, 0.9)
    assert place.kind == "interior"
    place = place.thin(scenes.person(), [(posed, camera) for camera in seen])
    low, high = place.things.vertices.min(0), place.things.vertices.max(0)
    np.testing.assert_allclose([low[2], high[2]], [0, 3], atol=0.05)  # the floor is the ground
    for camera in seen:
        picture, truth, _ = render.render(scenes.person(), posed, place, camera)
        assert truth.hidden <= scene_lib.MOST_HIDDEN
        outside = picture[~truth.silhouette].astype(int)
        assert (outside[:, 0] > outside[:, 2] + 40).mean() > 0.05  # red floor
        assert (outside[:, 2] > outside[:, 0] + 40).mean() > 0.05  # blue walls


def test_broken_scenes_are_refused_with_their_name_and_the_reason(tmp_path):
    path = tmp_path / "scene.glb"
    path.write_bytes(b"not a scene")
    with pytest.raises(ValueError, match=r"scene.glb.*begin with 'glTF'"):
        scans.load(path)
    whole = glb(tmp_path / "whole.glb").read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match=r"scene.glb.*ends too early"):
        scans.load(path)
    with pytest.raises(ValueError, match="KHR_draco_mesh_compression"):
        scans.load(glb(path, extensionsRequired=["KHR_draco_mesh_compression"]))
    with pytest.raises(ValueError, match=r"scene.glb: no triangle"):
        scans.load(glb(path, nodes=[{}, {}]))
    path = tmp_path / "scene.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 0 1\nf 1 2 9\n")
    with pytest.raises(ValueError, match=r"scene.obj: line 4.*no vertex 9"):
        scans.load(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"scene.obj: no triangle"):
        scans.load(path)
    path.write_text("v 0 0 0\nv 0.1 0 0\nv 0 0 0.1\nf 1 3 2\n")
    with pytest.raises(ValueError, match=r"scene.obj: nowhere"):
        scene_lib.Place(0, interior=scans.load(path))
    with pytest.raises(ValueError, match="scene.ply: scenes are read from"):
        scans.load(tmp_path / "scene.ply")

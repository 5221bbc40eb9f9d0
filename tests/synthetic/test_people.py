"""Built-in persons: their shapes, clothes and hair, and how these are drawn and fit."""

import functools

import numpy as np
import pytest

from crocohuman_jax.synthetic.figure import anatomy, parametric_body
from crocohuman_jax.synthetic.graphics import rotations, surface
from crocohuman_jax.synthetic.people import (
    accessories,
    fabric,
    garment_mesh,
    garments,
    hair,
    outfits,
    skirts,
)
from crocohuman_jax.synthetic.people import person as person_lib
from crocohuman_jax.synthetic.people import skin as skin_lib

SEEDS = range(200)


@functools.lru_cache(40)
def person(seed, kind="body"):
    return person_lib.Person(parametric_body.load(), seed, kind)


@functools.cache
def crowd():
    """What is known of two hundred people: descriptions, heights, and what is bare."""
    b = parametric_body.load()
    chest, hips = private_parts()
    region = (chest | hips)[b.faces].all(1)
    result = []
    for seed in SEEDS:
        someone = person(seed)
        fields = [g.field for g in someone.outfit.garments if g.field is not None]
        bare = np.max(fields, axis=0) <= 0
        drawn = ~someone.surface.skip[: len(b.faces)] & region
        height = np.ptp(someone.rest[:, 2])
        naked = int((bare & (chest | hips)).sum())
        result.append((someone.describe(), height, naked, drawn.sum() / region.sum()))
    return result


def private_parts():
    """The chest, and hips with seat and loins, of the template's vertices."""
    b = parametric_body.load()
    a = anatomy.of(b)
    x, y, z = b.template.T
    chest = (a.inside("torso_upper") > 0) & (np.abs(x) < 0.14) & (np.abs(x) > 0.05)
    chest &= (y < -0.07) & (z > 0.30) & (z < 0.41)
    hips = a.inside("torso_lower", "thigh_l", "thigh_r") > 0
    return chest, hips & (z > -0.10) & (z < 0.10)


def walking():
    """A long step: one thigh forward, one back, knees a little bent."""
    b = parametric_body.load()
    pose = np.tile(np.eye(3), (len(b.bones), 1, 1))
    for side, swing in (("L", -0.45), ("R", 0.4)):
        pose[b.bone[f"upperleg01.{side}"]] = rotations.about(rotations.X, swing)
        pose[b.bone[f"lowerleg01.{side}"]] = rotations.about(rotations.X, 0.35)
    return pose


def standing():
    return np.tile(np.eye(3), (len(parametric_body.load().bones), 1, 1))


def pixels(someone, posed, count=4000, seed=0):
    """Random points of the visible faces, as a camera would give them."""
    rng = np.random.default_rng(seed)
    s = someone.surface
    face = rng.choice(np.nonzero(~s.skip)[0], count)
    weight = rng.dirichlet((1, 1, 1), count).astype(np.float32)[..., None]

    def at(values):
        return (values[s.faces[face]] * weight).sum(1)

    normal = at(posed.normals)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return surface.Pixels(at(s.canonical), at(s.attributes), face, normal)


def test_everybody_is_dressed():
    chest, hips = private_parts()
    assert chest.sum() > 50 and hips.sum() > 400
    for described, _, naked, drawn in crowd():
        assert naked == 0, described
        assert drawn < 0.02, described


def test_everybody_is_an_adult():
    assert person_lib.YOUNGEST >= 2 / 3
    for described, height, _, _ in crowd():
        assert described["phenotype"]["age"] >= person_lib.YOUNGEST
        assert 1.4 < height < 2.1, described


def test_a_seed_is_a_person():
    first, again = (
        person_lib.Person(parametric_body.load(), 5),
        person_lib.Person(parametric_body.load(), 5),
    )
    assert first.describe() == again.describe()
    a, b = first.pose(walking()), again.pose(walking())
    np.testing.assert_array_equal(a.vertices, b.vertices)
    p = pixels(first, a)
    np.testing.assert_array_equal(first.shade(p).albedo, again.shade(p).albedo)
    other = person_lib.Person(parametric_body.load(), 6)
    assert other.describe() != first.describe()


def test_the_hand_kind_is_the_same_person():
    whole, hand = person(11), person(11, "hand")
    assert whole.phenotype == hand.phenotype
    np.testing.assert_array_equal(whole.rest, hand.rest)
    assert whole.complexion.tone == hand.complexion.tone


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match=r"'foot'.*body.*hand"):
        person_lib.Person(parametric_body.load(), 0, "foot")


def test_surfaces_are_consistent():
    b = parametric_body.load()
    for seed in range(30):
        s = person(seed).surface
        count, total = len(s.canonical), len(s.faces)
        np.testing.assert_array_equal(s.faces[: len(b.faces)], b.faces)
        np.testing.assert_array_equal(s.canonical[: len(b.template)], b.template)
        assert s.faces.min() >= 0 and s.faces.max() < count
        assert s.attributes.shape == (count, anatomy.ATTRIBUTES)
        assert s.part.shape == (total,) and s.part.min() >= 1 and s.part.max() <= 17
        assert s.uv.shape == (total, 3, 2) and s.uv.min() >= 0 and s.uv.max() <= 1
        assert s.skip.shape == (total,) and s.skip.dtype == bool
        for values in (s.canonical, s.attributes, s.uv):
            assert values.dtype == np.float32 and np.isfinite(values).all()
        corners = s.canonical[s.faces]
        assert np.ptp(corners, axis=1).max() < 0.4  # no face spans the body


def test_clothes_look_outwards():
    b = parametric_body.load()
    for seed in range(40):
        someone = person(seed)
        posed = someone.pose(standing())
        s = someone.surface
        corner = posed.vertices[s.faces]
        area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        # Cut pieces lie along the body: their faces look as the skin below them does.
        cloth = np.arange(len(s.faces)) >= len(b.faces)
        cloth &= (s.attributes[s.faces][:, :, anatomy.EDGE] > 0.01).all(1)
        around = posed.joints[b.bone["spine03"], :2]
        center = corner.mean(1)
        trunk = cloth & np.isin(s.part, [b.parts.index("torso_lower")])
        out = (area[trunk, :2] * (center[trunk, :2] - around)).sum(1)
        assert (out > 0).mean() > 0.85, seed


def test_meshes_of_their_own_enclose_a_volume():
    b = parametric_body.load()
    t = b.template
    tailor = garments.Tailor(b, t, b.heads, np.random.default_rng(0), True)
    pieces = accessories.shoes(b, t, 0.3, 1) + accessories.bun(b, t, 0.03, 0.5, 1)
    pieces += accessories.ponytail(b, t, 0.2, 0.025, 0.5, 1) + accessories.brim(b, t, 1)
    pieces += accessories.tresses(b, t, 0.45, 0.01, 1) + accessories.glasses(b, t, 0.5, 1)
    pieces += accessories.ring(b, t, b.heads, 4, "L", 1)
    pieces += accessories.bracelet(b, t, b.heads, "R", 0.01, 1)
    pieces.append(skirts.make(tailor, 0.17, -0.4, 0.2, 8, 1).piece)
    for number, piece in enumerate(pieces):
        corner = (piece.rest - piece.rest.mean(0))[piece.faces]
        volume = np.linalg.det(corner.astype(np.float64)).sum() / 6
        assert volume > 0, number


def test_cut_pieces_have_no_open_edges_but_their_rims_foot():
    b = parametric_body.load()
    field = garments.legs_field(b, 0.15, -0.3)
    attributes = np.zeros((len(field), anatomy.ATTRIBUTES), np.float32)
    away = surface.normals(b.template, b.faces) * 0.01
    none = np.zeros(len(b.faces), bool)
    piece = garment_mesh.cut(b, b.template, field, away, attributes, 1, none)
    places = np.unique(piece.rest.round(5), axis=0, return_inverse=True)[1].ravel()
    edges = places[piece.faces[:, [[0, 1], [1, 2], [2, 0]]]].reshape(-1, 2)
    directed = {tuple(e) for e in edges}
    open_edges = [e for e in directed if (e[1], e[0]) not in directed]
    on_foot = piece.attributes[:, anatomy.EDGE] < -0.5
    feet = set(places[on_foot])
    assert all(a in feet and c in feet for a, c in open_edges)
    z = piece.canonical[:, 2]
    assert abs(z.max() - 0.15) < 1e-3 and abs(z.min() + 0.3) < 1e-3


def test_clothes_stay_close():
    b = parametric_body.load()
    for seed in range(60):
        someone = person(seed)
        worn = [g for g in someone.outfit.garments if g.field is not None]
        for garment, height in zip(worn, outfits.stack(worn, anatomy.of(b).groove), strict=True):
            assert height[garment.field > 0].max() < 0.08, (seed, garment.name)
            assert height[garment.field > 0].min() > 0, (seed, garment.name)


def test_people_stand_on_the_ground_where_the_motion_says():
    for seed in (0, 1, 2):
        posed = person(seed).pose(walking(), np.array([0.7, -0.3, 5.0]), lift=0.25)
        assert posed.vertices[:, 2].min() == pytest.approx(0.25, abs=1e-5)
        root = parametric_body.load().bone["root"]
        expected = person(seed).heads[root, :2] + [0.7, -0.3]
        np.testing.assert_allclose(posed.joints[root, :2], expected, atol=1e-6)
        carried = parametric_body.apply(posed.transforms, person(seed).heads)
        np.testing.assert_allclose(posed.joints, carried, atol=1e-6)
        b = parametric_body.load()
        skin = b.skin(person(seed).rest, posed.transforms)
        np.testing.assert_allclose(posed.skin, skin, atol=1e-5)


def test_normals_have_length_one():
    for seed in range(5):
        posed = person(seed).pose(walking())
        length = np.linalg.norm(posed.normals, axis=1)
        np.testing.assert_allclose(length, 1, atol=1e-4)


def test_skirts_keep_off_the_legs():
    b = parametric_body.load()
    a, z = anatomy.of(b), b.template[:, 2]
    found = 0
    for seed in SEEDS:
        someone = person(seed)
        skirt = someone.outfit.skirt
        if skirt is None or found == 8:
            continue
        found += 1
        posed = someone.pose(walking())
        wall = posed.vertices[-len(skirt.piece.rest) :][: len(skirt.piece.rest) // 2]
        rows = wall.reshape(-1, 40, 3)
        hem = skirt.piece.canonical[:, 2].min()
        thighs = (a.inside("thigh_l", "thigh_r") > 0) & (z < -0.1) & (z > hem + 0.08)
        points = posed.skin[thighs]
        # Inside the polygon that the ring at a point's height draws from above.
        level = np.abs(rows[:, :, 2].mean(1)[None] - points[:, 2:]).argmin(1)
        middle = rows.mean(1)[level, :2]
        ring = rows[level, :, :2] - middle[:, None]
        d = points[:, :2] - middle
        turn = np.arctan2(d[:, 1], d[:, 0])[:, None]
        gap = np.angle(np.exp(1j * (np.arctan2(ring[..., 1], ring[..., 0]) - turn)))
        reach = np.linalg.norm(ring, axis=2)[np.arange(len(d)), np.abs(gap).argmin(1)]
        outside = np.linalg.norm(d, axis=1) > reach + 0.01
        assert outside.mean() < 0.1, (seed, outside.mean())
    assert found == 8


def test_shading_stays_in_range_and_repeats():
    for seed in range(25):
        someone = person(seed, "hand" if seed % 2 else "body")
        posed = someone.pose(walking())
        material = someone.shade(pixels(someone, posed))
        assert material.albedo.dtype == np.float32 and material.albedo.shape == (4000, 3)
        for values in (material.albedo, material.gloss):
            assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
        np.testing.assert_allclose(np.linalg.norm(material.normal, axis=1), 1, atol=1e-4)


def test_shading_takes_no_pixels():
    someone = person(0)
    none = pixels(someone, someone.pose(standing()), count=0)
    assert someone.shade(none).albedo.shape == (0, 3)


def test_people_differ():
    described = [record[0] for record in crowd()]
    assert {d["skin_tone"] for d in described} == set(range(len(skin_lib.TONES)))
    assert {d["hair"] for d in described} >= set(hair.STYLES)
    worn = {name for d in described for name in d["garments"]}
    kinds = {*garments.TOPS, *garments.JACKETS, *garments.BOTTOMS, "skirt", "dress"}
    assert worn >= kinds, kinds - worn
    assert worn >= {"sneakers", "boots", "bare feet", "socks", "glasses"}
    genders = [d["phenotype"]["gender"] for d in described]
    assert 0.35 < np.mean(np.array(genders) > 0.5) < 0.65


def test_every_cloth_gives_colours():
    rng = np.random.default_rng(0)
    p = rng.uniform(-0.5, 0.5, (500, 3)).astype(np.float32)
    for kind in fabric.KINDS:
        for _ in range(5):
            cloth = fabric.draw(rng, (kind,))
            colour = cloth.colour(p[:, 0], p[:, 2], p)
            assert colour.shape == (500, 3) and colour.dtype == np.float32
            assert np.isfinite(colour).all() and colour.min() >= 0 and colour.max() <= 1, kind


def test_no_cloth_has_the_colour_of_the_skin():
    for seed in range(60):
        someone = person(seed)
        skin = someone.complexion.skin
        for garment in someone.outfit.garments:
            if garment.role in ("top", "legs"):
                ground = garment.fabric.colours[0]
                assert np.abs(np.log((ground + 0.01) / (skin + 0.01))).max() > 0.3, seed


def test_no_camera_looks_into_the_head():
    """What is never drawn lies behind lids: the nearest drawn face stands in front of it."""
    b = parametric_body.load()
    hidden = anatomy.of(b).hidden
    assert 500 < hidden.sum() < 1500
    center = b.template[b.faces[hidden]].mean(1)
    eye = b.heads[b.bone["eye.L"]]
    mirrored = np.abs(center) * [1, -1, 1]
    mirrored[:, 2] = center[:, 2]
    assert (np.linalg.norm(mirrored - eye, axis=1) < 0.02).all()
    assert (center[:, 1] > -0.131).all()

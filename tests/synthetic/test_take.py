"""Takes: crops around people, cameras all around, hands that are seen, users' own folders."""

import numpy as np
import PIL.Image
import pytest

from crocohuman_jax.synthetic import takes
from crocohuman_jax.synthetic.figure import open_models, parametric_body
from crocohuman_jax.synthetic.graphics import cameras, rotations
from crocohuman_jax.synthetic.motion import motion

SMALL = {"people": 1, "instants": 2, "views": 3, "size": (64, 64), "supersample": 1}


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.fixture(scope="module")
def recorded():
    return takes.Take(takes.Recipe(**SMALL, seed=5, place="studio"), 0, 0, "body")


def test_the_box_around_a_person_is_that_of_its_silhouette(recorded):
    for instant in range(2):
        for view in range(3):
            _, about = recorded.frame(instant, view)
            camera = recorded.camera(instant, view)
            shown = recorded.person.surface.faces[~recorded.person.surface.skip]
            points, _ = camera.project(recorded.posed[instant].vertices[np.unique(shown)])
            box = np.concatenate([points.min(0), points.max(0)])
            assert np.abs(bounds(about["part"] > 0) - box).max() < 1.5  # a pixel's centre counts
            assert (box > 0).all() and (box < 64).all()
            larger = max(box[2] - box[0], box[3] - box[1])
            assert 64 / (1.25 * 1.12) - 1 < larger < 64 / (1.25 * 0.92) + 1


def test_a_take_is_the_same_whatever_was_asked_for_first(recorded):
    again = takes.Take(recorded.recipe, 0, 0, "body")
    later = again.frame(1, 2)[0]
    np.testing.assert_array_equal(again.frame(0, 1)[0], recorded.frame(0, 1)[0])
    np.testing.assert_array_equal(later, recorded.frame(1, 2)[0])


def test_cameras_of_a_rig_stand_all_around():
    rng = np.random.default_rng(0)
    centre = np.array([0, 0, 1.0])
    for count in (3, 6, 12):
        stations = cameras.rig(rng, count, centre, 1.0)
        azimuths = np.sort([np.arctan2(s.eye[0], -s.eye[1]) for s in stations])
        gaps = np.diff(np.append(azimuths, azimuths[0] + 2 * np.pi))
        assert gaps.max() < 2 * 2 * np.pi / count and len(stations) == count
        assert all(station.eye[2] > 0.2 for station in stations)
    fronts = [cameras.rig(rng, 2, centre, 1.0)[0].eye[1] for _ in range(40)]
    assert 8 < sum(y < 0 for y in fronts) < 32  # faces are seen from the front and from behind
    with pytest.raises(ValueError, match="A rig has 1 to 12 cameras, not 13"):
        cameras.rig(rng, 13, centre, 1.0)


def test_a_crop_shows_its_points_and_nothing_behind_the_camera():
    centre = np.array([0, 0, 1.0])
    station = cameras.Station(np.random.default_rng(1), 0.3, centre, 1.0)
    points = np.random.default_rng(2).uniform(-0.4, 0.4, (50, 3)) + centre
    pixels, depth = station.crop(points, (64, 48), 1.25).project(points)
    assert (pixels > 0).all() and (pixels < (48, 64)).all() and (depth > 0).all()
    extent = np.ptp(pixels, axis=0) / (48, 64)
    np.testing.assert_allclose(extent.max(), 1 / 1.25, rtol=1e-6)
    with pytest.raises(ValueError, match=r"depth -\d.* more than 0.05 m in front"):
        station.crop(points - 20 * (points.mean(0) - station.eye), (64, 64), 1.2)


def test_hands_fill_their_close_ups_and_are_seen():
    figure = parametric_body.load()
    for seed in range(3):
        recorded = takes.Take(takes.Recipe(**SMALL, kinds=("hand",), seed=seed), 0, 0, "hand")
        part = figure.parts.index(f"hand_{recorded.side.lower()}")
        for view in range(3):
            about = recorded.frame(1, view)[1]
            assert (about["part"] == part).mean() > 0.02, (seed, view)
            assert about["model_pose"].shape == (16, 3) and about["side"] == recorded.side


def test_gestures_and_actions_can_be_asked_for():
    recipe = takes.Recipe(**SMALL, hands=("peace",), actions=("walk",))
    recorded = takes.Take(recipe, 0, 0, "body")
    assert recorded.motion.name == "walk"
    assert recorded.motion.hand_names[recorded.side] == "peace"
    held = takes.Take(takes.Recipe(**SMALL, hands=("medium_wrap",)), 0, 0, "body")
    assert held.poses[0].held and "medium_wrap" in motion.GRASPS


@pytest.fixture
def amass(tmp_path):
    """A folder with a motion in AMASS's layout: a turn on the spot with raised arms."""
    frames = 60
    poses = np.zeros((frames, 156))
    upright = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for i in range(frames):
        poses[i, :3] = rotations.to_vector(rotations.about(rotations.Z, i / 30) @ upright)
    poses[:, 48 + 2] = -1.0
    (tmp_path / "amass").mkdir()
    np.savez(
        tmp_path / "amass/turn_poses.npz",
        poses=poses,
        trans=np.zeros((frames, 3)),
        betas=np.zeros(16),
        gender="neutral",
        mocap_framerate=30.0,
    )
    return tmp_path / "amass"


def test_our_people_and_a_users_body_model_move_by_amass(amass, tmp_path):
    by_ours = takes.Take(takes.Recipe(**SMALL, motions=str(amass)), 0, 0, "body")
    assert by_ours.motion.name == "clip" and by_ours.frame(0, 0)[1]["joints"].shape == (104, 3)
    open_models.save(open_models.body(), tmp_path / "body.npz")
    recipe = takes.Recipe(**SMALL, motions=str(amass), model=str(tmp_path / "body.npz"))
    takes.check_sources(recipe)
    recorded = takes.Take(recipe, 0, 0, "body")
    picture, about = recorded.frame(0, 0)
    assert picture.std() > 5 and (about["part"] > 0).mean() > 0.03
    assert about["model_pose"].shape == (24, 3) and about["joints"].shape == (24, 3)
    with pytest.raises(ValueError, match="Option model needs kind=body, not hand"):
        takes.Recipe(kinds=("hand",), model="body.npz")


def test_people_stand_before_a_users_pictures(tmp_path):
    colors = np.zeros((60, 80, 3), np.uint8)
    colors[..., 1] = 200
    PIL.Image.fromarray(colors).save(tmp_path / "green.png")
    recorded = takes.Take(takes.Recipe(**SMALL, pictures=str(tmp_path)), 0, 0, "body")
    picture, about = recorded.frame(0, 0)
    behind = picture[:8][about["part"][:8] == 0].astype(float).mean(0)
    assert recorded.place.kind == "picture" and behind[1] > 2 * behind[0]

"""Motions: real rotations within a body's limits, the same for every order of calls, and smooth."""

import numpy as np
import pytest

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.motion import actions, hand_poses, motion, self_collision
from crocohuman_jax.synthetic.motion import skeleton as skeletons


@pytest.fixture(scope="module")
def figure():
    return parametric_body.load()


def person(figure, seed):
    drawn = np.random.default_rng(seed)
    phenotype = {name: float(drawn.uniform(0.3, 0.7)) for name in parametric_body.PHENOTYPE}
    return figure.rest(figure.coefficients({**phenotype, "age": 0.75, "gender": seed % 2}))


def drawn(figure, seed=1, who=1, **options):
    vertices, heads = person(figure, who)
    return motion.draw(figure, heads, seed, vertices=vertices, **options)


@pytest.mark.parametrize("action", motion.ACTIONS)
def test_every_action_gives_rotations_within_the_limits_of_a_body(figure, action):
    drawn_ = drawn(figure, action=action)
    times = np.linspace(0, drawn_.duration, 7)
    turns, place, lift = drawn_.turns(times)
    identity = np.swapaxes(turns, -1, -2) @ turns
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), turns.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-9)
    assert np.isfinite(place).all()
    assert (lift >= 0).all()
    angles = drawn_.angles(times)
    for name, limits in (
        ("spine", skeletons.SPINE_LIMITS),
        ("neck", skeletons.NECK_LIMITS),
        ("arm.L", skeletons.ARM_LIMITS),
        ("arm.R", skeletons.ARM_LIMITS),
        ("leg.L", skeletons.LEG_LIMITS),
        ("leg.R", skeletons.LEG_LIMITS),
    ):
        assert (angles[name] >= limits[:, 0] - 1e-9).all(), name
        assert (angles[name] <= limits[:, 1] + 1e-9).all(), name


def test_a_pose_depends_on_seed_and_time_alone(figure):
    for kind in motion.KINDS:
        first, second = drawn(figure, 5, kind=kind), drawn(figure, 5, kind=kind)
        backwards = [second.at(t) for t in (2.0, 1.0, 0.5)][::-1]
        for time, again in zip((0.5, 1.0, 2.0), backwards, strict=True):
            pose = first.at(time)
            assert pose.rotations.tobytes() == again.rotations.tobytes()
            assert pose.translation.tobytes() == again.translation.tobytes()
            assert pose.lift == again.lift
    assert (
        drawn(figure, 5).at(1.0).rotations.tobytes() != drawn(figure, 6).at(1.0).rotations.tobytes()
    )


@pytest.mark.parametrize("action", motion.ACTIONS)
def test_motion_is_smooth(figure, action):
    drawn_ = drawn(figure, 2, action=action)
    skeleton = skeletons.Skeleton(figure, person(figure, 1)[1])
    times = np.arange(0, drawn_.duration, 0.01)
    turns, place, lift = drawn_.turns(times)
    joints, _ = skeleton.joints(turns)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) / 0.01
    assert speed.max() < 14  # metres per second: a fast throw
    assert np.linalg.norm(np.diff(place, axis=0), axis=-1).max() / 0.01 < 8
    assert np.abs(np.diff(lift)).max() / 0.01 < 5
    # Nothing jumps: half the step, about half the way.
    finer = drawn_.turns(times[40] + np.array([0, 1e-4]))[0]
    assert np.abs(np.diff(finer, axis=0)).max() < 0.02


def test_moments_of_one_motion_look_different(figure):
    skeleton = skeletons.Skeleton(figure, person(figure, 1)[1])
    still = []
    for action in motion.ACTIONS:
        drawn_ = drawn(figure, 3, action=action)
        joints, _ = skeleton.joints(drawn_.turns(np.linspace(0, drawn_.duration, 8))[0])
        moved = np.linalg.norm(joints - joints[:1], axis=-1).max()
        if moved < 0.1:
            still.append((action, round(float(moved), 3)))
    assert len(still) <= 3, still


def test_limbs_keep_out_of_the_body(figure):
    motions = [
        drawn(figure, seed, seed % 4, kind=kind) for seed in range(12) for kind in motion.KINDS
    ]
    assert sum(m.accepted for m in motions) >= len(motions) - 1
    assert np.mean([m.tries for m in motions]) < 3


def test_the_hand_of_a_close_up_is_free(figure):
    for seed in range(8):
        side = "LR"[seed % 2]
        drawn_ = drawn(
            figure, seed, kind="hand", side=side, hand=(None, "palm", "tripod")[seed % 3]
        )
        if drawn_.hand_names[side] in hand_poses.AT_FACE:
            continue
        vertices, heads = person(figure, 1)
        skeleton = skeletons.Skeleton(figure, heads)
        solids = self_collision.Solids(skeleton, vertices)
        turns, _, _ = drawn_.turns(np.linspace(0, drawn_.duration, 9))
        assert solids.touching(turns, side, motion.HAND_ROOM) == ""
        joints, _ = skeleton.joints(turns)
        hand = joints[:, figure.bone[f"finger3-1.{side}"]]
        thigh = joints[:, figure.bone[f"upperleg02.{side}"]]
        assert np.linalg.norm(hand - thigh, axis=-1).min() > motion.HAND_ROOM
        fingers = turns[:, [figure.bone[f"finger{f}-2.{side}"] for f in range(1, 6)]]
        if drawn_.hand_names[side] == "free":
            assert np.abs(fingers - fingers[:1]).max() > 0.02


def test_feet_stand_flat_on_the_ground(figure):
    for seed in range(6):
        drawn_ = drawn(figure, seed, action="stand")
        pose = drawn_.at(1.0)
        vertices, heads = person(figure, 1)
        transforms = figure.transforms(heads, pose.rotations)
        skin = figure.skin(vertices, transforms)
        foot = [figure.face_part == figure.parts.index(f"foot_{side}") for side in "lr"]
        soles = [skin[np.unique(figure.faces[part])][:, 2] for part in foot]
        assert abs(soles[0].min() - soles[1].min()) < 0.02
        for side in skeletons.SIDES:
            ankle, toe = (transforms[figure.bone[f"{n}.{side}"]] for n in ("foot", "toe3-1"))
            del toe
            assert ankle[2, 2] > 0.97  # the sole looks down


def test_walking_goes_where_the_person_looks(figure):
    for action, fastest in (("walk", 2.5), ("run", 6.0)):
        drawn_ = drawn(figure, 4, action=action)
        start, end = drawn_.at(0.0), drawn_.at(2.0)
        ahead = start.rotations[0] @ np.array([0.0, -1, 0])
        moved = (end.translation - start.translation) / 2
        assert 0.4 < moved @ ahead < fastest
        assert np.linalg.norm(moved - (moved @ ahead) * ahead) < 0.3 * (moved @ ahead)


def test_jumping_leaves_the_ground_and_standing_does_not(figure):
    jump, stand = drawn(figure, 1, action="jump"), drawn(figure, 1, action="stand")
    times = np.linspace(0, 3, 40)
    assert max(jump.at(t).lift for t in times) > 0.1
    assert min(jump.at(t).lift for t in times) == 0
    assert max(stand.at(t).lift for t in times) == 0


def test_neutral_turns_and_bone_rotations_are_each_others_inverse(figure):
    skeleton = skeletons.Skeleton(figure, person(figure, 2)[1])
    turns, _, _ = drawn(figure, 3, 2).turns(np.array([0.3]))
    np.testing.assert_allclose(skeleton.turns(skeleton.compose(turns)), turns, atol=1e-12)
    joints, _ = skeleton.joints(turns)
    transforms = figure.transforms(skeleton.heads, skeleton.compose(turns)[0])
    expected = parametric_body.apply(transforms, skeleton.heads)
    np.testing.assert_allclose(joints[0], expected - expected[0], atol=1e-9)


def test_a_recorded_clip_is_played(figure):
    class Still:
        duration = 4.0

        def rotations(self, time, body, heads):
            result = np.tile(np.eye(3), (len(heads), 1, 1))
            result[body.bone["lowerarm01.L"]] = skeletons.turn_x(-20 * time)
            return result

    played = drawn(figure, 1, clips=[Still()])
    assert played.name == "clip"
    elbow = figure.bone["lowerarm01.L"]
    first, second = played.at(0.0).rotations[elbow], played.at(1.0).rotations[elbow]
    np.testing.assert_allclose(first.T @ second, skeletons.turn_x(-20), atol=1e-9)
    assert drawn(figure, 1, clips=[Still()], action="walk").name == "walk"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"action": "fly"}, "Unknown action 'fly'. Known: balance"),
        ({"hand": "claws"}, "Unknown hand 'claws'. Known: adducted_thumb"),
        ({"side": "left"}, "Unknown side 'left'. Known: L, R"),
        ({"kind": "foot"}, "Unknown kind 'foot'. Known: body, hand"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(figure, options, said):
    with pytest.raises(ValueError, match=said):
        drawn(figure, **options)
    with pytest.raises(ValueError, match="Unknown action 'fly'"):
        actions.draw("fly", np.random.default_rng(0))

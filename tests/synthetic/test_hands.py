"""Hands: gestures that can be told apart and grasps that touch what they hold."""

import numpy as np
import pytest

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.motion import grasps, grip, hand_poses, motion
from crocohuman_jax.synthetic.motion import skeleton as skeletons

# Which of index, middle, ring and little finger stand in each gesture.
STANDING = {
    "call": "0001", "dislike": "0000", "fist": "0000", "four": "1111", "like": "0000",
    "mute": "1000", "one": "1000", "palm": "1111", "peace": "1100", "peace_inverted": "1100",
    "rock": "1001", "stop": "1111", "stop_inverted": "1111", "three": "1110", "three2": "1100",
    "two_up": "1100", "two_up_inverted": "1100",
}  # fmt: skip


@pytest.fixture(scope="module")
def skeleton():
    figure = parametric_body.load()
    shape = figure.coefficients({"age": 0.75, "gender": 0.3})
    return skeletons.Skeleton(figure, figure.rest(shape)[1])


def shown(skeleton, name, side, seed=3):
    """Returns joints and turns of a person who shows a gesture, against the chest."""
    figure = skeleton.body
    drawn = motion.draw(figure, skeleton.heads, seed, action="stand", hand=name, side=side)
    assert drawn.hand_names[side] == name
    joints, total = skeleton.joints(drawn.turns(np.array([1.0]))[0])
    chest = total[0, figure.bone["spine01"]]
    return joints[0] @ chest, chest.T @ total[0]


def test_there_are_the_18_gestures_and_the_33_grasps():
    assert len(hand_poses.GESTURES) == 18
    assert len(grasps.GRASPS) == 33
    assert set(STANDING) | {"ok"} == set(hand_poses.GESTURES)


@pytest.mark.parametrize("side", ["L", "R"])
def test_gestures_stretch_the_fingers_that_they_mean(skeleton, side):
    bone = skeleton.bone
    for name, expected in STANDING.items():
        joints, _ = shown(skeleton, name, side)
        found = ""
        for finger in range(2, 6):
            a, b, c = (joints[bone[f"finger{finger}-{k}.{side}"]] for k in (1, 2, 3))
            palm = a - joints[bone[f"wrist.{side}"]]
            found += str(int((c - b) @ palm > 0.6 * np.linalg.norm(c - b) * np.linalg.norm(palm)))
        assert found == expected, name


@pytest.mark.parametrize("side", ["L", "R"])
def test_gestures_show_the_palm_and_inverted_ones_the_back(skeleton, side):
    sign, wrist = skeletons.SIDES[side], skeleton.bone[f"wrist.{side}"]
    for name in hand_poses.GESTURES:
        if name in ("like", "dislike", "call", "mute"):
            continue
        _, total = shown(skeleton, name, side)
        palm = total[wrist] @ np.array([-sign, 0, 0])
        fingers = total[wrist] @ np.array([0, 0, -1.0])
        ahead = -palm[1]
        assert (ahead < -0.5) if name in hand_poses.INVERTED else (ahead > 0.5), (name, ahead)
        assert fingers[2] > 0.5, name  # upright


@pytest.mark.parametrize("side", ["L", "R"])
def test_thumbs_point_up_to_like_and_down_to_dislike(skeleton, side):
    for name, way in (("like", 1), ("dislike", -1)):
        joints, _ = shown(skeleton, name, side)
        a, b = (joints[skeleton.bone[f"finger1-{k}.{side}"]] for k in (2, 3))
        assert way * (b - a)[2] > 0.6 * np.linalg.norm(b - a)


def test_peace_spreads_what_two_up_keeps_together(skeleton):
    def gap(name):
        joints, _ = shown(skeleton, name, "R")
        index, middle = (joints[skeleton.bone[f"finger{f}-3.R"]] for f in (2, 3))
        return np.linalg.norm(index - middle)

    assert gap("peace") > gap("two_up") + 0.012


def test_ok_brings_thumb_and_index_together_and_leaves_the_others_standing(skeleton):
    for side in skeletons.SIDES:
        hand = grip.Hand(skeleton, side)
        shape = grasps.bring_together(skeleton, side, hand_poses.SHAPES["ok"])
        thumb, index = (hand.points(f, shape[None])[0, 2] for f in (1, 2))
        assert np.linalg.norm(thumb[:, None] - index, axis=-1).min() < 0.005
        assert (shape[2:, :3] < 25).all()


def test_mute_lays_the_finger_on_the_lips(skeleton):
    figure = skeleton.body
    for side in skeletons.SIDES:
        joints, total = shown(skeleton, "mute", side)
        last = skeleton.bone[f"finger2-3.{side}"]
        tip = joints[last] + total[last] @ np.array([0, 0, -0.02])
        lips = np.array([0.0, -0.144, -0.035]) * skeleton.head_size
        head = skeleton.bone["head"]
        mouth = joints[head] + total[head] @ lips
        assert np.linalg.norm(tip - mouth) < 0.045
    assert figure.masks["lips"].any()


def test_call_holds_the_thumb_to_the_ear(skeleton):
    for side, sign in skeletons.SIDES.items():
        joints, total = shown(skeleton, "call", side)
        last, head = skeleton.bone[f"finger1-3.{side}"], skeleton.bone["head"]
        tip = joints[last] + total[last] @ np.array([0, 0, -0.02])
        ear = np.array([sign * 0.085, -0.03, 0.014]) * skeleton.head_size
        assert np.linalg.norm(tip - joints[head] - total[head] @ ear) < 0.07


def test_shapes_keep_the_limits_of_fingers():
    for name, shape in hand_poses.SHAPES.items():
        low, high = skeletons.THUMB_LIMITS.T
        assert ((shape[0] >= low) & (shape[0] <= high)).all(), name
        low, high = skeletons.FINGER_LIMITS.T
        fingers = shape[1:, :4]
        assert ((fingers >= low) & (fingers <= high + 8)).all(), name


@pytest.mark.parametrize("name", grasps.GRASPS)
def test_a_grasp_touches_its_object_and_does_not_sink_into_it(skeleton, name):
    for side in skeletons.SIDES:
        shape, solid, hand = grasps.solve(skeleton, side, name, np.random.default_rng(4))
        gaps = [solid.distance(hand.points(f, shape[None])[0]).min() for f in range(1, 6)]
        holding = [gaps[f - 1] for f in grasps.TABLE[name].holds]
        assert max(holding) < 0.003
        assert min(gaps) > -0.002
        assert solid.distance(hand.palm).min() > -0.004


def test_held_meshes_are_closed_outward_and_carried_by_the_wrist(skeleton):
    figure = skeleton.body
    for name in grasps.GRASPS:
        for side in skeletons.SIDES:
            _, held = grasps.take(skeleton, side, name, np.random.default_rng(1))
            assert held.vertices.dtype == np.float32
            assert held.faces.dtype == np.int32
            a, b, c = (held.vertices[held.faces[:, k]].astype(float) for k in range(3))
            middle = held.vertices.mean(0)
            volume = ((a - middle) * np.cross(b - middle, c - middle)).sum() / 6
            assert volume > 0, name
            outward = np.einsum("fa,fa->f", np.cross(b - a, c - a), (a + b + c) / 3 - middle)
            assert (outward > -1e-12).all(), name
            wrist = skeleton.heads[figure.bone[f"wrist.{side}"]]
            assert np.linalg.norm(middle - wrist) < 0.3
    drawn = motion.draw(figure, skeleton.heads, 1, kind="hand", hand="tripod", side="L")
    assert [h.name for h in drawn.at(0.5).held] == ["tripod"]


def test_grasps_and_gestures_are_functions_of_their_seed(skeleton):
    first, second = (
        grasps.take(skeleton, "L", "medium_wrap", np.random.default_rng(7)) for _ in range(2)
    )
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].vertices.tobytes() == second[1].vertices.tobytes()


def test_unknown_names_are_errors_that_list_the_known_ones(skeleton):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"Unknown grasp 'hug'. Known: large_diameter"):
        grasps.take(skeleton, "L", "hug", rng)
    with pytest.raises(ValueError, match=r"Unknown gesture 'hug'. Known: call"):
        hand_poses.gesture_arm("hug", rng)

"""BVH files: limbs point where they were recorded, and broken files say what is wrong."""

import functools

import numpy as np
import pytest

from crocohuman_jax.synthetic.figure import parametric_body
from crocohuman_jax.synthetic.motion import bvh, motion
from crocohuman_jax.synthetic.motion import skeleton as skeletons

CMU = ("Hips", "{}UpLeg", "{}Leg", "{}Foot", "{}ToeBase", "Spine", "Head", "{}Arm", "{}ForeArm",
       "{}Hand")  # fmt: skip
MAKEHUMAN = ("Root", "UpLeg_{}", "LoLeg_{}", "Foot_{}", "Toe_{}", "Torso", "Head", "UpArm_{}",
             "LoArm_{}", "Hand_{}")  # fmt: skip
STEP = 0.5


def write(path, frames, names=CMU, up="y"):
    """Writes a figure in a T pose; `frames` are dicts {joint: degrees about z, y and x}."""
    sides = ("Left", "Right") if names is CMU else ("L", "R")
    count, order, lines = 0, [], ["HIERARCHY"]

    def vector(x, y, z):
        values = (x, y, z) if up == "y" else (x, -z, y)
        return " ".join(str(v) for v in values)

    def joint(name, offset, *children, word="JOINT"):
        nonlocal count
        channels = "Zrotation Yrotation Xrotation"
        if word == "ROOT":
            channels = "Xposition Yposition Zposition " + channels
        lines.extend([f"{word} {name}", "{", f"OFFSET {vector(*offset)}"])
        lines.append(f"CHANNELS {len(channels.split())} {channels}")
        order.append(name)
        for child in children:
            child()
        if not children:
            lines.extend(["End Site", "{", f"OFFSET {vector(0, 1, 0)}", "}"])
        lines.append("}")

    def leg(side, x):
        thigh, shin, foot, toe = (n.format(side) for n in names[1:5])
        return lambda: joint(
            thigh, (2 * x, 0, 0),
            lambda: joint(shin, (0, -8, 0), lambda: joint(foot, (0, -8, 0), lambda: joint(
                toe, (0, -1, 2)))),
        )  # fmt: skip

    def arm(side, x):
        upper, fore, hand = (n.format(side) for n in names[7:])
        return lambda: joint(
            upper, (3 * x, 0, 0), lambda: joint(fore, (5 * x, 0, 0), lambda: joint(
                hand, (5 * x, 0, 0))),
        )  # fmt: skip

    def trunk():
        head = functools.partial(joint, names[6], (0, 3, 0))
        return joint(names[5], (0, 8, 0), head, arm(sides[0], 1), arm(sides[1], -1))

    joint(names[0], (0, 0, 0), leg(sides[0], 1), leg(sides[1], -1), trunk, word="ROOT")
    rows = []
    for frame in frames:
        row = [*frame.get("place", (0, 17, 0) if up == "y" else (0, 0, 17))]
        for name in order:
            row.extend(frame.get(name, (0, 0, 0)))
        rows.append(" ".join(str(v) for v in row))
    lines.extend(["MOTION", f"Frames: {len(rows)}", f"Frame Time: {STEP}", *rows])
    path.write_text("\n".join(lines) + "\n")
    return path


def pointing(clip, time, first, second):
    """Returns where a bone of ours points at a time."""
    figure = parametric_body.load()
    heads = figure.rest(figure.coefficients({"age": 0.75}))[1].astype(float)
    matrices = clip.rotations(time, figure, heads)
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, -1, -2), [np.eye(3)] * 104, atol=1e-9
    )
    transforms = figure.transforms(heads, matrices)
    joints = parametric_body.apply(transforms, heads)
    way = joints[figure.bone[second]] - joints[figure.bone[first]]
    return way / np.linalg.norm(way)


# In our axes: x left, y back, z up.
@pytest.mark.parametrize(("names", "up"), [(CMU, "y"), (CMU, "z"), (MAKEHUMAN, "z")])
def test_limbs_point_where_they_were_recorded(tmp_path, names, up):
    left = "Left" if names is CMU else "L"
    arm, fore, thigh = (names[k].format(left) for k in (7, 8, 1))
    # About the figure's forward axis 60 degrees down, then the thigh 90 degrees ahead.
    if up == "y":
        frame = {arm: (-60, 0, 0), fore: (0, -90, 0), thigh: (0, 0, -90)}
    else:
        frame = {arm: (0, 60, 0), fore: (-90, 0, 0), thigh: (0, 0, -90)}
    clip = bvh.Clip(write(tmp_path / "a.bvh", [{}, frame], names, up))
    assert clip.up == up
    assert clip.duration == STEP
    near = {"atol": 0.02}
    np.testing.assert_allclose(pointing(clip, 0, "upperarm01.L", "lowerarm01.L"), [1, 0, 0], **near)
    np.testing.assert_allclose(pointing(clip, 0, "lowerarm01.R", "wrist.R"), [-1, 0, 0], **near)
    np.testing.assert_allclose(pointing(clip, 0, "lowerleg01.L", "foot.L"), [0, 0, -1], **near)
    down = [np.cos(np.pi / 3), 0, -np.sin(np.pi / 3)]
    np.testing.assert_allclose(pointing(clip, STEP, "upperarm01.L", "lowerarm01.L"), down, **near)
    np.testing.assert_allclose(pointing(clip, STEP, "lowerarm01.L", "wrist.L"), [0, -1, 0], **near)
    np.testing.assert_allclose(
        pointing(clip, STEP, "upperleg01.L", "lowerleg01.L"), [0, -1, 0], **near
    )


def test_between_frames_the_figure_turns_evenly(tmp_path):
    clip = bvh.Clip(write(tmp_path / "a.bvh", [{}, {"LeftArm": (-60, 0, 0)}]))
    way = pointing(clip, STEP / 3, "upperarm01.L", "lowerarm01.L")
    np.testing.assert_allclose(way, [np.cos(np.pi / 9), 0, -np.sin(np.pi / 9)], atol=0.02)
    before, after = (pointing(clip, t, "upperarm01.L", "lowerarm01.L") for t in (-1, 9))
    np.testing.assert_allclose(before, [1, 0, 0], atol=0.02)
    np.testing.assert_allclose(after, [0.5, 0, -np.sqrt(0.75)], atol=0.02)


def test_head_and_trunk_follow(tmp_path):
    path = write(tmp_path / "a.bvh", [{"Head": (0, 40, 0), "Spine": (0, 0, 20)}])
    figure = parametric_body.load()
    skeleton = skeletons.Skeleton(figure, figure.heads)
    turns = skeleton.turns(bvh.Clip(path).rotations(0, figure, figure.heads)[None])
    _, total = skeleton.joints(turns)
    chest, head = total[0, figure.bone["spine01"]], total[0, figure.bone["head"]]
    np.testing.assert_allclose(chest, skeletons.turn_x(20), atol=1e-6)
    np.testing.assert_allclose(chest.T @ head, skeletons.turn_z(40), atol=1e-6)


def test_a_path_and_a_leap_are_followed_in_metres(tmp_path):
    frames = [{}, {"place": (0, 17, 8)}, {"place": (0, 21, 8)}]
    clip = bvh.Clip(write(tmp_path / "a.bvh", frames))
    moved = clip.place(STEP) - clip.place(0)
    np.testing.assert_allclose(moved, [0, -bvh.AVERAGE_LEG / 2, 0], atol=1e-6)
    assert clip.lift(STEP) == 0
    assert clip.lift(2 * STEP) == pytest.approx(bvh.AVERAGE_LEG / 4 - 0.03, abs=1e-6)


def test_a_motion_can_be_drawn_from_a_folder_of_clips(tmp_path):
    clip = bvh.Clip(write(tmp_path / "a.bvh", [{}, {"LeftArm": (-60, 0, 0)}] * 4))
    figure = parametric_body.load()
    drawn = motion.draw(figure, figure.heads, 1, clips=[clip])
    assert drawn.name == "clip"
    pose = drawn.at(0.7)
    assert pose.rotations.tobytes() == drawn.at(0.7).rotations.tobytes()
    assert np.isfinite(pose.translation).all()


def broken(tmp_path, old, new, count=1):
    path = write(tmp_path / "a.bvh", [{}, {}])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("LeftUpLeg", "Blah", "no joint for left thigh. Found: Hips, Blah, .*Needed: LeftUpLeg"),
        ("CHANNELS 3", "CHANNELS 4", "CHANNELS of LeftUpLeg says 4 but lists 3"),
        ("CHANNELS 6", "CHANNELS six", "CHANNELS of Hips says six"),
        (
            "Xrotation",
            "Wrotation",
            "unknown channel 'Wrotation' of Hips. Known: X, Y or Z, followed",
        ),
        ("MOTION", "MOTON", "has no MOTION"),
        ("HIERARCHY", "", "has no HIERARCHY"),
        ("0 17 0", "0 17", "frame 1 has .* numbers; expected"),
        ("0 17 0", "nan 17 0", "frame 1 holds numbers that are not finite"),
        ("0 17 0", "a 17 0", "frame 1 must be numbers"),
        ("OFFSET 0 -8 0", "OFFSET 0 -8", "OFFSET of LeftLeg has 2 numbers; expected 3"),
        ("OFFSET 0 -8 0", "OFFSET 0 x 0", "OFFSET of LeftLeg must be numbers"),
        ("Frames: 2", "Frames: 3", "2 frames, but Frames says 3"),
        ("Frames: 2", "Images: 2", "must begin with 'Frames"),
        ("Frame Time: 0.5", "Frame Time: 0", "Frame Time is 0"),
        ("}\nMOTION", "MOTION", "1 braces in the hierarchy are not closed"),
        ("}\nMOTION", "}\n}\nMOTION", "one closing brace too many"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path, old, new, said):
    with pytest.raises(ValueError, match=said) as error:
        bvh.Clip(broken(tmp_path, old, new))
    assert "a.bvh" in str(error.value)


def test_an_unknown_axis_is_an_error(tmp_path):
    path = write(tmp_path / "a.bvh", [{}])
    assert bvh.Clip(path, up="y").up == "y"
    with pytest.raises(ValueError, match="Unknown axis up='x'. Known: None, y, z"):
        bvh.Clip(path, up="x")

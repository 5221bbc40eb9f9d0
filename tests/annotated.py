"""Writes small files in the layouts of datasets of people, prepares them and reads them back."""

import json

import numpy as np
import PIL.Image
import PIL.ImageDraw

from crocohuman_jax.body_models import joint_names as joint_names_lib
from crocohuman_jax.configuration import registry
from crocohuman_jax.data.datasets import pw3d
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import labels, records
from crocohuman_jax.synthetic.graphics import rotations

RNG = np.random.default_rng(0)
CENTER, SIDE = (100.0, 80.0), 100.0
COLORS = {"left_ankle": "red", "right_ankle": "lime", "right_elbow": "blue"}
WHERE = {"left_ankle": (120, 110), "right_ankle": (80, 112), "right_elbow": (70, 60)}
HAND_SIDE = 48  # of the pictures of hands, in pixels
HAND_CAMERA = np.array([[60.0, 0, 22], [0, 61, 25], [0, 0, 1]])


def photo(path, size=(200, 160)):
    """Writes a picture with a colored spot where each joint of WHERE is."""
    picture = PIL.Image.new("RGB", size, (128, 128, 128))
    for name, (x, y) in WHERE.items():
        PIL.ImageDraw.Draw(picture).ellipse((x - 4, y - 4, x + 4, y + 4), fill=COLORS[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=98)


def points(names, columns=3):
    """The joints of WHERE in the order of names, seen; the others at NaN, unseen."""
    table = np.full((len(names), columns), np.nan)
    table[:, -1] = 0
    for name, (x, y) in WHERE.items():
        table[names.index(name)] = [x, y, *([3.0] * (columns - 3)), 1]
    return table


def settings_of(name, source, **options):
    defaults = registry.find("data.datasets", name).OPTIONS
    assert set(options) <= set(defaults)
    return pipeline.Settings(name, source, {**defaults, **options}, size=(128, 128))


def plan(name, source, **options):
    return registry.find("data.datasets", name).plan(settings_of(name, source, **options))


def prepare(name, source, output, **options):
    """Prepares a dataset; returns its frames, their labels and the manifest."""
    manifest = pipeline.prepare(settings_of(name, source, **options), output, 1, lambda *_: None)
    frames, found = records.Frames(output), labels.Labels(output)
    assert len(frames) == len(found) and found.names == joint_names_lib.PEOPLE
    return frames, [found.read(row) for row in range(len(frames))], manifest


def in_source(frames, row, pixels):
    """Pixels of a frame in those of the picture that it was cut from."""
    x0, y0, x1, y1 = frames.index["box"][row]
    return np.asarray(pixels) * np.array([x1 - x0, y1 - y0]) / frames.size[::-1] + [x0, y0]


def assert_lands(frames, known, row, names=tuple(WHERE)):
    """The row's keypoints are where the picture's spots are."""
    picture = frames.read(row)[0].astype(int)
    for name in names:
        x, y, seen = known[row]["keypoints"][joint_names_lib.PEOPLE.index(name)]
        channel = ["red", "lime", "blue"].index(COLORS[name])
        spot = picture[..., channel] - picture.sum(2) / 3 > 60
        middle = np.argwhere(spot).mean(0)[::-1] + 0.5
        assert seen == 1 and np.abs(middle - (x, y)).max() < 1.5, name
    assert (known[row]["keypoints"][:, 2] > 0).sum() == len(names)


def spin_file(path, names, joint_names=joint_names_lib.PEOPLE, **arrays):
    """Writes a file in SPIN's form, of one person in each picture named."""
    n = len(names)
    found = {
        "imgname": names,
        "center": np.tile(CENTER, (n, 1)),
        "scale": np.full(n, SIDE / 200),
        "part": np.tile(points(joint_names), (n, 1, 1)),
        "S": np.tile(points(joint_names, 4), (n, 1, 1)),
        "openpose": np.array([None] * n),  # never read, and could not be
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{k: v for k, v in (found | arrays).items() if v is not None})


def eft_person(name, **changes):
    pose = rotations.from_vector(RNG.normal(size=(24, 3)))
    person = {
        "imageName": name,
        "bbox_center": list(CENTER),
        "bbox_scale": SIDE / 200,
        "parm_pose": pose.tolist(),
        "parm_shape": RNG.normal(size=10).tolist(),
        "parm_cam": [0.8, 0.1, -0.2],
        "smpltype": "smpl",
        "annotId": 7,
    }
    return person | changes


def eft_file(path, people):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"ver": 0.1, "data": people}))
    for person in people:
        photo(path.parent / "train2014" / person["imageName"])


def sequence_3dpw(frames=6, people=2):
    """A published sequence, as it is when unpickled: lists of arrays."""
    seen = np.nan_to_num(points(list(pw3d.OPENPOSE))).T
    turns = rotations.from_vector(RNG.normal(size=(frames, 3)))
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = turns
    return {
        "sequence": "walk_00",
        "poses": [RNG.normal(size=(frames, 72)) for _ in range(people)],
        "betas": [RNG.normal(size=10 + 290 * i) for i in range(people)],
        "trans": [RNG.normal(size=(frames, 3)) for _ in range(people)],
        "genders": ["m", b"f"][:people],
        "poses2d": [np.tile(seen, (frames, 1, 1)) for _ in range(people)],
        "campose_valid": [np.ones(frames, int) for _ in range(people)],
        "cam_poses": cameras,
        "cam_intrinsics": np.array([[190.0, 0, 100], [0, 191, 80], [0, 0, 1]]),
        "img_frame_ids": np.arange(frames) * 2,
    }


def write_3dpw(folder, content, split="test", name="walk_00"):
    path = folder / f"sequenceFiles/{split}/{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **pw3d.plain(content))
    for instant in range(len(content["cam_poses"])):
        photo(folder / f"imageFiles/{name}/image_{instant:05d}.jpg")


def hand_photo(path, value=128, size=(HAND_SIDE, HAND_SIDE)):
    """Writes a picture of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, (value,) * 3).save(path, quality=95)


def hand_mask(path):
    """Writes a mask whose left half is a hand, with the noise of compression on both."""
    noisy = np.full((HAND_SIDE, HAND_SIDE), 20, np.uint8)
    noisy[:, : HAND_SIDE // 2] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(noisy).save(path, quality=95)


def hand_points(*axes):
    """Joints [..., 21, 3] in metres, before a camera and within its picture."""
    return RNG.uniform([-0.15, -0.15, 0.6], [0.15, 0.15, 0.8], (*axes, 21, 3))


def freihand_tables(count):
    return {
        "K": np.tile(HAND_CAMERA, (count, 1, 1)),
        "xyz": hand_points(count),
        "mano": RNG.normal(size=(count, 1, 61)),
        "verts": RNG.normal(size=(count, 778, 3)),
    }


def freihand(folder, count=4, part="training", tables=None, versions=4, masks=True):
    """Writes FreiHAND's folder; returns what its files hold."""
    tables = tables or freihand_tables(count)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in tables.items():
        text = values if isinstance(values, str) else json.dumps(np.asarray(values).tolist())
        (folder / f"{part}_{name}.json").write_text(text)
    for i in range(count * versions):
        hand_photo(folder / part / f"rgb/{i:08d}.jpg", 20 + 10 * i)
        if masks and part == "training" and i < count:
            hand_mask(folder / part / f"mask/{i:08d}.jpg")
    return tables


def hanco(folder, lengths=(3, 2), subjects=(7, 8), masks=True, **changes):
    """Writes HanCo's folder; returns {(sequence, frame): what its files hold}."""
    meta = {
        "is_train": [[True] * n for n in lengths],
        "subject_id": [[who] * n for who, n in zip(subjects, lengths, strict=True)],
        "is_valid": [[True] * n for n in lengths],
        "has_fit": [[True] * n for n in lengths],
        "object_id": [[None] * n for n in lengths],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(meta | changes))
    written = {}
    for sid, length in enumerate(lengths):
        for fid in range(length):
            written[sid, fid] = hanco_instant(folder, sid, fid, masks)
    return written


def hanco_instant(folder, sid, fid, masks):
    turns = rotations.from_vector(RNG.normal(size=(8, 3)))
    middle = np.array([0.1, -0.2, 1.5])
    move = [0, 0, 0.8] - turns @ middle  # so that each camera has the hand before it
    extrinsics = np.tile(np.eye(4), (8, 1, 1))
    extrinsics[:, :3, :3], extrinsics[:, :3, 3] = turns, move
    content = {
        "K": np.array([HAND_CAMERA + np.diag([i, i, 0]) for i in range(8)]),
        "M": extrinsics,
        "xyz": middle + RNG.uniform(-0.1, 0.1, (21, 3)),
        "poses": RNG.normal(size=(1, 48)),
        "shapes": RNG.normal(size=(1, 10)),
        "fits": RNG.normal(size=(8, 61)),
    }
    written = {name: values.tolist() for name, values in content.items()}
    name = f"{sid:04d}/{fid:08d}.json"
    write_json(folder / "calib" / name, {key: written[key] for key in "KM"})
    write_json(folder / "xyz" / name, written["xyz"])
    fit = {key: written[key] for key in ("poses", "shapes")} | {"global_t": [[[0, 0, 0]]]}
    write_json(folder / "shape" / name, fit)
    for cid in range(8):
        place = f"{sid:04d}/cam{cid}/{fid:08d}"
        write_json(folder / f"shape/{place}.json", written["fits"][cid])
        hand_photo(folder / f"rgb/{place}.jpg")
        if masks:
            hand_mask(folder / f"mask_hand/{place}.jpg")
    return content


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))

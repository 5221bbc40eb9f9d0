"""Names in strangers' files: they neither write nor read outside of the folders given."""

import json
import shutil
import struct

import annotated
import pictures
import pytest

from crocohuman_jax.configuration import files
from crocohuman_jax.data import crop
from crocohuman_jax.data.formats import samples
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.synthetic.scenes import user_assets

HOSTILE = ("/../../ESCAPED", "/etc/passwd", "..", ".", "", "a\0b", "x" * 5000, "\ud800", "a/b\\c")


def prepare(source, output, dataset="pairs_folder", options=(), **more):
    settings = pipeline.Settings(
        dataset, source, dict(options), size=(64, 64), held_out=0.0, **more
    )
    return pipeline.prepare(settings, output, 1, lambda done, total: None)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_cleaned_name_is_one_part_of_a_path_that_a_file_can_have(tmp_path, name):
    cleaned = files.clean(name)
    path = tmp_path / f"{cleaned}.npz"
    path.write_text("")
    assert [p.name for p in tmp_path.iterdir()] == [f"{cleaned}.npz"]
    assert not cleaned.startswith(".") and 0 < len(cleaned.encode()) <= files.LONGEST


def test_names_of_people_stay_readable():
    for name in ("anna", "Zoë", "player 7", "left-hand_2", "安娜", "a.b"):
        assert files.clean(name) == name
    assert files.clean("é" * 80) == "é" * 50  # not half a character


def test_names_that_clean_to_the_same_or_differ_in_case_are_told_apart():
    distinct = files.Distinct()
    names = ["a/b", "a_b", "A_B", "a_b_2", "x" * 300, "x" * 301]
    found = [distinct(files.clean(name)) for name in names]
    assert len({name.casefold() for name in found}) == len(names)
    assert found[0] == "a_b" and found[1] == "a_b_2" and max(map(len, found)) < 255


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "C:/x", "", "a\0b", "\ud800"])
def test_paths_that_leave_a_folder_are_named(tmp_path, name):
    with pytest.raises(ValueError) as error:
        files.within(tmp_path, name)
    assert repr(name) in str(error.value)


def test_links_within_a_folder_and_to_the_folder_are_followed(tmp_path):
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "real/sub/a").write_text("")
    (tmp_path / "real/b").symlink_to("sub/a")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/out").symlink_to(tmp_path)
    assert files.within(tmp_path / "link", "b") == tmp_path / "link/b"
    assert files.within(tmp_path / "real", "out/real/b")  # out and in again
    with pytest.raises(ValueError, match="'out/x' leads out of"):
        files.within(tmp_path / "real", "out/x")
    assert files.within(tmp_path / "real", "out/x", follow_links=True)


@pytest.fixture
def secret(tmp_path):
    """A folder of pictures, and beside it one that is nobody's business."""
    pictures.write(tmp_path / "source", sequences=2, instants=2, cameras=2)
    pictures.write(tmp_path / "secret", sequences=1, instants=2, cameras=1)
    return tmp_path


@pytest.mark.parametrize("form", ["up", "absolute", "link", "folder link", "long"])
def test_an_index_that_names_pictures_outside_is_refused_before_anything_is_written(secret, form):
    name = {
        "up": "../secret/seq0/t000/cam0.jpg",
        "absolute": str(secret / "secret/seq0/t000/cam0.jpg"),
        "link": "seq0/t000/linked.jpg",
        "folder link": "elsewhere/t000/cam0.jpg",
        "long": "x" * 5000 + "/t000/cam0.jpg",
    }[form]
    (secret / "source/seq0/t000/linked.jpg").symlink_to(secret / "secret/seq0/t000/cam0.jpg")
    (secret / "source/elsewhere").symlink_to(secret / "secret/seq0")
    group = ["seq0/t000/cam0.jpg", "seq0/t000/cam1.jpg", name]
    listing = {"sequences": [{"cross_view": [group], "cross_pose": []}]}
    (secret / "source/index.json").write_text(json.dumps(listing))
    with pytest.raises(ValueError, match="index.json: ") as error:
        prepare(secret / "source", secret / "out")
    assert name in str(error.value) and not (secret / "out").exists()


def test_links_out_of_the_source_are_skips_unless_they_are_asked_for(secret):
    source = secret / "source"
    (source / "seq0/t000/cam0.jpg").unlink()
    (source / "seq0/t000/cam0.jpg").symlink_to(secret / "secret/seq0/t000/cam0.jpg")
    (source / "seq1/t000/cam0.mask.png").unlink()
    (source / "seq1/t000/cam0.mask.png").symlink_to(secret / "secret/seq0/t000/cam0.mask.png")
    manifest = prepare(source, secret / "out")
    skips = dict(manifest["skips"])
    assert manifest["counts"]["frames"] == 6 and len(skips) == 2
    assert all("leads out of" in reason and "--follow_links" in reason for reason in skips.values())
    assert prepare(source, secret / "mine", follow_links=True)["counts"]["frames"] == 8
    # A folder prepared before the setting was known goes on being the same preparation.
    assert "follow_links" not in json.loads((secret / "out/preparation.json").read_text())


@pytest.mark.parametrize("dataset", ["coco_eft", "mpii", "spin_npz"])
def test_a_line_of_annotations_that_names_a_picture_outside_is_a_skip(tmp_path, dataset):
    source, outside = tmp_path / "source", tmp_path / "priv.jpg"
    annotated.photo(outside)
    images = {"coco_eft": "train2014", "mpii": "images", "spin_npz": "photos"}[dataset]
    names = ["good.jpg", "../../priv.jpg", str(outside), "link.jpg", "x" * 5000, "a\0b.jpg"]
    if dataset == "coco_eft":
        path = source / "people.json"
        path.parent.mkdir()
        people = [annotated.eft_person(name) for name in names]
        path.write_text(json.dumps({"ver": 0.1, "data": people}))
    elif dataset == "mpii":
        path = source / "people.json"
        path.parent.mkdir()
        person = {"center": [100, 80], "scale": 0.5, "joints_vis": [1] * 16}
        person["joints"] = [[90 + i, 70 + i] for i in range(16)]
        path.write_text(json.dumps([person | {"image": name} for name in names]))
    else:
        path = source / "people.npz"
        annotated.spin_file(path, names)
    annotated.photo(source / images / "good.jpg")
    (source / images / "link.jpg").symlink_to(outside)
    (tmp_path / "images").mkdir()
    shutil.move(source / images, tmp_path / "images" / "elsewhere")
    # The folder of the pictures is the user's to choose, and may be a link itself.
    (source / images).symlink_to(tmp_path / "images" / "elsewhere")
    options = {"file": path.name, "images": images}
    frames, _, manifest = annotated.prepare(dataset, source, tmp_path / "out", **options)
    assert frames.index["source"].tolist() == [f"{images}/good.jpg"]
    reasons = " | ".join(reason for _, reason in manifest["skips"])
    assert manifest["counts"]["skipped"] == 5
    for words in ("absolute or has '..'", "leads out of", "File name too long", "null"):
        assert words in reasons


def test_a_manifest_that_names_files_outside_is_not_followed(secret):
    prepare(secret / "source", secret / "out")
    path = secret / "out/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../secret/seq0/t000/cam0.jpg"] = {"sha256": "", "bytes": 0}
    path.write_text(json.dumps(manifest))
    (fault,) = records.check(secret / "out")
    assert fault.startswith("manifest.json: '../secret/seq0/t000/cam0.jpg'")


def test_half_a_character_in_a_persons_name_is_a_skip(secret):
    boxes = {"t000/cam0.jpg": {"\udce9": [10, 10, 60, 70]}}
    (secret / "source/seq0/boxes.json").write_text(json.dumps(boxes))
    manifest = prepare(secret / "source", secret / "out")
    assert "half a character" in dict(manifest["skips"])["seq0/t000/cam0.jpg"]
    with pytest.raises(crop.Skip):
        samples.people({"\ud800": [1, 2, 3, 4]})


@pytest.mark.parametrize("line", ["mtllib ../secret.mtl", "mtllib room.mtl"])
def test_a_scene_does_not_read_materials_outside_its_folder(tmp_path, line):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (tmp_path / "secret.mtl").write_text("newmtl a\nKd 1 1 1\n")
    (folder / "room.mtl").write_text("newmtl a\nmap_Kd ../secret.png\n")
    (folder / "room.obj").write_text(f"{line}\nv 0 0 0\nv 1 0 0\nv 0 0 1\nusemtl a\nf 1 2 3\n")
    with pytest.raises(ValueError, match=r"'../secret.\w+' is absolute or has '..'"):
        user_assets.scene(folder / "room.obj")


def test_a_scene_does_not_read_buffers_outside_its_folder(tmp_path):
    tree = {"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    tree["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0}}]}]
    tree["accessors"] = [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}]
    tree["bufferViews"] = [{"buffer": 0, "byteLength": 36}]
    tree["buffers"] = [{"uri": "../secret.bin", "byteLength": 36}]
    (tmp_path / "secret.bin").write_bytes(bytes(36))
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = b"glTF" + struct.pack("<II", 2, 20 + len(text))
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "scenes/room.glb"
    path.write_bytes(head + struct.pack("<I4s", len(text), b"JSON") + text)
    with pytest.raises(ValueError, match="'../secret.bin' is absolute or has '..'"):
        user_assets.scene(path)

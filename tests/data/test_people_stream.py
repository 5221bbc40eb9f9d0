"""People as a run sees them: in their order, mixed, with a second picture, held out."""

import collections
import itertools

import crowds
import grain
import numpy as np
import pictures
import pytest

from crocohuman_jax.data import loader
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import groups as groups_lib
from crocohuman_jax.data.streams import labelled_people, person_augmentation

CHANGE = person_augmentation.Change(flip=0.5, scale=0.25, rotation=30, noise=0.4)
BODY, HAND = crowds.form("open_body"), crowds.form("open_hand_right")


@pytest.fixture(scope="module")
def builtin(tmp_path_factory):
    """Three built-in people, exactly known."""
    return crowds.builtin(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Two people at 16 instants, one to learn from and one held out, with labels."""
    output = tmp_path_factory.mktemp("tracks") / "prepared"
    crowds.drawn(output, sequences=2, instants=16, splits="train+validation")
    return output


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight pictures that have nothing to do with each other, with labels."""
    output = tmp_path_factory.mktemp("photos") / "prepared"
    crowds.drawn(output, sequences=8, instants=1, groups=False, splits="+".join(["train"] * 8))
    return output


def sources(*folders, form=BODY, split="train", second="none", gap=(1, 0), **options):
    options = {"form": form, "split": split, "second": second, "gap": gap} | options
    return labelled_people.open_sources(folders, **options)


def stream(*folders, form=BODY, second="none", change=CHANGE, seed=0, count=None, **options):
    weights = options.pop("weights", ())
    opened = sources(*folders, form=form, second=second, **options)
    return labelled_people.stream(
        opened,
        form=form,
        side=32,
        change=change,
        second=second,
        weights=weights,
        seed=seed,
        count=count,
    )


def draws(*folders, first=32, **options):
    """What is drawn for the first elements, before any picture is read."""
    elements = stream(*folders, **options).elements.parents[0]
    return [elements[i] for i in range(min(first, len(elements)))]


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_a_batch_has_its_documented_shapes(builtin, tracks):
    batch = next(loader.Batches(stream(builtin, tracks, second="pose"), 6, threads=1))
    shapes = {name: value.shape[1:] for name, value in batch.items()}
    wanted = {"image": (32, 32, 3), "second": (32, 32, 3), "color": (2, 3), "row": ()}
    wanted |= {"keypoints": (25, 3), "joints": (25, 4), "pose": (24, 3), "betas": (10,)}
    wanted |= {"translation": (3,), "matrix": (3, 3), "crop": (3, 3), "gender": (), "folder": ()}
    wanted |= dict.fromkeys(("has_pose", "has_shape", "has_mesh", "exact"), ())
    assert shapes == wanted and all(len(value) == 6 for value in batch.values())
    kinds = {"image": np.uint8, "second": np.uint8, "row": np.int32, "folder": np.int32}
    kinds |= {"gender": np.int32}
    assert {n: v.dtype for n, v in batch.items()} == {
        n: np.dtype(kinds.get(n, np.float32)) for n in batch
    }
    assert set(batch["folder"]) == {0, 1}
    np.testing.assert_array_equal(batch["exact"], batch["folder"] == 0)


def test_the_same_people_come_for_any_number_of_threads_and_hosts(builtin, tracks):
    both = stream(builtin, tracks, second="view")
    one = loader.Batches(both, 4, threads=1)
    many = loader.Batches(both, 4, threads=4)
    hosts = [loader.Batches(both, 4, host=i, hosts=2, threads=2) for i in range(2)]
    for _ in range(6):
        batch, parts = next(one), [next(host) for host in hosts]
        equal(batch, next(many))
        for name, value in batch.items():
            for i in range(2):
                np.testing.assert_array_equal(value[i::2], parts[i][name])


def test_an_element_is_a_function_of_its_position(builtin, tracks):
    both = stream(builtin, tracks, second="pose")
    late = next(loader.Batches(both, 4, start=7))
    again = stream(builtin, tracks, second="pose")
    equal(late, again.collate([again.elements[i] for i in range(28, 32)]))
    assert again.fingerprint == both.fingerprint
    rows = [
        [(d["folder"], d["row"]) for d in draws(builtin, tracks, second="pose", seed=seed, first=8)]
        for seed in (0, 0, 1)
    ]
    assert rows[0] == rows[1] != rows[2]


def test_every_epoch_shows_everybody_once_in_a_new_order(tracks):
    one = stream(tracks)
    assert one.epoch == 16
    elements = one.elements.parents[0]
    epochs = [[elements[e * 16 + i]["row"] for i in range(16)] for e in range(3)]
    assert all(sorted(epoch) == list(range(16)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_smaller_shares_lie_within_larger_ones(tracks):
    def rows(fraction, seed=0):
        found = sources(tracks, fraction=fraction, seed=seed)[0].rows
        assert (np.diff(found) > 0).all()
        return set(found.tolist())

    chosen = [rows(fraction) for fraction in (0.1, 0.25, 0.5, 1.0)]
    assert [len(found) for found in chosen] == [2, 4, 8, 16]
    assert all(small < large for small, large in itertools.pairwise(chosen))
    assert chosen[3] == set(range(16))
    assert rows(0.25) == chosen[1] and any(rows(0.25, seed) != chosen[1] for seed in (1, 2, 3))
    assert len(rows(0.001)) == 1  # somebody is left
    drawn = {d["row"] for d in draws(tracks, fraction=0.25)}
    assert drawn == chosen[1]


def test_folders_are_mixed_by_their_weights_or_by_their_people(tracks, photos):
    def shares(**options):
        return collections.Counter(d["folder"] for d in draws(tracks, photos, **options))

    assert shares(first=36) == {0: 24, 1: 12}  # 16 and 8 frames
    assert shares(weights=(1.0, 3.0)) == {0: 8, 1: 24}
    assert shares(first=8, weights=(0.0, 1.0)) == {1: 8}
    assert stream(tracks, photos).epoch == 24
    assert stream(tracks, photos, weights=(0.0, 1.0)).epoch == 8


def test_one_picture_has_no_second(tracks):
    one = stream(tracks)
    assert all(d["second"] is None and len(d["changes"]) == 1 for d in draws(tracks, first=4))
    element = one.elements[0]
    assert "second" not in element and element["color"].shape == (1, 3)


@pytest.mark.parametrize("second", ["view", "pose"])
@pytest.mark.parametrize("form", [BODY, HAND], ids=["body", "hand"])
def test_the_second_picture_shares_the_group(builtin, second, form):
    index = records.Frames(builtin).index
    change = person_augmentation.Change(scale=0.1)
    drawn = draws(builtin, second=second, form=form, change=change)
    assert {d["row"] for d in drawn} == set(sources(builtin, form=form)[0].rows.tolist())
    same, other = ("instant", "camera") if second == "view" else ("camera", "instant")
    for d in drawn:
        a, b = d["row"], d["second"]
        assert index["sequence"][a] == index["sequence"][b]
        assert index[same][a] == index[same][b] and index[other][a] != index[other][b]
    assert len({(d["row"], d["second"]) for d in drawn}) == len({d["row"] for d in drawn})


def test_gaps_bound_the_time_between_two_pictures(tracks):
    instant = records.Frames(tracks).index["instant"]
    for gap, allowed in (((2, 4), {2, 3, 4}), ((1, 1), {1}), ((13, 0), {13, 14, 15})):
        drawn = [d for d in draws(tracks, second="pose", gap=gap) if d["second"] != d["row"]]
        assert {abs(int(instant[d["row"]] - instant[d["second"]])) for d in drawn} == allowed


def test_a_picture_without_partners_is_its_own_second(tracks, photos):
    for second in ("view", "pose", "same"):
        assert all(d["second"] == d["row"] for d in draws(photos, second=second, first=8))
    assert all(d["second"] == d["row"] for d in draws(tracks, second="same", first=8))
    # A gap leaves partners to some of a group only: here to the first four and the last four.
    drawn = draws(tracks, second="pose", gap=(12, 0), first=16)
    alone = {d["row"] for d in drawn if d["second"] == d["row"]}
    assert alone == set(range(4, 12))
    # It is changed by itself.
    element = stream(photos, second="same", change=person_augmentation.Change(scale=0.2)).elements[
        0
    ]
    assert np.abs(element["image"].astype(int) - element["second"]).mean() > 1


def test_a_picture_beside_groups_of_others_is_its_own_second(tmp_path):
    """A frame that lost its partners must not be given those of somebody else."""
    output = tmp_path / "prepared"
    faults = "+".join(["no labels"] * 3)
    crowds.drawn(output, sequences=2, instants=4, splits="train+train", faults=faults)
    index = records.Frames(output).index
    assert (index["pose_group"] == -1).sum() == 1 and len(index["instant"]) == 5
    for d in draws(output, second="pose", change=person_augmentation.Change(), first=5):
        assert index["sequence"][d["row"]] == index["sequence"][d["second"]]
        assert (d["second"] == d["row"]) == (index["pose_group"][d["row"]] == -1)


@pytest.mark.parametrize("held_out", [False, True])
def test_both_pictures_are_cut_by_what_is_known_of_them(tracks, held_out):
    options = {"second": "pose", "change": None if held_out else CHANGE}
    count = 0 if held_out else None
    split = "validation" if held_out else "train"
    one = stream(tracks, split=split, count=count, **options)
    source = sources(tracks, split=split, second="pose")[0]
    flips = set()
    for i in range(12):
        drawn, element = one.elements.parents[0][i], one.elements[i]
        for name, row, change in zip(
            ("image", "second"), (drawn["row"], drawn["second"]), drawn["changes"], strict=True
        ):
            known = source.notes.read(row)
            placed = person_augmentation.place(
                known["crop"], change, drawn["flip"]
            )  # of both alike
            wanted = placed.picture(source.frames.read(row)[0], 32)
            np.testing.assert_array_equal(element[name], wanted)
        assert element["row"] == drawn["row"]
        flips.add(drawn["flip"])
        if held_out:
            assert (
                drawn["changes"] == [person_augmentation.UNCHANGED] * 2
                and (element["color"] == 1).all()
            )
    assert flips == ({False} if held_out else {False, True})


def test_left_hands_appear_as_right_ones_in_both_pictures(builtin):
    change = person_augmentation.Change()
    one = stream(builtin, form=HAND, second="view", change=change)
    source = sources(builtin, form=HAND, second="view")[0]
    mirrored = set()
    for i in range(16):
        drawn, element = one.elements.parents[0][i], one.elements[i]
        known = source.notes.read(drawn["row"])
        mirrored.add(known["mirrored"])
        for name in ("row", "second"):
            frame = source.frames.read(drawn[name])[0][:, :: -1 if known["mirrored"] else 1]
            wanted = person_augmentation.place(
                (48, 48, 96), person_augmentation.UNCHANGED, False
            ).picture(frame, 32)
            picture = element["image" if name == "row" else "second"]
            np.testing.assert_array_equal(picture, wanted)
    assert mirrored == {True, False}


def test_held_out_people_come_once_each_always_the_same(builtin, tracks):
    options = {"split": "validation", "change": None}
    everybody = stream(builtin, tracks, count=0, **options)
    assert everybody.epoch == len(everybody.elements) == 4 + 16
    rows = [(d["folder"], d["row"]) for d in draws(builtin, tracks, count=0, **options)]
    assert len(set(rows)) == 20 and rows == sorted(rows)
    few = [(d["folder"], d["row"]) for d in draws(builtin, tracks, count=7, **options)]
    assert len(set(few)) == 7 and set(few) < set(rows) and few == sorted(few)
    assert {folder for folder, _ in few} == {0, 1}
    for seed in (1, 2):  # whichever the run
        again = draws(builtin, tracks, count=7, seed=seed, **options)
        assert [(d["folder"], d["row"]) for d in again] == few
    assert len(stream(builtin, tracks, count=99, **options).elements) == 20
    first = stream(builtin, tracks, count=7, second="pose", **options)
    again = stream(builtin, tracks, count=7, second="pose", seed=5, **options)
    for i in range(7):
        equal(first.elements[i], again.elements[i])


def test_the_partner_of_a_held_out_picture_is_nearest_to_the_gap(tracks):
    instant = records.Frames(tracks).index["instant"]
    options = {"split": "validation", "change": None, "second": "pose", "count": 0}
    for gap, wanted in (((1, 0), 5), ((1, 3), 3), ((7, 0), 7)):
        for d in draws(tracks, gap=gap, **options):
            if gap == (7, 0) and d["second"] == d["row"]:
                continue  # none is so far away
            assert abs(int(instant[d["second"]] - instant[d["row"]])) == wanted
    # Near one end it is on the other side; of two as near it is the earlier one.
    found = {int(instant[d["row"]]): int(instant[d["second"]]) for d in draws(tracks, **options)}
    assert found[0] == 5 and found[15] == 10 and found[7] == 2


def test_what_is_drawn_is_as_long_as_it_is_said_to_be(tracks):
    assert len(stream(tracks, split="validation", change=None, count=5).elements) == 5
    batches = list(loader.evaluation(stream(tracks, split="validation", change=None, count=5), 4))
    assert [batch["weight"].tolist() for batch in batches] == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert isinstance(stream(tracks).elements, grain.MapDataset)


def test_folders_of_which_nothing_is_known_are_named(tmp_path):
    source = pictures.write(tmp_path / "source", 2, 2, 2)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(64, 64))
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    with pytest.raises(
        ValueError, match=f"{tmp_path / 'out'} has .* neither ground truth nor labels"
    ):
        sources(tmp_path / "out")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"second": "both"}, "Unknown config.data.second 'both'. Known: none, view, pose, same"),
        ({"fraction": 0.0}, "config.data.fraction is 0.0. Set it to a number above 0"),
        ({"fraction": 1.5}, "config.data.fraction is 1.5. Set it to a number above 0"),
        ({"weights": (1.0, 1.0)}, "data.weights has 2 weights for 1 folders"),
        (
            {"weights": (-1.0,)},
            r"config.data.weights=\(-1.0,\) is -1.0. Set it to a number",
        ),
        ({"weights": (0.0,)}, r"config.data.weights=\(0.0,\) leaves out every folder"),
        ({"split": "test"}, r"prepared \(frames: .*: no frame of the split .test. can be"),
        ({"form": HAND}, "labels of bodies, but config.body.model is 'open_hand_right'"),
    ],
)
def test_settings_that_cannot_be_are_named(tracks, options, message):
    with pytest.raises(ValueError, match=message):
        stream(tracks, **options)


def test_no_folder_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="(?s)config.data.folders is empty.*--dataset=synthetic"):
        sources()


def test_hands_are_not_mirrored(builtin):
    with pytest.raises(
        ValueError, match="data.augment.flip is 0.5, but a mirrored right hand is a left hand"
    ):
        stream(builtin, form=HAND)


def test_the_second_of_a_held_out_picture_goes_round_the_other_cameras():
    instants, cameras = np.divmod(np.arange(48), 4)
    index = {"split": np.full(48, "validation"), "view_group": instants, "instant": instants}
    index["camera"] = np.array(["a", "b", "c", "d"])[cameras]
    groups = groups_lib.Groups(index, "validation", "view", (1, 0))
    source = labelled_people.Source(None, None, np.arange(48), groups, "validation")
    draw = labelled_people.Draw([source], None, "view")
    rng, found = np.random.default_rng(0), collections.Counter()
    for row in range(48):
        second = draw.random_map((0, row), rng)["second"]
        assert instants[second] == instants[row]
        found[cameras[row], cameras[second]] += 1
    assert len(found) == 12 and set(found.values()) == {4}  # each of the others equally often

"""Pairs drawn from groups, batches, and their order over hosts, epochs and restarts."""

import collections
import concurrent.futures
import time

import numpy as np
import pictures
import pytest

from crocohuman_jax.data import loader
from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.data.storage import records
from crocohuman_jax.data.streams import pair_augmentation, pairs

MASK = {"mode": "human", "ratio": 0.75, "rule": "max_human", "visible": 0, "multiple": 4}


def stream(folders, split="train", **options):
    defaults = {
        "size": (64, 64),
        "patch": 16,
        "mask": MASK,
        "change": pair_augmentation.Augment(brightness=0.4, contrast=0.4, saturation=0.4),
        "kinds": {"view": 1.0, "pose": 1.0},
        "weights": (),
        "gap": (1, 0),
        "min_fraction": 0.0,
        "seed": 0,
    }
    return pairs.stream(str(folders), split=split, **(defaults | options))


def drawn(folders, count, **options):
    """Returns what is drawn for the first elements, before any picture is read."""
    elements = stream(folders, **options).elements
    return [elements.parents[0][i] for i in range(count)]


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_pairs_show_one_instant_or_one_camera_and_never_one_frame(prepared):
    index = records.Frames(prepared).index
    kinds = collections.Counter()
    for element in drawn(prepared, 400):
        (a, b) = element["rows"]
        assert index["sequence"][a] == index["sequence"][b] and a != b
        assert index["split"][a] == index["split"][b] == "train"
        same_camera = index["camera"][a] == index["camera"][b]
        same_instant = index["instant"][a] == index["instant"][b]
        assert same_camera != same_instant
        kinds["view" if same_instant else "pose"] += 1
    assert kinds["view"] == kinds["pose"] == 200  # equal shares, exactly


def test_every_epoch_shows_every_frame_once_per_kind_with_new_partners(prepared):
    one = stream(prepared, kinds={"view": 0.0, "pose": 1.0})
    elements = one.elements.parents[0]
    epochs = [[elements[e * one.epoch + i]["rows"] for i in range(one.epoch)] for e in range(4)]
    for rows in epochs:
        assert len({a for a, _ in rows}) == one.epoch == 4 * 3 * 2
    assert len({tuple(sorted(rows)) for rows in epochs}) == 4
    assert epochs[0] != epochs[1]
    both = {pair for rows in epochs for pair in rows}
    assert any((b, a) in both for a, b in both)  # both directions


@pytest.mark.parametrize("kind", ["view", "pose"])
def test_a_kind_can_be_switched_off(prepared, kind):
    index = records.Frames(prepared).index
    column = "instant" if kind == "view" else "camera"
    for element in drawn(prepared, 50, kinds={"view": 0.0, "pose": 0.0} | {kind: 1.0}):
        a, b = element["rows"]
        assert index[column][a] == index[column][b]


def test_gaps_bound_the_time_between_poses(prepared):
    index = records.Frames(prepared).index
    for gap, allowed in (((2, 0), {2}), ((1, 1), {1}), ((1, 0), {1, 2})):
        elements = drawn(prepared, 100, kinds={"view": 0.0, "pose": 1.0}, gap=gap)
        distances = {abs(int(np.diff(index["instant"][list(e["rows"])])[0])) for e in elements}
        assert distances == allowed
    with pytest.raises(ValueError, match=r"No train pair .* gap \(7, 0\)"):
        stream(prepared, kinds={"view": 0.0, "pose": 1.0}, gap=(7, 0))


def test_folders_are_mixed_by_their_weights(prepared, tmp_path):
    source = pictures.write(tmp_path / "source", 2, 2, 2)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(80, 80), held_out=0.0)
    pipeline.prepare(settings, tmp_path / "other", 1, lambda *_: None)
    both = f"{prepared},{tmp_path / 'other'}"
    folders = collections.Counter(e["folder"] for e in drawn(both, 400, weights=(1.0, 3.0)))
    assert folders == {0: 100, 1: 300}
    folders = collections.Counter(e["folder"] for e in drawn(both, 320))
    assert folders == {0: 240, 1: 80}  # by their frames, 24 and 8
    with pytest.raises(ValueError, match="data.weights has 1 weights for 2 folders"):
        stream(both, weights=(1.0,))


def test_a_batch_has_its_documented_shapes(prepared):
    batch = next(loader.Batches(stream(prepared), 6, threads=1))
    visible = batch["visible"].shape[1]
    assert batch["target"].shape == batch["reference"].shape == (6, 64, 64, 3)
    assert batch["target"].dtype == np.uint8 and batch["visible"].dtype == np.int32
    assert batch["hidden"].shape == (6, 16 - visible) and batch["human"].shape == (6, 16)
    assert batch["color"].shape == (6, 2, 3, 2)
    assert 0 < batch["human"].mean() < 1
    assert set(np.unique(batch["color"][..., 0])) == {0, 1, 2}
    assert (np.abs(batch["color"][..., 1] - 1) <= 0.4).all()


def test_the_same_batches_come_for_any_number_of_threads(prepared):
    one = loader.Batches(stream(prepared), 4, threads=1)
    many = loader.Batches(stream(prepared), 4, threads=4)
    for _ in range(12):
        equal(next(one), next(many))


def test_any_position_is_found_again_at_once(prepared):
    straight = loader.Batches(stream(prepared), 4)
    batches = [next(straight) for _ in range(25)]
    for position in (0, 1, 13, 24):  # an epoch has 6 batches
        again = loader.Batches(stream(prepared), 4, start=position)
        equal(next(again), batches[position])
        assert again.position == position + 1
    next(loader.Batches(stream(prepared), 4, start=10**9))  # would take years to walk to


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_the_same_global_batches(prepared, hosts):
    fixed = MASK | {"rule": "fixed"}
    whole = loader.Batches(stream(prepared, mask=fixed), 8)
    parts = [
        loader.Batches(stream(prepared, mask=fixed), 8, host=h, hosts=hosts) for h in range(hosts)
    ]
    for _ in range(8):
        batch, shares = next(whole), [next(part) for part in parts]
        for name, value in batch.items():
            together = np.empty_like(value)
            for host, share in enumerate(shares):
                together[host::hosts] = share[name]
            np.testing.assert_array_equal(together, value)


class Answer:
    """What several hosts said of one batch, to be read once all of them have."""

    def __init__(self, said: list, number: int):
        self.said, self.number = said, number

    def __array__(self, dtype=None, copy=None):
        while not all(len(rows) > self.number for rows in self.said):
            time.sleep(0.001)
        return np.concatenate([rows[self.number] for rows in self.said])


def together(folders, hosts, **mask):
    """Returns the first eight batches of each host, which talk as devices do."""
    shared = stream(folders, mask=MASK | {"multiple": 1} | mask)
    said: list[list] = [[] for _ in range(hosts)]

    def run(host):
        def gather(rows):
            said[host].append(rows)
            return Answer(said, len(said[host]) - 1)

        options = {"hosts": hosts, "devices": 8 // hosts, "gather": gather}
        batches = loader.Batches(shared, 8, host=host, **options)
        found = []
        for _ in range(8):
            found.append(next(batches))
            assert len(said[host]) == len(found) + 1  # one batch ahead
        assert batches.position == 8
        return found

    with concurrent.futures.ThreadPoolExecutor(hosts) as pool:
        return list(pool.map(run, range(hosts)))


def test_hosts_agree_on_the_length_that_one_host_finds(prepared):
    alone = loader.Batches(stream(prepared, mask=MASK | {"multiple": 1}), 8)
    expected = [next(alone) for _ in range(8)]
    found = together(prepared, 2)
    for number, batch in enumerate(expected):
        for name, value in batch.items():
            for host in (0, 1):
                np.testing.assert_array_equal(value[host::2], found[host][number][name])
    assert len({batch["visible"].shape for batch in expected}) > 1
    with pytest.raises(ValueError, match="2 hosts need `gather` to agree"):
        loader.Batches(stream(prepared), 8, hosts=2)


@pytest.mark.parametrize("scope", ["per_host", "per_device"])
def test_hosts_agree_also_where_one_group_sets_the_length(prepared, scope):
    one, other = together(prepared, 2, scope=scope)
    lengths = [batch["visible"].shape for batch in one]
    assert lengths == [batch["visible"].shape for batch in other] and len(set(lengths)) > 1


def held_out_rows(folders, count, **options):
    found = stream(folders, "validation", count=count, **options).elements.parents[0]
    return [(found[i]["folder"], *found[i]["rows"], found[i].get("stranger")) for i in range(count)]


def test_held_out_pairs_are_the_same_whatever_the_run_learns_from(prepared):
    expected = held_out_rows(prepared, 12)
    for options in (
        {"seed": 7},
        {"kinds": {"view": 1.0, "pose": 0.0}},
        {"kinds": {"view": 0.0, "pose": 3.0}, "gap": (2, 2)},
        {"weights": (2.0,)},
        {"mask": MASK | {"rule": "fixed"}},
    ):
        assert held_out_rows(prepared, 12, **options) == expected, options
    assert held_out_rows(f"{prepared}:pose", 12) == expected
    assert held_out_rows(prepared, 5) == expected[:5]


def test_held_out_pairs_are_spread_and_repeat_no_target_before_all_were_there(tmp_path):
    source = pictures.write(tmp_path / "source", 3, 2, 4)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(64, 64), held_out=0.4)
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    index = records.Frames(tmp_path / "out").index
    validation = int((index["split"] == "validation").sum())
    rows = held_out_rows(tmp_path / "out", 4 * validation)
    for turn in range(4):
        targets = [row for _, row, _, _ in rows[turn * validation :][:validation]]
        assert len(set(targets)) == validation
    assert len({pair[1:3] for pair in rows[: 2 * validation]}) == 2 * validation
    camera, instant = index["camera"], index["instant"]
    views = [(a, b) for _, a, b, _ in rows if instant[a] == instant[b]]
    assert len(views) == 2 * validation == len(rows) - len(views)
    cameras = collections.Counter((camera[a], camera[b]) for a, b in views)
    assert len(cameras) == 4 * 3 and max(cameras.values()) <= min(cameras.values()) + 2
    first = rows[: validation // 2]  # already a part of them is spread over kinds and cameras
    kinds = collections.Counter(bool(instant[a] == instant[b]) for _, a, b, _ in first)
    assert abs(kinds[True] - kinds[False]) <= 4
    assert len({camera[a] for _, a, _, _ in first}) == 4


def test_held_out_pairs_come_once_with_a_stranger_and_weights(prepared):
    held_out = stream(
        prepared, "validation", count=10, change=pair_augmentation.Augment(crop="center")
    )
    batches = list(loader.evaluation(held_out, 4))
    assert [batch["weight"].tolist() for batch in batches] == [[1] * 4, [1] * 4, [1, 1, 0, 0]]
    assert all(batch["unrelated"].shape == (4, 64, 64, 3) for batch in batches)
    index = records.Frames(prepared).index
    for i in range(10):
        element = held_out.elements.parents[0][i]
        _folder, row = element["stranger"]
        assert index["sequence"][row] != index["sequence"][element["rows"][0]]
        assert index["split"][row] == "validation"
    halves = [list(loader.evaluation(held_out, 4, host=h, hosts=2)) for h in (0, 1)]
    np.testing.assert_array_equal(halves[1][2]["weight"], [1, 0])
    np.testing.assert_array_equal(halves[1][0]["target"], batches[0]["target"][1::2])


def test_one_held_out_sequence_has_no_strangers(tmp_path):
    source = pictures.write(tmp_path / "source", 1, 8, 1)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(64, 64), held_out=0.3)
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    batch = next(loader.evaluation(stream(tmp_path / "out", "validation", count=4), 4))
    assert "unrelated" not in batch


def test_frames_without_silhouettes_are_masked_uniformly(tmp_path):
    source = pictures.write(tmp_path / "source", 2, 2, 2, masks=False)
    settings = pipeline.Settings("pairs_folder", source, {}, size=(64, 64), held_out=0.0)
    pipeline.prepare(settings, tmp_path / "out", 1, lambda *_: None)
    batch = next(loader.Batches(stream(tmp_path / "out"), 4))
    assert batch["visible"].shape == (4, 4) and batch["human"].all()  # of whom nobody knows


def test_a_damaged_record_is_named(prepared, tmp_path):
    import shutil

    damaged = shutil.copytree(prepared, tmp_path / "damaged")
    frames = records.Frames(damaged)
    frames.records._sources[0] = [b"no record"] * 24
    with pytest.raises(ValueError, match=r"Frame 3 of .*made from seq.*--check="):
        frames.read(3)


def test_what_cannot_be_drawn_from_is_explained(prepared, tmp_path):
    with pytest.raises(ValueError, match="config.data.folders is empty"):
        stream("")
    with pytest.raises(ValueError, match="is not a prepared folder: it has no manifest.json"):
        stream(tmp_path)
    with pytest.raises(ValueError, match="are 80x80 pixels, smaller than the 96x96"):
        stream(prepared, size=(96, 96))
    with pytest.raises(
        ValueError, match="data.kinds is {'views': 1.0}, but may only have .* view, pose"
    ):
        stream(prepared, kinds={"views": 1.0})
    with pytest.raises(ValueError, match="No train pair can be drawn .*kinds in use: none"):
        stream(prepared, kinds={"view": 0.0, "pose": 0.0})


def test_a_batch_must_divide_over_what_shares_it():
    loader.check_batch(16, 8, 2)
    with pytest.raises(ValueError, match="batch of 12 does not divide over 8 devices.*8 and 16"):
        loader.check_batch(12, 8, 1)
    with pytest.raises(ValueError, match="batch of 8 does not divide over 16 devices x accum"):
        loader.check_batch(8, 4, 1, accumulate=4)
    with pytest.raises(ValueError, match="batch of 8 does not divide over 3 hosts.*: 6 and 9"):
        loader.check_batch(8, 1, 3)


def test_crops_move_picture_and_silhouette_together():
    image = np.arange(100 * 90 * 3, dtype=np.uint8).reshape(100, 90, 3)
    for where, corner in (((0, 0), (0, 0)), ((0.999, 0.999), (36, 26)), ((1, 1), (36, 26))):
        cut = pair_augmentation.cut(image, np.array(where, float), (64, 64))
        np.testing.assert_array_equal(cut, image[corner[0] :, corner[1] :][:64, :64])


def test_turning_moves_picture_and_silhouette_together():
    silhouette = np.zeros((64, 64), bool)
    silhouette[8:24, 24:40] = True
    image = np.where(silhouette, 255, 0).astype(np.uint8)[..., None].repeat(3, -1)
    square = pair_augmentation._square()
    np.testing.assert_array_equal(pair_augmentation.warp(image, square), image)
    change = pair_augmentation.Augment(rotation=30.0, homography=0.1).draw(np.random.default_rng(0))
    turned = [pair_augmentation.warp(a, change["corners"]) for a in (image, silhouette)]
    assert (turned[0][..., 0] > 127).sum() > 50
    assert ((turned[0][..., 0] > 127) != turned[1]).mean() < 0.01
    assert (turned[1] != silhouette).mean() > 0.01
    quarter = pair_augmentation.warp(
        silhouette, square[[1, 2, 3, 0]]
    )  # corners one further: a quarter turn
    np.testing.assert_array_equal(quarter, np.rot90(silhouette, 1))


def test_augment_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="augment.crop is 'corner', but must be 'random' or"):
        pair_augmentation.Augment(crop="corner")
    with pytest.raises(ValueError, match="augment.contrast is 4. Set it to a number of at least 0"):
        pair_augmentation.Augment(contrast=4)

"""What is known of a frame survives its way to disk, and TFDS reads it."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from crocohuman_jax.data.storage import records, synthetic_truth

SIZE = (32, 48)


def known(rng):
    part = np.where(rng.random(SIZE) < 0.3, rng.integers(1, 18, SIZE), 0).astype(np.uint8)
    some = part > 0
    found = {
        "part": part,
        "face": np.where(some, rng.integers(0, 40000, SIZE), -1).astype(np.int32),
        "depth": np.where(some, rng.uniform(24, 33, SIZE), 0).astype(np.float32),
        "uv": (some[..., None] * rng.random((*SIZE, 2))).astype(np.float32),
        "canonical": (some[..., None] * rng.uniform(-1.2, 1.2, (*SIZE, 3))).astype(np.float32),
    }
    for name, columns in synthetic_truth.TABLES.items():
        found[name] = rng.normal(size=(7, columns)).astype(np.float32)
    for name, shape in synthetic_truth.FIXED.items():
        found[name] = rng.normal(size=shape).astype(np.float32)
    found["nearest"] = found["depth"][some].min()
    return found | {name: f"{name} of it" for name in synthetic_truth.TEXTS}


def write(folder, examples, maps):
    (folder / synthetic_truth.NAME).mkdir(parents=True)
    (folder / "manifest.json").write_text(f'{{"size": {list(SIZE)}}}')
    path = folder / synthetic_truth.NAME / records.shard_name("train", 0, 1, synthetic_truth.NAME)
    features = synthetic_truth.features(SIZE, maps)
    writer = records.ShardWriter(path, features)
    for values in examples:
        writer.write(synthetic_truth.example(values, SIZE, maps))
    writer.close()
    shards = {"train": [(len(examples), path.stat().st_size)]}
    records.write_metadata(
        folder / synthetic_truth.NAME, features, shards, name=synthetic_truth.NAME
    )
    return synthetic_truth.Truths(folder)


def test_what_is_known_survives_to_a_tenth_of_a_millimetre(tmp_path):
    examples = [known(np.random.default_rng(i)) for i in range(3)]
    found = write(tmp_path, examples, maps=True)
    assert len(found) == 3
    for i, wanted in enumerate(examples):
        read = found.read(i)
        assert set(read) == set(wanted)
        for name in ("part", "face"):
            np.testing.assert_array_equal(read[name], wanted[name])
        assert np.abs(read["canonical"] - wanted["canonical"]).max() < 5e-5
        assert np.abs(read["depth"] - wanted["depth"]).max() < 2e-4
        assert np.abs(read["uv"] - wanted["uv"]).max() < 1e-5
        for name, columns in synthetic_truth.TABLES.items():
            shape = wanted[name].shape if columns > 1 else (7,)
            np.testing.assert_array_equal(read[name], wanted[name].reshape(shape))
        for name in (*synthetic_truth.FIXED, *synthetic_truth.TEXTS):
            np.testing.assert_array_equal(read[name], wanted[name])


def test_what_a_map_cannot_hold_is_an_error():
    deep = known(np.random.default_rng(0))
    deep["depth"] = deep["depth"] * 10
    with pytest.raises(
        ValueError, match="depth has values out of range: it is stored in uint16 steps"
    ):
        synthetic_truth.example(deep, SIZE, True)


def test_maps_can_be_left_out(tmp_path):
    read = write(tmp_path, [known(np.random.default_rng(0))], maps=False).read(0)
    assert not set(synthetic_truth.MAPS) & set(read) and "joints" in read


def test_tfds_reads_the_truth(tmp_path):
    wanted = known(np.random.default_rng(0))
    write(tmp_path, [wanted], maps=True)
    source = tfds.builder_from_directory(tmp_path / synthetic_truth.NAME).as_data_source(
        split="train"
    )
    np.testing.assert_array_equal(source[0]["part"], wanted["part"])
    np.testing.assert_array_equal(source[0]["joints"], wanted["joints"])
    assert source[0]["depth"].dtype == np.uint16


def test_a_folder_without_truth_says_so(prepared):
    with pytest.raises(ValueError, match="holds no ground truth"):
        synthetic_truth.Truths(prepared)

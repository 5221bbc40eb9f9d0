"""Results carry how they were measured, and a table refuses to mix what is not comparable."""

import dataclasses
import json

import numpy as np
import pytest

from crocohuman_jax.evaluation import protocol

FIELDS = {
    "task": "mesh",
    "dataset": "3dpw",
    "split": "test",
    "joints": "lsp14",
    "regressor": protocol.array_hash(np.eye(3)),
    "root": "pelvis of h36m",
    "truth_model": "smpl of the annotated gender",
    "predicted_model": "smpl neutral",
    "alignment": "similarity",
    "crop": "1.2 x box of the keypoints, 224 px",
    "frames": 35515,
    "skipped": 0,
    "fingerprint": "0a1b2c",
}


def made(name="ours", metrics=None, **fields):
    return protocol.Result(
        protocol=protocol.Protocol(**FIELDS | fields),
        metrics={"PA-MPJPE": 51.234, "MPJPE": 80.0} if metrics is None else metrics,
        run="runs/mesh",
        step=2000,
        name=name,
    )


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_stamp_is_of_every_field():
    stamps = {made().protocol.stamp, made(name="theirs", metrics={"x": 1.0}).protocol.stamp}
    assert len(stamps) == 1
    (stamp,) = stamps
    assert len(stamp) == 12 and set(stamp) <= set("0123456789abcdef")
    for field in dataclasses.fields(protocol.Protocol):
        counts = dict.fromkeys(("frames", "skipped", "left_out", "non_finite"), 7)
        value = (counts | {"regressor": "none"}).get(field.name, "another")
        stamps.add(made(**{field.name: value}).protocol.stamp)
    assert len(stamps) == 1 + len(dataclasses.fields(protocol.Protocol))


def test_a_stamp_stays_the_same_from_version_to_version():
    assert made(regressor="none").protocol.stamp == "fa83f4526f1c"


def test_a_result_comes_back_as_it_was_saved(tmp_path):
    result = made(metrics={"PA-MPJPE": 1 / 3, "F@5": 0.1})
    path = tmp_path / "results" / "3dpw.json"
    result.save(path)
    assert protocol.Result.load(path) == result
    assert [file.name for file in path.parent.iterdir()] == ["3dpw.json"]
    assert json.loads(path.read_text())["stamp"] == result.protocol.stamp


def test_results_of_versions_that_knew_no_failures_are_read(tmp_path):
    path = tmp_path / "result.json"
    made().save(path)
    edit(path, lambda record: record.pop("non_finite"))
    edit(path, lambda record: record["protocol"].pop("non_finite"))
    assert protocol.Result.load(path) == made()


def test_a_mean_is_nan_only_where_frames_are_named(tmp_path):
    changes = {"metrics": {"MPJPE": float("nan"), "F@5": 0.5}}
    changes["non_finite"] = ("row 3 a.jpg", "row 5 b.jpg")
    failed = dataclasses.replace(made(), **changes)
    failed.save(tmp_path / "result.json")
    assert "NaN" not in (tmp_path / "result.json").read_text()  # which is no JSON
    back = protocol.Result.load(tmp_path / "result.json")
    assert np.isnan(back.metrics["MPJPE"]) and back.metrics["F@5"] == 0.5
    assert back.non_finite == failed.non_finite and back.protocol == failed.protocol
    text = protocol.table([back, made("b")])
    assert "nan" in text
    assert text.endswith(
        "\nours: 2 predictions are not finite, so the means are NaN (row 3 a.jpg; row 5 b.jpg)"
    )
    with pytest.raises(ValueError, match="Metric 'MPJPE' of 'ours' is nan"):
        dataclasses.replace(failed, protocol=made(non_finite=2).protocol)
    with pytest.raises(ValueError, match="Metric 'MPJPE' of 'ours' is inf"):
        dataclasses.replace(failed, metrics={"MPJPE": float("inf")})


def test_an_edited_protocol_is_found(tmp_path):
    path = tmp_path / "result.json"
    made().save(path)
    edit(path, lambda record: record["protocol"].update(frames=10))
    with pytest.raises(ValueError, match=r"carries stamp '\w{12}', but .* '\w{12}': it was edited"):
        protocol.Result.load(path)


def test_an_edited_stamp_is_found(tmp_path):
    path = tmp_path / "result.json"
    made().save(path)
    edit(path, lambda record: record.update(stamp="0" * 12))
    with pytest.raises(ValueError, match=r"result.json carries stamp '000000000000', but"):
        protocol.Result.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("stamp"), r"does not hold a result: .*'stamp'.* expected, not \["),
        (lambda r: r.update(note="x"), r"does not hold a result: .* not .*'note'"),
        (lambda r: r["protocol"].pop("root"), r"does not hold a protocol: .*'root'.* expected"),
        (lambda r: r.update(protocol=[]), r"does not hold a protocol: .* not list"),
        (lambda r: r.update(metrics={}), r"A result needs metrics, .* not \{\}"),
        (lambda r: r.update(step=-1), r"step is -1: an int of at least 0"),
        (lambda r: r["metrics"].update(MPJPE="80"), r"Metric 'MPJPE' of 'ours' is '80'"),
        (lambda r: r["metrics"].update(MPJPE=float("nan")), r"Metric 'MPJPE' of 'ours' is nan"),
    ],
)
def test_what_is_not_a_result_is_named(tmp_path, change, message):
    path = tmp_path / "result.json"
    made().save(path)
    edit(path, change)
    with pytest.raises(ValueError, match=f"result.json.*{message}"):
        protocol.Result.load(path)


def test_files_that_are_not_there_or_not_json_are_named(tmp_path):
    with pytest.raises(ValueError, match="none.json does not exist"):
        protocol.Result.load(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"metrics": ')
    with pytest.raises(ValueError, match="half.json is not JSON"):
        protocol.Result.load(tmp_path / "half.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"root": ""}, "Protocol field 'root' is '': one line of text"),
        ({"crop": "a\nb"}, "Protocol field 'crop' is .*: one line of text"),
        ({"dataset": None}, "Protocol field 'dataset' is None"),
        ({"frames": 0}, "Protocol field 'frames' is 0: an int of at least 1"),
        ({"frames": 10.0}, "Protocol field 'frames' is 10.0: an int"),
        ({"skipped": -1}, "Protocol field 'skipped' is -1: an int of at least 0"),
        ({"skipped": True}, "Protocol field 'skipped' is True: an int"),
        ({"regressor": "h36m.npy"}, "Protocol field 'regressor' is 'h36m.npy': give .*array_hash"),
    ],
)
def test_a_protocol_says_what_is_wrong_with_a_field(fields, message):
    with pytest.raises(ValueError, match=message):
        protocol.Protocol(**FIELDS | fields)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "3", np.float32(3)])
def test_a_metric_is_a_finite_float(value):
    with pytest.raises(ValueError, match="Metric 'MPJPE' of 'ours' is .*: a finite float"):
        made(metrics={"MPJPE": value})


def test_a_result_needs_a_name():
    with pytest.raises(ValueError, match="A result's name must be one line of text, not ''"):
        made(name="")


def test_a_table_has_a_row_per_result_under_its_protocol():
    one = made(metrics={"PA-MPJPE": 51.234, "F@5": 0.51})
    two = made(name="a|b", metrics={"PA-MPJPE": 9.8765})
    head, empty, *rows = protocol.table([one, two]).split("\n")
    assert head.startswith(f"Protocol {one.protocol.stamp} (task: mesh, dataset: 3dpw,")
    assert "frames: 35515" in head and not empty
    assert rows == [
        "| name | run       | step | PA-MPJPE |   F@5 |",
        "| ---- | --------- | ---: | -------: | ----: |",
        "| ours | runs/mesh | 2000 |    51.23 | 0.510 |",
        "| a\\|b | runs/mesh | 2000 |    9.877 |     - |",
    ]


def test_a_table_refuses_results_of_different_protocols_and_says_where_they_differ():
    results = [made("a"), made("b", frames=100, alignment="freihand"), made("c", frames=100)]
    with pytest.raises(ValueError, match="one table cannot show them") as caught:
        protocol.table(results)
    lines = str(caught.value).split("\n")
    assert lines[1:-1] == [
        "  alignment: 'similarity' of a, c; 'freihand' of b",
        "  frames: 35515 of a; 100 of b, c",
    ]
    assert "protocol.grouped" in lines[-1]


def test_grouped_prints_a_table_per_protocol():
    results = [made("a"), made("b", frames=100), made("c")]
    text = protocol.grouped(results)
    assert text == f"{protocol.table(results[::2])}\n\n{protocol.table(results[1:2])}"


@pytest.mark.parametrize("show", [protocol.table, protocol.grouped])
def test_no_results_make_no_table(show):
    with pytest.raises(ValueError, match="at least one result"):
        show([])


def test_the_hash_of_an_array_is_of_its_type_shape_and_numbers():
    array = np.random.default_rng(0).normal(size=(14, 6890)).astype(np.float32)
    found = protocol.array_hash(array)
    assert len(found) == 64
    assert found == protocol.array_hash(np.asfortranarray(array))
    assert found == protocol.array_hash(array.astype(">f4"))
    changed = array.copy()
    changed[3, 5] = np.nextafter(changed[3, 5], 9)
    others = [changed, array.T, array.reshape(-1), array.astype(np.float64)]
    assert len({found, *map(protocol.array_hash, others)}) == 5


def test_what_holds_no_numbers_has_no_hash():
    with pytest.raises(ValueError, match="Only arrays of numbers have a hash, not object: make"):
        protocol.array_hash({"rows": 3})

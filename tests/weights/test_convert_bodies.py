"""METRO's matrices, 3DPW's sequences and body models, from their published files to a run."""

import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import types
import typing

import annotated
import numpy as np
import pytest
import runs
import scipy.sparse

from configs import mesh
from crocohuman_jax import convert
from crocohuman_jax.body_models import loading, mesh_downsampling, run_body
from crocohuman_jax.configuration import registry
from crocohuman_jax.data.datasets import pw3d
from crocohuman_jax.weights.exchange import body_files

LEVELS = (195, 49)


class Exploit:
    """Pickles as a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Python2(pickle._Pickler):
    """Pickles as Python 2 did, with texts as bytes without a mark and the old names of numpy."""

    dispatch: typing.ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        data = value if isinstance(value, bytes) else value.encode()
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text


def python2(content) -> bytes:
    file = io.BytesIO()
    Python2(file, 2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


@pytest.fixture(scope="module")
def hand():
    """The open hand and two coarse versions of it."""
    body = loading.load("open_hand_right")
    return mesh_downsampling.cached(np.asarray(body.template), body.faces.array, LEVELS, None)


def sparse(matrix):
    rows, slots = np.nonzero(matrix.values)
    entries = matrix.values[rows, slots], (rows, matrix.columns[rows, slots])
    return scipy.sparse.csc_matrix(entries, (len(matrix.columns), matrix.width))


def objects(values):
    """Returns a list as numpy keeps it that is handed things of no common shape."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def published(path, found, **changes):
    """Writes matrices as METRO gives them out: arrays of objects, one of them nobody can open."""
    content = {
        "D": objects([sparse(matrix) for matrix in found.down]),
        "U": objects([sparse(matrix) for matrix in found.up]),
        "A": objects([scipy.sparse.eye(size, format="csc") for size in found.levels]),
        "F": objects([faces.astype(np.uint32) for faces in found.faces]),
        "M": objects([Exploit(path.parent / "trace"), None]),
    }
    np.savez(path, **(content | changes))
    return path


def taken(source, output) -> str:
    (line,) = convert.body(types.SimpleNamespace(source=str(source), output=str(output)))
    return line


def configured(**changes):
    config = mesh.get_config("debug,body=open_hand_right,head=metro")
    config.update_from_flattened_dict(changes)
    return config


def test_metros_matrices_become_a_file_that_a_run_takes(hand, tmp_path):
    source, output = published(tmp_path / "mano_downsampling.npz", hand), tmp_path / "sampling.npz"
    assert "sampling matrices between 1611, 195, 49 vertices" in taken(source, output)
    assert not (tmp_path / "trace").exists()
    assert (tmp_path / "sampling.receipt.json").exists()
    found = mesh_downsampling.from_arrays(dict(np.load(output)))
    for mine, theirs in zip(found.down + found.up, hand.down + hand.up, strict=True):
        assert not (sparse(mine) != sparse(theirs)).nnz
    runs.equal(found.faces, hand.faces)
    # Only the finest of its levels, as METRO's hands have.
    config = configured(**{"head.sampling": str(output), "head.levels": (195,)})
    network = registry.find("tasks", "mesh").make(config).loss.__self__
    assert network.head.coarse.levels == (1611, 195)
    vertices = np.random.default_rng(0).normal(size=(2, 1611, 3))
    small = mesh_downsampling.pyramid(network.head.coarse, vertices)[1]
    np.testing.assert_allclose(small[1], sparse(hand.down[0]) @ vertices[1], atol=1e-6)


def test_matrices_of_another_mesh_or_of_other_levels_are_refused(hand, tmp_path):
    output = tmp_path / "sampling.npz"
    taken(published(tmp_path / "mano_downsampling.npz", hand), output)
    for levels, message in (
        ((190,), r"meshes of \(1611, 195\) vertices, but .*head.levels need \(1611, 190\)"),
        ((195, 49, 13), "faces F0, ... of 3 levels, but 4 levels are needed"),
    ):
        config = configured(**{"head.sampling": str(output), "head.levels": levels})
        with pytest.raises(ValueError, match=message):
            registry.find("tasks", "mesh").make(config)
    config = configured(**{"head.sampling": str(tmp_path / "mano_downsampling.npz")})
    with pytest.raises(ValueError, match="mano_downsampling.npz"):
        registry.find("tasks", "mesh").make(config)


BROKEN = {
    "a call": lambda hand, trace: {"D": objects([Exploit(trace), Exploit(trace)])},
    "another call": lambda hand, trace: {"F": objects([Exploit(trace)] * 3)},
    "text": lambda hand, trace: {"U": objects(["left", "right"])},
    "a list less": lambda hand, trace: {"U": objects([sparse(hand.up[0])])},
    "levels in the wrong order": lambda hand, trace: {
        "D": objects([*map(sparse, hand.down[::-1])])
    },
    "faces of another mesh": lambda hand, trace: {"F": objects([*hand.faces[::-1]])},
    "not finite": lambda hand, trace: {
        "D": objects([sparse(hand.down[0]) * np.nan, sparse(hand.down[1])])
    },
    "no lists": lambda hand, trace: {"D": np.eye(3)},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_matrices_that_are_broken_or_hostile_are_refused_in_one_line(hand, tmp_path, fault):
    trace = tmp_path / "trace"
    source = published(tmp_path / "a.npz", hand, **BROKEN[fault](hand, trace))
    with pytest.raises(ValueError) as refused:
        taken(source, tmp_path / "b.npz")
    assert str(refused.value) and "\n" not in str(refused.value)
    assert not trace.exists() and not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_matrices_are_refused_in_one_line(hand, tmp_path, share):
    source = published(tmp_path / "a.npz", hand)
    data = source.read_bytes()
    source.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"a\.npz") as refused:
        taken(source, tmp_path / "b.npz")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "b.npz").exists()


def sequences(folder, **contents) -> pathlib.Path:
    """Writes pickles as those of 3DPW's sequences, by their names."""
    for name, content in contents.items():
        path = folder / f"sequenceFiles/test/{name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        for number in range(6):
            annotated.photo(folder / f"imageFiles/{name}/image_{number:05d}.jpg")
    return folder


@pytest.mark.parametrize("dump", [python2, lambda content: pickle.dumps(content, 2)])
def test_sequences_of_3dpw_are_converted_and_read(tmp_path, dump):
    content = annotated.sequence_3dpw()
    source = sequences(tmp_path / "3DPW", walk_00=dump(content))
    (line,) = convert.sequences(types.SimpleNamespace(source=str(source), output=None))
    assert line.endswith("1 sequences.")
    found = dict(np.load(source / "sequenceFiles/test/walk_00.npz", allow_pickle=False))
    runs.equal(found, pw3d.plain(content))
    assert found["genders"].tolist() == ["male", "female"]
    frames, known, _ = annotated.prepare("pw3d", source, tmp_path / "prepared")
    assert len(frames) == 12
    assert [row["gender"] for row in known].count("female") == 6
    assert all(len(row["pose"]) == 24 and len(row["betas"]) == 10 for row in known)


def test_a_hostile_sequence_is_refused_by_the_command_and_nothing_runs(tmp_path):
    trace = tmp_path / "trace"
    hostile = annotated.sequence_3dpw() | {"poses": [Exploit(trace)] * 2}
    source = sequences(tmp_path / "3DPW", walk_00=pickle.dumps(hostile, 2))
    command = [sys.executable, "-m", "crocohuman_jax.convert", "3dpw", f"--source={source}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("convert: ")
    assert "walk_00.pkl" in done.stderr and done.stderr.count("\n") == 1
    assert not trace.exists() and not [*source.rglob("*.npz")]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data[: len(data) // 2], "walk_00.pkl"),
        (lambda data: b"", "has 0 bytes"),
        (lambda data: pickle.dumps(["poses"], 2), "not a sequence of 3DPW"),
        (lambda data: pickle.dumps({"poses": [np.zeros(3)]}, 2), "it has no betas, trans"),
    ],
)
def test_sequences_that_are_no_sequences_are_refused_in_one_line(tmp_path, change, message):
    data = python2(annotated.sequence_3dpw())
    source = sequences(tmp_path, walk_00=change(data))
    with pytest.raises(ValueError, match=message) as refused:
        convert.sequences(types.SimpleNamespace(source=str(source), output=None))
    assert "\n" not in str(refused.value) and "walk_00.pkl" in str(refused.value)
    assert not [*source.rglob("*.npz")]


def test_a_folder_without_sequences_says_where_they_lie(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)No sequenceFiles/<split>/<sequence>\.pkl.*DIR"):
        convert.sequences(types.SimpleNamespace(source=str(tmp_path), output=None))


def test_a_pickled_body_model_of_a_run_is_named_with_the_command_that_converts_it(tmp_path):
    path = tmp_path / "basicModel_neutral.pkl"
    path.write_bytes(pickle.dumps(Exploit(tmp_path / "trace")))
    config = mesh.get_config(f"debug,body={path}")
    with pytest.raises(ValueError, match="convert body --source=") as refused:
        registry.find("tasks", "mesh").make(config)
    assert str(path) in str(refused.value) and not (tmp_path / "trace").exists()
    for name in ("h36m", "extra"):
        config = mesh.get_config("debug")
        config.body[name] = str(path)
        with pytest.raises(ValueError, match="convert body --source="):
            registry.find("tasks", "mesh").make(config)


def test_a_body_model_that_is_not_there_says_how_to_get_one_and_what_works_without():
    config = mesh.get_config("debug,body=SMPL_NEUTRAL.npz")
    with pytest.raises(ValueError) as refused:
        registry.find("tasks", "mesh").make(config)
    for words in ("'SMPL_NEUTRAL.npz'", "registration", "convert body --source=", "open_body"):
        assert words in str(refused.value)


def test_smpl_files_run_once_converted_with_the_regressor_that_measures_them(oracles, tmp_path):
    for name in ("neutral", "male"):
        taken(oracles / "SMPL_TINY.pkl", tmp_path / f"{name}.npz")
    vertices = len(loading.load(str(tmp_path / "neutral.npz")).template)
    rows = np.random.default_rng(0).random((17, vertices))
    np.save(tmp_path / "J_regressor_h36m.npy", rows / rows.sum(1, keepdims=True))
    taken(tmp_path / "J_regressor_h36m.npy", tmp_path / "h36m.npz")
    options = mesh.get_config("debug").body.to_dict() | {"model": str(tmp_path / "neutral.npz")}
    with pytest.raises(ValueError, match=r"name the result in config\.body\.h36m"):
        run_body.Bodies(**options)
    options |= {"h36m": str(tmp_path / "h36m.npz"), "male": str(tmp_path / "male.npz")}
    assert run_body.Bodies(**options).genders() == ("neutral", "male")
    with pytest.raises(ValueError, match="holds no J_regressor"):
        run_body.Bodies(**options | {"h36m": _means(tmp_path)})
    with pytest.raises(ValueError, match=r"config\.body\.h36m has shape \(17, \d+\), expected"):
        np.save(tmp_path / "other.npy", rows[:, :-1])
        taken(tmp_path / "other.npy", tmp_path / "other.npz")
        run_body.Bodies(**options | {"h36m": str(tmp_path / "other.npz")})


def _means(folder) -> str:
    np.savez(folder / "smpl_mean_params.npz", pose=np.ones(144), shape=np.ones(10), cam=np.ones(3))
    taken(folder / "smpl_mean_params.npz", folder / "means.npz")
    return str(folder / "means.npz")


def test_converted_mean_parameters_are_where_estimates_begin(tmp_path):
    options = mesh.get_config("debug").body.to_dict()
    form = run_body.Bodies(**options).form()
    path = _means(tmp_path)
    np.testing.assert_array_equal(run_body.mean_file(path, form), np.ones(157))
    assert body_files.plain(pathlib.Path(path))[0] == "mean parameters"
    hand = run_body.Bodies(**options | {"model": "open_hand_right"}).form()
    with pytest.raises(ValueError, match="144 numbers for the pose and 10 for the shape, expected"):
        run_body.mean_file(path, hand)

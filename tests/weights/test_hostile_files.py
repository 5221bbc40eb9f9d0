"""Strangers' files: nothing that they hold runs, and a broken one is a ValueError with its name."""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import bombs
import numpy as np
import pytest
import scipy.sparse
import test_bodies
import torch_writer

from crocohuman_jax.weights.exchange import body_files
from crocohuman_jax.weights.safe import arrays, pickles, rebuild, torch_files

HERE = pathlib.Path(__file__).parent.parent
# Where a process can tell the peak of its own memory.
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


class Exploit:
    """Pickles as a call of os.system that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Sly:
    """Pickles with a state that its class would be handed."""

    def __setstate__(self, state):
        raise AssertionError("a state was set")

    def __getstate__(self):
        return {"x": 1}


def torch_zip(path, described: bytes, members=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", described)
        for name, content in members:
            archive.writestr(name, content)
    return path


def honest(tmp_path):
    """A torch file of one tensor, written by hand."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    storage += b"X\x03\x00\x00\x00cpuK\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    tensor += b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tR"
    described = b"\x80\x02}X\x05\x00\x00\x00model}X\x01\x00\x00\x00w" + tensor + b"ss."
    numbers = np.arange(6, dtype=np.float32).tobytes()
    return torch_zip(tmp_path / "honest.pth", described, [("archive/data/0", numbers)]), described


def test_an_honest_file_is_read(tmp_path):
    path, _ = honest(tmp_path)
    tensor = torch_files.read(path)["model"]["w"]
    np.testing.assert_array_equal(tensor, np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_in_a_pickle_is_not_made(tmp_path, protocol):
    trace = tmp_path / "trace"
    for content in (Exploit(trace), {"model": [Exploit(trace)], "x": (Exploit(trace),)}):
        data = pickle.dumps(content, protocol)
        (tmp_path / "body.pkl").write_bytes(data)
        with pytest.raises(ValueError):
            body_files.plain(tmp_path / "body.pkl")
        read = rebuild.rebuild(pickles.read(data)[0], "it", 0)
        assert "system" in repr(read)  # it is seen, as a name
        path = torch_zip(tmp_path / "weights.pth", data)
        if isinstance(content, dict):
            torch_files.read(path)
        else:
            with pytest.raises(ValueError, match="not a dictionary"):
                torch_files.read(path)
    assert not trace.exists()


def test_a_state_is_not_set():
    read = rebuild.rebuild(pickles.read(pickle.dumps(Sly(), 2))[0], "it", 0)
    assert isinstance(read, rebuild.Unknown) and read.state == {"x": 1}


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "cannot be read"),
        (b"\x80\x02.", "it ends with 0 values"),
        (b"\x80\x02K\x01K\x02.", "it ends with 2 values"),
        (b"\x80\x02K\x01.more", "followed by 4 bytes"),
        (b"\x80\x02" + b"(" * 1000 + b".", "400 deep"),
        (b"\x80\x02]" + b"]a" * 0 + b"h\x07.", "cannot be read"),
        (b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "an integer of"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "cannot be read"),
        (b"\x80\x02T\xff\xff\xff\x7fa.", "cannot be read"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "cannot be read"),
        (b"\x80\x02K\x01K\x02\x86b.", "cannot be read"),
        (b"\x82\x01.", "EXT1 is not supported"),
        (b"\x80\x02K\x01}K\x02s.", "cannot be read"),
        (b"\x80\x02(K\x01d.", "a key without a value"),
    ],
)
def test_broken_pickles_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        pickles.read(data)


def test_what_is_shared_stays_shared_and_what_has_no_end_is_refused():
    # Each tuple holds the one before it twice.
    data = b"\x80\x02K\x01" + b"2\x86" * 10 + b"."
    value = rebuild.rebuild(pickles.read(data)[0], "it", 0)
    assert len(value) == 2 and value[0] is value[1]
    with pytest.raises(ValueError, match="has more than 1000000 values"):
        rebuild.rebuild(pickles.read(b"\x80\x02K\x01" + b"2\x86" * 90 + b".")[0], "it", 0)
    with pytest.raises(ValueError, match="containers hold themselves or are nested"):
        rebuild.rebuild(pickles.read(b"\x80\x02K\x01" + b"\x85" * 300 + b".")[0], "it", 0)
    with pytest.raises(ValueError, match="containers hold themselves"):  # a list within itself
        rebuild.rebuild(pickles.read(b"\x80\x02]q\x00h\x00a.")[0], "it", 0)


def test_archives_with_tricks_are_refused(tmp_path):
    path, described = honest(tmp_path)
    numbers = [("archive/data/0", bytes(24))]
    with pytest.raises(ValueError, match="is compressed"):
        torch_files.read(torch_zip(tmp_path / "a.pth", described, numbers, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match="a path that stays in the archive"):
        torch_files.read(torch_zip(tmp_path / "b.pth", described, [*numbers, ("../x", b"")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = torch_zip(tmp_path / "c.pth", described, numbers * 2)
    with pytest.raises(ValueError, match="twice"):
        torch_files.read(twice)
    with pytest.raises(ValueError, match="the storage '0' is missing"):
        torch_files.read(torch_zip(tmp_path / "d.pth", described))
    with pytest.raises(ValueError, match="has 20 bytes, which do not fit 6 float32"):
        torch_files.read(torch_zip(tmp_path / "e.pth", described, [("archive/data/0", bytes(20))]))
    data = path.read_bytes()
    (tmp_path / "f.pth").write_bytes(data + b"appended")
    with pytest.raises(ValueError, match="from its first byte to its last"):
        torch_files.read(tmp_path / "f.pth")
    at = data.index(np.arange(6, dtype=np.float32).tobytes())
    (tmp_path / "g.pth").write_bytes(data[:at] + b"\x01" + data[at + 1 :])
    with pytest.raises(ValueError, match="its checksum does not match"):
        torch_files.read(tmp_path / "g.pth")
    far = described.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")
    with pytest.raises(ValueError, match="reaches beyond its storage"):
        torch_files.read(torch_zip(tmp_path / "h.pth", far, numbers))
    (tmp_path / "i.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        torch_files.read(tmp_path / "i.pth")


def test_numpy_archives_that_would_unpack_to_much_are_refused(tmp_path):
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"
    header = header.ljust(127) + b"\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v_template.npy", header + bytes(300_000_000))
    with pytest.raises(ValueError, match="would unpack to"):
        arrays.read_numpy(tmp_path / "bomb.npz")
    huge = header.replace(b"(1,)}", b"(9999999999,)}").replace(b"          \n", b"\n")
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("v_template.npy", huge[:127] + b"\n")
    with pytest.raises(ValueError, match="its header gives float64"):
        arrays.read_numpy(tmp_path / "huge.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([[{}]], object))
    with pytest.raises(ValueError, match="Python objects"):
        arrays.read_numpy(tmp_path / "objects.npz")


def safetensors(path, header, data: bytes):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_safetensors_go_through_a_file_unchanged(tmp_path):
    rng = np.random.default_rng(0)
    written = {
        "a/b": rng.normal(size=(3, 4)).astype(np.float32),
        "empty": np.zeros((0, 2), np.float16),
        "scalar": np.array(7),
        "flags": np.array([True, False]),
    }
    for name in ("one", "two"):
        arrays.write_safetensors(tmp_path / name, written, {"x": "1", "a": "2"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read, metadata = arrays.read_safetensors(tmp_path / "one")
    assert metadata == {"x": "1", "a": "2"} and set(read) == set(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    "header, data, message",
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(12), "4 bytes that"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12), "begins at"),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8), "needs 12"),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, bytes(8), "be at bytes"),
        ({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}, bytes(8), "unknown type"),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 80]}}, bytes(8), "be at bytes"),
        (b'{"a": 1, "a": 2}', b"", "occurs twice"),
        (b"[" * 100_000, b"", "no readable safetensors header"),
        ({"__metadata__": {"x": 1}}, b"", "__metadata__ must map names to texts"),
        (b"\xff\xfe", b"", "no readable safetensors header"),
        ({"a": []}, b"", "must give dtype, shape and two data_offsets for 'a'"),
    ],
)
def test_safetensors_that_break_the_format_are_refused(tmp_path, header, data, message):
    with pytest.raises(ValueError, match=message):
        arrays.read_safetensors(safetensors(tmp_path / "a.safetensors", header, data))


def models(folder):
    """Files of every format, small and honest, to be mutated."""
    folder.mkdir()
    honest(folder)[0].rename(folder / "torch.pth")
    (folder / "old.pth").write_bytes(torch_writer.old(torch_writer.CONTENT))
    (folder / "more.pth").write_bytes(torch_writer.new(torch_writer.CONTENT))
    model = test_bodies.model(4, 12)
    for protocol in (0, 2, 4):
        (folder / f"smpl{protocol}.pkl").write_bytes(pickle.dumps(model, protocol))
    sparse = model | {"J_regressor": scipy.sparse.csc_matrix(model["J_regressor"])}
    (folder / "sparse.pkl").write_bytes(pickle.dumps(sparse, 2))
    arrays_only = {k: v for k, v in model.items() if isinstance(v, np.ndarray | str)}
    np.savez(folder / "smpl.npz", **arrays_only, info=np.array({"n": 3}, object))
    np.savez_compressed(folder / "packed.npz", **arrays_only)
    tensors = {name: np.ones((4, 4), np.float32) for name in ("a", "b/c")}
    arrays.write_safetensors(folder / "w.safetensors", tensors, {"format": "x"})
    return folder


def measured(folder, count=0, seed=0):
    done = subprocess.run(
        [sys.executable, str(HERE / "hostile.py"), str(count), str(seed), str(folder)],
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    # Without limits each of these would take hours. A machine's speed is measured beside them.
    assert seen["slowest"] < 50 * seen["honest"] and seen["grown_mb"] < 512, seen
    return seen


@linux
def test_small_files_with_much_in_them_take_seconds_and_512_mb_at_most(tmp_path):
    count = bombs.write(tmp_path / "bombs")
    seen = measured(tmp_path / "bombs")
    assert seen["refused"] == count - 2, seen  # where only names are shared, there is no harm


@linux
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path):
    assert measured(models(tmp_path / "files"), 10_000, 0)["refused"] > 3_000


@linux
@pytest.mark.drill
def test_a_million_mutated_files_are_read_or_refused(tmp_path):
    folder = models(tmp_path / "files")
    for seed in range(1, 11):
        print(measured(folder, 100_000, seed))

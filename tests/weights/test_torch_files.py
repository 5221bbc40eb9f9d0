"""What torch writes is read as it was, and what it would not write is refused."""

import zipfile

import numpy as np
import pytest
import torch_writer
from torch_writer import Tensor

from crocohuman_jax.weights.safe import rebuild, torch_files

WRITERS = {"new": torch_writer.new, "old": torch_writer.old}


def read(tmp_path, data):
    (tmp_path / "weights.pth").write_bytes(data)
    return torch_files.read(tmp_path / "weights.pth")


@pytest.mark.parametrize("layout", WRITERS)
def test_tensors_of_every_type_and_layout_come_back(tmp_path, layout):
    found = read(tmp_path, WRITERS[layout](torch_writer.CONTENT))
    wanted = torch_writer.expected()
    assert list(found["model"]) == list(wanted)
    for name, array in wanted.items():
        assert found["model"][name].dtype == array.dtype
        np.testing.assert_array_equal(found["model"][name], array)
    assert found["args"] == {"model": "CroCoNet(img_size=64)", "lr": 0.001, "betas": (0.9, 0.95)}
    assert found["epoch"] == 3
    np.testing.assert_array_equal(found["numpy"], np.arange(6.0).reshape(2, 3).T)
    assert isinstance(found["unlike"], rebuild.Unknown)
    assert found["unlike"].name == "collections.Counter"


@pytest.mark.parametrize("layout", WRITERS)
def test_tensors_are_views_of_the_file_and_cannot_be_written_to(tmp_path, layout):
    model = read(tmp_path, WRITERS[layout](torch_writer.CONTENT))["model"]
    assert not model["plain"].flags.owndata and not model["plain"].flags.writeable
    assert np.shares_memory(model["first"], model["first"][1:])
    with pytest.raises(ValueError, match="read-only"):
        model["plain"][0] = 1


NUMBERS = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize(
    "tensor, message",
    [
        (Tensor(NUMBERS, (2, 4)), "reaches beyond its storage of 6"),
        (Tensor(NUMBERS, (2, 3), (4, 1)), "reaches beyond its storage of 6"),
        (Tensor(NUMBERS, (6,), (1,), 1), "reaches beyond its storage of 6"),
        (Tensor(NUMBERS, (9, 9), (0, 0)), "reaches beyond its storage of 6"),
        (Tensor(NUMBERS, (6,), (-1,), 5), "must be integers from 0"),
        (Tensor(NUMBERS, (6,), (1,), -1), "must be integers from 0"),
        (Tensor(NUMBERS, (1 << 60,), (1,)), "must be integers from 0"),
        (Tensor(NUMBERS, (2, 3), (3,)), "do not fit"),
        (Tensor(NUMBERS, "ab", (3, 1)), "do not fit"),
        (Tensor(NUMBERS, (1,) * 40, (1,) * 40), "do not fit"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, layout, tensor, message):
    with pytest.raises(ValueError, match=f"weights.pth.*{message}"):
        read(tmp_path, WRITERS[layout]({"w": tensor}))


def test_copies_are_in_proportion_to_the_file(tmp_path):
    turned = np.zeros(1 << 20, np.float32)  # 4 MB, copied whenever it is turned
    content = {str(i): Tensor(turned, (1 << 10, 1 << 10), (1, 1 << 10)) for i in range(100)}
    with pytest.raises(ValueError, match="its arrays need too many bytes"):
        read(tmp_path, torch_writer.new(content))


def test_an_old_file_that_does_not_end_where_it_should_is_refused(tmp_path):
    data = torch_writer.old(torch_writer.CONTENT)
    with pytest.raises(ValueError, match="has 5 bytes after its last storage"):
        read(tmp_path, data + b"cos\nR")
    with pytest.raises(ValueError, match="does not hold its .* numbers"):
        read(tmp_path, data[:-1])
    with pytest.raises(ValueError, match="its magic number is not"):
        read(tmp_path, b"\x80\x02K\x01." + data)
    with pytest.raises(ValueError, match="its protocol is not 1001"):
        read(tmp_path, data[: data.index(b".") + 1] + b"\x80\x02K\x01.")


def test_a_tar_of_the_first_torch_is_named(tmp_path):
    with pytest.raises(ValueError, match="a tar file from torch before 0.1.10: save it again"):
        read(tmp_path, b"x".ljust(257, b"\0") + b"ustar" + bytes(250))


def test_archives_of_another_build_are_refused(tmp_path):
    data = torch_writer.new(torch_writer.CONTENT)
    with pytest.raises(ValueError, match="overlaps the member before it, or follows a gap"):
        (tmp_path / "ahead.pth").write_bytes(data[:4] + bytes(60) + data)
        torch_files.read(tmp_path / "ahead.pth")
    with pytest.raises(ValueError, match="has a different name in its own header"):
        read(tmp_path, data.replace(b"archive/version", b"archive/Version", 1))
    with pytest.raises(ValueError, match="is encrypted"):
        at = data.index(b"PK\x01\x02") + 8
        read(tmp_path, data[:at] + b"\x01" + data[at + 1 :])
    with pytest.raises(ValueError, match="from its first byte to its last"):
        read(tmp_path, data[:-1])
    big = data.replace(b"little", b"big\0\0\0")
    with pytest.raises(ValueError, match="checksum"):
        read(tmp_path, big)
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/byteorder", b"big")
    with pytest.raises(ValueError, match="big-endian"):
        torch_files.read(tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    with pytest.raises(ValueError, match="has 2 files named data.pkl"):
        torch_files.read(tmp_path / "weights.pth")


def test_an_archive_of_more_members_than_the_first_format_counts_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}X\x01\x00\x00\x00xK\x05s.")
        for number in range(66_000):  # the directory is of the larger format then
            archive.writestr(f"{number}", b"")
    assert torch_files.read(tmp_path / "weights.pth") == {"x": 5}

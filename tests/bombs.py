"""Small files that would take hours or all memory if they were read without limits."""

import io
import json
import pathlib
import struct
import zipfile

MANY = 199_000  # opcodes; more are refused
LONG = b"B" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
KIND = b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8K\x00K\x01tR"
DOUBLED = b"K\x01" + b"2\x86" * 90  # a pair of pairs of pairs: 2^90 numbers


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _array(count: int) -> bytes:
    state = b"(K\x01J" + struct.pack("<i", count) + b"t" + KIND
    state += b"\x89B" + struct.pack("<I", 8 * count) + bytes(8 * count) + b"tb"
    return b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85tR" + state


def _called(function: bytes, arguments: bytes, times: int) -> bytes:
    """A pickle that calls a function with the same arguments many times."""
    stored = function + b"q\x00" + arguments + b"q\x01"
    return b"\x80\x02(" + stored + b"h\x00h\x01R" * times + b"t."


def _sparse(times: int) -> bytes:
    state = b"}(" + _text("data") + _array(0) + _text("indices") + _array(0)
    state += _text("indptr") + _array(2049) + _text("_shape") + b"M\x00\x08M\x00\x08\x86uq\x01"
    made = b"cscipy.sparse.csc\ncsc_matrix\nq\x00)\x81" + state + b"b"
    return b"\x80\x02(" + made + b"h\x00)\x81h\x01b" * times + b"t."


def _keys(count: int, step: int) -> bytes:
    numbers = b"".join(b"\x8a\x0c" + (i * step).to_bytes(12, "little") + b"N" for i in range(count))
    return b"\x80\x02}(" + numbers + b"u."


def pickles() -> dict[str, bytes]:
    """Returns pickles by what they do."""
    pairs = b"](" + b"K\x01K\x02\x86" * 50_000 + b"e\x85"
    numbers = b"](" + b"".join(b"J" + struct.pack("<i", i) for i in range(90_000)) + b"e\x85"
    return {
        "a key of 2^90 numbers": b"\x80\x02}" + DOUBLED + b"Ns.",
        "a set of 2^90 numbers": b"\x80\x04\x8f(" + DOUBLED + b"\x90.",
        "a type of 2^90 numbers": b"\x80\x02cnumpy\ndtype\n" + DOUBLED + b"\x85R.",
        "a shape of 2^90 numbers": _array(1).replace(b"K\x01J\x01\x00\x00\x00t", DOUBLED + b"t")
        + b".",
        "a value of 2^90 numbers": b"\x80\x02" + DOUBLED + b".",
        "keys of one hash": _keys(50_000, (1 << 61) - 1),
        "keys of close hashes": _keys(90_000, 1 << 42),
        "sets": b"\x80\x04(" + b"\x8f" * MANY + b"t.",
        "dictionaries": b"\x80\x04(" + b"}" * MANY + b"t.",
        "opcodes without an end": b"\x80\x02" + b"K\x010" * 2_000_000,
        "calls of calls": b"\x80\x02cx\ny\n" + b")R" * (MANY // 2) + b".",
        "calls": _called(b"cx\ny\n", b")", MANY // 3 - 9),
        "calls with much": _called(b"cx\ny\n", b"(" + b"K\x01" * 90_000 + b"t", 30_000),
        "a text encoded often": _called(b"c_codecs\nencode\n", LONG + b"\x85", 9_000),
        "a list made a dictionary often": _called(b"ccollections\nOrderedDict\n", pairs, 9_000),
        "a list made a set often": _called(b"cbuiltins\nset\n", numbers, 9_000),
        "sparse arrays of 32 MB": _sparse(30_000),
        "a number of bytes": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        "a long name": b"\x80\x04(" + _text("a" * (1 << 20)) + b"2\x930" * 9_000 + b"t.",
        "a long number": b"\x80\x02\x8b"
        + struct.pack("<I", 9_000_000)
        + b"\x7f" * 9_000_000
        + b".",
        "a long line of digits": b"I" + b"9" * 5_000_000 + b"\n.",
        "a long escaped text": b"S'" + b"\\xff" * 5_000_000 + b"'\n.",
        "a text longer than all": b"\x80\x02X\xff\xff\xff\x7fa.",
    }


def headers() -> dict[str, bytes]:
    """Returns headers of safetensors by what they do."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    one = b'{"a":{"dtype":"F32","data_offsets":[0,0],"shape":['
    return {
        "entries": json.dumps({str(i): empty for i in range(60_000)}).encode(),
        "depth": b'{"a":' + b"[" * 4_000_000,
        "objects": b'{"a":[' + b"{}," * 1_390_000 + b"{}]}",
        "sides": one + b"0," * 2_000_000 + b"0]}}",
        "digits": one + (b"9" * 4000 + b",") * 900 + b"0]}}",
        "sides without content": one + b"0,140737488355328,140737488355328]}}",
    }


def _archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _npy(said: str, content: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(said)) + said.encode() + content


def archives() -> dict[str, bytes]:
    """Returns archives by what they do."""
    plain = "{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}\n"
    return {
        "zeros": _archive({"a.npy": _npy(plain % 37_500_000, bytes(300_000_000))}),
        "numbers it has not": _archive({"a.npy": _npy(plain % 10**12, b"")}),
        "a header in brackets": _archive({"a.npy": _npy("{'descr':" + "[" * 9_000, b"")}),
        "members": _archive({f"a/{i}": b"" for i in range(40_000)}),
        "an object": _archive(
            {"a.npy": _npy(plain.replace("<f8", "|O") % 1, pickles()["a key of 2^90 numbers"])}
        ),
    }


def write(folder: pathlib.Path) -> int:
    """Writes them all into a folder; returns how many."""
    folder.mkdir()
    for name, content in pickles().items():
        (folder / f"{name}.pkl").write_bytes(content)
        with zipfile.ZipFile(folder / f"{name}.pth", "w") as archive:
            archive.writestr("a/data.pkl", content)
    for name, header in headers().items():
        whole = struct.pack("<Q", len(header)) + header
        (folder / f"{name}.safetensors").write_bytes(whole)
    for name, content in archives().items():
        (folder / f"{name}.npz").write_bytes(content)
        (folder / f"{name} too.pth").write_bytes(content)
    return len(list(folder.iterdir()))

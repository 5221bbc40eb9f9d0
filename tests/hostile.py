"""Reads hostile files, in a process of its own: tests/hostile.py COUNT SEED FOLDER.

COUNT mutations of the files in FOLDER are read, or with COUNT = 0 each of them as it is. Prints one
JSON object: how many were read and refused, the slowest and its time on the processor, the time of
an honest file's 300,000 numbers, and by how much they raised the peak of memory. Anything but a
ValueError, and anything that is run, or opened for writing, ends it with what happened.
"""

import collections
import io
import json
import pathlib
import pickle
import random
import re
import sys
import time
import zipfile

from crocohuman_jax.weights.exchange import body_files
from crocohuman_jax.weights.safe import arrays, torch_files

READERS = {
    ".pth": torch_files.read,
    ".pkl": body_files.plain,
    ".npz": body_files.plain,
    ".safetensors": arrays.read_safetensors,
}
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "exec")
FORBIDDEN += ("pickle.find_class", "marshal.loads", "socket.connect", "os.remove", "shutil.rmtree")
# Bytes that mean something to a pickle, an archive or JSON.
LURES = [b"cos\nsystem\n", b"R.", b"b.", b"(", b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"PK\x05\x06"]
LURES += [b"\xff" * 8, b"\x00" * 8, b"2" * 9, b"[[[[", b'{"a":', b"../", b"e", b"h\x00", b"\x94"]
LURES += [b"K\x00\x86", b"\x85R", b")\x81}b", b"2\x86" * 30, b"Q", b"}s", b"\x8f(\x90"]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Returns the data with some bytes flipped, cut, doubled, or replaced by what lures."""
    if data[:2] == b"PK" and rng.random() < 0.5:
        return _mutate_within(data, rng)
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, kind = rng.randrange(len(data) or 1), rng.randrange(7)
        if kind < 2 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2 and data:
            data[at] = rng.randrange(256)
        elif kind == 3:
            data[at:at] = rng.choice(LURES)
        elif kind == 4:
            lure = rng.choice(LURES)
            data[at : at + len(lure)] = lure
        elif kind == 5:
            del data[at : at + rng.choice((1, 2, 8, 100))]
        else:
            length = rng.choice((1, 4, 40))
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
    return bytes(data)


def _mutate_within(data: bytes, rng: random.Random) -> bytes:
    """Returns an archive with one member mutated, whose checksums are right nevertheless."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        chosen = rng.choice(old.infolist())
        for member in old.infolist():
            content = old.read(member)
            content = mutate(content, rng) if member is chosen else content
            new.writestr(member.filename, content, member.compress_type)
    return packed.getvalue()


def peak_mb() -> float:
    """Returns the most memory that this process has held. A parent's does not count."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def honest_time() -> float:
    """Returns the time on the processor in which Python itself reads 300,000 pickled numbers."""
    content = pickle.dumps(list(range(300_000)))
    begun = time.process_time()
    pickle._loads(content)
    return time.process_time() - begun


def main(count: int, seed: int, folder: pathlib.Path) -> None:
    sources = sorted(p for p in folder.iterdir() if p.suffix in READERS and p.stem != "mutated")
    contents = [path.read_bytes() for path in sources] if count else []
    if count:
        for path in sources:  # everything is imported and read once before it is measured
            READERS[path.suffix](path)
    for codec in ("raw_unicode_escape", "utf-8", "ascii", "latin-1", "cp437"):
        b"a".decode(codec)
    happened = []

    def watch(event, arguments):
        written = event == "open" and isinstance(arguments[1], str) and "r" not in arguments[1]
        if event.startswith(FORBIDDEN) or (written and "mutated" not in str(arguments[0])):
            happened.append((event, str(arguments)[:200]))

    sys.addaudithook(watch)
    start, rng, ended = peak_mb(), random.Random(seed), collections.Counter()
    slowest, culprit, honest = 0.0, "", honest_time()
    for number in range(count or len(sources)):
        i = rng.randrange(len(sources)) if count else number
        path = sources[i]
        if count:
            path = folder / f"mutated{path.suffix}"
            path.write_bytes(mutate(contents[i], rng))
        begun = time.process_time()
        try:
            READERS[path.suffix](path)
            ended["read"] += 1
        except ValueError as error:
            ended["refused"] += 1
            if str(path) not in str(error):
                sys.exit(f"{sources[i].name}, number {number}: the error names no file: {error}")
        taken = time.process_time() - begun
        if taken > slowest:
            slowest, culprit = taken, f"{sources[i].name}, number {number}"
        if happened:
            sys.exit(f"{sources[i].name}, number {number} made happen: {happened}")
    measured = {"slowest": slowest, "culprit": culprit, "grown_mb": peak_mb() - start}
    measured["honest"] = max(honest, honest_time())
    print(json.dumps(ended | measured))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))

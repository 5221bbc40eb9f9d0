"""Mutates files and reads them, in a process of its own: tests/hostile.py COUNT SEED FOLDER.

Prints one JSON object: how many were read, refused, the slowest, the memory they took. Anything but
a ValueError, and anything that runs or opens for writing, ends it with what happened.
"""

import collections
import json
import pathlib
import random
import resource
import sys
import time

from crocohuman_jax.weights import arrays, bodies, torch_files

READERS = {
    ".pth": torch_files.read,
    ".pkl": bodies.plain,
    ".npz": bodies.plain,
    ".safetensors": arrays.read_safetensors,
}
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "exec")
FORBIDDEN += ("pickle.find_class", "marshal.loads", "socket.connect", "os.remove", "shutil.rmtree")
# Bytes that mean something to a pickle, an archive or JSON.
LURES = [b"cos\nsystem\n", b"R.", b"b.", b"(", b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"PK\x05\x06"]
LURES += [b"\xff" * 8, b"\x00" * 8, b"2" * 9, b"[[[[", b'{"a":', b"../", b"e", b"h\x00", b"\x94"]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Returns the data with some bytes flipped, cut, doubled, or replaced by what lures."""
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


def main(count: int, seed: int, folder: pathlib.Path) -> None:
    sources = sorted(p for p in folder.iterdir() if p.suffix in READERS and p.stem != "mutated")
    contents = [path.read_bytes() for path in sources]
    for path in sources:  # everything is imported and read once before it is measured
        READERS[path.suffix](path)
    for codec in ("raw_unicode_escape", "utf-8", "ascii", "latin-1", "cp437"):
        b"a".decode(codec)
    scratch = [folder / f"mutated{path.suffix}" for path in sources]
    happened = []

    def watch(event, arguments):
        written = event == "open" and isinstance(arguments[1], str) and "r" not in arguments[1]
        if event.startswith(FORBIDDEN) or (written and "mutated" not in str(arguments[0])):
            happened.append((event, str(arguments)[:200]))

    sys.addaudithook(watch)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng, ended = random.Random(seed), collections.Counter()
    slowest = 0.0
    for _ in range(count):
        i = rng.randrange(len(sources))
        mutated = mutate(contents[i], rng)
        scratch[i].write_bytes(mutated)
        begun = time.process_time()  # not the time of others beside it
        try:
            READERS[sources[i].suffix](scratch[i])
            ended["read"] += 1
        except ValueError:
            ended["refused"] += 1
        slowest = max(slowest, time.process_time() - begun)
        if happened:
            sys.exit(f"{sources[i].name} made happen: {happened}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(json.dumps({**ended, "slowest": slowest, "grown_mb": grown}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))

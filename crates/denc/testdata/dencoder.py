#!/usr/bin/python3
"""Records what ceph-dencoder of Ceph 14.2 encodes, and what it reads in that, one JSON object a line.

    dencoder.py TYPE[=HEX|=@FILE|:BLOBS]... > FILE

TYPE alone stands for all examples that the tool has built in, with bytes for what it makes of these.
Each is encoded for peers of four releases, and printed as the tool decodes it from there; encodings
that are the same are listed once. BLOBS is a file with a count and then, each as a blob, what a daemon
has encoded: this is printed as the tool decodes it, without the bytes, which stay in that file.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

NAUTILUS = 0x3FFDDFF8FFECFFFF
# Without its own mark and typed addresses, and then the marks of the releases before it.
MIMIC = NAUTILUS & ~(1 << 2 | 1 << 59)
LUMINOUS = MIMIC & ~(1 << 28)
JEWEL = LUMINOUS & ~(1 << 21)
RELEASES = {"nautilus": NAUTILUS, "mimic": MIMIC, "luminous": LUMINOUS, "jewel": JEWEL}

work = tempfile.TemporaryDirectory()
target = pathlib.Path(work.name, "encoded")


def dencoder(*words):
    run = subprocess.run(["ceph-dencoder", *words], capture_output=True, text=True)
    return run.stdout if run.returncode == 0 and not run.stderr else None


def record(kind, origin, *source):
    seen = set()
    for release, features in RELEASES.items():
        target.unlink(missing_ok=True)
        dencoder("type", kind, *source, "set_features", str(features), "encode", "export", str(target))
        # By another run, as what is not in the bytes stays as it is in an object that is there.
        printed = dencoder("type", kind, "import", str(target), "decode", "dump_json")
        if printed is None:
            continue
        encoded = target.read_bytes()
        if encoded not in seen:
            seen.add(encoded)
            line = {"type": kind, "from": origin, "for": release, "bytes": encoded.hex(),
                    "says": json.loads(printed)}
            print(json.dumps(line, separators=(",", ":")))


def record_blobs(kind, path):
    data = path.read_bytes()
    at = 4
    for index in range(struct.unpack_from("<I", data)[0]):
        size = struct.unpack_from("<I", data, at)[0]
        target.write_bytes(data[at + 4 : at + 4 + size])
        at += 4 + size
        printed = dencoder("type", kind, "import", str(target), "decode", "dump_json")
        line = {"type": kind, "from": f"{path.name} {index}", "says": json.loads(printed)}
        print(json.dumps(line, separators=(",", ":")))


for word in sys.argv[1:]:
    kind, equals, given = word.partition("=")
    blobs = kind.replace("::", "  ").find(":")
    if blobs >= 0:
        record_blobs(kind[:blobs], pathlib.Path(kind[blobs + 1 :]))
        continue
    if not equals:
        for test in range(1, int(dencoder("type", kind, "count_tests")) + 1):
            record(kind, f"example {test}", "select_test", str(test))
        continue
    seed = pathlib.Path(work.name, "seed")
    if given.startswith("@"):
        seed.write_bytes(pathlib.Path(given[1:]).read_bytes())
        origin = pathlib.Path(given[1:]).name
    else:
        seed.write_bytes(bytes.fromhex(given))
        origin = "bytes"
    record(kind, origin, "import", str(seed), "decode")

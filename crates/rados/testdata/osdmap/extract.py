#!/usr/bin/env python3
"""Takes OSD maps out of a monitor's store; see live.sh.

    extract.py STORE CLUSTER OUT_DIR [EPOCH]...
"""
import os
import struct
import subprocess
import sys
import tempfile

STORE, CLUSTER, OUT = sys.argv[1:4]
EVERY = 6


def tool(*words):
    command = ["ceph-kvstore-tool", "rocksdb", STORE, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def value(key):
    with tempfile.NamedTemporaryFile() as file:
        tool("get", "osdmap", key, "out", file.name)
        return open(file.name, "rb").read()


def write(name, maps):
    with open(f"{OUT}/{CLUSTER}.{name}", "wb") as file:
        file.write(struct.pack("<I", len(maps)))
        for data in maps:
            file.write(struct.pack("<I", len(data)) + data)


keys = [line.split("\t")[1] for line in tool("list", "osdmap").splitlines() if "\t" in line]
epochs = sorted(int(key) for key in keys if key.isdigit())
write("incrementals", [value(str(epoch)) for epoch in epochs])
write("fulls", [value(f"full_{epoch}") for epoch in epochs
                if (epoch - epochs[0]) % EVERY == 0 or epoch == epochs[-1]])
for epoch in sys.argv[4:]:
    os.makedirs(f"{OUT}/live", exist_ok=True)
    with open(f"{OUT}/live/{CLUSTER}-{int(epoch):03}.osdmap", "wb") as file:
        file.write(value(f"full_{epoch}"))

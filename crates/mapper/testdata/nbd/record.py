#!/usr/bin/env python3
"""Records what clients of other people say to an NBD server, one file for each connection.

    record.py DIRECTORY

Stands between qemu-nbd with an export `disk` of one mebibyte and nbdinfo, nbdcopy, qemu-io, qemu-img
and fio, and keeps the bytes of the clients.
"""
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

directory = pathlib.Path(sys.argv[1])
work = tempfile.TemporaryDirectory()
inside = pathlib.Path(work.name)
NOISE = bytes(1 + index * 7 % 255 for index in range(4096))

(inside / "disk").write_bytes(bytes(1 << 20))
(inside / "source").write_bytes(bytes(40960) + NOISE + bytes(20480))
server = subprocess.Popen(["qemu-nbd", "-t", "-e", "8", "-f", "raw", "-x", "disk", "--discard=unmap",
                           "-k", inside / "server", inside / "disk"])
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(inside / "socket"))
listener.listen()
said = []


def pump(source, target, kept):
    while data := source.recv(1 << 16):
        if kept is not None:
            kept += data
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def accept():
    while True:
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(inside / "server"))
        kept = bytearray()
        said.append(kept)
        threading.Thread(target=pump, args=(client, upstream, kept), daemon=True).start()
        threading.Thread(target=pump, args=(upstream, client, None), daemon=True).start()


while not (inside / "server").exists():
    time.sleep(0.05)
threading.Thread(target=accept, daemon=True).start()
uri = f"nbd+unix:///disk?socket={inside}/socket"


def record(name, *command):
    said.clear()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    time.sleep(0.2)
    for index, kept in enumerate(bytes(kept) for kept in said):
        (directory / f"{name}-{index}.client").write_bytes(kept)


record("nbdinfo", "nbdinfo", "--json", uri)
record("nbdinfo-list", "nbdinfo", "--list", uri)
record("nbdinfo-map", "nbdinfo", "--map", uri)
record("nbdcopy", "nbdcopy", "--connections=1", "--flush", inside / "source", uri)
record("qemu-io", "qemu-io", "-f", "raw", "-t", "none", uri,
       "-c", "write -P 0x61 0 4k", "-c", "write -f -P 0x62 64k 512", "-c", "write -z 4k 4k",
       "-c", "write -z -u 8k 4k", "-c", "write -z -n -u 12k 4k", "-c", "discard 128k 64k",
       "-c", "flush", "-c", "read -P 0x61 0 4k", "-c", "read -P 0x62 64k 512")
record("qemu-img-map", "qemu-img", "map", "-f", "raw", uri)
record("fio", "fio", "--name=job", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", "--bs=512",
       "--size=16k", "--randseed=1", "--trim_percentage=0", "--fsync=8", "--output=/dev/null")
server.terminate()
server.wait()

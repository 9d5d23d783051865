"""Records what upstream's rbd and the owner of an image's lock tell the watchers of its header.

Usage: /usr/bin/python3 record_notifications.py CEPH_CONF RELEASE >> notified.txt, see README.md.
"""

import json
import subprocess
import sys
import threading

import rados

conf, release = sys.argv[1:]
LOCK_OWNER = [
    "bench", "rbd/watched", "--io-type", "write", "--io-size", "4K", "--io-threads", "1",
    "--io-pattern", "rand", "--io-total", "1T",
]


def rbd(*args):
    return subprocess.run(
        ["rbd", "-c", conf, *args], check=True, capture_output=True, text=True
    ).stdout


heard = threading.Condition()
payloads = []


def notified(notify_id, notifier, watch_id, data):
    with heard:
        payloads.append(data)
        heard.notify_all()


def operation(data):
    return int.from_bytes(data[6:10], "little")


def wait_for(wanted):
    with heard:
        if not heard.wait_for(lambda: wanted in map(operation, payloads), 60):
            sys.exit(f"no operation {wanted} in {payloads}")


def record(*args, until):
    """Runs a command, and waits for the last message that belongs to it."""
    with heard:
        payloads.clear()
    rbd(*args)
    wait_for(until)
    with heard:
        seen = list(payloads)
    for data in seen:
        print(f"{release} {operation(data)} {data.hex()} {' '.join(args)}", flush=True)


cluster = rados.Rados(conffile=conf)
cluster.connect()
pool = cluster.open_ioctx("rbd")
rbd("create", "rbd/watched", "--size", "64M")
image_id = json.loads(rbd("info", "rbd/watched", "--format", "json"))["id"]
ACQUIRED_LOCK, HEADER_UPDATE, ASYNC_COMPLETE = 0, 3, 5

with pool.watch(f"rbd_header.{image_id}", notified):
    owner = subprocess.Popen(
        ["rbd", "-c", conf, *LOCK_OWNER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(ACQUIRED_LOCK)
        record("resize", "rbd/watched", "--size", "96M", until=ASYNC_COMPLETE)
        record("resize", "rbd/watched", "--size", "64M", "--allow-shrink", until=ASYNC_COMPLETE)
        record("snap", "create", "rbd/watched@one", until=HEADER_UPDATE)
        record("snap", "protect", "rbd/watched@one", until=HEADER_UPDATE)
        record("snap", "unprotect", "rbd/watched@one", until=HEADER_UPDATE)
        record("snap", "rename", "rbd/watched@one", "rbd/watched@two", until=HEADER_UPDATE)
        record("snap", "rm", "rbd/watched@two", until=HEADER_UPDATE)
        record("image-meta", "set", "rbd/watched", "key", "value", until=HEADER_UPDATE)
        record("image-meta", "remove", "rbd/watched", "key", until=HEADER_UPDATE)
        record("feature", "disable", "rbd/watched", "deep-flatten", until=HEADER_UPDATE)
        record("object-map", "rebuild", "rbd/watched", until=ASYNC_COMPLETE)
        record("sparsify", "rbd/watched", until=ASYNC_COMPLETE)
        record("rename", "rbd/watched", "rbd/renamed", until=ASYNC_COMPLETE)
    finally:
        owner.kill()
        owner.wait()

"""Records what the OSDs' object classes answer about images made by upstream's rbd.

Usage: /usr/bin/python3 make_vectors.py CEPH_CONF > class_replies.txt, see README.md.
"""

import json
import struct
import subprocess
import sys

import rados

HEAD = (1 << 64) - 2
conf = sys.argv[1]


def rbd(*args):
    return subprocess.run(
        ["rbd", "-c", conf, *args], check=True, capture_output=True, text=True
    ).stdout


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


cluster = rados.Rados(conffile=conf)
cluster.connect()
pool = cluster.open_ioctx("rbd")


def record(label, obj, cls, method, data=b""):
    _, answer = pool.execute(obj, cls, method, data, 1 << 20)
    print(f"{label} {answer.hex()}")


def record_json(label, *args):
    value = json.loads(rbd(*args, "--format", "json"))
    print(f"{label} {json.dumps(value, sort_keys=True)}")


rbd("create", "rbd/parent", "--size", "32M")
rbd("snap", "create", "rbd/parent@base")
rbd("snap", "protect", "rbd/parent@base")
rbd("clone", "rbd/parent@base", "rbd/child", "--rbd-default-clone-format", "1")
rbd("create", "rbd/vector", "--size", "1G", "--object-size", "1M", "--stripe-unit", "64K",
    "--stripe-count", "5", "--data-pool", "data")
rbd("snap", "create", "rbd/vector@one")
rbd("snap", "create", "rbd/vector@two")
rbd("snap", "protect", "rbd/vector@two")
rbd("group", "create", "rbd/group")
rbd("group", "image", "add", "rbd/group", "rbd/vector")
rbd("group", "snap", "create", "rbd/group@of-group")
rbd("image-meta", "set", "rbd/vector", "key", "value")
rbd("image-meta", "set", "rbd/vector", "conf_rbd_cache", "false")
rbd("lock", "add", "rbd/vector", "some cookie", "--shared", "some tag")

for name in ["vector", "child", "parent"]:
    image_id = json.loads(rbd("info", f"rbd/{name}", "--format", "json"))["id"]
    header = f"rbd_header.{image_id}"
    head = struct.pack("<Q", HEAD)
    record(f"{name} id", f"rbd_id.{name}", "rbd", "get_id")
    record(f"{name} size", header, "rbd", "get_size", head)
    record(f"{name} object_prefix", header, "rbd", "get_object_prefix")
    record(f"{name} features", header, "rbd", "get_features", head + b"\1")
    record(f"{name} features_rw", header, "rbd", "get_features", head + b"\0")
    record(f"{name} snapcontext", header, "rbd", "get_snapcontext")
    record(f"{name} flags", header, "rbd", "get_flags", head)
    record(f"{name} op_features", header, "rbd", "op_features_get")
    record(f"{name} data_pool", header, "rbd", "get_data_pool")
    record(f"{name} parent", header, "rbd", "parent_get")
    record(f"{name} overlap", header, "rbd", "parent_overlap_get", head)
    record(f"{name} group", header, "rbd", "image_group_get")
    record(f"{name} created", header, "rbd", "get_create_timestamp")
    record(f"{name} lock", header, "lock", "get_info", b"\1\1\x0c\0\0\0" + text("rbd_lock"))
    record_json(f"{name} info", "info", f"rbd/{name}")
    record_json(f"{name} snapshots", "snap", "ls", "--all", f"rbd/{name}")
    record_json(f"{name} locks", "lock", "ls", f"rbd/{name}")
    if name == "vector":
        record(f"{name} striping", header, "rbd", "get_stripe_unit_count")
        record(f"{name} metadata", header, "rbd", "metadata_list", text("") + struct.pack("<Q", 64))
        record(f"{name} metadata_key", header, "rbd", "metadata_get", text("key"))
    for snap in json.loads(rbd("snap", "ls", "--all", f"rbd/{name}", "--format", "json")):
        snap_id = struct.pack("<Q", snap["id"])
        record(f"{name} snap{snap['id']}", header, "rbd", "snapshot_get", snap_id)
        record(f"{name} protection{snap['id']}", header, "rbd", "get_protection_status", snap_id)

record("directory list", "rbd_directory", "rbd", "dir_list", text("") + struct.pack("<Q", 1024))
record("directory features", "rbd_directory", "rbd", "get_all_features")
record_json("directory names", "ls", "-l", "rbd")

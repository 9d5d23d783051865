#!/usr/bin/env python3
"""Puts into an OSD map what osdmaptool has no options for.

    edit.py IN OUT SEED [--crush FILE] [--pool ID:TYPE:SIZE:RULE:PG_NUM:PGP_NUM[:nohash][:NONPRIMARY]]...
            [--plain] [--primaries]

IN is a map of `osdmaptool --createsimple`. All OSDs are made to exist; unless --plain, some are
down, out, reweighted or gone, some have a primary affinity, and placement groups get pg_temp,
primary_temp, upmaps of both kinds and (--primaries) upmap primaries. Checksum and lengths are
computed anew. Fields that are not changed are copied as they are.
"""
import argparse
import random
import struct

NONE = 0x7FFFFFFF
CRC_TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    CRC_TABLE.append(n)


def crc32c(seed, data):
    for byte in data:
        seed = seed >> 8 ^ CRC_TABLE[(seed ^ byte) & 0xFF]
    return seed


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def num(self, kind):
        return struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0]

    def blob(self):
        return self.take(self.num("I"))

    def envelope(self):
        version, compat = self.take(2)
        return version, compat, Reader(self.blob())

    def since(self, start):
        return self.data[start:self.at]

    def rest(self):
        return self.take(len(self.data) - self.at)


def blob(data):
    return struct.pack("<I", len(data)) + data


def envelope(version, compat, data):
    return bytes([version, compat]) + blob(data)


def listed(items):
    return struct.pack("<I", len(items)) + b"".join(items)


def pg(pool, seed):
    return struct.pack("<BqIi", 1, pool, seed, -1)


def numbers(values):
    return listed([struct.pack("<I", v & 0xFFFFFFFF) for v in values])


def edited_pool(template, kind, size, rule, pg_num, pgp_num, flags, nonprimary):
    version, compat, r = Reader(template).envelope()
    body = bytearray(r.rest())
    body[0:3] = bytes([kind, size, rule])
    body[4:12] = struct.pack("<II", pg_num, pgp_num)
    # Behind last_change, snap_seq, snap_epoch, no snaps, no removed snaps, auid.
    flags_at = 20 + 4 + 8 + 4 + 4 + 4 + 8
    old, = struct.unpack_from("<Q", body, flags_at)
    struct.pack_into("<Q", body, flags_at, old & ~1 | flags)
    if nonprimary:
        assert version == 32 and body[-2:] == b"\0\0"
        body[-2:] = bytes([nonprimary, 0])
    return envelope(version, compat, bytes(body))


def main():
    args = argparse.ArgumentParser()
    args.add_argument("source")
    args.add_argument("target")
    args.add_argument("seed", type=int)
    args.add_argument("--crush")
    args.add_argument("--pool", action="append")
    args.add_argument("--plain", action="store_true")
    args.add_argument("--primaries", action="store_true")
    args = args.parse_args()
    rng = random.Random(args.seed)
    outer_version, outer_compat, outer = Reader(open(args.source, "rb").read()).envelope()
    version, compat, r = outer.envelope()
    osd_part_at = outer.at
    outer.envelope()
    osd_part = outer.since(osd_part_at)

    head = r.take(16 + 4 + 8 + 8)
    template = None
    for _ in range(r.num("I")):
        r.take(8)
        start = r.at
        r.envelope()
        template = r.since(start)
    start = r.at
    for _ in range(r.num("I")):
        r.take(8)
        r.blob()
    names = r.since(start)
    pool_max, flags, max_osd = r.num("i"), r.take(4), r.num("i")
    r.take(4 * r.num("I"))
    r.take(4 * r.num("I"))
    start = r.at
    for _ in range(r.num("I")):
        marker = r.take(1)
        assert marker == b"\2", marker
        for _ in range(r.num("I")):
            r.take(1)
            r.envelope()
    addrs = r.since(start)
    assert r.num("I") == 0 and r.num("I") == 0
    r.take(4 * r.num("I"))
    crush = r.blob()
    if args.crush:
        crush = open(args.crush, "rb").read()
    start = r.at
    for _ in range(r.num("I")):
        r.blob()
        for _ in range(r.num("I")):
            r.blob()
            r.blob()
    profiles = r.since(start)
    assert r.num("I") == 0 and r.num("I") == 0
    tail = r.rest()

    pools = {}
    encoded = []
    for text in args.pool or ["1:1:3:0:256:256"]:
        number, kind, size, rule, pg_num, pgp_num, *more = text.split(":")
        hashed = 0 if "nohash" in more else 1
        nonprimary = next((int(m) for m in more if m.isdigit()), 0)
        # EC_OVERWRITES and, where shards cannot be primary, EC_OPTIMIZATIONS.
        pool_flags = hashed | (4 if kind == "3" else 0) | (1 << 19 if nonprimary else 0)
        encoded.append(struct.pack("<q", int(number)) + edited_pool(
            template, int(kind), int(size), int(rule), int(pg_num), int(pgp_num), pool_flags,
            nonprimary))
        pools[int(number)] = (int(kind), int(size), int(pg_num), nonprimary)

    states, weights, affinity = [], [], []
    for _ in range(max_osd):
        state, weight, aff = 3, 0x10000, 0x10000
        if not args.plain:
            chance = rng.random()
            if chance < 0.08:
                state = 1
            elif chance < 0.12:
                state = 0
            chance = rng.random()
            if chance < 0.08:
                weight = 0
            elif chance < 0.25:
                weight = rng.randrange(1, 0x10000)
            if rng.random() < 0.3:
                aff = rng.choice([0, 0x4000, 0x8000, 0xF000])
        states.append(state)
        weights.append(weight)
        affinity.append(aff)

    temp, primary_temp, upmap, items, primaries = {}, {}, {}, {}, {}
    if not args.plain:
        for number, (kind, size, pg_num, nonprimary) in pools.items():
            for seed in range(pg_num):
                key = pg(number, seed)
                some = rng.sample(range(max_osd), min(max_osd, size))
                hole = kind == 3 and rng.random() < 0.3
                if hole:
                    some[rng.randrange(len(some))] = NONE
                if rng.random() < 0.08:
                    # With shards that cannot be primary the list must be complete.
                    temp[key] = some if nonprimary else some[:rng.randint(1, len(some))]
                if rng.random() < 0.05:
                    # osdmaptool counts by primary and cannot count holes.
                    first = next(osd for osd in some if osd != NONE)
                    primary_temp[key] = rng.choice([rng.randrange(max_osd), first])
                if rng.random() < 0.06:
                    upmap[key] = some
                if rng.random() < 0.15:
                    pairs = [(rng.randrange(max_osd), rng.randrange(max_osd))
                             for _ in range(rng.randint(1, 6))]
                    items[key] = pairs
                if rng.random() < 0.3:
                    primaries[key] = rng.randrange(max_osd)

    def keyed(entries, value):
        # std::map orders by pool and seed.
        ordered = sorted(entries, key=lambda k: struct.unpack("<BqIi", k)[1:3])
        return listed([key + value(entries[key]) for key in ordered])

    number = lambda osd: struct.pack("<i", osd)
    client = b"".join([
        head, listed(encoded), names, struct.pack("<i", max(pool_max, *pools)), flags,
        struct.pack("<i", max_osd), numbers(states), numbers(weights), addrs,
        keyed(temp, numbers), keyed(primary_temp, number),
        numbers([] if args.plain else affinity), blob(crush), profiles,
        keyed(upmap, numbers),
        keyed(items, lambda pairs: listed([struct.pack("<ii", *pair) for pair in pairs])),
    ])
    if args.primaries:
        assert version >= 10 and tail[-4:] == b"\0\0\0\0"
        tail = tail[:-4] + keyed(primaries, number)
    inner = envelope(version, compat, client + tail) + osd_part
    front = bytes([outer_version, outer_compat]) + struct.pack("<I", len(inner) + 4) + inner
    open(args.target, "wb").write(front + struct.pack("<I", crc32c(0xFFFFFFFF, front)))


main()

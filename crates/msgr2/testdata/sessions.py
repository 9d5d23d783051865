#!/usr/bin/env python3
"""Prints the control frames by which daemons begin, resume and end sessions, as they pass the loopback
interface while COMMAND runs: the tag and the payload in hexadecimal, each kind of bytes once.

    sessions.py COMMAND...

Needs root, and daemons that talk in crc mode without compression. Connections that begin before are
left out.
"""
import socket
import struct
import subprocess
import sys
import time

BANNER = b"ceph v2\n"
# CLIENT_IDENT to RECONNECT_OK, WAIT.
WANTED = range(8, 17)

sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
sniffer.bind(("lo", 0))
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
sniffer.settimeout(0.5)
flows = {}
end = None
while end is None or time.monotonic() < end:
    if end is None and process.poll() is not None:
        end = time.monotonic() + 0.5
    try:
        packet, address = sniffer.recvfrom(1 << 17)
    except TimeoutError:
        continue
    if address[2] == socket.PACKET_OUTGOING or packet[12:14] != b"\x08\x00" or packet[23] != 6:
        continue
    ip = packet[14:]
    total = struct.unpack(">H", ip[2:4])[0]
    tcp = ip[(ip[0] & 15) * 4 : total]
    source, target, number = struct.unpack(">HHI", tcp[:8])
    if tcp[13] & 2:
        flows.setdefault((source, target), []).append((number + 1, {}))
    elif (source, target) in flows:
        payload = tcp[(tcp[12] >> 4) * 4 :]
        start, parts = flows[source, target][-1]
        # The beginning of a connection is all that is wanted.
        if payload and (number - start) % (1 << 32) < 8192:
            parts[(number - start) % (1 << 32)] = payload


def frames(data):
    """Tags and first segments of a stream of revision 2.1."""
    at = len(BANNER) + 2 + struct.unpack_from("<H", data, len(BANNER))[0]
    while at + 32 <= len(data):
        tag, segments = data[at], data[at + 1]
        lengths = [struct.unpack_from("<I", data, at + 2 + 6 * i)[0] for i in range(segments)]
        yield tag, data[at + 32 : at + 32 + lengths[0]], lengths[0]
        at += 32 + lengths[0] + 4
        if segments > 1:
            at += sum(lengths[1:]) + 13


seen = set()
for streams in flows.values():
    for _, parts in streams:
        data = b""
        for at in sorted(parts):
            if at > len(data):
                break
            data = data[:at] + parts[at]
        if not data.startswith(BANNER) or len(data) < len(BANNER) + 2:
            continue
        for tag, payload, length in frames(data):
            if tag in WANTED and len(payload) == length and (tag, payload) not in seen:
                seen.add((tag, payload))
                print(tag, payload.hex() or "-")

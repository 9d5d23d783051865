#!/usr/bin/env python3
"""Records the messages that monitors and OSDs send over the loopback interface in crc mode.

    record.py DIRECTORY COMMAND...

runs COMMAND and writes each message as DIRECTORY/NUMBER-TYPE-vVERSION.front, with a `.data` beside it
where there is any. Needs root, and an interface on which it goes quiet in the end.
"""
import pathlib
import socket
import struct
import subprocess
import sys

BANNER = b"ceph v2\n"
PREAMBLE = 32
SO_RCVBUFFORCE = 33  # linux: asm-generic/socket.h
MESSAGE = 17

directory, command = pathlib.Path(sys.argv[1]), sys.argv[2:]
directory.mkdir(parents=True, exist_ok=True)
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
sniffer.bind(("lo", 0))
sniffer.settimeout(0.5)
process = subprocess.Popen(command)

streams = {}  # (source port, target port) -> [first sequence number, whether it accepted, bytes by number]
while True:
    ended = process.poll() is not None
    try:
        packet, address = sniffer.recvfrom(1 << 17)
    except TimeoutError:
        if ended:
            break
        continue
    if address[2] == socket.PACKET_OUTGOING or packet[12:14] != b"\x08\x00" or packet[23] != 6:
        continue
    ip = packet[14:]
    total = struct.unpack(">H", ip[2:4])[0]
    tcp = ip[(ip[0] & 15) * 4 : total]
    source, target, number = struct.unpack(">HHI", tcp[:8])
    payload = tcp[(tcp[12] >> 4) * 4 :]
    if tcp[13] & 2:
        streams[source, target] = [number + 1, bool(tcp[13] & 16), {}]
    elif payload and (source, target) in streams:
        first, _, parts = streams[source, target]
        parts[(number - first) % (1 << 32)] = payload


def joined(parts):
    data = bytearray()
    for at in sorted(parts):
        if at > len(data):
            break
        data[at:] = parts[at]
    return bytes(data)


def messages(data):
    """The messages of one direction of a connection of revision 2.1."""
    if not data.startswith(BANNER):
        return
    at = len(BANNER) + 2 + struct.unpack_from("<H", data, len(BANNER))[0]
    while at + PREAMBLE <= len(data):
        tag, count = data[at], data[at + 1]
        lens = [struct.unpack_from("<I", data, at + 2 + 6 * i)[0] for i in range(4)]
        at += PREAMBLE
        segments = []
        for index, length in enumerate(lens[:count]):
            segments.append(data[at : at + length])
            at += length + (4 if index == 0 and length else 0)
        if count > 1:
            at += 1 + 3 * 4
        if at > len(data):
            return
        if tag == MESSAGE:
            kind, _, version = struct.unpack_from("<HHH", segments[0], 16)
            front, _, payload = (segments[1:] + [b"", b"", b""])[:3]
            yield kind, version, front, payload


number = 0
for _, accepted, parts in streams.values():
    if not accepted:
        continue
    for kind, version, front, payload in messages(joined(parts)):
        name = f"{number:04}-{kind}-v{version}"
        (directory / f"{name}.front").write_bytes(front)
        if payload:
            (directory / f"{name}.data").write_bytes(payload)
        number += 1
print(number, "messages")

#!/usr/bin/env python3
"""Prints the authentication payloads that a program exchanges with a cluster on loopback.

    record.py KEYRING USER PROGRAM [ARGUMENT...]

Runs the program, listens on the loopback device (which takes root), and prints the key of the user
and then, for each connection of messenger v2, the entity type of the server and the payloads up to
AUTH_DONE, `>` for those of the client and `<` for those of the server.
"""
import socket
import struct
import subprocess
import sys

BANNER_LEN = 26
HELLO, AUTH_REQUEST, REPLY_MORE, REQUEST_MORE, DONE = 1, 2, 4, 5, 6


def capture(command):
    """The bytes of each direction of each TCP connection made while the command runs."""
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    sniffer.bind(("lo", 0))
    sniffer.settimeout(0.2)
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    streams, order = {}, []
    while True:
        try:
            packet, address = sniffer.recvfrom(1 << 17)
        except TimeoutError:
            if program.poll() is not None:
                return streams, order
            continue
        if address[2] == socket.PACKET_OUTGOING:
            continue  # loopback shows each packet twice
        ip = packet[14:]
        header, total = (ip[0] & 15) * 4, struct.unpack(">H", ip[2:4])[0]
        if ip[9] != socket.IPPROTO_TCP:
            continue
        tcp = ip[header:total]
        source, target, sequence = struct.unpack(">HHI", tcp[:8])
        if tcp[13] & 2:  # SYN
            streams[source, target] = (sequence + 1, bytearray())
            if not tcp[13] & 16:
                order.append((source, target))
        elif (source, target) in streams:
            start, seen = streams[source, target]
            data = tcp[(tcp[12] >> 4) * 4:]
            at = (sequence - start) & 0xFFFFFFFF
            if at <= len(seen) and at + len(data) > len(seen):
                seen += data[len(seen) - at:]


def frames(stream):
    """Tag and first segment of the frames up to the end of authentication."""
    if not stream.startswith(b"ceph v2\n"):
        return
    at = BANNER_LEN
    while at + 32 <= len(stream):
        tag, segments, length = struct.unpack_from("<BBI", stream, at)
        if segments != 1 or tag > DONE:
            return
        yield tag, bytes(stream[at + 32:at + 32 + length])
        at += 32 + length + 4


def blob(frame, at):
    length, = struct.unpack_from("<I", frame, at)
    return frame[at + 4:at + 4 + length].hex()


def show(client, server):
    requests = [frame for frame in frames(client) if frame[0] in (AUTH_REQUEST, REQUEST_MORE)]
    answers = [frame for frame in frames(server) if frame[0] in (REPLY_MORE, DONE)]
    hello = [frame[0] for tag, frame in frames(server) if tag == HELLO]
    if not answers or answers[-1][0] != DONE or len(requests) != len(answers):
        return
    print(f"connection {hello[0]}")
    for (tag, request), (answer_tag, answer) in zip(requests, answers):
        modes = struct.unpack_from("<I", request, 4)[0] if tag == AUTH_REQUEST else 0
        print(">", blob(request, 8 + 4 * modes if tag == AUTH_REQUEST else 0))
        if answer_tag == DONE:
            global_id, mode = struct.unpack_from("<QI", answer)
            print("done", global_id, mode)
        print("<", blob(answer, 12 if answer_tag == DONE else 0))


def main():
    keyring, user, *command = sys.argv[1:]
    key = subprocess.run(["ceph-authtool", keyring, "-n", user, "-p"], capture_output=True, text=True, check=True)
    print("key", key.stdout.strip())
    streams, order = capture(command)
    for flow in order:
        if flow[::-1] in streams:
            show(streams[flow][1], streams[flow[::-1]][1])


main()

#!/usr/bin/env python3
"""Records the TCP connections to one port on the loopback interface, each direction in a file.

    capture.py PORT PREFIX COMMAND...

runs COMMAND and writes PREFIX-N.client and PREFIX-N.server for the N-th connection made while it
runs. Needs root.
"""
import socket
import struct
import subprocess
import sys
import time

port, prefix, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
sniffer.bind(("lo", 0))
process = subprocess.Popen(command)
sniffer.settimeout(0.5)

end = None
flows = {}  # client port -> [client bytes by sequence number, server bytes, first numbers]
while True:
    # Others may keep the interface busy, so that there is no silence to wait for.
    if process.poll() is not None:
        end = end or time.monotonic() + 0.5
        if time.monotonic() > end:
            break
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
    if port not in (source, target):
        continue
    payload = tcp[(tcp[12] >> 4) * 4 :]
    side = 0 if target == port else 1
    flow = flows.setdefault(source if side == 0 else target, [{}, {}, [None, None]])
    if tcp[13] & 2:
        flow[2][side] = number + 1
    elif payload:
        flow[side][number] = payload

whole = [flow for flow in flows.values() if None not in flow[2]]
for index, flow in enumerate(whole):
    for side, name in enumerate(("client", "server")):
        data = b""
        for number in sorted(flow[side], key=lambda n: (n - flow[2][side]) % (1 << 32)):
            at = (number - flow[2][side]) % (1 << 32)
            assert at <= len(data), "a packet was missed"
            data = data[:at] + flow[side][number]
        with open(f"{prefix}-{index}.{name}", "wb") as file:
            file.write(data)
        print(f"{prefix}-{index}.{name}: {len(data)} bytes")

#!/usr/bin/env python3
"""Finds out what a recorded cephx connection to a monitor was protected with.

    secrets.py KEY RECORDING.server

KEY is the client's secret as in its keyring (type aes). Prints the session key and the connection
secret in hexadecimal.
"""
import base64
import struct
import subprocess
import sys


def decrypt(key, blob):
    command = ["openssl", "enc", "-d", "-aes-128-cbc", "-K", key.hex(), "-iv", b"cephsageyudagreg".hex()]
    plain = subprocess.run(command, input=blob, stdout=subprocess.PIPE, check=True).stdout
    assert struct.unpack("<BQ", plain[:9]) == (1, 0xFF009CAD8826AA55)
    return plain[9:]


def blob(data, at):
    size = struct.unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + size], at + 4 + size


key = base64.b64decode(sys.argv[1])[12:]
data = open(sys.argv[2], "rb").read()
at = 26  # behind the banner
while data[at] != 6:  # up to AUTH_DONE; frames are in crc mode, with one segment
    at += 32 + struct.unpack_from("<I", data, at + 2)[0] + 4
payload, _ = blob(data, at + 32 + 12)
# request type u16, status i32, u8, count u32, service u32, u8
ticket, at = blob(payload, 2 + 4 + 1 + 4 + 4 + 1)
session_key = decrypt(key, ticket)[1 + 12 :][:16]
at += 1  # the ticket for the service is not encrypted again
_, at = blob(payload, at)
sealed, at = blob(payload, at)
secret, _ = blob(decrypt(session_key, blob(sealed, 0)[0]), 0)
print("session key", session_key.hex())
print("connection secret", secret.hex())

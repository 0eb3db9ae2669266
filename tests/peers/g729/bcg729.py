"""Runs Debian's libbcg729 on a file, as a phone would: a peer for tests, outside of tonewall.

bcg729.py encode|encode-dtx|decode IN OUT

Samples are 16 bits, little endian, 8 kHz, mono. Frames stand one after the other, each behind a byte
with its length: 10, 2 (a description of silence) or 0 (nothing was sent).
"""

import ctypes
import sys

LIBRARY = "libbcg729.so.0"
FRAME = 80


def encode(library, samples, dtx):
    library.initBcg729EncoderChannel.restype = ctypes.c_void_p
    channel = ctypes.c_void_p(library.initBcg729EncoderChannel(ctypes.c_uint8(dtx)))
    out = bytearray()
    payload, length = (ctypes.c_uint8 * 16)(), ctypes.c_uint8()
    for at in range(0, len(samples) - 2 * FRAME + 1, 2 * FRAME):
        frame = (ctypes.c_int16 * FRAME).from_buffer_copy(samples, at)
        library.bcg729Encoder(channel, frame, payload, ctypes.byref(length))
        out.append(length.value)
        out += bytes(payload[: length.value])
    return out


def decode(library, frames):
    library.initBcg729DecoderChannel.restype = ctypes.c_void_p
    channel = ctypes.c_void_p(library.initBcg729DecoderChannel())
    out = bytearray()
    at = 0
    samples = (ctypes.c_int16 * FRAME)()
    while at < len(frames):
        length = frames[at]
        payload = (ctypes.c_uint8 * 16)(*frames[at + 1 : at + 1 + length])
        at += 1 + length
        flags = [ctypes.c_uint8(flag) for flag in (length, length == 0, length == 2, 0)]
        library.bcg729Decoder(channel, payload, *flags, samples)
        out += bytes(samples)
    return out


def main():
    how, source, target = sys.argv[1:]
    library = ctypes.CDLL(LIBRARY)
    with open(source, "rb") as file:
        given = file.read()
    made = decode(library, given) if how == "decode" else encode(library, given, how == "encode-dtx")
    with open(target, "wb") as file:
        file.write(made)


main()

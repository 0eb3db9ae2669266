#!/usr/bin/env python3
"""A call through a real Kamailio between two SIPp ends, its media anchored at tonewall: a payment is
taken by the API while the caller keys, and what the agent's telephone received is decoded with
spandsp. Usage: test.py PATH_OF_TONEWALL [--ci]"""

import ctypes
import hashlib
import hmac
import json
import math
import os
import random
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from house import Api, Processes, free_port, wait_for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
PACKET = 160
LOOK_AHEAD = 96
CARD, EXPIRY, CODE = "4242424242424242", "1230", "123"
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
PAD = {"1": (0, 0), "2": (0, 1), "3": (0, 2), "4": (1, 0), "5": (1, 1), "6": (1, 2),
       "7": (2, 0), "8": (2, 1), "9": (2, 2), "*": (3, 0), "0": (3, 1), "#": (3, 2)}


# --- mu-law (ITU-T G.711) ---------------------------------------------------------------------
def ulaw_decode(code):
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)
    return (0x84 - magnitude) if code & 0x80 else (magnitude - 0x84)


def ulaw_encode(sample):
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(int(sample)), 32635) + 0x84
    exponent = max(magnitude.bit_length() - 8, 0)
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


DECODE = [ulaw_decode(code) for code in range(256)]


def read_ulaw_wav(path):
    data = path.read_bytes()
    at = data.index(b"data")
    return data[at + 8:at + 8 + struct.unpack("<I", data[at + 4:at + 8])[0]]


# --- what the caller plays --------------------------------------------------------------------
class Script:
    """Audio, and which keys are pressed when and how (by `way` alone where that is named). Times are in samples
    of 8 kHz."""

    def __init__(self, way=None):
        rng = random.Random(20261122)
        speech = b"".join(read_ulaw_wav(p) for p in sorted((ROOT / "fixtures/speech").glob("caller-*.wav")))
        self.samples = []
        self.keys = []  # (key, from, until, "event" | "tone" | "both")
        self.fields = {}

        def say(seconds):
            start = rng.randrange(max(1, len(speech) - int(seconds * 8000)))
            part = [DECODE[c] for c in speech[start:start + int(seconds * 8000)]]
            self.samples += part + [rng.gauss(0, 8) for _ in range(int(seconds * 8000) - len(part))]

        def quiet(seconds):
            self.samples += [rng.gauss(0, 8) for _ in range(int(seconds * 8000))]

        def press(text, transports):
            for number, key in enumerate(text):
                transport = transports[number % len(transports)]
                start = len(self.samples)
                length = rng.choice((640, 720, 800))
                tone = [rng.gauss(0, 8) for _ in range(length)]
                if transport != "event":
                    row, column = PAD[key]
                    tone = [noise + 8000 * (math.sin(2 * math.pi * ROWS[row] * n / 8000)
                                            + math.sin(2 * math.pi * COLUMNS[column] * n / 8000))
                            for n, noise in enumerate(tone)]
                self.samples += tone
                self.keys.append((key, start, start + length, transport))
                quiet(rng.choice((0.1, 0.14, 0.2)))

        say(5.0)
        for field, text, transports in (
                ("payment-card-number", CARD, ("event", "tone", "both")),
                ("expiration-date", EXPIRY, ("event",)),
                ("security-code", CODE, ("tone",))):
            quiet(0.4)
            self.fields[field] = len(self.samples)
            press(text, (way,) if way else transports)
            quiet(0.6)
            say(2.0)
        say(2.0)
        self.samples = self.samples[:len(self.samples) // PACKET * PACKET]
        self.codes = bytes(ulaw_encode(s) for s in self.samples)

    def seconds(self):
        return len(self.samples) / 8000

    def near_a_key(self, at, guard):
        return any(at + PACKET + guard > start and at < until + guard for _, start, until, _ in self.keys)

    def packets(self):
        """(time in samples, payload type, marker, timestamp, payload) in order of leaving."""
        for at in range(0, len(self.codes), PACKET):
            end = at + PACKET
            event = next((k for k in self.keys if k[3] != "tone" and end > k[1] and at < k[2]), None)
            if event is None or event[3] == "both":
                yield end, 0, 0, at, self.codes[at:end]
            if event is not None:
                key, start, until, _ = event
                start = -(-start // PACKET) * PACKET
                if end <= start:
                    continue
                last = until <= end
                duration = min(end, max(until, start + PACKET)) - start
                for _ in range(3 if last else 1):
                    payload = struct.pack("!BBH", "0123456789*#".index(key), 0x8A if last else 0x0A, duration)
                    yield end, 101, int(end - start <= PACKET), start, payload

    def write_pcap(self, path):
        ssrc = 0x1234ABCD
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for sequence, (at, kind, marker, stamp, payload) in enumerate(self.packets()):
                rtp = struct.pack("!BBHII", 0x80, kind | marker << 7, sequence & 0xFFFF, stamp + 1000, ssrc) + payload
                udp = struct.pack("!HHHH", 6000, 6002, 8 + len(rtp), 0) + rtp
                ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                                 bytes((127, 0, 0, 1)), bytes((127, 0, 0, 1))) + udp
                frame = bytes(12) + b"\x08\x00" + ip
                file.write(struct.pack("<IIII", at // 8000, at % 8000 * 125, len(frame), len(frame)) + frame)


# --- spandsp ----------------------------------------------------------------------------------
def spandsp_digits(samples):
    library = ctypes.CDLL("libspandsp.so.2")
    library.dtmf_rx_init.restype = ctypes.c_void_p
    library.dtmf_rx_init.argtypes = [ctypes.c_void_p] * 3
    library.dtmf_rx.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int16), ctypes.c_int]
    library.dtmf_rx_get.restype = ctypes.c_size_t
    library.dtmf_rx_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    state = library.dtmf_rx_init(None, None, None)
    found = ""
    for at in range(0, len(samples), PACKET):
        block = [max(-32768, min(32767, int(s))) for s in samples[at:at + PACKET]]
        library.dtmf_rx(state, (ctypes.c_int16 * len(block))(*block), len(block))
        text = ctypes.create_string_buffer(129)
        library.dtmf_rx_get(state, text, 128)
        found += text.value.decode()
    return found


# --- the agent's telephone --------------------------------------------------------------------
class AgentMedia(threading.Thread):
    """The agent's media port: records what comes, and talks back to where it comes from."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.02)
        self.port = self.socket.getsockname()[1]
        self.packets = []
        self.stop = False

    def run(self):
        sequence, peer, due = 0, None, time.monotonic()
        while not self.stop:
            try:
                data, peer = self.socket.recvfrom(2048)
                self.packets.append(data)
            except socket.timeout:
                pass
            if peer and time.monotonic() >= due:
                due = time.monotonic() + 0.02
                header = struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, sequence * PACKET, 0x0A6E57)
                self.socket.sendto(header + b"\xd5" * PACKET, peer)
                sequence += 1


def main():
    binary = Path(sys.argv[1]).resolve()
    work = Path(tempfile.mkdtemp(prefix="tonewall-kamailio-"))
    script = Script()
    script.write_pcap(work / "caller.pcap")
    tones = sum(1 for key in script.keys if key[3] != "event")
    control = spandsp_digits([DECODE[c] for c in script.codes])
    assert len(control) == tones, f"control: spandsp finds {len(control)} of {tones} tones on the caller's side"

    sip, caller_sip, agent_sip = (free_port(socket.SOCK_DGRAM) for _ in range(3))
    ng, api_port, metrics = free_port(socket.SOCK_DGRAM), free_port(), free_port()
    digest_key = secrets.token_hex(32)
    config = work / "tonewall.toml"
    config.write_text(f"""
data_dir = "{work}/data"
[api]
listen = "127.0.0.1:{api_port}"
[metrics]
listen = "127.0.0.1:{metrics}"
[ng]
udp = "127.0.0.1:{ng}"
[media]
caller = "offerer"
port_min = 42000
port_max = 42999
[processor]
kind = "sandbox"
digest_key = "{digest_key}"
""")
    agent = AgentMedia()
    agent.start()

    def fill(name, **values):
        text = (HERE / name).read_text()
        for key, value in values.items():
            text = text.replace(key, str(value))
        (work / name).write_text(text)
        return str(work / name)

    processes = Processes(work)
    start = processes.start
    try:
        start("gateway", binary, "serve", "--config", config, "--log-format", "json")
        base = f"http://127.0.0.1:{api_port}"
        wait_for("the gateway to be ready",
                 lambda: urllib.request.urlopen(base + "/readyz", timeout=1).status == 200)
        key = json.loads(subprocess.check_output(
            [binary, "keys", "create", "--config", config, "--role", "integration", "--label", "peer", "--json"]))
        api = Api(base, key["secret"])
        start("kamailio", "kamailio", "-f", fill("kamailio.cfg", SIP_PORT=sip, NG_PORT=ng, AGENT_PORT=agent_sip),
              "-DD", "-E", "-Y", work)
        start("agent", "sipp", "-sf", fill("agent.xml", AGENT_MEDIA_PORT=agent.port), "-i", "127.0.0.1",
              "-p", agent_sip, "-mp", 9100, "-m", 1, "-nostdin")
        time.sleep(1.5)
        caller = start("caller", "sipp", f"127.0.0.1:{sip}",
                       "-sf", fill("caller.xml", CALLER_PCAP=work / "caller.pcap",
                                   CALL_MILLISECONDS=int(script.seconds() * 1000 + 1500)),
                       "-i", "127.0.0.1", "-p", caller_sip, "-mp", 9000, "-m", 1, "-nostdin")
        call = wait_for("the call", lambda: next(
            (c for c in api.call("GET", "/v1/calls")["calls"] if c["answered"]), None))
        wait_for("the caller's voice", lambda: len(agent.packets) > 20)
        before = len(agent.packets)
        payment = api.call("POST", "/v1/payments",
                           {"call": call["id"], "amount": 1250, "currency": "EUR", "reference": "KAM-1"},
                           {"Idempotency-Key": "kamailio-1"})
        assert payment["armed"], payment
        armed_at = len(agent.packets)
        path = f"/v1/payments/{payment['id']}"
        for field in ("payment-card-number", "expiration-date", "security-code"):
            api.call("POST", f"{path}/capture", {"field": field})
            done = wait_for(f"{field} to be complete", lambda: next(
                (f for f in [api.call("GET", path)["fields"][field]] if f["status"] in ("complete", "problem")),
                None), 30)
            assert done["status"] == "complete", (field, done)
        outcome = api.call("POST", f"{path}/complete", {})
        assert outcome["state"] == "approved", outcome
        caller.wait(timeout=60)
        time.sleep(0.5)
        agent.stop = True
        sandbox = json.loads((work / "data/sandbox.json").read_text())
        context = ssl.create_default_context(cadata=sandbox["ca_pem"])
        with urllib.request.urlopen(f"https://127.0.0.1:{sandbox['port']}/v1/received", context=context) as answer:
            received = json.load(answer)["received"]
        wait_for("the call to be gone", lambda: not api.call("GET", "/v1/calls")["calls"])
    except BaseException:
        processes.tell()
        raise
    finally:
        processes.stop()

    # What the processor got is what was keyed.
    def digest(text):
        return hmac.new(bytes.fromhex(digest_key), text.encode(), hashlib.sha256).hexdigest()

    assert len(received) == 1, f"{len(received)} charges at the sandbox"
    assert received[0]["pan_hmac"] == digest(CARD), "the PAN at the sandbox is not what was keyed"
    assert received[0]["expiry_hmac"] == digest(EXPIRY) and received[0]["code_hmac"] == digest(CODE)

    # What the agent's telephone got.
    armed = agent.packets[armed_at:]
    events = [p for p in armed if p[1] & 0x7F != 0]
    assert not events, f"{len(events)} packets of other payload types while armed"
    sequence = [struct.unpack("!H", p[2:4])[0] for p in agent.packets]
    breaks = sum(1 for a, b in zip(sequence, sequence[1:]) if (a + 1) & 0xFFFF != b)
    audio = b"".join(p[12:] for p in agent.packets)
    digits = spandsp_digits([DECODE[c] for c in audio])
    assert digits == "", f"spandsp finds {len(digits)} digits on the agent's leg"

    # Voice away from keys: the middle 4 ms of every packet the caller spoke stand in it, where the
    # one before stood and a packet on, give or take what masking keeps back.
    asked = concealed = 0
    offset = None
    for packet in range(0, len(script.codes) - 3 * PACKET, PACKET):
        if script.near_a_key(packet, 1600):
            continue
        piece = script.codes[packet + 64:packet + 96]
        start, end = (0, len(audio)) if offset is None else (packet + offset - 400, packet + offset + 400)
        if len(set(piece)) < 8:
            continue
        found = audio.find(piece, max(0, start), end)
        asked += 1
        if found < 0:
            concealed += 1
        else:
            offset = found - packet
    print(f"kamailio: payment {outcome['state']}, {len(script.keys)} keys ({tones} audible as tones: spandsp finds "
          f"{len(control)} on the caller's side, {len(digits)} on the agent's), PAN at the sandbox as keyed, "
          f"{len(agent.packets)} packets to the agent ({before} before arming), {breaks} breaks in their numbers, "
          f"{asked} voice packets outside keys, {concealed} of them taken for a tone")
    assert breaks == 0, "the agent's sequence numbers have breaks"
    assert len(armed) * PACKET >= len(script.codes) - (armed_at + 50) * PACKET - 8000, "packets are lost"
    # A suspicious detector may take a little speech for a tone while the call is armed.
    assert concealed <= asked * 0.05, "voice is lost"


if __name__ == "__main__":
    main()

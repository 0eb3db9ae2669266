#!/usr/bin/env python3
"""A real softphone, baresip, as the agent behind SIP in line: it takes a call, a card is keyed to it by SIP
INFO of which it sees nothing, it holds and resumes the call, and hangs up. SIPp is the caller.
Usage: test.py PATH_OF_TONEWALL [--ci]"""

import importlib.util
import json
import math
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("sip", HERE.parent / "sip/test.py")
ends = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ends)
helpers = ends.helpers

CALLER, AGENT, GATEWAY = "127.0.0.2", "127.0.0.3", "127.0.0.1"
TAKEN = [ends.request("INVITE", 1, within=False, sdp=""), ends.response(100, optional=True),
         ends.response(180, optional=True), ends.response(183, optional=True), ends.response(200, rrs=True),
         ends.request("ACK", 1)]
CALL = ends.scenario(
    "caller", *TAKEN, ends.pause(3000), ends.keyed(2, ends.CARD), ends.pause(3000), ends.keyed(20, ends.EXPIRY),
    ends.pause(3000), ends.keyed(30, ends.CODE),
    ends.received("INVITE"), ends.respond("200 OK", sdp="a=recvonly\n"), ends.received("ACK"),
    ends.received("INVITE"), ends.respond("200 OK", sdp="a=sendrecv\n"), ends.received("ACK"),
    ends.received("BYE"), ends.respond("200 OK"))


class Phone:
    """baresip by its control port, which speaks JSON in netstrings."""

    def __init__(self, port):
        self.control = helpers.wait_for("baresip", lambda: socket.create_connection(("127.0.0.1", port), 1))
        self.control.settimeout(5)

    def do(self, command):
        text = json.dumps({"command": command})
        self.control.sendall(f"{len(text)}:{text},".encode())


def own_address():
    """The address that baresip puts into its descriptions, and so has to send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def main():
    binary = Path(sys.argv[1]).resolve()
    work = Path(tempfile.mkdtemp(prefix="tonewall-baresip-"))
    sip, caller_sip, agent_sip = (helpers.free_port(socket.SOCK_DGRAM) for _ in range(3))
    ng, api_port, metrics = helpers.free_port(socket.SOCK_DGRAM), helpers.free_port(), helpers.free_port()
    control = helpers.free_port()
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
address = "{own_address()}"
port_min = 45000
port_max = 45099
[processor]
kind = "sandbox"
digest_key = "{secrets.token_hex(32)}"
[[sip.listen]]
transport = "udp"
address = "{GATEWAY}:{sip}"
[[sip.peer]]
name = "carrier"
side = "trunk"
address = "{CALLER}:{caller_sip}"
calls_go_to = "desk"
keepalive = "0s"
[[sip.peer]]
name = "desk"
side = "pbx"
address = "{AGENT}:{agent_sip}"
calls_go_to = "carrier"
keepalive = "2s"
""")
    phone = work / "phone"
    phone.mkdir()
    (phone / "config").write_text(f"""
module_path /usr/lib/baresip/modules
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module account.so
module menu.so
module ctrl_tcp.so
sip_listen {AGENT}:{agent_sip}
ctrl_tcp_listen 127.0.0.1:{control}
audio_source aufile,{phone}/voice.wav
audio_player aubridge,ear
snd_path {phone}
""")
    (phone / "accounts").write_text(
        f"<sip:100@{AGENT}:{agent_sip}>;regint=0;audio_codecs=PCMU/8000/1\n")
    (phone / "contacts").write_text("")
    with wave.open(str(phone / "voice.wav"), "wb") as voice:
        voice.setparams((1, 2, 8000, 0, "NONE", ""))
        tone = [int(8000 * math.sin(2 * math.pi * 300 * n / 8000)) for n in range(60 * 8000)]
        voice.writeframes(struct.pack(f"<{len(tone)}h", *tone))
    (work / "caller.xml").write_text(CALL)
    processes, logs = [], []

    def start(name, *command):
        log = open(work / f"{name}.log", "w+")
        logs.append(log)
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, cwd=work)
        processes.append(process)
        return process

    def said(name):
        return (work / f"{name}.log").read_text(errors="replace")

    try:
        start("gateway", binary, "serve", "--config", config, "--log-format", "json")
        base = f"http://127.0.0.1:{api_port}"
        helpers.wait_for("the gateway to be ready",
                         lambda: urllib.request.urlopen(base + "/readyz", timeout=1).status == 200)
        key = json.loads(subprocess.check_output(
            [binary, "keys", "create", "--config", config, "--role", "integration", "--label", "peer", "--json"]))
        api = helpers.Api(base, key["secret"])

        def live():
            return api.call("GET", "/v1/calls")["calls"]

        start("phone", "baresip", "-f", phone, "-s")
        desk = Phone(control)

        def peers():
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
                return answer.read().decode()

        helpers.wait_for("the phone to answer OPTIONS",
                         lambda: 'tonewall_sip_peer_up{peer="desk"} 1' in peers() and "OPTIONS" in said("phone"))
        caller = start("caller", "sipp", f"{GATEWAY}:{sip}", "-sf", work / "caller.xml", "-i", CALLER, "-p", caller_sip,
                       "-mi", CALLER, "-mp", 9200, "-m", 1, "-nostdin", "-trace_err", "-rtp_echo")
        helpers.wait_for("the phone to ring", lambda: "180 Ringing" in said("phone"))
        desk.do("accept")
        call = helpers.wait_for("the call", lambda: next((c for c in live() if c["answered"]), None))
        payment = api.call("POST", "/v1/payments",
                           {"call": call["id"], "amount": 1250, "currency": "EUR", "reference": "BARESIP-1"},
                           {"Idempotency-Key": "baresip-1"})
        path = f"/v1/payments/{payment['id']}"
        for field in ("payment-card-number", "expiration-date", "security-code"):
            api.call("POST", f"{path}/capture", {"field": field})
            done = helpers.wait_for(f"{field} to be complete", lambda: next(
                (f for f in [api.call("GET", path)["fields"][field]] if f["status"] in ("complete", "problem")),
                None), 30)
            assert done["status"] == "complete", (field, done)
        outcome = api.call("POST", f"{path}/complete", {})
        assert outcome["state"] == "approved", outcome
        # The caller has paused after its last key.
        time.sleep(1)
        for command, sign in (("hold", "a=sendonly"), ("resume", "a=sendrecv")):
            before = said("phone").count("SIP/2.0 200")
            desk.do(command)
            helpers.wait_for(f"the phone's {command}", lambda: said("phone").count("SIP/2.0 200") > before)
            assert sign in said("phone"), f"the phone sent no {command}"
            time.sleep(1)
        desk.do("hangup")
        code = caller.wait(timeout=10)
        assert code == 0, f"the caller ends with {code}"
        helpers.wait_for("the call to be gone", lambda: not live())
        text = said("phone")
        assert "established" in text.lower(), "control: the phone's trace is read"
        assert "INFO sip:" not in text and "Signal" not in text, "the phone got a key"
        heard = [w for w in phone.glob("dump-*-dec.wav")]
        assert heard, "the phone's recording of what it heard"
        with wave.open(str(heard[0])) as sound:
            seconds = sound.getnframes() / sound.getframerate()
        assert seconds > 10, f"the phone heard {seconds:.1f} s"
    except BaseException:
        for log in logs:
            log.flush()
            log.seek(0)
            print(f"--- {log.name}\n{log.read()[-3500:]}")
        for errors in work.glob("*errors.log"):
            print(f"--- {errors}\n{errors.read_text()[:2500]}")
        raise
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
    print(f"baresip: took a call, heard {seconds:.0f} s of it, saw none of {len(ends.CARD + ends.EXPIRY + ends.CODE)} "
          "keys, held, resumed and hung up")


if __name__ == "__main__":
    main()

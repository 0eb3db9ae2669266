#!/usr/bin/env python3
"""tonewall in line between two SIPp ends: many calls at once with hold and INFO, by datagrams and by a
connection, calls that are cancelled, and a payment whose card is keyed by SIP INFO alone, of which the agent's end gets nothing.
Usage: test.py PATH_OF_TONEWALL [--ci]"""

import hashlib
import hmac
import importlib.util
import json
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("house", HERE.parent / "kamailio/house.py")
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)

CALLER, AGENT, GATEWAY = "127.0.0.2", "127.0.0.3", "127.0.0.1"
CARD, EXPIRY, CODE = "4242424242424242", "1230", "123"

SDP = """
v=0
o=user 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [auto_media_port] RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
{direction}"""

REQUEST = """{method} {uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:4930[call_number]@[local_ip]:[local_port]>;tag=caller[call_number]
To: <sip:100@[remote_ip]:[remote_port]>{to_tag}
Call-ID: [call_id]
CSeq: {number} {method}
Contact: <sip:4930@[local_ip]:[local_port]>
Max-Forwards: 70
"""

RESPONSE = """SIP/2.0 {status}
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:100@[local_ip]:[local_port]>
"""


def send(text, sdp=None, body=None, retrans=True):
    if sdp is not None:
        text += "Content-Type: application/sdp\nContent-Length: [len]\n" + SDP.format(direction=sdp)
    elif body is not None:
        text += "Content-Type: application/dtmf-relay\nContent-Length: [len]\n\n" + body + "\n"
    else:
        text += "Content-Length: 0\n\n"
    again = ' retrans="500"' if retrans else ""
    return f"<send{again}><![CDATA[\n{text}\n]]></send>\n"


def request(method, number, within=True, **rest):
    uri = "[next_url]" if within else "sip:100@[remote_ip]:[remote_port]"
    to_tag = "[peer_tag_param]" if within else ""
    retrans = method != "ACK"
    return send(REQUEST.format(method=method, uri=uri, number=number, to_tag=to_tag), retrans=retrans, **rest)


def respond(status, tag=False, **rest):
    tag = ";tag=agent[call_number]" if tag else ""
    retrans = status.startswith("2") and "sdp" in rest
    return send(RESPONSE.format(status=status, tag=tag), retrans=retrans, **rest)


def response(code, optional=False, rrs=False):
    return f'<recv response="{code}"{" optional=" + chr(34) + "true" + chr(34) if optional else ""}' \
           f'{" rrs=" + chr(34) + "true" + chr(34) if rrs else ""}></recv>\n'


def received(method):
    return f'<recv request="{method}"></recv>\n'


def pause(ms):
    return f'<pause milliseconds="{ms}"/>\n'


def scenario(name, *steps):
    return f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n' \
           f'<scenario name="{name}">\n{"".join(steps)}</scenario>\n'


def info(number, key):
    return request("INFO", number, body=f"Signal={key}\nDuration=160") + response(200)


SET_UP = [request("INVITE", 1, within=False, sdp=""), response(100, optional=True), response(180),
          response(200, rrs=True), request("ACK", 1)]
TAKE = [received("INVITE"), respond("180 Ringing", tag=True), respond("200 OK", tag=True, sdp=""), received("ACK")]
MANY = (
    scenario("caller", *SET_UP, pause(1500),
             info(2, 5),
             request("INVITE", 3, sdp="a=sendonly\n"), response(100, optional=True), response(200, rrs=True),
             request("ACK", 3), pause(500),
             request("INVITE", 4, sdp="a=sendrecv\n"), response(100, optional=True), response(200, rrs=True),
             request("ACK", 4), pause(1500),
             request("BYE", 5), response(200)),
    scenario("agent", *TAKE,
             received("INFO"), respond("200 OK"),
             received("INVITE"), respond("200 OK", sdp="a=recvonly\n"), received("ACK"),
             received("INVITE"), respond("200 OK", sdp="a=sendrecv\n"), received("ACK"),
             received("BYE"), respond("200 OK")),
)
CANCELLED = (
    scenario("caller", request("INVITE", 1, within=False, sdp=""), response(100, optional=True), response(180),
             send("""CANCEL sip:100@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
To: <sip:100@[remote_ip]:[remote_port]>
[last_Call-ID:]
CSeq: 1 CANCEL
Max-Forwards: 70
"""), response(200), response(487),
             send("""ACK sip:100@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 1 ACK
Max-Forwards: 70
""", retrans=False)),
    scenario("agent", received("INVITE"), respond("180 Ringing", tag=True), received("CANCEL"), respond("200 OK"),
             send("""SIP/2.0 487 Request Terminated
Via: [$via]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 1 INVITE
"""), received("ACK")),
)
# The answer to the INVITE needs the INVITE's own Via: it is the CANCEL's, for both have one branch.
CANCELLED = (CANCELLED[0], CANCELLED[1].replace("Via: [$via]", "[last_Via:]"))


def keyed(first, digits):
    return "".join(info(first + n, key) + pause(150) for n, key in enumerate(digits))


# The agent's end knows no INFO: one that comes fails the call.
PAID = (
    scenario("caller", *SET_UP, pause(3000), keyed(2, CARD), pause(3000), keyed(20, EXPIRY), pause(3000),
             keyed(30, CODE), pause(3000), request("BYE", 40), response(200)),
    scenario("agent", *TAKE, received("BYE"), respond("200 OK")),
)


def main():
    binary = Path(sys.argv[1]).resolve()
    short = "--ci" in sys.argv
    work = Path(tempfile.mkdtemp(prefix="tonewall-sip-"))
    sip, caller_sip, agent_sip = (helpers.free_port(socket.SOCK_DGRAM) for _ in range(3))
    ng, api_port, metrics = helpers.free_port(socket.SOCK_DGRAM), helpers.free_port(), helpers.free_port()
    sip_tcp = helpers.free_port()
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
port_min = 43000
port_max = 44999
[processor]
kind = "sandbox"
digest_key = "{digest_key}"
[sip]
requests_per_second = 1000
burst = 1000
[[sip.listen]]
transport = "udp"
address = "{GATEWAY}:{sip}"
[[sip.listen]]
transport = "tcp"
address = "{GATEWAY}:{sip_tcp}"
[[sip.peer]]
name = "carrier-tcp"
side = "trunk"
transport = "tcp"
address = "{CALLER}:{caller_sip}"
calls_go_to = "pbx"
keepalive = "0s"
[[sip.peer]]
name = "carrier"
side = "trunk"
address = "{CALLER}:{caller_sip}"
calls_go_to = "pbx"
keepalive = "0s"
[[sip.peer]]
name = "pbx"
side = "pbx"
address = "{AGENT}:{agent_sip}"
calls_go_to = "carrier"
keepalive = "0s"
""")
    processes, logs = [], []

    def start(name, *command):
        log = open(work / f"{name}.log", "w+")
        logs.append(log)
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, cwd=work)
        processes.append(process)
        return process

    def ends(name, pair, calls, at_once, rate, tcp=False):
        """Both ends of so many calls; the caller's may come by one connection."""
        for end, text in zip(("caller", "agent"), pair):
            (work / f"{name}-{end}.xml").write_text(text)
        common = ["-m", calls, "-l", at_once, "-nostdin", "-trace_err", "-rtp_echo"]
        agent = start(f"{name}-agent", "sipp", "-sf", work / f"{name}-agent.xml", "-i", AGENT, "-p", agent_sip,
                      "-mi", AGENT, "-mp", 9100, *common)
        time.sleep(0.5)
        port, by = (sip_tcp, "t1") if tcp else (sip, "u1")
        caller = start(f"{name}-caller", "sipp", f"{GATEWAY}:{port}", "-t", by, "-sf", work / f"{name}-caller.xml", "-i", CALLER,
                       "-p", caller_sip, "-mi", CALLER, "-mp", 9000, "-r", rate, *common)
        return caller, agent

    def over(name, pair, patience):
        for end, process in zip(("caller", "agent"), pair):
            code = process.wait(timeout=patience)
            assert code == 0, f"{name}: the {end}'s end ends with {code}"

    try:
        start("gateway", binary, "serve", "--config", config, "--log-format", "json", "--log-level", "trace")
        base = f"http://127.0.0.1:{api_port}"
        helpers.wait_for("the gateway to be ready",
                         lambda: urllib.request.urlopen(base + "/readyz", timeout=1).status == 200)
        key = json.loads(subprocess.check_output(
            [binary, "keys", "create", "--config", config, "--role", "integration", "--label", "peer", "--json"]))
        api = helpers.Api(base, key["secret"])

        def live():
            return api.call("GET", "/v1/calls")["calls"]

        calls = 100 if short else 300
        pair = ends("many", MANY, calls, 100, 50)
        most = 0
        while pair[0].poll() is None:
            most = max(most, len(live()))
            time.sleep(0.2)
        over("many", pair, 30)
        helpers.wait_for("the calls to be gone", lambda: not live())

        over("connected", ends("connected", MANY, calls, 100, 50, tcp=True), 60)
        helpers.wait_for("the calls by a connection to be gone", lambda: not live())

        cancelled = 20 if short else 100
        over("cancelled", ends("cancelled", CANCELLED, cancelled, 20, 20), 60)
        helpers.wait_for("the cancelled calls to be gone", lambda: not live())

        pair = ends("paid", PAID, 1, 1, 1)
        call = helpers.wait_for("the call", lambda: next((c for c in live() if c["answered"]), None))
        payment = api.call("POST", "/v1/payments",
                           {"call": call["id"], "amount": 1250, "currency": "EUR", "reference": "SIP-1"},
                           {"Idempotency-Key": "sip-1"})
        assert payment["armed"], payment
        path = f"/v1/payments/{payment['id']}"
        for field in ("payment-card-number", "expiration-date", "security-code"):
            api.call("POST", f"{path}/capture", {"field": field})
            done = helpers.wait_for(f"{field} to be complete", lambda: next(
                (f for f in [api.call("GET", path)["fields"][field]] if f["status"] in ("complete", "problem")),
                None), 30)
            assert done["status"] == "complete", (field, done)
        outcome = api.call("POST", f"{path}/complete", {})
        assert outcome["state"] == "approved", outcome
        # The agent's end would have failed on the first INFO.
        over("paid", pair, 30)
        sandbox = json.loads((work / "data/sandbox.json").read_text())
        context = ssl.create_default_context(cadata=sandbox["ca_pem"])
        with urllib.request.urlopen(f"https://127.0.0.1:{sandbox['port']}/v1/received", context=context) as answer:
            charged = json.load(answer)["received"]
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
            text = answer.read().decode()
        assert 'tonewall_sip_peer_up{peer="pbx"}' in text
    except BaseException:
        for log in logs:
            log.flush()
            log.seek(0)
            print(f"--- {log.name}\n{log.read()[-2500:]}")
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

    def digest(text):
        return hmac.new(bytes.fromhex(digest_key), text.encode(), hashlib.sha256).hexdigest()

    assert len(charged) == 1 and charged[0]["pan_hmac"] == digest(CARD), "the card is not what was keyed"
    assert charged[0]["expiry_hmac"] == digest(EXPIRY) and charged[0]["code_hmac"] == digest(CODE)
    log = (work / "gateway.log").read_text()
    assert log.count("SIP call over") == 2 * calls + cancelled + 1, log.count("SIP call over")
    assert "Signal=" not in log and "m=audio" not in log, "a message is in the gateway's log"
    print(f"sip: {calls} calls with INFO and hold ({most} at once at most), {calls} by TCP, {cancelled} cancelled, a payment keyed by "
          f"{len(CARD + EXPIRY + CODE)} INFO requests of which the agent's end got 0")


if __name__ == "__main__":
    main()

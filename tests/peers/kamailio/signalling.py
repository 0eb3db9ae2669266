#!/usr/bin/env python3
"""The configuration in deploy/kamailio with a real Kamailio: no key on the SIP path reaches the agent, and
whatever becomes of a call, its media flows while it is up and nothing of it is left afterwards. Both ends
are sockets of this test. Usage: signalling.py PATH_OF_TONEWALL [--ci]"""

import itertools
import json
import re
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from house import Api, Processes, free_port, wait_for

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
# How long it takes to believe that nothing comes: a hundred times what a message takes here.
NOTHING = 0.25
COMPACT = {"c": "content-type", "l": "content-length", "f": "from", "t": "to", "v": "via", "m": "contact",
           "i": "call-id", "o": "event"}
serial = itertools.count(1)


# --- SIP, as far as two honest ends need it (RFC 3261) -------------------------------------------
class Message:
    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.line, self.headers = lines[0], []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.headers.append((COMPACT.get(name, name), value.strip()))
        self.status = int(self.line.split()[1]) if self.line.startswith("SIP/2.0 ") else None
        self.method = self.line.split()[0] if self.status is None else self["cseq"].split()[1]

    def all(self, name):
        return [value for header, value in self.headers if header == name]

    def __getitem__(self, name):
        return (self.all(name) or [""])[0]

    def tag(self, name):
        found = re.search(r";tag=([^;>\s]+)", self[name])
        return found.group(1) if found else None

    def media(self):
        """Where its description wants RTP."""
        text = self.body.decode(errors="replace")
        address = re.search(r"^c=IN IP4 (\S+)", text, re.M).group(1)
        return address, int(re.search(r"^m=audio (\d+)", text, re.M).group(1))


class End:
    """A telephone: a SIP socket and a media socket."""

    def __init__(self, name):
        self.name = name
        self.sip, self.rtp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (self.sip, self.rtp):
            one.bind(("127.0.0.1", 0))
        self.port = self.sip.getsockname()[1]
        self.seen, self.waiting = set(), []
        self.sequence = 0

    def contact(self):
        return f"<sip:{self.name}@127.0.0.1:{self.port}>"

    def description(self, version=1, direction=""):
        port = self.rtp.getsockname()[1]
        return (f"v=0\r\no={self.name} 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
                + (f"a={direction}\r\n" if direction else "")).encode()

    def next_media_port(self):
        self.rtp.close()
        self.rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.rtp.bind(("127.0.0.1", 0))

    def send(self, message, to):
        self.sip.sendto(message, ("127.0.0.1", to))

    def receive(self, seconds):
        """The next message that is not one sent again."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.sip.settimeout(left)
            try:
                data, _ = self.sip.recvfrom(65535)
            except socket.timeout:
                return None
            message = Message(data)
            mark = (message.line, message["cseq"], message["via"], message["call-id"], message.tag("to"))
            if mark not in self.seen:
                self.seen.add(mark)
                return message
        return None

    def expect(self, what, fits, seconds=5.0):
        for message in self.waiting:
            if fits(message):
                self.waiting.remove(message)
                return message
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            message = self.receive(until - time.monotonic())
            if message and fits(message):
                return message
            if message:
                self.waiting.append(message)
        got = [message.line for message in self.waiting]
        raise SystemExit(f"{self.name} waited {seconds:.0f} s in vain for {what}; it got {got}")

    def request(self, method):
        return self.expect(method, lambda m: m.status is None and m.method == method)

    def nothing(self, methods):
        """What of these methods came all the same."""
        while message := self.receive(NOTHING):
            self.waiting.append(message)
        came = [m for m in self.waiting if m.status is None and m.method in methods]
        self.waiting = [m for m in self.waiting if m not in came]
        return came

    def reply(self, request, status, tag=None, body=b"", headers=()):
        to = request["to"] + (f";tag={tag}" if tag and not request.tag("to") else "")
        lines = [f"SIP/2.0 {status}"]
        lines += [f"Via: {via}" for via in request.all("via")]
        lines += [f"Record-Route: {route}" for route in request.all("record-route")]
        lines += [f"From: {request['from']}", f"To: {to}", f"Call-ID: {request['call-id']}",
                  f"CSeq: {request['cseq']}", f"Contact: {self.contact()}", *headers]
        if body and not any(h.lower().startswith("content-type") for h in headers):
            lines.append("Content-Type: application/sdp")
        lines += [f"Content-Length: {len(body)}", "", ""]
        hop = re.search(r"127\.0\.0\.1:(\d+)", request.all("via")[0])
        self.send("\r\n".join(lines).encode() + body, int(hop.group(1)))


class Dialog:
    """One end's part of a call."""

    def __init__(self, end, proxy, call_id, local, remote, target, routes=()):
        self.end, self.proxy, self.call_id = end, proxy, call_id
        self.local, self.remote, self.target, self.routes = local, remote, target, list(routes)
        self.number = 0

    @classmethod
    def of_callee(cls, end, proxy, invite, tag):
        return cls(end, proxy, invite["call-id"], f"{invite['to']};tag={tag}", invite["from"],
                   invite["contact"].strip("<>"), invite.all("record-route"))

    def learn(self, response):
        """A response to the INVITE says who and where the other end is."""
        self.remote, self.target = response["to"], response["contact"].strip("<>")
        self.routes = list(reversed(response.all("record-route")))

    def begin(self, method, body=b"", headers=(), length=True, number=None, branch=None):
        if number is None:
            self.number += 1
            number = self.number
        branch = branch or f"z9hG4bK{next(serial)}x{secrets.token_hex(4)}"
        lines = [f"{method} {self.target} SIP/2.0",
                 f"Via: SIP/2.0/UDP 127.0.0.1:{self.end.port};branch={branch}", "Max-Forwards: 70",
                 f"From: {self.local}", f"To: {self.remote}", f"Call-ID: {self.call_id}",
                 f"CSeq: {number} {method}", f"Contact: {self.end.contact()}"]
        lines += [f"Route: {route}" for route in self.routes]
        lines += headers
        kinds = ("content-type", "c:")
        if body and not any(h.lower().startswith(kinds) for h in headers):
            lines.append("Content-Type: application/sdp")
        if length:
            lines.append(f"Content-Length: {len(body)}")
        self.end.send("\r\n".join([*lines, "", ""]).encode() + body, self.proxy)
        return number, branch

    def final(self, method, number, seconds=8.0):
        return self.end.expect(f"an answer to {method}", lambda m: (m.status or 0) >= 200
                               and m["cseq"] == f"{number} {method}" and m["call-id"] == self.call_id, seconds)

    def ask(self, method, body=b"", headers=(), length=True):
        number, _ = self.begin(method, body, headers, length)
        return self.final(method, number)


# --- a house of gateway, Kamailio and ends --------------------------------------------------------
class House:
    def __init__(self, binary):
        self.work = Path(tempfile.mkdtemp(prefix="tonewall-signalling-"))
        self.processes = Processes(self.work)
        self.ng, api, self.metrics = free_port(socket.SOCK_DGRAM), free_port(), free_port()
        config = self.work / "tonewall.toml"
        config.write_text(f"""
data_dir = "{self.work}/data"
[api]
listen = "127.0.0.1:{api}"
[metrics]
listen = "127.0.0.1:{self.metrics}"
[ng]
udp = "127.0.0.1:{self.ng}"
[media]
port_min = 43000
port_max = 43199
port_quarantine = "0s"
""")
        self.processes.start("gateway", binary, "serve", "--config", config, "--log-format", "json")
        base = f"http://127.0.0.1:{api}"
        wait_for("the gateway to be ready",
                 lambda: urllib.request.urlopen(base + "/readyz", timeout=1).status == 200)
        key = json.loads(subprocess.check_output(
            [binary, "keys", "create", "--config", config, "--role", "integration", "--label", "peer", "--json"]))
        self.api = Api(base, key["secret"])
        self.kamailio = None

    def route(self, agents, swallowing=True):
        """Starts Kamailio with the configuration as it is delivered, but for addresses."""
        if self.kamailio:
            self.processes.end(self.kamailio)
        self.proxy = free_port(socket.SOCK_DGRAM)
        text = (ROOT / "deploy/kamailio/kamailio.cfg").read_text()

        def change(old, new):
            nonlocal text
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the configuration"
            text = text.replace(old, new)

        change("udp:192.0.2.5:5060", f"udp:127.0.0.1:{self.proxy}")
        change("sip:192.0.2.20:5060", f"sip:127.0.0.1:{agents[0].port}")
        change("udp:127.0.0.1:2223", f"udp:127.0.0.1:{self.ng}")
        change("log_stderror=no", "log_stderror=yes")
        change("children=4", "children=2")
        for other in agents[1:]:
            # Before: a branch takes over where the first one goes.
            change("    $du = AGENTS;", f'    append_branch("sip:{other.name}@127.0.0.1:{other.port}");\n    $du = AGENTS;')
        if not swallowing:
            change('    if (is_method("INFO|NOTIFY|SUBSCRIBE")) route(KEYS);', "")
            change("ACK|BYE|INFO|", "ACK|BYE|MESSAGE|INFO|")
        path = self.work / "kamailio.cfg"
        path.write_text(text)
        self.kamailio = self.processes.start(f"kamailio-{self.proxy}", "kamailio", "-f", path, "-DD", "-E", "-Y", self.work)
        # It answers to a request that needs nothing.
        probe = End("probe")
        for _ in range(100):
            Dialog(probe, self.proxy, f"probe-{next(serial)}", "<sip:p@x>;tag=p", "<sip:x@x>",
                   f"sip:127.0.0.1:{self.proxy}").begin("OPTIONS")
            if probe.receive(0.1):
                return
        raise SystemExit("waited in vain for Kamailio")

    def invite(self, caller, body=None, headers=()):
        dialog = Dialog(caller, self.proxy, f"call-{next(serial)}@test", f"<sip:{caller.name}@127.0.0.1>;tag=c{next(serial)}",
                        "<sip:agent@127.0.0.1>", f"sip:agent@127.0.0.1:{self.proxy}")
        number, branch = dialog.begin("INVITE", caller.description() if body is None else body, headers)
        dialog.inviting = (number, branch, dialog.target)
        return dialog

    def cancel(self, dialog):
        number, branch, target = dialog.inviting
        dialog.target = target
        dialog.begin("CANCEL", number=number, branch=branch)
        dialog.final("CANCEL", number)

    def refused(self, dialog, status):
        number, branch, target = dialog.inviting
        final = dialog.final("INVITE", number)
        assert final.status == status, final.line
        dialog.remote, dialog.target = final["to"], target
        dialog.begin("ACK", number=number, branch=branch)

    def established(self, dialog):
        final = dialog.final("INVITE", dialog.inviting[0])
        assert final.status == 200, final.line
        dialog.learn(final)
        dialog.begin("ACK", number=dialog.inviting[0])
        return final

    def call(self, caller, agent):
        """A call that is up: both dialogs, and where each end's media goes."""
        dialog = self.invite(caller)
        invite = agent.request("INVITE")
        tag = f"a{next(serial)}"
        agent.reply(invite, "180 Ringing", tag)
        agent.reply(invite, "200 OK", tag, agent.description())
        final = self.established(dialog)
        agent.request("ACK")
        return dialog, Dialog.of_callee(agent, self.proxy, invite, tag), Media(caller, final), Media(agent, invite)

    def is_empty(self, after):
        def gone():
            figures = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=2).read().decode()
            return not self.api.call("GET", "/v1/calls")["calls"] and re.search(r"^tonewall_calls 0$", figures, re.M)
        wait_for(f"no call to be left after {after}", gone)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(2)
            client.sendto(f"{next(serial)}_list d7:command4:liste".encode(), ("127.0.0.1", self.ng))
            listed = client.recv(65535)
        assert b"5:callsle" in listed, (after, listed)


class Media:
    """Where an end sends its media: as the description says that it got."""

    def __init__(self, end, message):
        self.end, self.to = end, message.media()

    def send(self, mark, sequence):
        header = struct.pack("!BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160, self.end.port)
        self.end.rtp.sendto(header + mark * 10, self.to)


def flows(what, one, other):
    """Voice of each end reaches the other."""
    for sender, receiver in ((one, other), (other, one)):
        mark, came = secrets.token_bytes(16), 0
        receiver.end.rtp.settimeout(0.05)
        for _ in range(60):
            sender.end.sequence += 1
            sender.send(mark, sender.end.sequence)
            try:
                while came < 5:
                    came += receiver.end.rtp.recv(2048)[12:] == mark * 10
            except socket.timeout:
                pass
            if came >= 5:
                break
        assert came >= 5, f"{what}: {came} of 60 packets of {sender.end.name} reached {receiver.end.name}"


# --- keys on the SIP path -------------------------------------------------------------------------
RELAY = b"Signal=5\r\nDuration=160\r\n"
KPML = (b'<?xml version="1.0"?><kpml-response xmlns="urn:ietf:params:xml:ns:kpml-response" version="1.0" '
        b'code="200" text="OK" digits="5"/>')
PARTS = b"--x\r\nContent-Type: application/dtmf-relay\r\n\r\n" + RELAY + b"\r\n--x--\r\n"
PICTURE = b"<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>"

# Method, headers, body, whether it says how long the body is.
KEYS = [
    ("INFO", ["Content-Type: application/dtmf-relay"], RELAY, True),
    ("INFO", ["Content-Type: application/dtmf"], b"5", True),
    ("INFO", ["content-TYPE:   APPLICATION/DTMF-Relay"], RELAY, True),
    ("INFO", ["c: application/dtmf-relay"], RELAY, True),
    ("INFO", ["Content-Type: application/dtmf-relay"], RELAY, False),
    ("INFO", ["Content-Type: application/vnd.nortelnetworks.digits"], b"p=Digit-Collection\r\nd=5", True),
    ("INFO", ["Content-Type: application/media_control+xml2"], RELAY, True),
    ("INFO", ["Info-Package: dtmf", "Content-Disposition: Info-Package", "Content-Type: text/plain"], b"5", True),
    ("INFO", ['Content-Type: multipart/mixed;boundary="x"'], PARTS, True),
    ("NOTIFY", ["Event: kpml;id=1", "Subscription-State: active", "Content-Type: application/kpml-response+xml"],
     KPML, True),
    ("NOTIFY", ["o: KPML", "Subscription-State: active", "c: application/kpml-response+xml"], KPML, True),
    ("NOTIFY", ["Event: refer", "Subscription-State: active", "Content-Type: application/kpml-response+xml"],
     KPML, True),
    ("NOTIFY", ["Event: telephone-event", "Content-Type: audio/telephone-event"], b"\x05\x0a\x03\x20", True),
    ("NOTIFY", ["Subscription-State: active", "Content-Type: application/kpml-response+xml"], KPML, False),
    ("MESSAGE", ["Content-Type: text/plain"], b"5", True),
]
# Nothing of a key in it: it goes on.
OTHERS = [
    ("INFO", [], b"", True),
    ("INFO", ["Content-Type: application/media_control+xml"], PICTURE, True),
    ("NOTIFY", ["Event: refer;id=93809824", "Subscription-State: active;expires=60", "Content-Type: message/sipfrag"],
     b"SIP/2.0 100 Trying\r\n", True),
]


def keys_reach_nobody(house, caller, agent):
    reached = 0
    for swallowing in (False, True):
        house.route([agent], swallowing)
        ours, theirs, to_agent, to_caller = house.call(caller, agent)
        for method, headers, body, length in KEYS:
            number, _ = ours.begin(method, body, headers, length)
            if swallowing:
                final = ours.final(method, number)
                assert final.status in (200, 405), (method, headers, final.line)
                came = agent.nothing({method})
                assert not came, f"{method} {headers} reached the agent: {came[0].body!r}"
            else:
                got = agent.request(method)
                assert got.body == body, (method, headers, got.body)
                agent.reply(got, "200 OK")
                ours.final(method, number)
                reached += 1
        for method, headers, body, length in OTHERS:
            number, _ = ours.begin(method, body, headers, length)
            got = agent.request(method)
            assert got.body == body, (method, headers, got.body)
            agent.reply(got, "200 OK")
            assert ours.final(method, number).status == 200
        if swallowing:
            # The agent may key towards the caller, and may not ask for what the caller keys.
            number, _ = theirs.begin("INFO", RELAY, ["Content-Type: application/dtmf-relay"])
            got = caller.request("INFO")
            caller.reply(got, "200 OK")
            assert theirs.final("INFO", number).status == 200
            asked = theirs.ask("SUBSCRIBE", b"", ["Event: kpml", "Expires: 60"])
            assert asked.status == 489 and not caller.nothing({"SUBSCRIBE"}), asked.line
            # Nor does one come from outside of a call.
            stray = Dialog(caller, house.proxy, "stray", "<sip:caller@127.0.0.1>;tag=s", "<sip:agent@127.0.0.1>",
                           f"sip:agent@127.0.0.1:{house.proxy}")
            asked = stray.ask("INFO", RELAY, ["Content-Type: application/dtmf-relay"])
            assert asked.status == 405 and not agent.nothing({"INFO"}), asked.line
        flows("after keys", to_agent, to_caller)
        hang_up(house, ours, agent, "keys")
    assert reached == len(KEYS), "control: without the swallowing all of them reach the agent"


def hang_up(house, dialog, other, after):
    number, _ = dialog.begin("BYE")
    other.reply(other.request("BYE"), "200 OK")
    assert dialog.final("BYE", number).status == 200
    house.is_empty(after)


# --- what becomes of calls ------------------------------------------------------------------------
def offer_again(what, offerer, answerer, description, method="INVITE"):
    """An offer within the call, its answer, and where both ends' media goes from then on."""
    number, _ = offerer.begin(method, description)
    offer = answerer.end.request(method)
    direction = {b"sendonly": "recvonly", b"inactive": "inactive"}.get(description.split(b"a=")[-1].strip(), "")
    answerer.end.reply(offer, "200 OK", body=answerer.end.description(2, direction))
    final = offerer.final(method, number)
    assert final.status == 200, (what, final.line)
    if method == "INVITE":
        offerer.begin("ACK", number=number)
        answerer.end.request("ACK")
    return final, offer


def life_of_a_call(house, caller, agent):
    house.route([agent])
    ours, theirs, out, back = house.call(caller, agent)
    gateway = {out.to, back.to}
    flows("a new call", out, back)
    agents = [call["agent"] for call in house.api.call("GET", "/v1/calls")["calls"]]
    assert agents == ["agent"], f"whom the call is for is not told as tonewall-agent: {agents}"

    caller.next_media_port()
    final, offer = offer_again("re-INVITE", ours, theirs, caller.description(2))
    out, back = Media(caller, final), Media(agent, offer)
    assert {out.to, back.to} == gateway, "the gateway's ports changed"
    flows("a re-INVITE of the caller", out, back)

    agent.next_media_port()
    final, offer = offer_again("re-INVITE", theirs, ours, agent.description(3))
    out, back = Media(caller, offer), Media(agent, final)
    flows("a re-INVITE of the agent", out, back)

    _, offer = offer_again("hold", theirs, ours, agent.description(4, "sendonly"))
    assert b"a=sendonly" in offer.body, offer.body
    final, offer = offer_again("retrieve", theirs, ours, agent.description(5))
    flows("a hold", Media(caller, offer), Media(agent, final))

    # In several parts, as some trunks send it.
    parts = (b"--b\r\nContent-Type: application/sdp\r\n\r\n" + caller.description(6)
             + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n")
    number, _ = ours.begin("UPDATE", parts, ["Content-Type: multipart/mixed;boundary=b"])
    update = agent.request("UPDATE")
    assert update.media() == back.to, "an UPDATE in parts led past the gateway"
    agent.reply(update, "200 OK", body=agent.description(6))
    final = ours.final("UPDATE", number)
    assert final.media() == out.to, final.body
    flows("an UPDATE", out, back)

    # One that is given up, and one that is refused, leave the call as it was.
    number, branch = ours.begin("INVITE", caller.description(7))
    again = agent.request("INVITE")
    agent.reply(again, "180 Ringing")
    caller.expect("180", lambda m: m.status == 180)
    ours.begin("CANCEL", number=number, branch=branch)
    ours.final("CANCEL", number)
    agent.reply(agent.request("CANCEL"), "200 OK")
    agent.reply(again, "487 Request Terminated")
    assert ours.final("INVITE", number).status == 487
    ours.begin("ACK", number=number, branch=branch)
    flows("a re-INVITE that was given up", out, back)
    assert ours.ask("INVITE").status == 488, "a late offer is not taken"

    ours.begin("INFO", RELAY, ["Content-Type: application/dtmf-relay"])
    assert not agent.nothing({"INFO"})
    flows("an INFO", out, back)
    hang_up(house, theirs, caller, "BYE of the agent")

    ours, _, out, back = house.call(caller, agent)
    flows("a second call", out, back)
    hang_up(house, ours, agent, "BYE of the caller")
    assert house.invite(caller, body=b"").final("INVITE", 1).status == 488
    house.is_empty("a late offer")


def calls_that_come_to_nothing(house, caller, agent):
    dialog = house.invite(caller)
    invite = agent.request("INVITE")
    agent.reply(invite, "183 Session Progress", "early", agent.description())
    early = caller.expect("183", lambda m: m.status == 183)
    flows("early media", Media(caller, early), Media(agent, invite))
    house.cancel(dialog)
    agent.reply(agent.request("CANCEL"), "200 OK")
    agent.reply(invite, "487 Request Terminated", "early")
    house.refused(dialog, 487)
    house.is_empty("CANCEL")
    for status in ("486 Busy Here", "603 Decline"):
        dialog = house.invite(caller)
        agent.reply(agent.request("INVITE"), status, "no")
        house.refused(dialog, int(status.split()[0]))
        house.is_empty(status)


def two_forks(house, caller, agent, other):
    house.route([agent, other])
    # The first to answer has the call; the other one's early media does not keep it.
    dialog = house.invite(caller)
    at_agent, at_other = agent.request("INVITE"), other.request("INVITE")
    agent.reply(at_agent, "183 Session Progress", "f1", agent.description())
    caller.expect("183", lambda m: m.status == 183 and m.tag("to") == "f1")
    other.reply(at_other, "183 Session Progress", "f2", other.description())
    caller.expect("183", lambda m: m.status == 183 and m.tag("to") == "f2")
    other.reply(at_other, "200 OK", "f2", other.description())
    final = house.established(dialog)
    assert final.tag("to") == "f2"
    agent.reply(agent.request("CANCEL"), "200 OK")
    agent.reply(at_agent, "487 Request Terminated", "f1")
    other.request("ACK")
    flows("a fork that answered", Media(caller, final), Media(other, at_other))
    hang_up(house, dialog, other, "two forks")

    for statuses in (("486 Busy Here", "480 Temporarily Unavailable"), None):
        dialog = house.invite(caller)
        invites = [(end, end.request("INVITE")) for end in (agent, other)]
        for number, (end, invite) in enumerate(invites):
            end.reply(invite, "180 Ringing", f"r{number}")
        caller.expect("180", lambda m: m.status == 180)
        if statuses is None:
            house.cancel(dialog)
        for number, (end, invite) in enumerate(invites):
            if statuses is None:
                end.reply(end.request("CANCEL"), "200 OK")
            end.reply(invite, statuses[number] if statuses else "487 Request Terminated", f"r{number}")
        final = dialog.final("INVITE", dialog.inviting[0])
        assert final.status in ((487,) if statuses is None else (486, 480)), final.line
        dialog.remote = final["to"]
        dialog.begin("ACK", number=dialog.inviting[0], branch=dialog.inviting[1])
        house.is_empty("two forks that came to nothing")

    # Forked behind the proxy: one branch, two places that ring.
    house.route([agent])
    dialog = house.invite(caller)
    invite = agent.request("INVITE")
    for end, tag in ((other, "d1"), (agent, "d2")):
        agent.reply(invite, "183 Session Progress", tag, end.description())
        caller.expect("183", lambda m: m.status == 183 and m.tag("to") == tag)
    agent.reply(invite, "200 OK", "d2", agent.description())
    final = house.established(dialog)
    agent.request("ACK")
    flows("a fork behind the proxy", Media(caller, final), Media(agent, invite))
    hang_up(house, dialog, agent, "a fork behind the proxy")


def main():
    binary = Path(sys.argv[1]).resolve()
    house = House(binary)
    caller, agent, other = End("caller"), End("agent"), End("other")
    try:
        keys_reach_nobody(house, caller, agent)
        life_of_a_call(house, caller, agent)
        calls_that_come_to_nothing(house, caller, agent)
        two_forks(house, caller, agent, other)
    except BaseException:
        house.processes.tell()
        raise
    finally:
        house.processes.stop()
    print(f"kamailio: {len(KEYS)} ways of a key on the SIP path reach the agent without the swallowing and none with it; "
          "INVITE, re-INVITE, hold, UPDATE, INFO, CANCEL, BYE and forks leave no call, and media flows after each")


if __name__ == "__main__":
    main()

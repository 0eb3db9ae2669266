#!/usr/bin/env python3
"""Runs calls of rtpengine's own test suite against tonewall and, as control, against Debian's rtpengine.

    NG_SUITE=DIR test.py PATH_OF_TONEWALL [--ci]

DIR is a checkout of the suite's source at its tag mr10.5.3.5. The suite is never part of this repository:
the files `allowed` and `refused` beside this one name its calls by line. Everything runs in a network of its
own (unshare), for the suite's addresses belong to nobody here. With --ci without the control.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TAG = "mr10.5.3.5"
# Where the suite expects the daemon, and where its ends live.
OURS = ["203.0.113.1", "203.0.113.2", "203.0.113.7", "203.0.113.8"]
OURS_V6 = ["2001:db8:4321::1", "2001:db8:4321::2"]
ENDS = ["198.51.100.0/24", "198.51.101.0/24", "192.168.1.0/24", "192.0.2.0/24"]

CONFIG = """
data_dir = "{data}"
[api]
listen = "127.0.0.1:8080"
[ng]
udp = "127.0.0.1:2223"
# The suite's ends agree on codecs that cannot be masked, too.
codecs = "all"
[media]
caller = "offerer"
address = "203.0.113.1"
[[media.interfaces]]
name = "default"
address = "2001:db8:4321::1"
"""


def listed(name):
    """{line: rest of the row} of a list."""
    rows = (row.split(" ", 1) for row in (HERE / name).read_text().splitlines() if row[:1].isdigit())
    return {int(line): rest for line, rest in rows}


def network():
    def ip(*words):
        subprocess.run(["ip", *words], check=True)

    ip("link", "set", "lo", "up")
    for address in OURS:
        ip("addr", "add", f"{address}/32", "dev", "lo")
    for address in OURS_V6:
        ip("-6", "addr", "add", f"{address}/128", "dev", "lo")
    for prefix in ENDS:
        ip("route", "add", "local", prefix, "dev", "lo")


def talk(suite, environment):
    """A short call by rtpengine's own command-line client."""
    sdp = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nt=0 0\r\nm=audio {} RTP/AVP 0 101\r\n" \
          "c=IN IP4 198.51.100.1\r\na=rtpmap:101 telephone-event/8000\r\n"
    environment = {key: value for key, value in environment.items() if key != "LD_PRELOAD"}
    offer = ["--from-tag=a", "--replace-origin", "--ICE=remove", "--trust-address", "--sdp=" + sdp.format(4000)]
    for form in ([], ["--json"]):
        call = ["--call-id=by-hand", *form]
        for command, words, expected in (
                ("ping", [], "pong"),
                ("offer", [*call, *offer], "203.0.113.1"),
                ("answer", [*call, "--from-tag=a", "--to-tag=b", "--sdp=" + sdp.format(6000)], "203.0.113.1"),
                ("query", call, "totals"),
                ("list", form, "by-hand"),
                ("block DTMF", [*call, "--from-tag=a", "--DTMF-security=drop"], "Result dictionary"),
                ("unblock DTMF", call, "Result dictionary"),
                ("delete", [*call, "--from-tag=a"], "totals")):
            script = str(suite / "utils/rtpengine-ng-client")
            ran = subprocess.run(["perl", script, "--proxy-address=127.0.0.1", "-v", *words, command],
                                 env=environment, capture_output=True, timeout=10)
            said = (ran.stdout + ran.stderr).decode(errors="replace")
            if ran.returncode or expected not in said:
                raise SystemExit(f"rtpengine-ng-client {command} {form}: expected {expected} in {said[-600:]}")


def run(suite, command, work, name):
    """{line: (passed, what the suite said)} of all calls of the suite, with this daemon."""
    with open(work / f"{name}.log", "wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    environment = {
        **os.environ,
        "RTPE_TEST_NO_LAUNCH": "1",
        # The suite only looks at whether these are set; real sockets are used.
        "RTPE_PRELOAD_TEST_ACTIVE": "1",
        "LD_PRELOAD": "/nowhere/tests-preload.so",
        "PERL5LIB": str(suite / "perl"),
    }
    try:
        time.sleep(2)
        talk(suite, environment)
        calls = suite / "t/auto-daemon-tests.pl"
        ran = subprocess.run(["perl", str(HERE / "chunks.pl"), str(calls)], env=environment, cwd=work,
                             capture_output=True, timeout=300)
        if daemon.poll() is not None:
            raise SystemExit(f"{name} ended by itself: {(work / f'{name}.log').read_text()[-500:]}")
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
    said = ran.stderr.decode(errors="replace")
    (work / f"{name}.said").write_text(said)
    found, last = {}, None
    for row in said.splitlines():
        if match := re.match(r"CHUNK (PASS|FAIL) (\d+) ", row):
            last = int(match[2])
            found[last] = (match[1] == "PASS", [])
        elif last and row.startswith("      "):
            found[last][1].append(row.strip())
    return found


def main():
    if not os.environ.get("TONEWALL_NG_SUITE_INSIDE"):
        inside = {**os.environ, "TONEWALL_NG_SUITE_INSIDE": "1"}
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.execvpe("unshare", ["unshare", *user, "--net", sys.executable, *sys.argv], inside)
    network()
    binary, ci = Path(sys.argv[1]).resolve(), "--ci" in sys.argv
    suite = Path(os.environ["NG_SUITE"]).resolve()
    if not (suite / "t/auto-daemon-tests.pl").exists():
        raise SystemExit(f"{suite} holds no t/auto-daemon-tests.pl; NG_SUITE names a checkout at {TAG}")
    work = Path(tempfile.mkdtemp(prefix="tonewall-ng-suite-"))
    (work / "data").mkdir()
    (work / "tonewall.toml").write_text(CONFIG.format(data=work / "data"))
    allowed, refused = listed("allowed"), listed("refused")
    problems = []

    def judge(name, found):
        missing = [line for line in allowed if line not in found]
        if missing:
            problems.append(f"the suite has no calls at the lines {missing}: is it the tag {TAG}?")
        failed = [line for line in allowed if not found.get(line, (False,))[0]]
        print(f"{name}: {len(allowed) - len(failed)} of {len(allowed)} calls that must pass, pass")
        for line in failed:
            problems.append(f"{name}: line {line} {allowed[line]}: {'; '.join(found.get(line, (0, []))[1])[:400]}")

    found = run(suite, [str(binary), "serve", "--config", str(work / "tonewall.toml")], work, "tonewall")
    judge("tonewall", found)
    for line, reason in refused.items():
        if found.get(line, (False,))[0]:
            problems.append(f"line {line} ({reason}) passes: move it to the list of those that must")
    others = sum(1 for line, (passed, _) in found.items() if passed and line not in allowed)
    print(f"tonewall: {len(refused)} refused with a reason, {len(found) - len(allowed) - len(refused)} others "
          f"(transcoding, ICE, SRTP, player ...), of which {others} pass")
    rtpengine = shutil.which("rtpengine")
    if not ci and rtpengine:
        command = [rtpengine, "--config-file=none", "--foreground", "--table=-1", "-n", "127.0.0.1:2223", "-L", "3",
                   "-E", "-i", OURS[0], "-i", OURS_V6[0]]
        judge("rtpengine", run(suite, command, work, "rtpengine"))
    elif not ci:
        print("rtpengine: not installed, so the control is left out")
    for problem in problems:
        print(f"PROBLEM {problem}")
    if problems:
        raise SystemExit(f"{len(problems)} problems; what was said is in {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()

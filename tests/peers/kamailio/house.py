"""What both tests with Kamailio need: processes with their logs, ports, the gateway's API."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Api:
    def __init__(self, base, key):
        self.base, self.key = base, key

    def call(self, method, path, body=None, headers=None):
        request = urllib.request.Request(self.base + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}") from None


def wait_for(what, test, seconds=20.0, step=0.05):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            value = test()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(step)
    raise SystemExit(f"waited {seconds:.0f} s in vain for {what}")


class Processes:
    """Those of one test, each with a log of its own."""

    def __init__(self, work):
        self.work, self.running, self.logs = work, [], []

    def start(self, name, *command):
        log = open(self.work / f"{name}.log", "w+")
        self.logs.append(log)
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, cwd=self.work)
        self.running.append(process)
        return process

    def end(self, process):
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.remove(process)

    def tell(self):
        for log in self.logs:
            log.flush()
            log.seek(0)
            print(f"--- {log.name}\n{log.read()[-3000:]}")

    def stop(self):
        for process in list(self.running):
            process.terminate()
        for process in list(self.running):
            self.end(process)

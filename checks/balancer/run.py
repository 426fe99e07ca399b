#!/usr/bin/env python3
"""Tries deployments/load-balancer: both examples, real gateways behind them, and requests all the time.

    checks/balancer/run.py NEXUS [caddy|nginx …]

One gateway is killed and comes back, one is stopped and comes back, one loses its database: no GET through the balancer may
fail. A WebSocket and an event stream have to pass, and a client must not get further by telling another address.

It runs on ports that nobody has, with processes that end with it.
"""

import json
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "checks"))

from ground import PATIENCE, free_ports, until

EXAMPLES = ROOT / "deployments/load-balancer"
# The balancer, and where it takes those who come without TLS; gateways; servers, and the way to one that can be cut.
PORT, PLAIN, *GATEWAYS, STRICT, ETCD, DATABASE, CUT = free_ports(8)
# What memory answers, what the database answers.
PATHS = ("/api/v1/gpus?limit=5", "/api/v1/telemetry?limit=5")
HOST = f"127.0.0.1:{PORT}"
TRUST = ssl._create_unverified_context()  # The certificate is made here and for another name.


def status(port, path="/ready"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def requests_of(port):
    """How many requests a gateway has answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counts = re.findall(r'^nexus_gateway_request_duration_seconds_count\{.*route="/api/v1/(?:gpus|telemetry)".*\} (\d+)', text, re.M)
    return sum(map(int, counts))


class Line:
    """A way to the database that can be cut."""

    def __init__(self):
        self.up, self.open = True, set()
        self.listener = socket.create_server(("127.0.0.1", CUT))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            one, _ = self.listener.accept()
            if not self.up:
                one.close()
                continue
            other = socket.create_connection(("127.0.0.1", DATABASE))
            self.open |= {one, other}
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.up = False
        for end in list(self.open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open.clear()


class Load:
    """Clients that ask without a pause, each on connections of its own."""

    def __init__(self, clients=6):
        self.asked, self.failed, self.over, self.rounds = 0, [], threading.Event(), [0] * clients
        self.threads = [threading.Thread(target=self.ask, args=(client,), daemon=True) for client in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, client):
        while not self.over.is_set():
            self.rounds[client] += 1
            for path in PATHS:
                try:
                    with urllib.request.urlopen(f"https://127.0.0.1:{PORT}{path}", timeout=20, context=TRUST) as answer:
                        json.load(answer)
                    self.asked += 1
                except Exception as error:  # Whatever it is, it is a failed request.
                    self.failed.append(f"{time.strftime('%X')} {path}: {error}")
            time.sleep(0.01)

    def all_begin_anew(self):
        """Whatever was asked for before is answered, by every client."""
        before = list(self.rounds)
        until("all clients begin anew", lambda: all(now > then for now, then in zip(self.rounds, before)))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Scene:
    def __init__(self, folder, nexus):
        self.folder, self.nexus, self.children = folder, nexus, {}
        self.environment = {
            "PATH": os.environ["PATH"], "NEXUS_DIR": str(folder / "servers"), "ETCD_PORT": str(ETCD),
            "ETCD_ENDPOINTS": f"127.0.0.1:{ETCD}", "DB_HOST": "127.0.0.1", "DB_PORT": str(DATABASE), "LOG_FORMAT": "text",
            "TRUSTED_PROXIES": "127.0.0.1", "METRICS_OPEN": "true", "METRICS_ADDR": "127.0.0.1:0",
        }
        for server in ("etcd", "postgres"):
            subprocess.run([nexus, server, "start"], env=self.environment, check=True, stdout=subprocess.DEVNULL)
        self.line = Line()
        self.start("collector", "collector")
        self.start("streamer", "streamer", CSV_FILE=str(ROOT / "data/gpu_telemetry_sample.csv"), STREAM_INTERVAL="200ms")
        for port in GATEWAYS:
            self.gateway(port)
        self.start("strict", "gateway", PORT=str(STRICT), RATE_LIMIT="1", RATE_BURST="5")
        for name, port in [*((f"gateway-{port}", port) for port in GATEWAYS), ("strict", STRICT)]:
            until(f"the gateway on {port} is ready", lambda: self.is_ready(name, port))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=gateway.example", "-addext", "subjectAltName=DNS:gateway.example,IP:127.0.0.1",
                        "-keyout", folder / "balancer.key", "-out", folder / "balancer.pem"], check=True, capture_output=True)

    def start(self, name, *command, **variables):
        log = open(self.folder / f"{name}.log", "a")
        self.children[name] = subprocess.Popen([self.nexus, *command], env=self.environment | variables, stdout=log, stderr=log)

    def gateway(self, port):
        # The second one's way to the database can be cut.
        database = {"DB_PORT": str(CUT)} if port == GATEWAYS[1] else {}
        self.start(f"gateway-{port}", "gateway", PORT=str(port), RATE_LIMIT="0", **database)

    def is_ready(self, name, port):
        ended = self.children[name].poll()
        if ended is not None:
            sys.exit(f"{name} ended with {ended}")
        return status(port) == 200

    def end(self, name, number):
        child = self.children.pop(name)
        child.send_signal(number)
        return child.wait(PATIENCE)

    def placed(self, name, places):
        """Where a copy of an example goes, and its text with our places instead of those it was shipped with."""
        text = (EXAMPLES / name).read_text()
        for shipped, ours in places:
            text, found = re.subn(shipped, ours, text)
            assert found, f"{name} does not say {shipped} any more"
        return self.folder / name, text

    def balancer(self, which, ports):
        """The example as it is, with this machine's places in it."""
        if which == "caddy":
            gateways = " ".join(f"127.0.0.1:{port}" for port in ports)
            path, text = self.placed("Caddyfile", [
                (r"/etc/nexus/tls", str(self.folder)), (r"gateway\.example (?=\{)", f"https://127.0.0.1:{PORT} "),
                (r"admin off\n", f"admin off\n\thttp_port {PLAIN}\n"), (r"gateway-1:8080 gateway-2:8080", gateways),
            ])
            command = ["caddy", "run", "--adapter", "caddyfile", "--config", path]
        else:
            gateways = "".join(rf"    server 127.0.0.1:{port}\1\n" for port in ports)
            path, text = self.placed("nginx.conf", [
                (r"/etc/nexus/tls", str(self.folder)), (r"listen 443 ssl", f"listen 127.0.0.1:{PORT} ssl"),
                (r"    server gateway-1:8080( .*;)\n    server gateway-2:8080\1\n", gateways),
            ])
            text = (f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log; events {{}}\n"
                    f"http {{ access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;\n"
                    f"fastcgi_temp_path {self.folder}/f; uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;\n{text}}}\n")
            command = ["nginx", "-c", path]
        path.write_text(text)
        log = open(self.folder / f"{which}.log", "a")
        home = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder / "caddy")}
        self.children["balancer"] = subprocess.Popen(command, env=home, stdout=log, stderr=log)
        def answers():
            with urllib.request.urlopen(f"https://127.0.0.1:{PORT}/live", timeout=5, context=TRUST) as answer:
                return answer.status == 200
        until(f"{which} answers: {log.name}", answers)


def connect(source=None):
    line = socket.create_connection(("127.0.0.1", PORT), timeout=20, source_address=(source, 0) if source else None)
    return TRUST.wrap_socket(line)


def ask(source, forwarded):
    """One GET from a source address that claims to be another one: its status."""
    with connect(source) as line:
        line.sendall(f"GET /api/v1/gpus HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {forwarded}\r\nConnection: close\r\n\r\n".encode())
        return int(line.recv(64).split()[1])


def websocket():
    """The first frame's text."""
    with connect() as line:
        line.sendall(f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        stream = line.makefile("rb")
        head = stream.readline()
        if b" 101 " not in head:
            raise SystemExit(f"no WebSocket: {head}")
        while stream.readline().strip():
            pass
        while True:
            first, length = stream.read(2)
            length &= 127
            if length == 126:
                length = struct.unpack(">H", stream.read(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", stream.read(8))[0]
            text = stream.read(length)
            if first & 15 == 1:
                return json.loads(text)


def event_stream():
    """The first event, and how long it took."""
    began = time.monotonic()
    with connect() as line:
        line.sendall(f"GET /api/v1/stream HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n".encode())
        stream = line.makefile("rb")
        while not (text := stream.readline()).startswith(b"data:"):
            if not text:
                raise SystemExit("the event stream ended")
        return text, time.monotonic() - began


def tried(scene, which):
    print(f"== {which}", flush=True)
    faults = []

    def see(what, holds, said=""):
        print(f"  {'ok' if holds else 'FAILED'}: {what}", flush=True)
        if not holds:
            faults.append(f"{which}: {what}: {said}")

    scene.balancer(which, GATEWAYS)
    frame = websocket()
    see("a WebSocket passes", frame.get("type") in ("hello", "welcome", "telemetry", "snapshot") or "type" in frame, frame)
    text, took = event_stream()
    see(f"an event stream passes, its first event after {took:.1f} s", took < 10, text)

    load = Load()
    first, second = GATEWAYS
    gets_some = lambda port, before: requests_of(port) >= before + 50
    for port in GATEWAYS:
        until(f"{port} gets requests", lambda: gets_some(port, 0))
    scene.end(f"gateway-{first}", signal.SIGKILL)
    before = requests_of(second)
    until("the other one gets them all", lambda: gets_some(second, before))
    scene.gateway(first)
    until("the killed one is back", lambda: gets_some(first, 0))
    see(f"one is killed under load and comes back: {load.asked} requests, {len(load.failed)} failed", not load.failed, load.failed[:3])

    asked, known = load.asked, len(load.failed)
    ended = scene.end(f"gateway-{first}", signal.SIGTERM)
    scene.gateway(first)
    until("the one that drained is back", lambda: gets_some(first, 0))
    see(f"one drains under load and comes back: {load.asked - asked} requests, {len(load.failed) - known} failed",
        ended == 0 and len(load.failed) == known, load.failed[known:][:3])

    if which == "caddy":
        # Until the next question for /ready the balancer cannot know: what is asked meanwhile is what memory answers.
        global PATHS
        paths, PATHS = PATHS, PATHS[:1]
        load.all_begin_anew()
    asked, known = load.asked, len(load.failed)
    scene.line.cut()
    until("it is not ready", lambda: status(second) == 503)
    before = requests_of(first)
    until("the other one gets requests", lambda: gets_some(first, before))
    if which == "caddy":
        def is_left_alone():
            seen = requests_of(second)
            other = requests_of(first)
            until("time passes", lambda: gets_some(first, other))
            return requests_of(second) == seen
        until("who is not ready gets nothing", is_left_alone)
        PATHS = paths
        before = requests_of(first)
        until("the database is asked, too", lambda: gets_some(first, before))
    scene.line.up = True
    until("it is ready again", lambda: status(second) == 200)
    before = requests_of(second)
    until("it gets requests again", lambda: gets_some(second, before))
    load.end()
    see(f"one loses its database under load and has it again: {load.asked - asked} requests, {len(load.failed) - known} failed",
        len(load.failed) == known, load.failed[known:][:3])
    scene.end("balancer", signal.SIGTERM)

    scene.balancer(which, (STRICT,))
    # Five at once and one a second: it asks until that is used up, however slow the machine is.
    greedy = []
    while len(greedy) < 200 and 429 not in greedy:
        greedy.append(ask("127.0.0.2", f"192.0.2.{len(greedy)}"))
    see("a client has one address, whatever it says", greedy[-1] == 429, greedy)
    modest = ask("127.0.0.3", "192.0.2.1")
    see("and others have their own", modest == 200, modest)
    scene.end("balancer", signal.SIGTERM)
    return faults


def inside(nexus, which):
    with tempfile.TemporaryDirectory(prefix="nexus-balancer-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        try:
            scene = Scene(folder, nexus)
            faults = [fault for each in which for fault in tried(scene, each)]
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}: {log.read_text()[-1200:]}", flush=True)
            raise
    for fault in faults:
        print(f"FAILED: {fault}")
    return bool(faults)


def main():
    nexus, which = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:]
    if which[:1] == ["--inside"]:
        sys.exit(inside(nexus, which[1:]))
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc",
               sys.executable, __file__, nexus, "--inside", *(which or ["caddy", "nginx"])]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()

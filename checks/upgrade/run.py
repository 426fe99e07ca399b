#!/usr/bin/env python3
"""A rolling upgrade of a loaded stack, and back: this version and the one before side by side, and no row lost.

    checks/upgrade/run.py                    against the commit that `checks/upgrade/previous` names, built here
    checks/upgrade/run.py --previous PATH    against that `nexus`

The version before starts the stack and is under load all the time. Then, one after the other: a collector of this
version joins (and migrates the database), a gateway joins, a streamer takes the file over, the old collector is
stopped and another old one started (it has to live with the new schema), and at last the streamer goes back. Both
versions answer the same questions alike, and the audits of both find every row.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "checks"))

from ground import PATIENCE, free_ports, until

# Paced, so that every step happens under load: 5,000 rows a second at most.
PACE = {"BATCH_SIZE": "100", "STREAM_INTERVAL": "20ms", "LOOP_MODE": "false"}
CLUSTER = "local-cluster"
QUESTIONS = [
    "/api/v1/clusters", f"/api/v1/clusters/{CLUSTER}/hosts", "/api/v1/gpus?limit=100", "/api/v1/telemetry/latest?limit=100",
    "/api/v1/telemetry?limit=100", "/api/v1/telemetry?limit=100&step=1m&agg=max", "/api/v1/telemetry?limit=100&step=5m",
    "/api/v1/telemetry?limit=100&step=1h&agg=last", "/api/v1/events?limit=100",
]


def built(reference):
    """The version before, built in a folder of its own beside ours."""
    source, target = ROOT / "target/upgrade/source", ROOT / "target/upgrade/build"
    if not source.exists():
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--force", source, reference], check=True)
    subprocess.run(["git", "-C", source, "checkout", "--quiet", "--detach", reference], check=True)
    build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "nexus", "--target-dir", target]
    subprocess.run(build, cwd=source, check=True)
    return target / "release/nexus"


def get(base, path):
    with urllib.request.urlopen(base + path, timeout=10) as answer:
        return json.load(answer)


class Scene:
    """The processes of both versions, on ports of their own."""

    def __init__(self, folder, previous, this):
        self.folder, self.binaries, self.children = folder, {"previous": previous, "this": this}, {}
        ports = free_ports(3)
        self.environment = os.environ | {
            "NEXUS_DIR": str(folder / "stack"), "ETCD_PORT": str(ports[0]), "DB_PORT": str(ports[1]),
            "PORT": str(ports[2]), "COLLECTORS": "1", "STREAMERS": "0", "LOG_FORMAT": "json", "METRICS_ADDR": "127.0.0.1:0",
        }
        self.gateway = f"http://127.0.0.1:{ports[2]}"
        self.start("up", "previous", "up")
        until("the version before is ready", lambda: urllib.request.urlopen(self.gateway + "/ready", timeout=5))
        self.environment |= {
            "ETCD_ENDPOINTS": f"127.0.0.1:{ports[0]}", "DB_HOST": "127.0.0.1", "MAX_TXN_OPS": "1024", "ETCD_UPKEEP": "true",
        }

    def start(self, name, version, command, **variables):
        log = open(self.folder / f"{name}.log", "w")
        environment = self.environment | variables
        self.children[name] = subprocess.Popen(
            [self.binaries[version], command], env=environment, stdout=log, stderr=log, cwd=self.folder)

    def stop(self, name, to_end=False):
        """Ends a process by a signal, or waits until it has done what it was started for."""
        child = self.children.pop(name)
        if not to_end:
            child.send_signal(signal.SIGTERM)
        status = child.wait(PATIENCE)
        said = (self.folder / f"{name}.log").read_text()
        if status != 0:
            sys.exit(f"{name} ended with {status}:\n{said[-2000:]}")
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def ask(self, version, *command):
        done = subprocess.run([self.binaries[version], *command], env=self.environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode not in (0, 1):
            sys.exit(f"{version} {' '.join(command)}: {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def audit(self, version):
        return json.loads(self.ask(version, "audit", "--json"))

    def stored(self):
        # The version before: this one looks for tables that are not there yet at the beginning.
        return self.audit("previous")["total"]["stored"]

    def more_is_stored(self, what, rows=5_000):
        before = self.stored()
        until(f"{rows} more rows stored, {what}", lambda: self.stored() >= before + rows)
        print(f"  {self.stored()} rows stored: {what}", flush=True)

    def end(self):
        for name in ["new gateway", *self.children]:
            child = self.children.get(name)
            if child and child.poll() is None:
                child.send_signal(signal.SIGTERM)
                child.wait(PATIENCE)


def rows_said(lines, word):
    """The rows that a component's last line tells of."""
    said = [line["rows"] for line in lines if line.get("message") == word and "rows" in line]
    return said[-1] if said else 0


def upgrade(scene, source, rows):
    scene.start("old streamer", "previous", "streamer", CSV_FILE=source, **PACE)
    scene.more_is_stored("by the version before alone")

    scene.start("new collector", "this", "collector")
    until("two collectors", lambda: scene.ask("previous", "members").count("collector") >= 2)
    scene.more_is_stored("by collectors of both versions")

    [port] = free_ports(1)
    scene.start("new gateway", "this", "gateway", PORT=str(port))
    new_gateway = f"http://127.0.0.1:{port}"
    until("the new gateway is ready", lambda: urllib.request.urlopen(new_gateway + "/ready", timeout=5))

    first = rows_said(scene.stop("old streamer"), "published")
    scene.start("new streamer", "this", "streamer", CSV_FILE=source, **PACE)
    scene.more_is_stored("with a streamer of this version")

    scene.start("old collector", "previous", "collector")
    scene.more_is_stored("with an old collector that was started on the new schema")
    by_new = rows_said(scene.stop("new collector"), "stored")
    scene.more_is_stored("by the version before alone, on the new schema")

    second = rows_said(scene.stop("new streamer"), "published")
    scene.start("old streamer", "previous", "streamer", CSV_FILE=source, **PACE)
    scene.start("new collector", "this", "collector")
    third = rows_said(scene.stop("old streamer", to_end=True), "published")
    until("every row stored", lambda: scene.stored() == rows)
    by_old = rows_said(scene.stop("old collector"), "stored")
    print(f"  published: {first} by the old, {second} by the new, {third} by the old streamer again")
    print(f"  stored: {by_new} by the new collector before it was stopped, {by_old} by the old one started late")
    failures = [] if min(first, second, third, by_new, by_old) > 0 else ["one of them had no part in it"]
    if first + second + third != rows:
        failures.append(f"{first + second + third} rows published of {rows}")

    for version in ("previous", "this"):
        audit = scene.audit(version)
        total = audit["total"]
        print(f"  audit by {version}: {total['stored']} stored of {total['read']}, residue {total['residue']}")
        if not audit["balanced"] or total["residue"] != 0 or total["stored"] != rows:
            failures.append(f"the audit by {version}: {total}")
    for question in QUESTIONS:
        # A newer version may tell more; what both tell is the same. Of each gateway the newest rows may be under way.
        def differences():
            return list(differing(get(scene.gateway, question), get(new_gateway, question), ""))
        until(f"{question} is answered alike: {differences()[:3]}", lambda: not differences())
    print(f"  {len(QUESTIONS)} questions to both gateways")
    return failures


def differing(old, new, place):
    """Where the new answer lacks what the old one tells, or tells something else."""
    if isinstance(old, dict) and isinstance(new, dict):
        # Since when something holds is what a gateway saw itself, or what was recorded before it came: at the pace of this
        # file, minutes apart.
        for key in old.keys() - {"since", "evidence"}:
            yield from differing(old[key], new.get(key), f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, pair in enumerate(zip(old, new)):
            yield from differing(*pair, f"{place}[{at}]")
    elif old != new:
        yield f"{place}: {json.dumps(old)[:100]} and {json.dumps(new)[:100]}"


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--previous", type=pathlib.Path, help="the `nexus` of the version before; else it is built")
    options.add_argument("--this", type=pathlib.Path, default=ROOT / "target/release/nexus")
    options.add_argument("--rows", type=int, default=200_000)
    given = options.parse_args()
    previous = given.previous or built((ROOT / "checks/upgrade/previous").read_text().split()[0])
    with tempfile.TemporaryDirectory(prefix="nexus-upgrade-") as folder:
        folder = pathlib.Path(folder)
        # The servers' accounts look into it.
        folder.chmod(0o755)
        source = folder / "rows.csv"
        subprocess.run([given.this, "generate", "--hosts", "10", "--gpus", "8", "--metrics", "10", "--interval", "10",
                        "--seconds", str(given.rows // 800 * 10), "--start", "2026-01-05T00:00:00Z", "--out", source], check=True)
        rows = sum(1 for _ in source.open()) - 1
        scene = Scene(folder, previous.resolve(), given.this.resolve())
        try:
            failures = upgrade(scene, str(source), rows)
        finally:
            scene.end()
    for failure in failures:
        print(f"FAILED: {failure}")
    print("no row was lost" if not failures else f"{len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs the images that run.py followed, beside an etcd and a PostgreSQL of their own, on the images' own ports.

Called by run.py in a network of its own, where every port is free, and with processes of its own, which end with it.
"""

import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

from container import Container, Image, get

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "checks"))

from ground import until

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
GATEWAY = "http://127.0.0.1:8080"
DATABASE = {"DB_HOST": "127.0.0.1", "DB_PORT": "5433", "DB_PASSWORD_FILE": "/run/secrets/db_password"}
faults = []


def see(what, holds, said=""):
    print(f"  {'ok' if holds else 'FAILED'}: {what}", flush=True)
    if not holds:
        faults.append(f"{what}: {said}")


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


def what_they_are(images, version):
    for name, image in images.items():
        status, said = image.run("--version")
        program = "nexus" if name == "tools" else f"nexus-{name}"
        see(f"{program} --version says {version}", (status, said.strip()) == (0, f"{program} {version}"), said)
        if name == "tools":
            continue
        files = [path for path in pathlib.Path(image.tree).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"  {name}: {len(files)} files, {size >> 20} MiB in this profile", flush=True)
        see(f"{name} has no shell", not [path for path in files if path.name in ("sh", "bash", "busybox")])


def refusals(images):
    status, said = images["gateway"].run()
    see("a gateway that others reach and that has no keys ends with status 2",
        status == 2 and "API_KEYS_FILE" in said, f"{status} {said}")
    status, said = images["streamer"].run(environment={"CSV_FILE": "/nowhere"})
    see("a streamer without exports ends with status 2", status == 2 and "/nowhere" in said, f"{status} {said}")
    status, said = images["collector"].run(environment={"METRICS_ADDR": ""}, entrypoint=images["collector"].health)
    see("who tells nothing has no health", status == 1 and "METRICS_ADDR" in said, f"{status} {said}")


def flow(images, folder, nexus):
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "db_password").write_text("password\n")
    mounts = {"/run/secrets": str(secrets)}
    data = folder / "data"
    data.mkdir()
    (data / "rows.csv").write_bytes((ROOT / "data/gpu_telemetry_sample.csv").read_bytes())
    folder.chmod(0o755)
    containers = {
        "collector": Container("collector", images["collector"], folder / "collector.log", DATABASE, mounts),
        "gateway": Container("gateway", images["gateway"], folder / "gateway.log",
                             DATABASE | {"ALLOW_ANONYMOUS": "true", "METRICS_OPEN": "true"}, mounts),
        "streamer": Container("streamer", images["streamer"], folder / "streamer.log",
                              {"STREAM_INTERVAL": "200ms"}, {"/data": str(data)}),
    }
    try:
        for name, container in containers.items():
            container.until_healthy("--live")
            status, said = container.health()
            see(f"{name} without servers is live, and its health check says why it is not ready",
                status == 1 and "503" in said and said.count("\n") == 1, f"{status} {said}")
        servers = {"NEXUS_DIR": str(folder / "servers"), "PATH": os.environ["PATH"]}
        for server in ("etcd", "postgres"):
            done = subprocess.run([nexus, server, "start"], env=os.environ | servers, capture_output=True, text=True, check=False)
            see(f"{server} is started", done.returncode == 0, done.stdout + done.stderr)
        for name, container in containers.items():
            container.until_healthy()
            see(f"{name}'s health check ends with 0 and says nothing", container.health() == (0, ""))
            problems = list(container.confined())
            see(f"{name} is user 65532 without capabilities, and writes nowhere", not problems, problems)
        until("GPUs are shown", lambda: get(f"{GATEWAY}/api/v1/gpus")["items"])
        until("their values are shown", lambda: get(f"{GATEWAY}/api/v1/telemetry/latest")["items"])
        see("rows flow from the file to the gateway", True)
        for port, job in ((9101, "streamer"), (9102, "collector"), (8080, "gateway")):
            told = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/metrics"], capture_output=True, text=True, check=False).stdout
            see(f"{job} tells its figures on {port}", f'component="{job}"' in told, told[:200])
        # Streaming is ended first, so that the books stand still.
        for name in ("streamer", "collector", "gateway"):
            if name == "collector":
                audit = images["tools"]
                def balanced():
                    status, said = audit.run("audit", "--json", environment=DATABASE, mounts=mounts)
                    total = json.loads(said)["total"]
                    return status == 0 and total["stored"] > 0 and total["stored"] == total["read"] and total
                total = until("every row is stored", balanced)
                see(f"the audit, of nexus-tools, finds every row: {total['stored']} of {total['read']}", total["residue"] == 0)
            status, took = containers[name].stop()
            see(f"{name} drains on SIGTERM within 35 s", status == 0 and took < 35, f"{status} after {took:.1f} s")
        status, said = containers["gateway"].health()
        see("a gateway that is gone is unhealthy", status == 1 and "refused" in said, said)
    except BaseException:
        for name, container in containers.items():
            print(f"--- {name}: {container.said()[-1500:]}", flush=True)
        raise
    finally:
        for container in containers.values():
            if container.child.poll() is None:
                container.child.kill()


def https(images, folder):
    """The health check over HTTPS, whatever name the certificate is for."""
    secrets = folder / "secrets"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=gateway.example", "-addext", "subjectAltName=DNS:gateway.example",
                    "-keyout", secrets / "gateway.key", "-out", secrets / "gateway.pem"], check=True, capture_output=True)
    (secrets / "gateway.key").chmod(0o644)
    papers = {"TLS_CERT_FILE": "/run/secrets/gateway.pem", "TLS_KEY_FILE": "/run/secrets/gateway.key"}
    gateway = Container("gateway", images["gateway"], folder / "https.log", DATABASE | papers | {"ALLOW_ANONYMOUS": "true"},
                        {"/run/secrets": str(secrets)})
    gateway.until_healthy()
    see("HTTPS is asked for its health, too", True)
    gateway.environment = {name: value for name, value in gateway.environment.items() if name not in papers}
    status, said = gateway.health()
    see("and plain HTTP is not taken for healthy", status == 1, said)
    see("it drains", gateway.stop()[0] == 0)


def tools(images):
    image = images["tools"]
    shell = ["/bin/sh", "-c"]
    for program in ("etcdctl version", "psql --version", "pg_basebackup --version", "flock --version"):
        status, said = image.run(program, entrypoint=shell, mounts={"/tmp": ""})
        see(f"nexus-tools has {program.split()[0]}", status == 0, said)
    scripts = sorted(path.name for path in (pathlib.Path(image.tree) / "opt/nexus/backup").glob("*.sh") if os.access(path, os.X_OK))
    for script in scripts:
        status, said = image.run("--help", entrypoint=[f"/opt/nexus/backup/{script}"], mounts={"/tmp": ""})
        # With all it needs to start; one that takes no options refuses this one.
        see(f"/opt/nexus/backup/{script} starts", status in (0, 2) and "not found" not in said, said)
    see("the backup scripts are there", {"etcd.sh", "postgres.sh"} <= set(scripts), scripts)


def main():
    given = json.loads(sys.argv[1])
    images = {name: Image(**image) for name, image in given["images"].items()}
    loopback_up()
    with tempfile.TemporaryDirectory(prefix="nexus-images-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        what_they_are(images, given["version"])
        refusals(images)
        if "tools" in images:
            tools(images)
        flow(images, folder, given["nexus"])
        https(images, folder)
    for fault in faults:
        print(f"FAILED: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

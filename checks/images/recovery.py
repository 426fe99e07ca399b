#!/usr/bin/env python3
"""Follows compose's backups and their restore (docs/BACKUP.md, "With compose") without a container engine.

The lines of that section are read from it, and done with what compose.yaml says of each service: its command, environment,
user and capabilities, and folders of this process's own in the places of its volumes. PostgreSQL and etcd are this machine's.
Rows and a key are written, backed up, destroyed, restored by the lines, and are there again.

Called by run.py with mounts, a network and processes of its own, which end with it; so do all changes, on an overlay of this machine.
"""

import fcntl
import os
import pathlib
import re
import shlex
import shutil
import socket
import struct
import subprocess
import tempfile

from ruamel.yaml import YAML

from stack import faults, loopback_up, see, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER = "65532"
# What services have in a network of containers: no address of this host, for which PostgreSQL has lines of its own.
ADDRESS = "10.0.0.2"
SIOCSIFADDR = 0x8916
PGDATA = pathlib.Path("/var/lib/postgresql/data/pgdata")
BINARIES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
PATH = f"{BINARIES}:/usr/local/bin:/usr/bin:/bin:/usr/sbin"


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def empty(place, mode):
    """As a volume at its first use."""
    pathlib.Path(place).mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", place)


def lend(source, place):
    place = pathlib.Path(place)
    if pathlib.Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    mount("--bind", source, place)


def addressed():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFADDR, struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(ADDRESS)))


def lines():
    """What the section has people type, without its cron lines."""
    section = (ROOT / "docs/BACKUP.md").read_text().split("\n### With compose\n")[1].split("\n### ")[0]
    typed = "\n".join(re.findall(r"^```\n(.*?)^```", section, re.M | re.S)).splitlines()
    return [line for line in typed if line.startswith("docker compose ")]


class Compose:
    """The services as compose.yaml has them."""

    def __init__(self, folder):
        self.services = YAML(typ="safe").load(folder / "compose.yaml")["services"]
        self.running = {}

    def confined(self, name, user=None):
        """A command line's beginning: the service's user, the capabilities it keeps, its environment."""
        service = self.services[name]
        user = user or str(service.get("user", USER if service["image"].startswith("nexus-") else "0")).split(":")[0]
        kept = "".join(f",+{capability.lower()}" for capability in service.get("cap_add", []))
        environment = {"PATH": PATH, "LANG": "C.UTF-8"} | {key: str(value) for key, value in service.get("environment", {}).items()}
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs", "--inh-caps=-all", f"--bounding-set=-all{kept}",
                "env", "-i", *(f"{key}={value}" for key, value in environment.items())]

    def run(self, name, *command, user=None, **rest):
        done = subprocess.run([*self.confined(name, user), *command], capture_output=True, text=True, check=False, **rest)
        return done.returncode, done.stdout + done.stderr

    def log(self, name):
        log = pathlib.Path(f"/tmp/{name}.log")
        return log.read_text() if log.exists() else ""

    def until(self, name, what, ask, patience):
        """Waits, and says at the end what stands in the service's log by then."""
        try:
            until(what, ask, patience)
        except SystemExit as late:
            raise SystemExit(f"{late}\n{self.log(name)[-2000:]}") from None

    def start(self, name):
        program, *flags = self.services[name]["command"]
        command = [shutil.which(pathlib.Path(program).name, path=PATH), *flags]
        # Listening where its image does: on all addresses, of which this network has one.
        if name == "postgres":
            command += ["-c", "listen_addresses=*"]
        self.running[name] = subprocess.Popen([*self.confined(name), *command], stdout=open(f"/tmp/{name}.log", "a"), stderr=subprocess.STDOUT)
        healthy = [pathlib.Path(word).name if word.startswith("/") else word for word in self.services[name]["healthcheck"]["test"][1:]]
        self.until(name, f"{name} is healthy", lambda: self.run(name, *healthy)[0] == 0, 60)

    def stop(self, name):
        child = self.running.pop(name)
        child.send_signal(2 if name == "postgres" else 15)
        child.wait(60)

    def first_start(self):
        """What PostgreSQL's image does on an empty volume."""
        service = self.services["postgres"]
        arguments = shlex.split(service["environment"]["POSTGRES_INITDB_ARGS"])
        done = self.run("postgres", "bash", "-c", 'initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" "$@"', "initdb", *arguments)
        see("a database is made in a folder of its volume, by a user of no name in the image", done[0] == 0, done[1])
        with (PGDATA / "pg_hba.conf").open("a") as hba:
            hba.write("host all all all scram-sha-256\n")
        flags = " ".join(map(shlex.quote, [*service["command"][1:], "-c", "listen_addresses="]))
        done = self.run("postgres", "pg_ctl", "-w", "-l", "/tmp/first.log", "-o", flags, "start")
        see("it starts with compose.yaml's flags", done[0] == 0, done[1])
        done = self.run("postgres", "/docker-entrypoint-initdb.d/roles.sh")
        see("roles.sh makes the roles", done[0] == 0, done[1])
        self.run("postgres", "pg_ctl", "-m", "fast", "-w", "stop")

    def sql(self, statement):
        return self.run("postgres", "psql", "-U", "postgres", "-d", "telemetry", "-qAtc", statement)[1].strip()

    def type(self, line):
        """`docker compose …` by hand: what it says, or None where it is about what does not run here."""
        words = shlex.split(line.partition(" #")[0])[2:]
        verb, words = words[0], [word for word in words[1:] if word not in ("--rm", "--build", "--detach", "--wait", "-T")]
        user = None
        if "--user" in words:
            at = words.index("--user")
            user = words[at + 1]
            del words[at:at + 2]
        name, *command = words
        if verb == "stop":
            self.stop(name)
        elif verb == "up":
            self.start(name)
        elif verb in ("run", "exec"):
            status, said = self.run(name, *command, user=user)
            see(line, status == 0, said)
            return said
        else:
            raise SystemExit(f"nobody here knows how to follow {line}")
        see(line, True)
        return ""


def leave():
    """For a root whose changes are gone with this process."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="nexus-recovery-"))
    mount("-t", "tmpfs", "tmpfs", work)
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={work}/upper,workdir={work}/work", "overlay", work / "root")
    for place in ("proc", "dev"):
        mount("--rbind", f"/{place}", work / "root" / place)
    os.chroot(work / "root")
    os.chdir("/")


def prepare(folder):
    """secrets.sh, volumes, names, and a user's name, for which PostgreSQL's image has a library of its own."""
    shutil.copytree(ROOT / "deployments/docker", folder, ignore=shutil.ignore_patterns("secrets", "backup"), dirs_exist_ok=True)
    subprocess.run([folder / "secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    hosts, users = folder / "hosts", folder / "passwd"
    hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} etcd postgres\n")
    users.write_text(pathlib.Path("/etc/passwd").read_text() + f"postgres-of-the-image:x:{USER}:{USER}::{PGDATA}:/bin/false\n")
    for file, place in ((hosts, "/etc/hosts"), (users, "/etc/passwd")):
        mount("--bind", file, place)
    empty("/run/postgresql", "1777")
    empty("/var/lib/postgresql", "755")
    empty("/var/lib/postgresql/data", "1777")
    empty("/var/lib/etcd", "755")
    for place in ("/backup", "/run/secrets", "/opt/nexus", "/docker-entrypoint-initdb.d"):
        empty(place, "755")
    lend(folder / "backup/nexus", "/backup")
    # One by one, as an engine does: nobody but its owner gets into the folder.
    for secret in (folder / "secrets").iterdir():
        lend(secret, f"/run/secrets/{secret.name}")
    lend(ROOT / "scripts/backup", "/opt/nexus/backup")
    lend(folder / "postgres/roles.sh", "/docker-entrypoint-initdb.d/roles.sh")


def followed(compose):
    compose.first_start()
    for name in ("etcd", "postgres"):
        compose.start(name)
    etcdctl = ["env", "ETCDCTL_API=3", "etcdctl"]
    compose.sql("CREATE TABLE kept AS SELECT 1 AS backed_up")
    compose.run("etcd", *etcdctl, "put", "/telemetry/kept", "backed up")
    for line in lines():
        if line.endswith("stop postgres"):
            # Written since the base backup, and archived: what a restore brings back besides. In two calls: what one call has is one
            # transaction, and its commit would lie in the next segment.
            compose.sql("INSERT INTO kept VALUES (2)")
            segment = compose.sql("SELECT pg_walfile_name(pg_switch_wal())")
            archived = pathlib.Path(f"/backup/wal/{segment}.gz")
            compose.until("postgres", f"{archived} is there", archived.exists, 60)
            waits = "EXISTS (SELECT FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')"
            asked = f"SELECT last_archived_wal >= '{segment}' AND NOT {waits} FROM pg_stat_archiver"
            compose.until("postgres", "nothing waits to be archived", lambda: compose.sql(asked) == "t", 10)
        said = compose.type(line)
        if "pg_is_in_recovery" in line:
            until("it takes writes", lambda: compose.sql("SELECT pg_is_in_recovery()") == "f", 60)
            see("the base backup is restored, and the archived log after it", compose.sql("SELECT * FROM kept ORDER BY 1") == "1\n2",
                compose.sql("SELECT * FROM kept") + said)
            see("the database that was moved away is another one", PGDATA.with_name("pgdata.broken").is_dir())
        if " up " in line and line.endswith("etcd"):
            status, said = compose.run("etcd", *etcdctl, "get", "/telemetry/kept", "--print-value-only")
            see("etcd is restored", said.strip() == "backed up", f"{status} {said}")
    for name in list(compose.running):
        compose.stop(name)


def main():
    loopback_up()
    addressed()
    leave()
    folder = pathlib.Path("/checkout")
    prepare(folder)
    compose = Compose(folder)
    try:
        followed(compose)
    finally:
        for child in compose.running.values():
            child.kill()
        for fault in faults:
            print(f"FAILED: {fault}")
        if faults:
            print(compose.log("postgres")[-3000:])
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()

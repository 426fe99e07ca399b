"""etcd and PostgreSQL on this machine, as deployments/k8s starts them: its flags, its files, other addresses."""

import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from chart import PLAIN, ROOT, find, k8s

sys.path.append(str(ROOT / "checks"))

from ground import free_ports


def until(what, done, patience=60):
    deadline = time.monotonic() + patience
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.05)


class Process:
    """One program with a log, ended with its owner."""

    def __init__(self, command, log, **how):
        self.log = Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **how)

    def is_running(self):
        return self.process.poll() is None

    def tell(self, number=signal.SIGTERM):
        if self.is_running():
            self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        self.tell(number)
        return self.ended(60)

    def ended(self, patience):
        """Its exit status; None where it took longer and had to be killed."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def said(self):
        return self.log.read_text(errors="replace")[-3000:]


def arguments_of(workload, kind="StatefulSet"):
    return find(k8s(), kind, workload)["spec"]["template"]["spec"]["containers"][0]["args"]


class Etcd:
    """The three members of etcd-cluster.yaml, or of the one with certificates: then `papers` is a folder with the secret's files."""

    def __init__(self, folder, manifest=PLAIN, papers=None):
        documents = k8s(manifest)
        container = find(documents, "StatefulSet", "nexus-etcd")["spec"]["template"]["spec"]["containers"][0]
        given = {one["name"]: self.given(one, documents) for one in container["env"]}
        scheme = "https" if papers else "http"
        self.asked = {name: value.replace("/etc/etcd/tls/", f"{papers}/") for name, value in given.items() if name.startswith("ETCDCTL_")}
        self.members, names = {}, [f"nexus-etcd-{number}" for number in range(3)]
        ports = dict(zip([(name, port) for name in names for port in (2379, 2380, 2381)], free_ports(9)))
        for name in names:
            # Debian's may be older than the image: what it has been told since is the only thing that is not tried.
            arguments = container["args"]
            for variable, value in (given | {"POD_NAME": name}).items():
                arguments = [argument.replace(f"$({variable})", value) for argument in arguments]
            arguments = [re.sub(r"(nexus-etcd-\d)\.nexus-etcd:(\d+)", lambda m: f"127.0.0.1:{ports[m[1], int(m[2])]}", a) for a in arguments]
            arguments = [re.sub(r"0\.0\.0\.0:(\d+)", lambda m: f"127.0.0.1:{ports[name, int(m[1])]}", a) for a in arguments]
            arguments = [a.replace("/var/lib/etcd/", f"{folder}/{name}/").replace("/etc/etcd/tls/", f"{papers}/") for a in arguments]
            assert not [a for a in arguments if "$(" in a or "nexus-etcd:" in a], arguments
            os.makedirs(f"{folder}/{name}")
            self.members[name] = Process(["etcd", *arguments], f"{folder}/{name}.log")
        self.ports, self.scheme = ports, scheme

    @staticmethod
    def given(variable, documents):
        """A variable's value, also where it stands in a config map; one that Kubernetes fills in has none."""
        source = variable.get("valueFrom", {}).get("configMapKeyRef")
        return find(documents, "ConfigMap", source["name"])["data"][source["key"]] if source else variable.get("value", "")

    def etcdctl(self, *arguments):
        """As the pod has it, on this machine's addresses."""
        endpoints = ",".join(f"{self.scheme}://{self.address(name)}" for name in self.members)
        environment = os.environ | self.asked | {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": endpoints}
        return subprocess.run(["etcdctl", *arguments], env=environment, capture_output=True, text=True)

    def address(self, member):
        return f"127.0.0.1:{self.ports[member, 2379]}"

    def until_healthy(self):
        def healthy():
            for name, member in self.members.items():
                assert member.is_running(), f"{name} ended: {member.said()}"
            return self.etcdctl("endpoint", "health").returncode == 0

        until("etcd is healthy", healthy)

    def stop(self):
        for member in self.members.values():
            member.stop()


def program(name):
    for folder in [*sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True), *os.environ["PATH"].split(":")]:
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise AssertionError(f"{name} is missing: scripts/setup.sh --tests")


class Postgres:
    """The server of postgresql.yaml: made by its SQL, reached by its pg_hba.conf, archiving as it says."""

    def __init__(self, folder, passwords):
        config = find(k8s(), "ConfigMap", "nexus-postgresql")["data"]
        [self.port] = free_ports(1)
        self.folder, self.archive = Path(folder), Path(folder) / "backup"
        for name in ("run", "backup"):
            (self.folder / name).mkdir()
        for name, text in (config | {"password": passwords["postgres-password"]}).items():
            (self.folder / name).write_text(text)
        # PostgreSQL does not run as root.
        self.account = {}
        if os.geteuid() == 0:
            user = next(entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
            for path in [self.folder, *self.folder.iterdir()]:
                os.chown(path, user.pw_uid, user.pw_gid)
            self.account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.quiet = {"cwd": self.folder, "capture_output": True, "text": True, "check": True} | self.account
        subprocess.run([program("initdb"), "--pgdata=data", "--username=postgres", "--data-checksums", "--auth=trust", "--pwfile=password"], **self.quiet)
        shutil.copy(ROOT / "scripts/backup/wal.sh", self.folder / "wal.sh")
        arguments = []
        for argument in arguments_of("nexus-postgresql"):
            argument = argument.replace("/etc/nexus/", f"{self.folder}/").replace("=/backup ", f"={self.archive} ")
            arguments.append(argument.replace("/opt/nexus/backup/wal.sh", f"{self.folder}/wal.sh"))
        arguments += [f"--port={self.port}", "--listen_addresses=127.0.0.1", f"--unix_socket_directories={self.folder}/run"]
        self.server = Process([program("postgres"), "-D", "data", *arguments], f"{folder}/postgres.log", cwd=self.folder, **self.account)
        until("PostgreSQL answers", lambda: self.sql("SELECT 1", check=False).returncode == 0 or self.must_run())
        environment = os.environ | {"NEXUS_PASSWORD": passwords["password"], "NEXUS_BACKUP_PASSWORD": passwords["backup-password"]}
        self.sql_file(self.folder / "nexus.sql", environment)

    def must_run(self):
        assert self.server.is_running(), self.server.said()

    def psql(self, *arguments, **how):
        where = [f"--host={self.folder}/run", f"--port={self.port}", "--username=postgres", "--no-password", "--no-psqlrc", "-tA"]
        return subprocess.run([program("psql"), *where, "--set=ON_ERROR_STOP=1", *arguments], **(self.quiet | how))

    def sql(self, text, database="postgres", **how):
        return self.psql(f"--dbname={database}", f"--command={text}", **how)

    def sql_file(self, path, environment):
        return self.psql("--dbname=postgres", f"--file={path}", env=environment)

    def stop(self):
        # SIGINT, as the image is stopped: connections are cut.
        return self.server.stop(signal.SIGINT)

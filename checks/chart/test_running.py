"""The four commands of the request on this machine: etcd and PostgreSQL as deployments/k8s has them, the chart's job and its
three programs with nothing but what a release of default values gives them."""

import base64
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from chart import ROOT, find, pod_of, render
from servers import Etcd, Postgres, Process, free_ports, program, until
from test_programs import BINARIES, SCRIPTS, environment_of

# Backups are off by default, and so are operators' tools; the claim is the one of postgresql.yaml.
DOCUMENTS = render({"backup": {"enabled": True}, "tools": {"enabled": True}})
CHECKS = ("startupProbe", "livenessProbe", "readinessProbe")


def ask(address, key=None):
    """Status and text."""
    request = urllib.request.Request(f"http://{address}", headers={"authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Pod:
    """A container's process, with its volumes in a folder, and its addresses on this machine."""

    def __init__(self, workload, folder, etcd, postgres, documents=DOCUMENTS, secrets=None):
        """`secrets`: those that the documents name and have not, as keys and their bytes."""
        self.documents, self.secrets = documents, secrets or {}
        self.pod, name = pod_of(workload)["spec"], workload["metadata"]["name"]
        [self.container] = self.pod["containers"]
        self.folder = Path(folder) / name
        mounts = {mount["mountPath"]: self.volume(mount["name"]) for mount in self.container["volumeMounts"]}
        environment = environment_of(self.container, documents)
        fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in self.container.get("env", []) if "valueFrom" in one}
        self.environment = {"PATH": os.environ["PATH"]}
        [self.port] = free_ports(1)
        for name, value in environment.items():
            if value is None:
                # The only pod of its set.
                assert fields[name] == "metadata.labels['apps.kubernetes.io/pod-index']", fields[name]
                value = "0"
            for path, content in mounts.items():
                if value == path or value.startswith(path + "/"):
                    value = f"{content}{value.removeprefix(path)}"
            for member in etcd.members:
                value = value.replace(f"{member}.nexus-etcd:2379", etcd.address(member))
            value = value.replace("$(POD_INDEX)", "0")
            self.environment[name] = value
        if "DB_HOST" in self.environment:
            assert (self.environment["DB_HOST"], self.environment["DB_PORT"]) == ("nexus-postgresql", "5432")
            self.environment |= {"DB_HOST": "127.0.0.1", "DB_PORT": str(postgres.port)}
        # The port is another one here; that it is the one of the probes is test_programs' to see.
        if "METRICS_ADDR" in self.environment:
            self.environment["METRICS_ADDR"] = f"0.0.0.0:{self.port}"
        if "PORT" in self.environment:
            self.environment["PORT"] = str(self.port)

    def volume(self, name):
        """The folder of a volume, with the files that Kubernetes would lay there."""
        [volume] = [one for one in self.pod["volumes"] if one["name"] == name]
        folder = self.folder / name
        folder.mkdir(parents=True)
        if "secret" in volume:
            content = self.secret(volume["secret"]["secretName"])
            items = volume["secret"].get("items", [{"key": key, "path": key} for key in content])
        elif "configMap" in volume:
            packed = find(self.documents, "ConfigMap", volume["configMap"]["name"])["binaryData"]
            content = {key: base64.b64decode(text) for key, text in packed.items()}
            items = [{"key": key, "path": key} for key in content]
        else:
            return folder
        for item in items:
            (folder / item["path"]).write_bytes(content[item["key"]])
        return folder

    def secret(self, name):
        if name in self.secrets:
            return self.secrets[name]
        return {key: text.encode() for key, text in find(self.documents, "Secret", name)["stringData"].items()}

    def command(self):
        command = self.container.get("command", [f"nexus-{self.container['name']}"])
        return [BINARIES / Path(command[0]).name, *self.container.get("args", [])]

    def start(self):
        self.process = Process(self.command(), f"{self.folder}.log", env=self.environment)
        return self

    def answers(self, probe):
        path = self.container[probe]["httpGet"]["path"]
        return ask(f"127.0.0.1:{self.port}{path}")[0] == 200


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="nexus-chart-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        for name in ("etcd", "postgres", "pods"):
            os.mkdir(f"{cls.folder}/{name}")
        cls.passwords = find(DOCUMENTS, "Secret", "nexus-postgresql")["stringData"]
        cls.etcd = Etcd(f"{cls.folder}/etcd")
        cls.addClassCleanup(cls.etcd.stop)
        cls.postgres = Postgres(f"{cls.folder}/postgres", cls.passwords)
        cls.addClassCleanup(cls.postgres.stop)
        cls.etcd.until_healthy()

    def pod(self, kind, name):
        return Pod(find(DOCUMENTS, kind, f"nexus-pipeline-{name}"), f"{self.folder}/pods", self.etcd, self.postgres)

    def test_a_release_of_default_values_works(self):
        migrate = self.pod("Job", "migrate")
        done = subprocess.run(migrate.command(), env=migrate.environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("applied V1__registry_samples_ledger\n", done.stdout)
        again = subprocess.run(migrate.command(), env=migrate.environment, capture_output=True, text=True, timeout=120)
        self.assertTrue(again.returncode == 0 and again.stdout.endswith(" already\n"), again.stdout + again.stderr)

        started = {
            "streamer": self.pod("StatefulSet", "streamer"), "collector": self.pod("Deployment", "collector"),
            "gateway": self.pod("Deployment", "gateway"),
        }
        for pod in started.values():
            pod.start()
            self.addCleanup(pod.process.stop)
        for name, pod in started.items():
            for probe in CHECKS:
                until(f"{name}: {probe}", lambda: pod.answers(probe) or self.assertTrue(pod.process.is_running(), pod.process.said()))

        # The gateway asks for a key, and the two of the secret are good.
        gateway = f"127.0.0.1:{started['gateway'].port}"
        keys = find(DOCUMENTS, "Secret", "nexus-pipeline-keys")["stringData"]
        latest = f"{gateway}/api/v1/telemetry/latest"
        self.assertEqual(ask(latest)[0], 401)
        self.assertEqual(ask(f"{gateway}/metrics")[0], 401)
        until("the sample arrives", lambda: ask(latest, keys["reader"])[0] == 200 and "host-001" in ask(latest, keys["reader"])[1])

        # Operators' commands, with nothing but what their pod has.
        tools = self.pod("Deployment", "tools")
        for arguments, status, word in ((["audit"], 0, "balanced at revision"), (["rewind", "--all"], 0, ""), (["members"], 0, "gateway")):
            done = subprocess.run([BINARIES / "nexus", *arguments], env=tools.environment, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, word in done.stdout), (status, True), f"{arguments}: {done.stdout}{done.stderr}")

        # What is scaled by is there, under the label that it is chosen by.
        scraped = {name: ask(f"127.0.0.1:{pod.port}/metrics", keys["prometheus"]) for name, pod in started.items()}
        self.assertEqual({name: status for name, (status, _) in scraped.items()}, dict.fromkeys(started, 200))
        scaler = find(render({"collector": {"autoscaling": {"enabled": True}}}), "HorizontalPodAutoscaler", "nexus-pipeline-collector")
        metric = scaler["spec"]["metrics"][0]["external"]["metric"]
        self.assertIn(f"\n{metric['name']}{{cluster=\"{metric['selector']['matchLabels']['cluster']}\"}} ", scraped["collector"][1])

        # Told to stop they drain, within the time that Kubernetes gives.
        for pod in started.values():
            pod.process.tell()
        for name, pod in started.items():
            self.assertEqual(pod.process.ended(pod.pod["terminationGracePeriodSeconds"]), 0, f"{name}: {pod.process.said()}")

    def test_users_of_the_database_may_what_they_need(self):
        """By TCP with their passwords: the owner its database, the backup's user replication, the administrator nothing."""
        def connects(user, key, database="telemetry", *options):
            where = f"host=127.0.0.1 port={self.postgres.port} user={user} dbname={database} {' '.join(options)}"
            environment = os.environ | {"PGPASSWORD": self.passwords[key]}
            command = [program("psql"), where, "--no-password", "--command=" + ("IDENTIFY_SYSTEM" if options else "SELECT 1")]
            return subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/").returncode == 0

        self.assertTrue(connects("telemetry", "password"))
        self.assertFalse(connects("telemetry", "backup-password"))
        self.assertFalse(connects("telemetry", "password", "postgres"))
        self.assertFalse(connects("postgres", "postgres-password"))
        self.assertTrue(connects("nexus_backup", "backup-password", "telemetry", "replication=true"))
        self.assertFalse(connects("telemetry", "password", "telemetry", "replication=true"))
        owns = self.postgres.sql("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'telemetry'").stdout.strip()
        self.assertEqual(owns, "f|f")

    def test_the_log_is_archived(self):
        self.postgres.sql("SELECT pg_switch_wal()")
        until("a segment is archived", lambda: list((self.postgres.archive / "wal").glob("0*.gz")))

    def test_backups_are_taken(self):
        for what, made in (("etcd", "etcd-*.db"), ("postgres", "base-*/backup_manifest")):
            pod = self.pod("CronJob", f"backup-{what}")
            [command] = pod.container["command"]
            environment = pod.environment | {"BACKUP_DIR": str(self.postgres.archive)}
            done = subprocess.run([SCRIPTS / Path(command).name], env=environment, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertEqual(len(list((self.postgres.archive / what).glob(made))), 1, done.stdout)
        self.are_restored()

    def are_restored(self):
        """By the scripts, as docs/BACKUP.md has them called in the pod of tools, as the servers' own user, with what that pod has."""
        folder = Path(self.folder) / "restored"
        tools = Pod(find(DOCUMENTS, "Deployment", "nexus-pipeline-tools"), f"{folder}/pods", self.etcd, self.postgres)
        shutil.copytree(SCRIPTS, folder / "scripts")
        for volume in ("data-nexus-postgresql-0", "data-nexus-etcd-0"):
            (folder / "volumes" / volume).mkdir(parents=True)
        if self.postgres.account:
            for path in [folder, *(folder / "volumes").rglob("*"), *self.postgres.archive.rglob("*")]:
                # A segment that is being archived has another name for a moment, and its owner is the right one.
                with contextlib.suppress(FileNotFoundError):
                    os.chown(path, self.postgres.account["user"], self.postgres.account["group"])
        text = (ROOT / "docs/BACKUP.md").read_text().split("### In Kubernetes")[1].split("\n### ")[0].replace("\\\n", " ")
        for line in re.findall(r"tools /opt/nexus/backup/(restore-\w+\.sh .*)", text):
            script, *arguments = shlex.split(line.replace("$n", "0").replace(" /volumes/", f" {folder}/volumes/"))
            if "--before" in arguments:
                # Of the example, another day.
                at = arguments.index("--before")
                del arguments[at:at + 2]
            done = subprocess.run([folder / "scripts" / script, *arguments], env=tools.environment | {"BACKUP_DIR": str(self.postgres.archive)},
                                  cwd="/", capture_output=True, text=True, timeout=120, **self.postgres.account)
            self.assertEqual(done.returncode, 0, f"{script}: {done.stdout}{done.stderr}")
        self.assertTrue((folder / "volumes/data-nexus-postgresql-0/pgdata/recovery.signal").exists())
        self.assertTrue((folder / "volumes/data-nexus-etcd-0/data/member/snap/db").exists())


if __name__ == "__main__":
    unittest.main()

"""The etcd with certificates and users of deployments/k8s: made by what its README has people type, three members of it started,
and the chart's programs on it with the values that go with it."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from chart import ROOT, TLS, find, k8s, render
from matrix import SECURE
from servers import Etcd, Postgres, program, until
from test_programs import SCRIPTS
from test_running import CHECKS, Pod, ask
from typed import Typed, block

README = "deployments/k8s/README.md"
DOCUMENTS = render(SECURE | {"backup": {"enabled": True}})


def secrets_of(said, folder):
    """What `kubectl create secret generic` would make, by name: keys and their bytes."""
    made = {}
    for words in said:
        if words[1:4] != ["create", "secret", "generic"]:
            continue
        content = made.setdefault(words[4], {})
        for word in words[5:]:
            key, _, path = word.removeprefix("--from-file=").rpartition("=")
            path = folder / path
            for file in path.iterdir() if path.is_dir() else [path]:
                content[key or file.name] = file.read_bytes()
    return made


class Secure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="nexus-secure-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.folder.chmod(0o755)
        cls.papers = cls.folder / "papers"
        for name in ("papers", "server", "etcd", "postgres", "pods"):
            (cls.folder / name).mkdir()
        typed = Typed(cls.folder / "typed", "kubectl")
        cls.types(typed, block(README, "openssl req -x509"))
        for name, content in secrets_of(typed.said(), cls.papers)["nexus-etcd-server"].items():
            (cls.folder / "server" / name).write_bytes(content)
        cls.etcd = Etcd(f"{cls.folder}/etcd", TLS, f"{cls.folder}/server")
        cls.addClassCleanup(cls.etcd.stop)
        cls.database = find(DOCUMENTS, "Secret", "nexus-postgresql")["stringData"]
        cls.postgres = Postgres(f"{cls.folder}/postgres", cls.database)
        cls.addClassCleanup(cls.postgres.stop)
        cls.etcd.until_healthy()
        users = block(README, "scripts/roles-etcd.sh").replace("localhost:2379", cls.etcd.address("nexus-etcd-0"))
        cls.types(typed, users, {"NEXUS": str(ROOT)})
        cls.secrets = secrets_of(typed.said(), cls.papers)

    @classmethod
    def types(cls, typed, text, environment=()):
        done = typed.run(text, environment, cls.papers)
        assert done.returncode == 0, done.stdout + done.stderr

    def pod(self, kind, name):
        return Pod(find(DOCUMENTS, kind, f"nexus-pipeline-{name}"), self.folder / "pods", self.etcd, self.postgres, DOCUMENTS, self.secrets)

    def test_a_release_works_on_it(self):
        migrate = self.pod("Job", "migrate")
        done = subprocess.run(migrate.command(), env=migrate.environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        started = {name: self.pod(kind, name) for kind, name in (("StatefulSet", "streamer"), ("Deployment", "collector"), ("Deployment", "gateway"))}
        for pod in started.values():
            pod.start()
            self.addCleanup(pod.process.stop)
        for name, pod in started.items():
            for probe in CHECKS:
                until(f"{name}: {probe}", lambda: pod.answers(probe) or self.assertTrue(pod.process.is_running(), pod.process.said()))
        latest = f"127.0.0.1:{started['gateway'].port}/api/v1/telemetry/latest"
        key = find(DOCUMENTS, "Secret", "nexus-pipeline-keys")["stringData"]["reader"]
        until("the sample arrives", lambda: ask(latest, key)[0] == 200 and "host-001" in ask(latest, key)[1])
        for pod in started.values():
            pod.process.tell()
        for name, pod in started.items():
            self.assertEqual(pod.process.ended(pod.pod["terminationGracePeriodSeconds"]), 0, f"{name}: {pod.process.said()}")

        backup = self.pod("CronJob", "backup-etcd")
        environment = backup.environment | {"BACKUP_DIR": str(self.folder / "backup")}
        (self.folder / "backup").mkdir()
        done = subprocess.run([SCRIPTS / "etcd.sh"], env=environment, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.grafana_reads()

    def grafana_reads(self):
        """As deployments/grafana/role.sql lets it, by TCP with its password; run twice, as people do."""
        for _ in range(2):
            self.postgres.psql("--dbname=telemetry", input=(ROOT / "deployments/grafana/role.sql").read_text())
        self.postgres.sql("ALTER ROLE grafana PASSWORD 'grafana'")
        self.postgres.sql("SET ROLE telemetry; CREATE TABLE samples_of_tomorrow ()", "telemetry")

        def asks(sql):
            where = f"host=127.0.0.1 port={self.postgres.port} user=grafana dbname=telemetry"
            command = [program("psql"), where, "--no-password", "--set=ON_ERROR_STOP=1", "-tA", f"--command={sql}"]
            done = subprocess.run(command, env=os.environ | {"PGPASSWORD": "grafana"}, capture_output=True, text=True, cwd="/")
            return done.returncode, done.stdout.strip(), done.stderr

        status, found, why = asks("SELECT count(*) > 0 FROM samples")
        self.assertEqual((status, found), (0, "t"), why)
        self.assertEqual(asks("SELECT count(*) FROM samples_of_tomorrow")[0], 0)
        status, _, why = asks("BEGIN READ WRITE; DELETE FROM samples")
        self.assertTrue(status != 0 and "permission denied" in why, why)

    def test_nobody_else_is_let_in(self):
        client = {"ETCDCTL_CERT": f"{self.papers}/nexus-etcd-client.crt", "ETCDCTL_KEY": f"{self.papers}/nexus-etcd-client.key"}

        def asks(*arguments, user=None, **change):
            environment = os.environ | self.etcd.asked | client | {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": f"https://{self.etcd.address('nexus-etcd-1')}"}
            environment |= {"ETCDCTL_USER": f"nexus-{user}:{(self.papers / 'users' / user).read_text().strip()}"} if user else {}
            environment = {name: value for name, value in (environment | change).items() if value}
            done = subprocess.run(["etcdctl", *arguments], env=environment, capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr

        # Plain, without a certificate, without a user, and with one that only reads there.
        bare = dict.fromkeys(("ETCDCTL_CERT", "ETCDCTL_KEY"), "")
        plain = bare | {"ETCDCTL_CACERT": "", "ETCDCTL_ENDPOINTS": f"http://{self.etcd.address('nexus-etcd-1')}"}
        for change in (plain, bare):
            self.assertNotEqual(asks("get", "/telemetry/queue/x", user="gateway", **change)[0], 0)
        for arguments, user in ((("get", "/telemetry/queue/x"), None), (("put", "/telemetry/queue/x", "1"), "gateway"), (("put", "/x", "1"), "streamer")):
            status, said = asks(*arguments, user=user)
            self.assertTrue(status != 0 and "permission denied" in said, f"{arguments} {user}: {said}")
        self.assertEqual(asks("get", "/telemetry/queue/x", user="gateway")[0], 0)

    def test_certificates_are_for_the_members_names(self):
        etcd = find(k8s(TLS), "StatefulSet", "nexus-etcd")["spec"]
        names = [f"nexus-etcd-{number}.{etcd['serviceName']}" for number in range(etcd["replicas"])] + ["localhost"]
        for name in names:
            command = ["openssl", "verify", "-CAfile", "ca.crt", "-verify_hostname", name, "nexus-etcd-server.crt"]
            done = subprocess.run(command, cwd=self.papers, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        # cert-manager's are the same.
        certificate = yaml.safe_load(block(README, "kind: Certificate"))["spec"]
        self.assertEqual((certificate["dnsNames"], certificate["ipAddresses"]), (names, ["127.0.0.1"]))
        [mounted] = [one["secret"]["secretName"] for one in etcd["template"]["spec"]["volumes"] if "secret" in one]
        self.assertEqual(certificate["secretName"], mounted)


if __name__ == "__main__":
    unittest.main()

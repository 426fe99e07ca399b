"""What the chart says of the programs is so: their variables, flags, ports, paths and metrics."""

import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from chart import CHART, ROOT, containers, find, k8s, of_kind, pods, read, render
from matrix import MATRIX

BINARIES = ROOT / os.environ.get("BINARIES", "target/debug")
COMPONENTS = ("streamer", "collector", "gateway")
SCRIPTS = ROOT / "scripts/backup"


def help_of(*command):
    return subprocess.run([BINARIES / command[0], *command[1:], "--help"], capture_output=True, text=True, check=True).stdout


def variables_of(*command):
    """The variables that a program reads, as it says itself."""
    return set(re.findall(r"\[env: ([A-Z0-9_]+)(?:=[^\]]*)?\]", help_of(*command)))


def environment_of(container, documents):
    """Every variable of a container and its value; None where Kubernetes fills it in."""
    found = {}
    for source in container.get("envFrom", []):
        found |= find(documents, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {one["name"]: one.get("value") for one in container.get("env", [])}


def component_of(pod):
    return pod["metadata"]["labels"]["app.kubernetes.io/component"]


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.known = {component: variables_of(f"nexus-{component}") for component in COMPONENTS}
        cls.known["migrate"] = variables_of("nexus", "migrate")
        # And the restoring scripts'.
        cls.known["tools"] = variables_of("nexus", "doctor") | {"BACKUP_DIR"}
        cls.documented = {}
        for name, readers in re.findall(r"^\| `([A-Z0-9_]+)` \| [^|]* \| ([^|]+) \|", (ROOT / "docs/CONFIGURATION.md").read_text(), re.M):
            for reader in COMPONENTS if readers == "all" else readers.split(", "):
                cls.documented.setdefault(reader, set()).add(name)

    def test_every_variable_is_known_to_its_program(self):
        seen = 0
        for name, values in MATRIX.items():
            documents = render(values)
            for workload, pod in pods(documents):
                component, container = component_of(pod), pod["spec"]["containers"][0]
                given = set(environment_of(container, documents)) - {"POD_INDEX"}
                if component == "backup":
                    self.knows_its_script(container, given)
                    continue
                self.assertEqual(given - self.known[component], set(), f"{name}: {workload['metadata']['name']}")
                if component in COMPONENTS:
                    self.assertEqual(given - self.documented[component], set(), f"{name}: {workload['metadata']['name']}")
                seen += len(given)
        self.assertGreater(seen, 500)

    def knows_its_script(self, container, given):
        """Variables of backups stand in the scripts, or in what those have in common."""
        script = SCRIPTS / Path(container["command"][0]).name
        self.assertEqual(Path(container["command"][0]).parent, Path("/opt/nexus/backup"))
        text = script.read_text() + "".join(path.read_text() for path in SCRIPTS.glob("lib*.sh"))
        for variable in given:
            # DB_NAME is the components'; a base backup is of all databases.
            if variable != "DB_NAME":
                self.assertIn(variable, text, script)

    def test_values_are_taken_by_the_programs(self):
        """Started with them, a program refuses the files that are not on this machine, and no value."""
        for name, values in MATRIX.items():
            documents = render(values)
            for _, pod in pods(documents):
                component = component_of(pod)
                if component not in COMPONENTS:
                    continue
                environment = environment_of(pod["spec"]["containers"][0], documents)
                environment = {key: value for key, value in environment.items() if value is not None and "$(" not in value}
                environment |= {"ETCD_CA_FILE": "/no/such/file", "METRICS_ADDR": "127.0.0.1:0", "PORT": "0", "BIND_ADDRESS": "0.0.0.0"}
                ended = subprocess.run([BINARIES / f"nexus-{component}"], env=environment, capture_output=True, text=True, timeout=30)
                last = ended.stderr.strip().splitlines()[-1]
                self.assertEqual(ended.returncode, 2, f"{name}, {component}: {last}")
                self.assertRegex(last, rf"^nexus-{component}: \w+_FILE=/", name)

    def test_mounted_files_are_where_variables_say(self):
        for name, values in MATRIX.items():
            documents = render(values)
            for workload, pod in pods(documents):
                for container in containers(pod):
                    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
                    for variable, value in environment_of(container, documents).items():
                        if variable.endswith("_FILE") or variable == "BACKUP_DIR":
                            self.assertTrue(any(value == path or value.startswith(path + "/") for path in mounts),
                                            f"{name}: {workload['metadata']['name']}: {variable}={value} lies in no volume")

    def test_commands_and_arguments_are_understood(self):
        for workload, pod in pods(render(MATRIX["everything"])):
            for container in pod["spec"]["containers"]:
                command = container.get("command", [f"/usr/local/bin/nexus-{container['name']}"])
                if component_of(pod) == "tools":
                    # Of the Debian that its image is made from.
                    self.assertEqual(command, ["sleep", "infinity"])
                elif command[0].startswith("/usr/local/bin/"):
                    help_of(Path(command[0]).name, *container.get("args", []))
                else:
                    self.assertTrue(os.access(SCRIPTS / Path(command[0]).name, os.X_OK), command)
        dockerfiles = ROOT / "deployments/docker"
        tools = (dockerfiles / "tools.Dockerfile").read_text()
        self.assertIn("/opt/nexus/backup", tools)
        self.assertIn("/usr/local/bin/nexus", tools)
        for component in COMPONENTS:
            self.assertTrue((dockerfiles / f"{component}.Dockerfile").exists(), component)

    def test_ports_are_those_that_are_listened_on(self):
        for name, values in MATRIX.items():
            documents = render(values)
            for _, pod in pods(documents):
                component = component_of(pod)
                if component not in COMPONENTS:
                    continue
                container = pod["spec"]["containers"][0]
                environment = environment_of(container, documents)
                listens = environment["PORT"] if component == "gateway" else environment["METRICS_ADDR"].rsplit(":", 1)[1]
                self.assertEqual([(port["name"], port["containerPort"]) for port in container["ports"]], [("http", int(listens))], name)
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    self.assertEqual(container[probe]["httpGet"]["port"], "http")
                    wants = "HTTPS" if environment.get("TLS_CERT_FILE") else "HTTP"
                    self.assertEqual(container[probe]["httpGet"]["scheme"], wants, f"{name}: {component}")

    def test_metrics(self):
        """What is scaled by is a metric that collectors tell, with the label that it is chosen by."""
        told = {name: (kind, by) for name, kind, by in
                re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]* \| [^|]* \| ([^|]+) \|", (ROOT / "docs/METRICS.md").read_text(), re.M)}
        for name in ("queue", "scaling", "everything"):
            scaler = find(render(MATRIX[name]), "HorizontalPodAutoscaler", "nexus-pipeline-collector")
            external = [metric["external"]["metric"] for metric in scaler["spec"]["metrics"] if metric["type"] == "External"]
            self.assertEqual(len(external), 1)
            kind, by = told.get(external[0]["name"], ("", ""))
            self.assertEqual((kind, "collector" in by), ("gauge", True), external[0]["name"])
            self.assertEqual(set(external[0]["selector"]["matchLabels"]), {"cluster"}, "every metric bears cluster (docs/METRICS.md)")
        [rule] = read(re.search(r"```yaml\n(externalRules:.*?)```", (CHART / "README.md").read_text(), re.S)[1])[0]["externalRules"]
        series = re.match(r"^(\w+)\{", rule["seriesQuery"])[1]
        self.assertIn(series, told)
        self.assertEqual(rule["name"]["as"], external[0]["name"])
        query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", 'cluster="x"').replace("<<.GroupBy>>", "cluster")
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write("groups: [{name: x, rules: [{record: x, expr: '" + query + "'}]}]")
            file.flush()
            checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_every_job_of_the_rules_is_scraped(self):
        rules = "".join(path.read_text() for path in (ROOT / "deployments/prometheus/rules").glob("*.yml"))
        scraped = {monitor["spec"]["endpoints"][0]["relabelings"][0]["replacement"]
                   for monitor in of_kind(render(MATRIX["monitored"]), "ServiceMonitor")}
        jobs = set(re.findall(r'job="(nexus-\w+)"', rules))
        self.assertTrue(jobs and jobs <= scraped, (jobs, scraped))
        in_prometheus = set(re.findall(r"job_name: (nexus-\w+)", (ROOT / "deployments/prometheus/prometheus.yml").read_text()))
        self.assertEqual(scraped, in_prometheus)

    def test_environment_of_k8s_names_what_is_mounted(self):
        """archive_command calls what the first container puts there, and writes where backups look."""
        database = find(k8s(), "StatefulSet", "nexus-postgresql")["spec"]["template"]["spec"]
        flags = dict(one.removeprefix("--").split("=", 1) for one in database["containers"][0]["args"])
        first = database["initContainers"][0]
        copied = Path(first["command"][2])
        # Where restore-postgres.sh, which runs in nexus-tools, has recovery look for it.
        self.assertIn(f" /opt/nexus/backup/{copied.name} ", flags["archive_command"])
        mounts = {mount["mountPath"]: mount["name"] for mount in database["containers"][0]["volumeMounts"]}
        self.assertEqual({"mountPath": str(copied.parent), "name": mounts["/opt/nexus/backup"]}, first["volumeMounts"][0])
        self.assertIn("BACKUP_DIR=/backup ", flags["archive_command"])
        self.assertIn("/backup", mounts)
        backup = find(render(MATRIX["backup"]), "CronJob", "nexus-pipeline-backup-postgres")
        container = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        self.assertIn({"name": "BACKUP_DIR", "value": "/backup"}, container["env"])
        self.assertTrue((SCRIPTS / Path(first["command"][1]).name).exists())


if __name__ == "__main__":
    unittest.main()

"""Every render is what Kubernetes takes, and what the Pod Security Standard "restricted" allows; wrong values are refused."""

import gzip
import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

import files
from chart import (CHART, ROOT, TLS, Refused, containers, find, k8s, lint, manifests, of_kind, pod_of, pods, render)
from matrix import MATRIX, WRONG, merged

VERSIONS = sorted(set(all_versions()), key=lambda version: [int(part) for part in version.split(".")])[-4:]

# What Prometheus' operator takes, as far as the chart uses it.
_SELECTOR = {"type": "object", "required": ["name", "key"], "additionalProperties": False,
             "properties": {"name": {"type": "string", "minLength": 1}, "key": {"type": "string", "minLength": 1}}}
_ENDPOINT = {"type": "object", "additionalProperties": False, "required": ["port", "path"], "properties": {
    "port": {"type": "string"}, "path": {"const": "/metrics"}, "interval": {"type": "string"},
    "scrapeTimeout": {"type": "string"}, "scheme": {"enum": ["http", "https"]},
    "relabelings": {"type": "array", "items": {"type": "object", "additionalProperties": False,
                    "properties": {"targetLabel": {"type": "string"}, "replacement": {"type": "string"}}}},
    "authorization": {"type": "object", "additionalProperties": False, "properties": {"credentials": _SELECTOR}},
    "tlsConfig": {"type": "object", "additionalProperties": False, "properties": {
        "serverName": {"type": "string"}, "ca": {"type": "object", "additionalProperties": False, "properties": {"secret": _SELECTOR}}}}}}
OPERATOR = {
    "ServiceMonitor": {"type": "object", "additionalProperties": False, "required": ["selector", "endpoints"], "properties": {
        "selector": {"type": "object"}, "endpoints": {"type": "array", "minItems": 1, "items": _ENDPOINT}}},
    "PrometheusRule": {"type": "object", "additionalProperties": False, "required": ["groups"], "properties": {
        "groups": {"type": "array", "minItems": 1}}},
}


# Secrets that deployments/k8s/README.md has people make.
BESIDE = {"nexus-etcd-server", "nexus-etcd-client", "nexus-etcd-users"}


class Matrix(unittest.TestCase):
    def each(self):
        """Every render by name, deployments/k8s among them."""
        return [*((name, render(values)) for name, values in MATRIX.items()), ("deployments/k8s", k8s()), ("deployments/k8s with TLS", k8s(TLS))]

    def test_lint_is_clean(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                report = lint(values)
                self.assertEqual(report["errors"], [])
                found = [message for message in report["messages"] if message["severity"] > 1]
                self.assertEqual(found, [])

    def test_renders_pass_the_strict_schemas(self):
        self.assertEqual(len(VERSIONS), 4)
        seen = set()
        for _, documents in self.each():
            for document in documents:
                text = json.dumps(document, sort_keys=True)
                if text in seen:
                    continue
                seen.add(text)
                what = f"{document['kind']} {document['metadata']['name']}"
                if document["apiVersion"].startswith("monitoring.coreos.com/"):
                    jsonschema.validate(document["spec"], OPERATOR[document["kind"]])
                    continue
                for version in VERSIONS:
                    with self.subTest(what, version=version):
                        kubernetes_validate.validate(document, version, strict=True)
        print(f"{len(seen)} objects of {len(self.each())} renders against Kubernetes {', '.join(VERSIONS)}", flush=True)

    def test_wrong_values_are_refused_by_name(self):
        for values, words in WRONG:
            with self.subTest(json.dumps(values)):
                with self.assertRaises(Refused) as refused:
                    manifests(values)
                for word in words:
                    self.assertIn(word, str(refused.exception))

    def test_every_value_has_a_schema_and_a_comment(self):
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = json.loads((CHART / "values.schema.json").read_text())

        def walk(value, said, path):
            if "$ref" in said:
                said = schema["$defs"][said["$ref"].removeprefix("#/$defs/")]
            if "properties" not in said:
                return
            self.assertIs(said.get("additionalProperties"), False, f"{path} takes anything")
            mine = set(said["properties"]) - ({"global"} if not path else {"requests", "limits"})
            self.assertEqual(mine, set(value) - {"requests", "limits"}, f"{path}: schema and values.yaml differ")
            for key in mine:
                walk(value[key], said["properties"][key], f"{path}.{key}")

        walk(defaults, schema, "")
        for name, _, text in files.values():
            self.assertTrue(text, f"values.yaml says nothing of {name}")

    def test_names_are_given_once_and_selectors_find_their_pods(self):
        for name, documents in self.each():
            ids = [(document["kind"], document["metadata"]["name"]) for document in documents]
            self.assertEqual(len(ids), len(set(ids)), ids)
            labels = [pod["metadata"]["labels"] for _, pod in pods(documents)]
            for kind, selector in [
                *((d, d["spec"].get("selector")) for d in of_kind(documents, "Service")),
                *((d, d["spec"]["selector"]["matchLabels"]) for d in of_kind(documents, "PodDisruptionBudget", "Deployment", "StatefulSet", "DaemonSet")),
                *((d, d["spec"]["podSelector"]["matchLabels"]) for d in of_kind(documents, "NetworkPolicy")),
            ]:
                found = [one for one in labels if selector.items() <= one.items()]
                self.assertTrue(found, f"{kind['kind']} {kind['metadata']['name']} selects no pod: {selector}")
            for monitor in of_kind(documents, "ServiceMonitor"):
                services = [one for one in of_kind(documents, "Service")
                            if monitor["spec"]["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()]
                self.assertEqual(len(services), 1, monitor["metadata"]["name"])
                ports = {port["name"] for port in services[0]["spec"]["ports"]}
                self.assertIn(monitor["spec"]["endpoints"][0]["port"], ports)

    def test_every_pod_of_the_chart_is_found_by_its_label(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                for document, pod in pods(render(values)):
                    self.assertEqual(pod["metadata"]["labels"]["app"], "nexus-pipeline", document["metadata"]["name"])
                    for label in ("name", "instance", "component", "version", "part-of", "managed-by"):
                        self.assertIn(f"app.kubernetes.io/{label}", pod["metadata"]["labels"])

    def test_pods_are_restricted(self):
        allowed = {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
        for name, documents in self.each():
            for document, pod in pods(documents):
                spec, what = pod["spec"], f"{name}: {document['kind']} {document['metadata']['name']}"
                self.assertIs(spec["automountServiceAccountToken"], False, what)
                for never in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(never, spec, what)
                security = spec["securityContext"]
                self.assertEqual((security["runAsNonRoot"], security["runAsUser"]), (True, 65532), what)
                self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"}, what)
                kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
                self.assertLessEqual(kinds - ({"hostPath"} if name == "nodes" else set()), allowed, what)
                for container in containers(pod):
                    security = container["securityContext"]
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]}, what)
                    self.assertIs(security["allowPrivilegeEscalation"], False, what)
                    self.assertIs(security["readOnlyRootFilesystem"], True, what)
                    self.assertIn("memory", container["resources"]["limits"], what)
                    self.assertIn("cpu", container["resources"]["requests"], what)
                    mounted = {mount["name"] for mount in container["volumeMounts"]}
                    self.assertLessEqual(mounted, {one["name"] for one in spec.get("volumes", [])} | {
                        claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}, what)
            self.assertEqual(of_kind(documents, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"), [])

    def test_what_is_named_is_there(self):
        """Config maps, secrets, claims and accounts of a pod are the release's own, or those that values or k8s name."""
        given = {"etcd-tls", "postgresql-tls", "gateway-tls", "db", "etcd-users", "collector-tls", "keys", "exports", "nexus-backup",
                 "nexus", "default", "nexus-postgresql", "data-nexus-postgresql-0", "data-nexus-etcd-0"}
        for name, documents in self.each():
            there = {(d["kind"], d["metadata"]["name"]) for d in documents}
            for document, pod in pods(documents):
                spec = pod["spec"]
                wanted = [("ServiceAccount", spec.get("serviceAccountName"))]
                for volume in spec.get("volumes", []):
                    wanted += [("Secret", volume.get("secret", {}).get("secretName")), ("ConfigMap", volume.get("configMap", {}).get("name")),
                               ("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName"))]
                for container in containers(pod):
                    wanted += [("ConfigMap", one["configMapRef"]["name"]) for one in container.get("envFrom", [])]
                for kind, named in wanted:
                    if named and (kind, named) not in there:
                        self.assertIn(named, given | BESIDE, f"{name}: {document['metadata']['name']} wants {kind} {named}")

    def test_nothing_is_away_while_it_is_rolled_out(self):
        documents = render({})
        for component in ("collector", "gateway"):
            spec = find(documents, "Deployment", f"nexus-pipeline-{component}")["spec"]
            self.assertEqual(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0)
            self.assertGreaterEqual(spec["replicas"], 2)
            self.assertIn("readinessProbe", spec["template"]["spec"]["containers"][0])
        gateway = find(documents, "Deployment", "nexus-pipeline-gateway")["spec"]["template"]["spec"]
        waits = gateway["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        # 10 s for requests, 10 s for live clients, 3 s for etcd (gateway/src/lib.rs).
        self.assertGreater(gateway["terminationGracePeriodSeconds"], waits + 10 + 10 + 3)
        for drain in (1, 20, 600):
            pod = find(render({"collector": {"drainSeconds": drain}}), "Deployment", "nexus-pipeline-collector")["spec"]["template"]
            self.assertGreater(pod["spec"]["terminationGracePeriodSeconds"], drain + 3)

    def test_who_scales_is_not_held_to_a_number(self):
        for kind in ("collector", "gateway"):
            self.assertNotIn("replicas", find(render(MATRIX["scaling"]), "Deployment", f"nexus-pipeline-{kind}")["spec"])
        scaler = find(render(MATRIX["scaling"]), "HorizontalPodAutoscaler", "nexus-pipeline-collector")
        self.assertEqual([metric["type"] for metric in scaler["spec"]["metrics"]], ["External", "Resource"])

    def test_each_policy_lets_through_what_its_component_needs(self):
        ports = lambda rules: {port["port"] for rule in rules for port in rule["ports"]}
        documents = render(MATRIX["everything"])
        of = lambda component: find(documents, "NetworkPolicy", f"nexus-pipeline-{component}")["spec"]
        etcd, database, tracing = {2379, 12379}, 6432, 4318
        for component, calls, called in [
            ("streamer", etcd | {tracing}, {9101}), ("collector", etcd | {database, tracing}, {9102}),
            ("gateway", etcd | {database, tracing}, {8080}), ("migrate", {database}, set()), ("backup", etcd | {database}, set()),
            ("tools", etcd | {database}, set()),
        ]:
            self.assertEqual(ports(of(component)["egress"]), calls | {53, 5353}, component)
            self.assertEqual(ports(of(component)["ingress"]), called, component)
        everywhere = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for _, pod in pods(documents)}
        self.assertEqual({p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for p in of_kind(documents, "NetworkPolicy")},
                         everywhere)
        for name, port, other in (("traced", 80, 443), ("traced over tls", 443, 80)):
            called = ports(find(render(MATRIX[name]), "NetworkPolicy", "nexus-pipeline-gateway")["spec"]["egress"])
            self.assertEqual((port in called, other in called), (True, False), name)

    def test_tools_have_what_restoring_takes(self):
        """docs/BACKUP.md: the backups, the stopped servers' volumes, the streamers' files, and the secrets of both servers."""
        self.assertFalse([one for one in render({}) if one["metadata"]["name"].endswith("-tools")], "nobody asked for it")
        documents = render(MATRIX["tools that restore"])
        tools = find(documents, "Deployment", "nexus-pipeline-tools")["spec"]
        self.assertEqual((tools["replicas"], tools["strategy"]), (1, {"type": "Recreate"}))
        spec = tools["template"]["spec"]
        [container] = spec["containers"]
        claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in spec["volumes"] if "persistentVolumeClaim" in one}
        mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
        at = {path: claims[one["name"]] for path, one in mounts.items() if one["name"] in claims}
        self.assertEqual(at, {"/backup": "nexus-backup", "/data": "exports", "/volumes/data-nexus-postgresql-0": "data-nexus-postgresql-0",
                              "/volumes/data-nexus-etcd-0": "data-nexus-etcd-0"})
        # The files are where streamers found them: their path is what the ledger knows.
        streamer = pod_of(find(documents, "StatefulSet", "nexus-pipeline-streamer"))["spec"]
        source = lambda mounted: next(one for one in mounted["containers"][0]["volumeMounts"] if one["name"] == "source")
        self.assertEqual(source(spec), source(streamer))
        self.assertEqual(spec["securityContext"]["supplementalGroups"], streamer["securityContext"]["supplementalGroups"])
        # The volumes of deployments/k8s, and the user to whom the files in them belong.
        for server, volume in (("nexus-postgresql", "data-nexus-postgresql-0"), ("nexus-etcd", "data-nexus-etcd-0")):
            owner = find(k8s(), "StatefulSet", server)["spec"]
            self.assertEqual(volume, f"{owner['volumeClaimTemplates'][0]['metadata']['name']}-{server}-0")
            self.assertEqual(owner["template"]["spec"]["securityContext"]["runAsUser"], spec["securityContext"]["runAsUser"])

        def user(values):
            pod = pod_of(find(render(values), "Deployment", "nexus-pipeline-tools"))["spec"]
            environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
            secret = next(one["secret"] for one in pod["volumes"] if one["name"] == "postgresql-password")
            return environment["DB_USER"], secret["items"][0]["key"], environment.get("ETCD_USER")

        self.assertEqual(user(MATRIX["tools"]), ("telemetry", "password", None))
        self.assertEqual(user(MATRIX["everything"]), ("nexus_operator", "operator", "root"))

    def test_the_log_leaves_in_time_wherever_it_is_archived(self):
        """docs/BACKUP.md: after a start of PostgreSQL, too, where archive_timeout is not looked at before checkpoint_timeout has passed."""
        wanted = {"wal_level": "replica", "archive_mode": "on", "archive_timeout": "60s", "checkpoint_timeout": "2min"}
        setting = re.compile(r"^(?:\s*- --)?(\w+) ?= ?(\w+)$", re.M)
        for path in ("docs/BACKUP.md", "deployments/docker/compose.yaml", "deployments/k8s/postgresql.yaml"):
            given = dict(setting.findall((ROOT / path).read_text()))
            self.assertEqual({name: given.get(name) for name in wanted}, wanted, path)

    def test_the_runbook_of_backups_names_what_is_there(self):
        """Every object, folder and value that docs/BACKUP.md has people type for Kubernetes."""
        text = (ROOT / "docs/BACKUP.md").read_text().split("### In Kubernetes")[1].split("\n### ")[0]
        documents = render(MATRIX["everything"]) + k8s()
        named = set(re.findall(r"(deployment|statefulset|cronjob)[ /](nexus-[a-z-]+)", text))
        kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "cronjob": "CronJob"}
        self.assertGreaterEqual({kind for kind, _ in named}, set(kinds))
        for kind, name in named:
            find(documents, kinds[kind], name)
        tools = pod_of(find(documents, "Deployment", "nexus-pipeline-tools"))["spec"]["containers"][0]
        mounts = {one["mountPath"] for one in tools["volumeMounts"]}
        folders = re.findall(r"--data-dir (/\S+?)/(\w+)(?:[ \n])", text)
        data = {folder.replace("$n", "0"): name for folder, name in folders}
        self.assertEqual(set(data), mounts & {"/volumes/data-nexus-postgresql-0", "/volumes/data-nexus-etcd-0"})
        # The folder within the volume, as the servers are told.
        etcd = find(k8s(), "StatefulSet", "nexus-etcd")["spec"]["template"]["spec"]["containers"][0]
        self.assertIn(f"--data-dir=/var/lib/etcd/{data['/volumes/data-nexus-etcd-0']}", etcd["args"])
        database = find(k8s(), "StatefulSet", "nexus-postgresql")["spec"]["template"]["spec"]["containers"][0]
        self.assertIn({"name": "PGDATA", "value": f"/var/lib/postgresql/data/{data['/volumes/data-nexus-postgresql-0']}"}, database["env"])
        cluster = re.search(r"--cluster (\S+)", text)[1]
        self.assertIn(f"--initial-cluster={cluster}", etcd["args"])
        for mounted in re.findall(r"mounts '(\[.+\])'", text):
            for claim in json.loads(mounted):
                server, volume = re.fullmatch(r"data-(\S+)-(\d)", claim).groups()
                self.assertLess(int(volume), find(k8s(), "StatefulSet", server)["spec"]["replicas"])
        for value in re.findall(r"--set(?:-json)? [\"']?(tools[.]\w+)=", text):
            self.assertIn(f"| `{value}` |", files.README.read_text())

    def test_the_job_that_migrates_is_let_through_before_anything_else(self):
        """Policy and job are hooks of the same moments, the policy first: also where an upgrade moves PostgreSQL, and where the
        namespace denies what no policy allows."""
        documents = render(MATRIX["elsewhere"])
        hooks = lambda document: {key.removeprefix("helm.sh/hook"): text for key, text in document["metadata"]["annotations"].items()}
        policy, job = (hooks(find(documents, kind, "nexus-pipeline-migrate")) for kind in ("NetworkPolicy", "Job"))
        self.assertEqual((policy[""], policy["-delete-policy"]), (job[""], job["-delete-policy"]))
        self.assertLess(int(policy["-weight"]), int(job["-weight"]))
        self.assertIn("before-hook-creation", policy["-delete-policy"])
        others = [one for one in of_kind(documents, "NetworkPolicy") if one["metadata"]["name"] != "nexus-pipeline-migrate"]
        self.assertFalse([one for one in others if "annotations" in one["metadata"]], "these go with the release")

    def test_the_job_that_migrates_takes_an_account_that_is_there(self):
        account = lambda values: find(render(values), "Job", "nexus-pipeline-migrate")["spec"]["template"]["spec"]["serviceAccountName"]
        self.assertEqual(account({"serviceAccount": {"create": False, "name": "nexus"}}), "nexus")
        # The release's own do not exist before it.
        self.assertEqual(account({}), "default")

    def test_stripes_are_as_many_as_streamers(self):
        pod = find(render(MATRIX["claim"]), "StatefulSet", "nexus-pipeline-streamer")["spec"]["template"]["spec"]
        environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        self.assertEqual(environment["STRIPE"], "$(POD_INDEX)/3")
        self.assertEqual(list(environment)[0], "POD_INDEX", "what refers to it comes after it")

    def test_secrets_are_made_only_where_none_is_named(self):
        names = lambda values: {secret["metadata"]["name"] for secret in of_kind(render(values), "Secret")}
        self.assertEqual(names({}), {"nexus-postgresql", "nexus-pipeline-keys"})
        self.assertEqual(names(MATRIX["everything"]), set())
        hook = find(render({}), "Secret", "nexus-postgresql")
        self.assertNotIn("helm.sh/hook-delete-policy", hook["metadata"]["annotations"])
        self.assertEqual(set(hook["stringData"]), {"postgres-password", "password", "backup-password"})
        weight = lambda document: int(document["metadata"]["annotations"]["helm.sh/hook-weight"])
        self.assertLess(weight(hook), weight(find(render({}), "Job", "nexus-pipeline-migrate")))

    def test_no_secret_is_a_plain_variable(self):
        for name, documents in self.each():
            for config in of_kind(documents, "ConfigMap"):
                for key in config.get("data", {}):
                    self.assertFalse(key.endswith("PASSWORD"), f"{name}: {key}")
            for document, pod in pods(documents):
                for container in containers(pod):
                    for one in container.get("env", []):
                        if one["name"].endswith("PASSWORD"):
                            self.assertIn("secretKeyRef", one["valueFrom"], one["name"])

    def test_defaults_and_k8s_name_the_same(self):
        """The request's four commands, in order: the chart's default values find what deployments/k8s makes."""
        values, documents = yaml.safe_load((CHART / "values.yaml").read_text()), k8s()
        etcd, database = find(documents, "StatefulSet", "nexus-etcd"), find(documents, "StatefulSet", "nexus-postgresql")
        service = etcd["spec"]["serviceName"]
        members = [f"nexus-etcd-{number}.{service}:2379" for number in range(etcd["spec"]["replicas"])]
        self.assertEqual(values["etcd"]["endpoints"], members)
        flags = dict(one.removeprefix("--").split("=", 1) for one in etcd["spec"]["template"]["spec"]["containers"][0]["args"])
        self.assertEqual(values["etcd"]["maxTxnOps"], int(flags["max-txn-ops"]))
        self.assertEqual(values["etcd"]["quotaBytes"], int(flags["quota-backend-bytes"]))
        self.assertEqual(flags["initial-cluster"], ",".join(f"nexus-etcd-{n}=http://nexus-etcd-{n}.{service}:2380" for n in range(3)))
        image = etcd["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertGreaterEqual([int(part) for part in image.rsplit(":v", 1)[1].split(".")], [3, 6, 14])
        listens = find(documents, "Service", values["postgresql"]["host"])["spec"]["ports"][0]["port"]
        self.assertEqual(listens, values["postgresql"]["port"])
        secret = find(render({}), "Secret", "nexus-postgresql")["stringData"]
        for one in database["spec"]["template"]["spec"]["containers"][0]["env"]:
            if "valueFrom" in one:
                self.assertEqual(one["valueFrom"]["secretKeyRef"]["name"], "nexus-postgresql")
                self.assertIn(one["valueFrom"]["secretKeyRef"]["key"], secret)
        users = find(documents, "ConfigMap", "nexus-postgresql")["data"]["nexus.sql"]
        for user, key, variable in [("telemetry", "password", "password"), ("nexus_backup", "backup-password", "backup_password")]:
            self.assertIn(f"CREATE ROLE {user} LOGIN", users)
            self.assertIn(f"PASSWORD :'{variable}'", users)
        auth = values["postgresql"]["auth"]
        self.assertEqual({auth[user]["user"] for user in ("migrate", "collector", "gateway")}, {"telemetry"})
        self.assertEqual(auth["backup"], {"user": "nexus_backup", "key": "backup-password"})
        self.assertEqual(find(documents, "PersistentVolumeClaim", values["backup"]["existingClaim"])["kind"], "PersistentVolumeClaim")
        for policy in ("nexus-etcd", "nexus-postgresql"):
            allowed = find(documents, "NetworkPolicy", policy)["spec"]["ingress"][0]["from"]
            self.assertEqual(allowed, [{"podSelector": {"matchLabels": {"app": "nexus-pipeline"}}}])
        peers = values["networkPolicy"]
        self.assertEqual(peers["etcdTo"][0]["podSelector"], {"matchLabels": etcd["spec"]["selector"]["matchLabels"]})
        self.assertEqual(peers["postgresqlTo"][0]["podSelector"], {"matchLabels": database["spec"]["selector"]["matchLabels"]})

    def test_versions_are_the_workspaces(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        workspace = (ROOT / "Cargo.toml").read_text()
        self.assertIn(f'\nversion = "{chart["appVersion"]}"\n', workspace)
        tools = find(k8s(), "StatefulSet", "nexus-postgresql")["spec"]["template"]["spec"]["initContainers"][0]["image"]
        self.assertEqual(tools, f"nexus-tools:{chart['appVersion']}")

    def test_notes_tell_how_to_go_on(self):
        notes = lambda values: manifests(values)["telemetry-pipeline/templates/NOTES.txt"]
        self.assertIn("kubectl -n nexus get secret nexus-pipeline-keys", notes({}))
        self.assertIn("made telemetry", notes({}))
        self.assertIn("https://nexus.example/", notes(MATRIX["ingress"]))
        self.assertIn("networkPolicy.etcdTo", notes(MATRIX["elsewhere"]))
        self.assertNotIn("made telemetry", notes(MATRIX["claim"]))

    def test_notes_tell_of_an_ingress_before_https(self):
        notes = lambda values: manifests(values)["telemetry-pipeline/templates/NOTES.txt"]
        values, said = merged(MATRIX["ingress"], {"gateway": MATRIX["tls"]["gateway"]}), "nginx.ingress.kubernetes.io/backend-protocol: HTTPS"
        self.assertIn(said, notes(values))
        self.assertIn(said, files.README.read_text().replace("\n", " "))
        self.assertNotIn(said, notes(MATRIX["ingress"]))
        self.assertNotIn(said, notes(MATRIX["tls"]))
        name, _, value = said.partition(": ")
        self.assertNotIn(said, notes(merged(values, {"ingress": {"annotations": {name: value}}})))
        of_service = {"traefik.ingress.kubernetes.io/service.serversscheme": "https"}
        self.assertNotIn(said, notes(merged(values, {"gateway": {"service": {"annotations": of_service}}})))


class Copies(unittest.TestCase):
    def test_files_of_the_chart_are_those_of_deployments(self):
        expected = dict(files.copies())
        for path, content in expected.items():
            self.assertTrue(path.exists() and path.read_bytes() == content, f"{path} is not current: run checks/chart/files.py")
        there = {path for folder in ("prometheus", "grafana") for path in (CHART / "files" / folder).iterdir()}
        self.assertEqual(there, set(expected), "run checks/chart/files.py")
        path, content = files.sample()
        self.assertEqual(gzip.decompress(path.read_bytes()), content, "run checks/chart/files.py")

    def test_the_table_of_values_is_current(self):
        self.assertEqual(files.README.read_text(), files.readme(), "README.md is not current: run checks/chart/files.py")

    def test_the_etcd_with_certificates_is_the_other_one(self):
        self.assertEqual((files.K8S / TLS).read_text(), files.with_tls(), f"{TLS} is not current: run checks/chart/files.py")
        flags = find(k8s(TLS), "StatefulSet", "nexus-etcd")["spec"]["template"]["spec"]["containers"][0]["args"]
        plain = [flag for flag in flags if "http://" in flag]
        self.assertEqual(plain, ["--listen-metrics-urls=http://0.0.0.0:2381"], "spoken without TLS")

    def test_rules_are_whole_and_promtool_takes_them(self):
        rule = find(render(MATRIX["rules"]), "PrometheusRule", "nexus-pipeline-rules")["spec"]
        groups = [group for path in sorted((ROOT / "deployments/prometheus/rules").glob("*.yml"))
                  for group in yaml.safe_load(path.read_text())["groups"]]
        self.assertEqual(rule["groups"], groups)
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump(rule, file)
            file.flush()
            checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        self.assertIn("SUCCESS", checked.stdout)

    def test_backups_that_stop_ring(self):
        """By kube-state-metrics: too long after the last success, or after the CronJob was made where there was none."""
        spec = find(render(MATRIX["backup watched"]), "PrometheusRule", "nexus-pipeline-rules")["spec"]
        [group] = [group for group in spec["groups"] if group["name"] == "nexus-backups"]
        for values in (MATRIX["rules"], {"backup": {"enabled": True}, "prometheusRule": {"enabled": True, "cronJobs": False}}):
            groups = find(render(values), "PrometheusRule", "nexus-pipeline-rules")["spec"]["groups"]
            self.assertNotIn("nexus-backups", [group["name"] for group in groups])
        jobs = {job["metadata"]["name"] for job in of_kind(render(MATRIX["backup watched"]), "CronJob")}
        self.assertEqual({re.search(r'cronjob="([^"]+)"', rule["expr"])[1] for rule in group["rules"]}, jobs)
        runbook = (ROOT / "docs/RUNBOOK.md").read_text()
        for rule in group["rules"]:
            self.assertIn(f"\n## {rule['alert']}\n", runbook)
        series = lambda metric, job, values: {"series": f'{metric}{{namespace="nexus", cronjob="nexus-pipeline-{job}", instance="k"}}', "values": values}
        rings = lambda job, kind: {"value": 1, "labels": 'ALERTS{alertname="NexusBackupOld", alertstate="firing", namespace="nexus", '
                                   f'cronjob="nexus-pipeline-{job}", severity="warning", kind="{kind}"}}'}
        at = lambda when, *samples: {"expr": 'ALERTS{alertstate="firing"}', "eval_time": when, "exp_samples": list(samples)}
        etcd, postgres = rings("backup-etcd", "etcd"), rings("backup-postgres", "postgres")
        tests = [
            {"interval": "5m", "input_series": [
                series("kube_cronjob_created", "backup-etcd", "0x400"), series("kube_cronjob_created", "backup-postgres", "0x400"),
                # Snapshots end after an hour; base backups are daily, the third one does not come.
                series("kube_cronjob_status_last_successful_time", "backup-etcd", "0+300x12 3600x388"),
                series("kube_cronjob_status_last_successful_time", "backup-postgres", "0x288 86400x112")],
             "promql_expr_test": [at("2h50m"), at("3h10m", etcd), at("25h", etcd)]},
            {"interval": "5m", "input_series": [
                series("kube_cronjob_created", "backup-postgres", "0x400"), series("kube_cronjob_created", "backup-another", "0x400")],
             "promql_expr_test": [at("25h50m"), at("26h10m", postgres)]},
        ]
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))
            Path(folder, "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": tests}))
            tried = subprocess.run(["promtool", "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True)
        self.assertEqual(tried.returncode, 0, tried.stdout + tried.stderr)

    def test_dashboards_are_whole(self):
        found = {}
        for config in of_kind(render(MATRIX["dashboards"]), "ConfigMap"):
            if "grafana_dashboard" in config["metadata"]["labels"]:
                found |= config["data"]
        for path in (ROOT / "deployments/grafana/dashboards").glob("*.json"):
            self.assertEqual(json.loads(found.pop(path.name)), json.loads(path.read_text()))
        self.assertEqual(found, {})


if __name__ == "__main__":
    unittest.main()

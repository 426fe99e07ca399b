"""What people type to bring images to a cluster, and what the workflow of the images does, with no engine and no cluster."""

import copy
import json
import re
import tempfile
import unittest

import kubernetes_validate
import yaml

from chart import PLAIN, ROOT, TLS, containers, find, k8s, pods, read, render
from test_matrix import VERSIONS
from typed import Typed, block

PLACES = {"REGISTRY": "registry.example/team", "ETCD_IMAGE": "registry.example/mirror/etcd:v3.6.20"}


def images(documents):
    return {container["image"] for _, pod in pods(documents) for container in containers(pod)}


class Images(unittest.TestCase):
    def typed(self, *programs):
        folder = tempfile.TemporaryDirectory(prefix="nexus-typed-")
        self.addCleanup(folder.cleanup)
        return Typed(folder.name, *programs)

    def pushed(self):
        typed = self.typed("docker")
        done = typed.run(block("docs/DEPLOYMENT.md", "docker push"), PLACES)
        self.assertEqual(done.returncode, 0, done.stderr)
        return typed.said()

    def test_what_is_built_is_what_the_manifests_want(self):
        said = self.pushed()
        built = [words for words in said if words[1] == "build"]
        tags = [words[words.index("--tag") + 1] for words in built]
        self.assertEqual([words[2:] for words in said if words[1] == "push"], [[tag] for tag in tags])
        self.assertEqual(len(tags), 4)
        for words in built:
            self.assertEqual(words[-1], ".")
            dockerfile = (ROOT / words[words.index("--file") + 1]).read_text()
            given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--build-arg")
            self.assertTrue(given.pop("NEXUS_COMMIT"))
            # Docker says that an argument is not known, and goes on: that is so of the three that need no etcd.
            self.assertEqual("\nARG ETCD_IMAGE" in dockerfile, "nexus-tools" in words[words.index("--tag") + 1])
            self.assertEqual(given["ETCD_IMAGE"], PLACES["ETCD_IMAGE"])
            self.assertIn("\nARG VERSION", dockerfile)
        chart = render({"image": {"registry": PLACES["REGISTRY"]}, "backup": {"enabled": True}})
        self.assertEqual(images(chart), set(tags))

    def test_places_are_put_before_the_images(self):
        """By the lines of the documents: every image of deployments/k8s, and nothing else."""
        pushed = {words[2] for words in self.pushed() if words[1] == "push"}
        ours = next(image for image in pushed if "nexus-tools" in image)
        for document, words, manifest in (("docs/DEPLOYMENT.md", "| kubectl apply", PLAIN), ("deployments/k8s/README.md", f"{PLAIN} | kubectl", PLAIN),
                                          ("deployments/k8s/README.md", f"{TLS} | kubectl", TLS)):
            with self.subTest(f"{document}: {words}"):
                typed = self.typed("kubectl", "helm")
                done = typed.run(block(document, words), PLACES)
                self.assertEqual(done.returncode, 0, done.stderr)
                applied = read(typed.applied())
                wanted = {"etcd:v3.6.14": PLACES["ETCD_IMAGE"], "nexus-tools:0.1.0": ours, "postgres:17": "postgres:17"}
                plain = k8s(manifest)[:len(applied)]
                self.assertEqual(images(applied), {wanted[image] for image in images(plain)})
                text = yaml.safe_dump_all(plain)
                for image, place in wanted.items():
                    text = text.replace(f"image: {image}\n", f"image: {place}\n")
                self.assertEqual(list(yaml.safe_load_all(text)), applied)
                for words in typed.said():
                    if words[0] == "helm":
                        self.assertIn(f"image.registry={PLACES['REGISTRY']}", words)

    def test_the_workflow_says_what_is_missing(self):
        job = yaml.safe_load((ROOT / ".github/workflows/images.yml").read_text())["jobs"]["build"]
        [build] = [step["run"] for step in job["steps"] if step.get("name") == "Build"]

        def runs(component, ref, etcd=""):
            typed = self.typed("docker")
            given = {"COMPONENT": component, "GITHUB_REF": ref, "ETCD_IMAGE": etcd, "GITHUB_ENV": f"{typed.folder}/environment"}
            done = typed.run(build, given)
            return done.returncode, re.findall(r"^::(\w+)::.*ETCD_IMAGE", done.stdout, re.M), bool(typed.said())

        for component in job["strategy"]["matrix"]["component"]:
            wants = component == "tools"
            self.assertEqual(runs(component, "refs/heads/main"), (0, ["warning"], False) if wants else (0, [], True))
            self.assertEqual(runs(component, "refs/tags/v0.1.0"), (1, ["error"], False) if wants else (0, [], True))
            self.assertEqual(runs(component, "refs/tags/v0.1.0", PLACES["ETCD_IMAGE"]), (0, [], True))

    def test_grafana_finds_what_the_dashboards_ask(self):
        readme = "deployments/helm/telemetry-pipeline/README.md"
        [secret] = read(block(readme, "kind: Secret"))
        [provisioned] = [yaml.safe_load(text)["datasources"] for text in secret["stringData"].values()]
        ours = yaml.safe_load((ROOT / "deployments/grafana/provisioning/datasources/nexus.yml").read_text())["datasources"]
        self.assertEqual([(one["uid"], one["type"]) for one in provisioned], [(one["uid"], one["type"]) for one in ours])
        asked = set(re.findall(r'"uid": "(nexus-(?:prometheus|postgresql))"', "".join(
            path.read_text() for path in (ROOT / "deployments/grafana/dashboards").glob("*.json"))))
        self.assertEqual(asked, {one["uid"] for one in provisioned})

        # And is let in, by the patch as it is typed.
        typed = self.typed("kubectl")
        done = typed.run(block(readme, "kubectl patch networkpolicy").replace("nexus-postgresql-0 --", "nexus-postgresql-0 -f - --"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(typed.applied(), (ROOT / "deployments/grafana/role.sql").read_text() + "---\n" * 2)
        [patch] = [json.loads(words[words.index("--patch") + 1]) for words in typed.said() if words[1] == "patch"]
        policy = copy.deepcopy(find(k8s(), "NetworkPolicy", "nexus-postgresql"))
        self.assertEqual([(one["op"], one["path"]) for one in patch], [("add", "/spec/ingress/0/from/-")])
        policy["spec"]["ingress"][0]["from"].append(patch[0]["value"])
        for version in VERSIONS:
            kubernetes_validate.validate(policy, version, strict=True)


if __name__ == "__main__":
    unittest.main()

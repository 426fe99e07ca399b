"""The chart, rendered: what a release would send to Kubernetes."""

import functools
import json
from pathlib import Path

import helm_python as helm
import yaml
from helm_python.chart import lint as helm_lint

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deployments/helm/telemetry-pipeline"
K8S = ROOT / "deployments/k8s"
RELEASE, NAMESPACE = "nexus-pipeline", "nexus"


class Refused(Exception):
    """The schema or a template says no."""


class OneKeyOnce(yaml.SafeLoader):
    """Two keys of one name are a mistake, which YAML readers settle in silence."""


def _mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
    return loader.construct_mapping(node, deep=True)


OneKeyOnce.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(text):
    return [document for document in yaml.load_all(text, OneKeyOnce) if document]


def lint(values):
    return helm_lint(CHART, values, strict=True, namespace=NAMESPACE)


def manifests(values=None, **how):
    """Template path to rendered text."""
    try:
        with helm.Chart.load(CHART) as chart:
            return chart.render(values, name=RELEASE, namespace=NAMESPACE, **how)
    except (helm.HelmValuesError, helm.HelmRenderError) as error:
        raise Refused(str(error)) from None


@functools.cache
def _rendered(values):
    text = manifests(json.loads(values))
    return [document for path, content in text.items() if path.endswith(".yaml") for document in read(content)]


def render(values=None):
    """All objects of a release with these values."""
    return _rendered(json.dumps(values or {}))


PLAIN, TLS = "etcd-cluster.yaml", "etcd-cluster-tls.yaml"


def k8s(etcd=PLAIN):
    """All objects of deployments/k8s, with one of its two etcds."""
    return [document for name in (etcd, "postgresql.yaml") for document in read((K8S / name).read_text())]


def find(documents, kind, name):
    found = [document for document in documents if document["kind"] == kind and document["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def pod_of(document):
    """The pod template of a workload, if it is one."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template") if document["kind"] in WORKLOADS else None


WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def pods(documents):
    """Each workload and its pod template."""
    return [(document, pod_of(document)) for document in documents if pod_of(document)]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]

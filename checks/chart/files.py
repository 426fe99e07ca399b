#!/usr/bin/env python3
"""What stands in two places, and has to be the same in both: files that the chart carries, because helm reads none outside of
it, and the README's table of values. `files.py` makes the copies, `make check-chart` compares them."""

import gzip
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deployments/helm/telemetry-pipeline"
K8S = ROOT / "deployments/k8s"
README = CHART / "README.md"
BEGIN, END = "<!-- made by checks/chart/files.py -->", "<!-- until here -->"


def copies():
    """Path in the chart, and what belongs there."""
    for source in sorted((ROOT / "deployments/prometheus/rules").glob("*.yml")):
        yield CHART / "files/prometheus" / source.name, source.read_bytes()
    for source in sorted((ROOT / "deployments/grafana/dashboards").glob("*.json")):
        yield CHART / "files/grafana" / source.name, source.read_bytes()


# What is put behind a line of etcd-cluster.yaml, for TLS.
TLS = [
    ("            - --backend-batch-interval=20ms", """\
            # Clients and members alike show a certificate of the authority, and are shown the one of the secret.
            - --cert-file=/etc/etcd/tls/tls.crt
            - --key-file=/etc/etcd/tls/tls.key
            - --trusted-ca-file=/etc/etcd/tls/ca.crt
            - --client-cert-auth=true
            - --peer-cert-file=/etc/etcd/tls/tls.crt
            - --peer-key-file=/etc/etcd/tls/tls.key
            - --peer-trusted-ca-file=/etc/etcd/tls/ca.crt
            - --peer-client-cert-auth=true"""),
    ("              valueFrom: {configMapKeyRef: {name: nexus-etcd, key: initial-cluster-state}}", """\
            # For whoever asks by kubectl exec.
            - {name: ETCDCTL_ENDPOINTS, value: "https://localhost:2379"}
            - {name: ETCDCTL_CACERT, value: /etc/etcd/tls/ca.crt}
            - {name: ETCDCTL_CERT, value: /etc/etcd/tls/tls.crt}
            - {name: ETCDCTL_KEY, value: /etc/etcd/tls/tls.key}"""),
    ("            - {name: data, mountPath: /var/lib/etcd}", """\
            - {name: tls, mountPath: /etc/etcd/tls, readOnly: true}
      volumes:
        - name: tls
          secret: {secretName: nexus-etcd-server, defaultMode: 0440}"""),
]


def with_tls():
    """etcd-cluster.yaml, spoken to over TLS alone."""
    text = (K8S / "etcd-cluster.yaml").read_text()
    begin = text.index("apiVersion:")
    text = text[begin:]
    for line, behind in TLS:
        assert text.count(f"{line}\n") == 1, line
        text = text.replace(f"{line}\n", f"{line}\n{behind}\n")
    # Metrics and probes stay plain: they are reached from within the namespaces that the policy names.
    text = re.sub(r"http://([^ ,\n]+:23(?:79|80))\b", r"https://\1", text)
    return f"""\
# etcd-cluster.yaml with certificates, for clients and between members. Made from that file by checks/chart/files.py (make
# chart-files): change that one. README.md beside this says how its secret nexus-etcd-server is made.
{text}"""


def sample():
    """The sample is packed: a config map takes a megabyte. Its bytes differ with the packer's version, its content does not."""
    source = ROOT / "data/gpu_telemetry_sample.csv"
    return CHART / f"files/data/{source.name}.gz", source.read_bytes()


def values():
    """Each value of values.yaml: its path, the text of its default, and its description."""
    path, said, block = [], [], None
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = re.fullmatch(r"\s*# (.*)", line)
        item = re.fullmatch(r"(\s*)- (.*)", line)
        key = re.fullmatch(r"(\s*)([A-Za-z]+):(?: (.*))?", line)
        if item and block is not None:
            block[1].append(item[2])
            continue
        if block is not None:
            yield block[0], json.dumps(block[1]), block[2]
            block = None
        if comment:
            said.append(comment[1])
        elif key:
            depth = len(key[1]) // 2
            path = path[:depth] + [key[2]]
            name, text = ".".join(path), " ".join(said)
            if key[3] is not None:
                yield name, key[3], text
            elif name == "etcd.endpoints":
                block = (name, [], text)
            said = []
        elif not line.strip():
            said = []
        else:
            raise SystemExit(f"values.yaml: cannot read: {line}")


def table():
    cell = lambda text: text.replace("|", "\\|").replace("<", "&lt;")
    rows = [f"| `{name}` | `{cell(default)}` | {cell(text)} |" for name, default, text in values()]
    return "\n".join([BEGIN, "", "| value | default | what it is |", "|---|---|---|", *rows, "", END])


def readme():
    text = README.read_text()
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + table() + text[end:]


def write():
    for path, content in copies():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    expected = {path for path, _ in copies()}
    for folder in ("prometheus", "grafana"):
        for path in (CHART / "files" / folder).iterdir():
            if path not in expected:
                path.unlink()
    path, content = sample()
    if not path.exists() or gzip.decompress(path.read_bytes()) != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 9, mtime=0))
    README.write_text(readme())
    (K8S / "etcd-cluster-tls.yaml").write_text(with_tls())


if __name__ == "__main__":
    write()

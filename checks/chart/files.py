#!/usr/bin/env python3
"""What stands in two places, and has to be the same in both: files that the chart carries, because helm reads none outside of
it, and the README's table of values. `files.py` makes the copies, `make check-chart` compares them."""

import gzip
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deployments/helm/telemetry-pipeline"
README = CHART / "README.md"
BEGIN, END = "<!-- made by checks/chart/files.py -->", "<!-- until here -->"


def copies():
    """Path in the chart, and what belongs there."""
    for source in sorted((ROOT / "deployments/prometheus/rules").glob("*.yml")):
        yield CHART / "files/prometheus" / source.name, source.read_bytes()
    for source in sorted((ROOT / "deployments/grafana/dashboards").glob("*.json")):
        yield CHART / "files/grafana" / source.name, source.read_bytes()


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


if __name__ == "__main__":
    write()

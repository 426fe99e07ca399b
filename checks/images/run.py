#!/usr/bin/env python3
"""Follows deployments/docker without a container engine: lint, every step, and what it comes to, run as it would be.

    checks/images/run.py               everything
    checks/images/run.py --lint        only look at the files
    checks/images/run.py --recovery    only back up and restore
    checks/images/run.py --profile release

1. Dockerfiles, compose.yaml and the workflows are looked at (lint.py).
2. The stages are followed (follow.py), compiled in the profile that is named, with what cargo has compiled already.
3. What they come to is run (stack.py) as user 65532 on a root that cannot be written to, on real servers: the health checks go
   from unhealthy to healthy, rows flow from a mounted file to the gateway, the audit balances, everything drains.
4. Compose's backups are taken and restored by the lines that docs/BACKUP.md has people type (recovery.py).

Needs root, for mounts of its own that nobody else sees and that end with it; nothing of this machine is changed but `target`.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deployments/docker"
ORDER = ("streamer", "collector", "gateway", "tools")
COMMIT = "0123abc"


def looked_at():
    import lint
    faults = [fault for name in ORDER for fault in lint.dockerfile(DOCKER / f"{name}.Dockerfile", ROOT)]
    faults += lint.compose(DOCKER / "compose.yaml", ROOT)
    faults += lint.scraped(DOCKER / "prometheus.yml", ROOT / "deployments/prometheus/prometheus.yml")
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "config", "--syntax-only", DOCKER / "prometheus.yml"], capture_output=True, text=True)
        faults += [checked.stdout + checked.stderr] if checked.returncode else []
    faults += lint.workflows(ROOT / ".github/workflows", ROOT)
    for fault in faults:
        print(f"FAILED: {fault}")
    return not faults


def followed(profile):
    import context
    from container import Image
    from follow import Builder
    work = ROOT / "target/images"
    context.copy(ROOT, work / "context")
    # As the tests are compiled, so that cargo finds the dependencies there.
    given = {"PROFILE": profile, "CARGO_FLAGS": "--features nexus/failpoints" if profile == "dev" else "", "NEXUS_COMMIT": COMMIT,
             # follow.py stands in for it.
             "ETCD_IMAGE": "etcd:v3.6.14"}
    builder = Builder(work / "stages", work / "context", ROOT / "target", given)
    images = {}
    for name in ORDER:
        print(f"== {name}", flush=True)
        images[name] = Image.of(*builder.image(DOCKER / f"{name}.Dockerfile"))
    return images


# Mounts, a network and processes of its own, which end with it.
ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--propagation", "private", sys.executable]


def recovered():
    print("== recovery", flush=True)
    return subprocess.run([*ALONE, pathlib.Path(__file__).with_name("recovery.py")], check=False).returncode == 0


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lint", action="store_true", help="only look at the files")
    options.add_argument("--recovery", action="store_true", help="only back up and restore")
    options.add_argument("--profile", default="dev", help="cargo's profile; dev uses what the tests have compiled")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if not given.inside:
        print("== lint", flush=True)
        if not looked_at():
            sys.exit(1)
        if given.lint:
            return
        if os.geteuid() != 0:
            sys.exit("following the stages needs root: mounts of its own")
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv, "--inside"]
        os.execvp(command[0], command)
    if given.recovery:
        sys.exit(not recovered())
    images = followed(given.profile)
    print("== run", flush=True)
    version = next(line.split('"')[1] for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version"))
    told = {"images": {name: vars(image) for name, image in images.items()}, "version": f"{version} ({COMMIT})",
            "nexus": str(pathlib.Path(images["tools"].tree) / "usr/local/bin/nexus")}
    ran = subprocess.run([*ALONE, pathlib.Path(__file__).with_name("stack.py"), json.dumps(told)], check=False).returncode
    sys.exit(not recovered() or ran)


if __name__ == "__main__":
    main()

"""Follows a Dockerfile's stages on this machine, without a container engine: every RUN is run, every COPY copied.

A base image is stood in for by this machine: a stage's root is an overlay, what is below is this machine's (or the stage
before) and is only read, what a step writes goes into memory and is gone with the process. `scratch` is an empty folder. So the
steps are the real ones, while which packages a base image brings is not seen: that they are named in an
`apt-get install` is, because it is run.

Needs root and a mount namespace of its own, see run.py.
"""

import os
import pathlib
import shutil
import subprocess
from dataclasses import dataclass, field

from dockerfile import expand, parse

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# Programs that only their own image has, and where it has them: this machine's are put there.
STANDS_IN = {"etcd": {"etcdctl": "usr/local/bin/etcdctl", "etcdutl": "usr/local/bin/etcdutl"}}


def stand_in(name, path):
    """This machine's program; where it has none (etcdutl comes with etcd 3.5), one that says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if found := shutil.which(name):
        shutil.copy2(os.path.realpath(found), path)
    else:
        path.write_text(f"#!/bin/sh\necho '{name} is in its own image' >&2\nexit 1\n")
        path.chmod(0o755)


@dataclass
class Tree:
    """What a stage has come to."""
    root: pathlib.Path
    below: list
    environment: dict = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    steps: tuple = ()


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


class Builder:
    """Builds images in `folder`. `target` is where cargo keeps what it has compiled; `given` are build arguments."""

    def __init__(self, folder, context, target, given):
        self.folder, self.context, self.target, self.given = folder, context, target, given
        self.done, self.number = {}, 0
        # Whatever steps write: a gigabyte of dependencies' sources and pages at most.
        folder.mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", "size=6g,mode=755", "tmpfs", folder)

    def image(self, path):
        """The last stage of a Dockerfile, and its instructions."""
        arguments, stages = parse(path.read_text())
        arguments = {name: self.given.get(name, value or "") for name, value in arguments.items()}
        trees = {}
        for stage in stages:
            trees[stage.name] = self.stage(stage, expand(stage.base, arguments), trees, arguments)
        return trees[stages[-1].name], stages[-1]

    def stage(self, stage, base, trees, arguments):
        known = trees.get(base)
        # As a layer's cache does: the same steps on the same base with the same arguments are followed once.
        steps = ((known.steps if known else (base,))
                 + tuple((step.verb, expand(step.text, self.given), str(step.flags)) for step in stage.instructions)
                 + tuple(trees[step.flags["from"]].steps for step in stage.of("COPY") if "from" in step.flags))
        if steps in self.done:
            return self.done[steps]
        tree = self.begin(base, known)
        print(f"  {stage.name} from {base}", flush=True)
        variables = {}
        for step in stage.instructions:
            self.step(step, tree, variables, trees, arguments)
        tree.steps = steps
        self.done[steps] = tree
        return tree

    def begin(self, base, known):
        self.number += 1
        place = self.folder / str(self.number)
        if base == "scratch":
            place.mkdir()
            return Tree(place, [])
        upper, work, root = place / "upper", place / "work", place / "root"
        for each in (upper, work, root):
            each.mkdir(parents=True)
        below = known.below if known else [pathlib.Path("/")]
        lower = ":".join(map(str, below))
        mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", root)
        for name in ("proc", "dev", "sys"):
            (root / name).mkdir(exist_ok=True)
            mount("--rbind", f"/{name}", root / name)
        # The names of the network's servers may be a mount of their own.
        resolve = pathlib.Path("/etc/resolv.conf").resolve()
        if resolve.exists():
            (root / "etc/resolv.conf").unlink(missing_ok=True)
            shutil.copyfile(resolve, root / "etc/resolv.conf")
        here = root / self.target.relative_to("/")
        here.mkdir(parents=True, exist_ok=True)
        mount("--bind", self.target, here)
        for name, path in STANDS_IN.get(base.partition(":")[0], {}).items():
            stand_in(name, root / path)
        environment, folder = (dict(known.environment), known.folder) if known else ({}, "/")
        return Tree(root, [upper, *below], environment, folder)

    def step(self, step, tree, variables, trees, arguments):
        def said(text):
            return expand(text, variables | tree.environment)
        if step.verb == "ARG":
            for name, value in step.assignments().items():
                variables[name] = self.given.get(name, arguments.get(name, said(value or "")))
        elif step.verb == "ENV":
            tree.environment |= {name: said(value or "") for name, value in step.assignments().items()}
        elif step.verb == "WORKDIR":
            tree.folder = os.path.join(tree.folder, said(step.text))
            (tree.root / tree.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step.verb == "USER":
            tree.user = said(step.text)
        elif step.verb == "RUN":
            self.run(step, tree, variables)
        elif step.verb == "COPY":
            self.copy(step, tree, trees, said)
        elif step.verb not in ("LABEL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "STOPSIGNAL"):
            raise SystemExit(f"line {step.line}: nobody here knows how to follow {step.verb}")

    def run(self, step, tree, variables):
        """In the stage's root. Where cargo, rustc and the proxies are is this machine's affair, as it is the base image's."""
        environment = os.environ | {"CARGO_TARGET_DIR": str(self.target), "DEBIAN_FRONTEND": "noninteractive"}
        environment |= variables | tree.environment
        command = ["chroot", str(tree.root), "/bin/sh", "-c", f"cd {tree.folder} && {step.text}"]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"line {step.line}: RUN {step.text}\nended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")

    def copy(self, step, tree, trees, said):
        *sources, destination = [said(word) for word in step.words()]
        source_root = trees[step.flags["from"]].root if "from" in step.flags else self.context
        to = tree.root / os.path.join(tree.folder, destination).lstrip("/")
        found = []
        for source in sources:
            inside = source.strip("/")
            there = [source_root] if inside in ("", ".") else sorted(source_root.glob(inside))
            if not there:
                raise SystemExit(f"line {step.line}: COPY {step.text}: there is no {source}")
            found += there
        into = destination.endswith(("/", ".")) or len(found) > 1
        for path in found:
            if path.is_dir():
                shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
            else:
                final = to / path.name if into or to.is_dir() else to
                final.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, final)

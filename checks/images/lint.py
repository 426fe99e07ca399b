"""What every Dockerfile of ours keeps to, and compose.yaml. Each finding is a line."""

import re
import subprocess
import sys

from ruamel.yaml import YAML

from context import is_in, patterns
from dockerfile import Missing, expand, parse

PORTS = {"streamer": "9101", "collector": "9102", "gateway": "8080", "tools": None}
LABELS = {"title", "description", "licenses", "version", "revision"}
OURS = ("streamer", "collector", "gateway", "tools")


def dockerfile(path, root):
    """One Dockerfile."""
    component, where = path.name.removesuffix(".Dockerfile"), path.name
    arguments, stages = parse(path.read_text())
    final, names = stages[-1], set()
    rules = patterns((root / ".dockerignore").read_text())
    for stage in stages:
        try:
            base = expand(stage.base, arguments)
            faults = image_name(base) if base != "scratch" and base not in names else ()
        except Missing as missing:
            faults = explains(str(missing))
        yield from (f"{where}: {fault}" for fault in faults)
        for instruction in stage.instructions:
            say = f"{where}:{instruction.line}: "
            if instruction.verb in ("ADD", "MAINTAINER", "ONBUILD", "VOLUME", "SHELL"):
                yield f"{say}{instruction.verb} is not used here"
            if instruction.verb == "WORKDIR" and not instruction.text.startswith("/"):
                yield f"{say}WORKDIR is not absolute"
            if instruction.verb in ("ARG", "ENV"):
                for name in instruction.assignments():
                    if re.search("PASSWORD|SECRET|TOKEN|KEY$", name):
                        yield f"{say}{name} would stay in the image's history"
            if instruction.verb == "RUN":
                yield from (say + fault for fault in run(instruction.text))
            if instruction.verb == "COPY":
                source = instruction.flags.get("from")
                if source and source not in names:
                    yield f"{say}no stage {source} before this one"
                wanted = [] if source else [word.strip("/") for word in instruction.words()[:-1] if word != "."]
                for pattern in wanted:
                    found = [path for path in root.glob(pattern) if path.is_dir() or is_in(str(path.relative_to(root)), rules)]
                    if not found:
                        yield f"{say}{pattern} is not in the context"
        names.add(stage.name)
    yield from (f"{where}: {fault}" for fault in last_stage(component, final))


def image_name(name):
    """A tag, and no host of a registry: where images come from is whoever builds to say."""
    first = name.split("/")[0]
    if "/" in name and re.search(r"[.:]|^localhost$", first):
        yield f"{name} names a registry"
    tag = name.partition(":")[2]
    if not tag or tag == "latest":
        yield f"{name} has no version"


def explains(said):
    """What is said to whoever leaves out what has to be given. Only etcd's image has to be: no hub has it under a plain name."""
    if not said.startswith("ETCD_IMAGE: ") or "https://etcd.io/docs/" not in said:
        yield f"who leaves it out is not told what to do: {said}"


def run(command):
    if "apt-get install" in command:
        for needed in ("apt-get update", "--no-install-recommends", "install -y", "rm -rf /var/lib/apt/lists/*"):
            if needed not in command:
                yield f"apt-get without {needed!r}"
    if re.search(r"\b(sudo|curl|wget)\b", command):
        yield "what is downloaded by hand is checked by nobody"


def last_stage(component, stage):
    """What a container gets."""
    user, entry, health, expose = (stage.last(verb) for verb in ("USER", "ENTRYPOINT", "HEALTHCHECK", "EXPOSE"))
    if not user or user.text != "65532:65532":
        yield "the user is not 65532:65532"
    if not entry or not entry.exec_form():
        yield "ENTRYPOINT is missing, or a shell's line: signals would not reach the program"
    if not health:
        yield "no HEALTHCHECK"
    elif health.text != "NONE":
        command = health.text.partition("CMD ")[2]
        if not command.startswith("["):
            yield "HEALTHCHECK wants a shell"
        if not {"interval", "timeout", "start-period", "retries"} <= health.flags.keys():
            yield "HEALTHCHECK leaves its bounds to chance"
    if (expose.text if expose else None) != PORTS[component]:
        yield f"EXPOSE is not {PORTS[component]}"
    labels = {name for label in stage.of("LABEL") for name in label.assignments()}
    for missing in LABELS - {name.removeprefix("org.opencontainers.image.") for name in labels}:
        yield f"no label org.opencontainers.image.{missing}"


def compose(path, root):
    """compose.yaml: against its schema, and what every service of it keeps to."""
    document = YAML(typ="safe").load(path)
    yield from schema("vendor.compose-spec", path)
    variables = set(re.findall(r"^\| `(\w+)`", (root / "docs/CONFIGURATION.md").read_text(), re.M))
    clients = {"NEXUS_GATEWAY"}
    for name, service in document["services"].items():
        say = f"compose.yaml: {name}: "
        if not service.get("read_only"):
            yield say + "its root can be written to"
        if service.get("cap_drop") != ["ALL"]:
            yield say + "it keeps capabilities"
        if service.get("security_opt") != ["no-new-privileges:true"]:
            yield say + "it may gain privileges"
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if "memory" not in limits or "pids_limit" not in service:
            yield say + "it may use what it wants"
        if "cpus" in limits:
            yield say + "a host with fewer processors refuses to start it"
        # Whoever restores etcd, which is root's, reads what another user has backed up; the server is stopped meanwhile.
        if service.get("cap_add", []) != (["DAC_OVERRIDE"] if name == "restore" else []):
            yield say + "it has capabilities"
        ends = service.get("restart") == "no"
        if name not in OURS and not ends and "healthcheck" not in service:
            yield say + "nobody knows how it is"
        try:
            faults = image_name(expand(service["image"], {}))
        except Missing as missing:
            faults = explains(str(missing))
        yield from (say + fault for fault in faults)
        for port in service.get("ports", []):
            if not re.match(r"(\$\{\w+:-)?127\.0\.0\.1:", port):
                yield f"{say}{port} is open to everybody"
        for other, how in service.get("depends_on", {}).items():
            known = other in OURS or "healthcheck" in document["services"][other]
            if how["condition"] != "service_healthy" or not known:
                yield f"{say}it does not wait for {other} to be healthy"
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", source)
            if source == "./backup/nexus":
                if name not in ("postgres", "backup", "restore"):
                    yield f"{say}backups are none of its business"
            elif source.startswith("."):
                if not (path.parent / source).exists():
                    yield f"{say}{source} is not there"
                if not (isinstance(volume, dict) and volume.get("read_only") or str(volume).endswith(":ro")):
                    yield f"{say}{source} can be written to"
            elif source not in document["volumes"]:
                yield f"{say}{source} is no volume"
        if name in OURS:
            for unknown in service.get("environment", {}).keys() - variables - clients:
                yield f"{say}{unknown} is no variable of docs/CONFIGURATION.md"
            dockerfile_of = root / service["build"]["dockerfile"]
            if not dockerfile_of.exists():
                yield f"{say}{dockerfile_of} is not there"
        for secret in service.get("secrets", []):
            if secret not in document["secrets"]:
                yield f"{say}{secret} is no secret"
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD$", variable) and value:
                yield f"{say}{variable} stands in the environment"
    made = (path.parent / "secrets.sh").read_text()
    for secret in document["secrets"]:
        if secret not in made:
            yield f"compose.yaml: secrets.sh does not make {secret}"
    example, text = (path.parent / ".env.example").read_text(), path.read_text()
    # Those with a default stand there with it, as comments; those without, to be filled in.
    for examples, taken in ((r"^#(\w+)=", r"\$\{(\w+):-"), (r"^(\w+)=$", r"\$\{(\w+):\?")):
        for variable in set(re.findall(examples, example, re.M)) ^ set(re.findall(taken, text)):
            yield f"{variable} is in one of compose.yaml and .env.example"


def scraped(ours, original):
    """The jobs that the rules go by are the same."""
    jobs = [{job["job_name"] for job in YAML(typ="safe").load(path)["scrape_configs"]} for path in (ours, original)]
    if jobs[0] != jobs[1]:
        yield f"{ours.name} scrapes {sorted(jobs[0])}, the original {sorted(jobs[1])}"


def workflows(folder, root):
    """GitHub's: against their schema; every action pinned, and no right that is not named."""
    for path in sorted(folder.glob("*.yml")):
        text, document = path.read_text(), YAML(typ="safe").load(path)
        yield from schema("vendor.github-workflows", path)
        if document.get("permissions") not in ({}, {"contents": "read"}):
            yield f"{path.name}: rights beyond reading are given to all jobs"
        for name, job in document["jobs"].items():
            if "timeout-minutes" not in job:
                yield f"{path.name}: {name} may run for ever"
        for action in re.findall(r"uses: (\S+)", text):
            if not action.startswith("./") and not re.search(r"@[0-9a-f]{40}$", action):
                yield f"{path.name}: {action} is not pinned"
        if "${{ github.event" in text or "${{ github.head_ref" in text:
            yield f"{path.name}: what others write is put into a script"
        makefile = (root / "Makefile").read_text()
        for target in re.findall(r"^\s*(?:run: )?make ([a-z][\w-]*)", text, re.M):
            if not re.search(rf"^[\w -]*\b{target}\b[\w -]*:", makefile, re.M):
                yield f"{path.name}: make {target} is not there"


def schema(builtin, path):
    done = subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", builtin, path], capture_output=True, text=True, check=False)
    if done.returncode:
        yield f"{path.name}: {builtin}: {(done.stdout + done.stderr).strip()[:2000]}"

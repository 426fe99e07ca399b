"""An image that was followed, and processes of it."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from ground import PATIENCE, until

ENTER = pathlib.Path(__file__).with_name("enter.py")


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


class Image:
    """What a Dockerfile came to: its tree and what it says of running it. Stands as JSON between two processes."""

    def __init__(self, tree, environment, user, folder, entrypoint, health):
        self.tree, self.environment, self.user, self.folder = str(tree), environment, user, folder
        self.entrypoint, self.health = entrypoint, health

    @staticmethod
    def of(tree, stage):
        health = stage.last("HEALTHCHECK").text.partition("CMD ")[2]
        return Image(tree.root, tree.environment, tree.user, tree.folder, stage.last("ENTRYPOINT").exec_form(),
                     json.loads(health) if health else None)

    def command(self, argv, environment, mounts):
        spec = {"tree": self.tree, "user": self.user, "folder": self.folder, "argv": argv, "mounts": mounts,
                "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"} | self.environment | environment}
        return [sys.executable, str(ENTER), json.dumps(spec)]

    def run(self, *arguments, entrypoint=None, environment=(), mounts=None):
        """To its end: status and everything that was said."""
        command = self.command([*(entrypoint or self.entrypoint), *arguments], dict(environment), mounts or {})
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr


class Container:
    """A process of an image."""

    def __init__(self, name, image, log, environment=(), mounts=None):
        self.name, self.image, self.log = name, image, log
        self.environment, self.mounts = dict(environment), mounts or {}
        self.child = subprocess.Popen(image.command(image.entrypoint, self.environment, self.mounts),
                                      stdout=log.open("w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def pid(self):
        """The program's own."""
        children = pathlib.Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def health(self, *arguments):
        """What HEALTHCHECK's command says: its status, and a line."""
        return self.image.run(*arguments, entrypoint=self.image.health, environment=self.environment, mounts=self.mounts)

    def until_healthy(self, *arguments):
        """Waits for what HEALTHCHECK's command says; not for a program that ended by itself."""
        def healthy():
            if self.child.poll() is not None:
                sys.exit(f"{self.name} ended by itself with status {self.child.returncode}: {self.said()[-1500:]}")
            return self.health(*arguments)[0] == 0
        until(f"{self.name} is healthy", healthy)

    def confined(self):
        """What is not as it should be with the running process, as the kernel tells it."""
        pid = self.pid()
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        uid = self.image.user.split(":")[0]
        if set(status["Uid"].split()) != {uid}:
            yield f"{self.name} runs as {status['Uid']}"
        if int(status["CapEff"], 16) or int(status["CapBnd"], 16):
            yield f"{self.name} has capabilities: {status['CapEff']} {status['CapBnd']}"
        if status["NoNewPrivs"] != "1":
            yield f"{self.name} may gain privileges"
        for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
            place, options = line.split()[4:6]
            if "rw" in options.split(",") and place not in ("/proc", *self.mounts) and not place.startswith("/dev/"):
                yield f"{self.name} may write to {place}"
        try:
            # Root itself, seen from where the process is.
            os.close(os.open(f"/proc/{pid}/root/written", os.O_CREAT | os.O_WRONLY))
            yield f"{self.name}'s root is written to"
        except OSError as error:
            if error.errno != 30:
                yield f"{self.name}: {error}"

    def stop(self):
        """SIGTERM, as an engine stops a container: status, and how long it took."""
        began = time.monotonic()
        self.child.terminate()
        return self.child.wait(PATIENCE), time.monotonic() - began

    def said(self):
        return self.log.read_text()

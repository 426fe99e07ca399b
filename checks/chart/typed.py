"""What documents have people type: fenced blocks, run with programs that note what they were told."""

import os
import re
import subprocess
from pathlib import Path

from chart import ROOT

# Notes its words and what is handed to it. `docker push` and the like have nothing on their input.
NOTES = r"""#!/usr/bin/env bash
{ printf '%s\0' "${0##*/}" "$@"; printf '\n\0'; } >>"$SAID"
case " $* " in *' -f - '*) cat >>"$APPLIED" && echo '---' >>"$APPLIED" ;; esac
"""


def block(document, words):
    """The one fenced block of a document that has these words."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", (ROOT / document).read_text(), re.M | re.S)
    found = [text for text in blocks if words in text]
    assert len(found) == 1, f"{document}: {len(found)} blocks have {words!r}"
    return found[0]


class Typed:
    """Runs of bash in which these programs are others."""

    def __init__(self, folder, *programs):
        self.folder = Path(folder)
        (self.folder / "bin").mkdir(parents=True)
        for program in programs:
            path = self.folder / "bin" / program
            path.write_text(NOTES)
            path.chmod(0o755)

    def run(self, text, environment=(), cwd=ROOT):
        given = os.environ | dict(environment) | {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "SAID": f"{self.folder}/said", "APPLIED": f"{self.folder}/applied"}
        # As in a terminal, but for a line that fails.
        return subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=cwd, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def _read(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def said(self):
        """Every call: the program and its words."""
        calls = self._read("said").split("\0\n\0")
        return [call.split("\0") for call in calls if call]

    def applied(self):
        return self._read("applied")

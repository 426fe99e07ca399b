"""What a build sees of the repository: everything but what .dockerignore keeps out."""

import fnmatch
import os
import shutil


def patterns(text):
    lines = [line.strip() for line in text.splitlines()]
    return [(line.lstrip("!").strip("/"), line.startswith("!")) for line in lines if line and not line.startswith("#")]


def matches(path, pattern):
    """As Docker means it: a pattern that names a folder means all that is in it; `**/` is any folder."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        head = "/".join(parts[:end])
        if pattern.startswith("**/"):
            if fnmatch.fnmatchcase(parts[end - 1], pattern[3:]):
                return True
        elif head.count("/") == pattern.count("/") and fnmatch.fnmatchcase(head, pattern):
            return True
    return False


def is_in(path, rules):
    """The last rule that matches decides."""
    inside = True
    for pattern, again in rules:
        if matches(path, pattern):
            inside = again
    return inside


def copy(root, destination):
    """Copies the context anew; dates stay."""
    shutil.rmtree(destination, ignore_errors=True)
    rules = patterns((root / ".dockerignore").read_text())
    for folder, folders, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        # Large, never wanted: not even looked into.
        folders[:] = [name for name in folders if name not in ("target", "node_modules", ".git", ".nexus")]
        for name in files:
            path = os.path.normpath(os.path.join(inside, name))
            if is_in(path, rules):
                to = destination / path
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / path, to)

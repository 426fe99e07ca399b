#!/usr/bin/env python3
"""Runs a program in a tree as a container engine would: this tree is its root and cannot be written to, it is nobody (user
and group of the image, no capability, no way to get one), and it sees no process but its own. The network is the caller's.

    enter.py '{"tree": …, "user": "65532:65532", "argv": […], "environment": {…}, "folder": "/", "mounts": {"/data": "/srv/data"}}'

Mounts are read only; one of nothing ("/tmp": "") is a folder of its own in memory, which can be written to. Before the
program starts it is tried whether its root can be written to: then it is not started (status 97).
"""

import ctypes
import json
import os
import pathlib
import subprocess
import sys

CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
LAST_CAPABILITY = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    if getattr(libc, function)(*arguments):
        raise OSError(ctypes.get_errno(), f"{function}{arguments}")


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def prepare(tree, mounts):
    """What an engine adds to an image, and then nobody writes any more."""
    mount("--make-rprivate", "/")
    mount("--bind", tree, tree)
    for place in ("proc", "dev", "etc", *mounts):
        (tree / place.strip("/")).mkdir(parents=True, exist_ok=True)
    for name in ("hosts", "resolv.conf"):
        (tree / "etc" / name).touch()
    mount("-t", "proc", "proc", tree / "proc")
    mount("-t", "tmpfs", "-o", "mode=755,nosuid", "tmpfs", tree / "dev")
    for name in ("null", "zero", "random", "urandom"):
        (tree / "dev" / name).touch()
        mount("--bind", f"/dev/{name}", tree / "dev" / name)
    for name in ("hosts", "resolv.conf"):
        mount("--bind", os.path.realpath(f"/etc/{name}"), tree / "etc" / name)
        mount("-o", "remount,bind,ro", tree / "etc" / name)
    for place, source in mounts.items():
        inside = tree / place.strip("/")
        if source:
            mount("--bind", source, inside)
            mount("-o", "remount,bind,ro", inside)
        else:
            mount("-t", "tmpfs", "-o", "mode=1777,nosuid,nodev,size=64m", "tmpfs", inside)
    mount("-o", "remount,bind,ro", tree / "dev")
    mount("-o", "remount,bind,ro", tree)


def become(user):
    """Nobody, for good."""
    uid, gid = map(int, user.split(":"))
    for capability in range(LAST_CAPABILITY + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def is_written_to(places):
    for place in places:
        try:
            os.close(os.open(f"{place}/written", os.O_CREAT | os.O_WRONLY))
            return place
        except OSError:
            continue
    return None


def main():
    spec = json.loads(sys.argv[1])
    tree = pathlib.Path(spec["tree"])
    call("unshare", CLONE_NEWNS | CLONE_NEWPID)
    child = os.fork()
    if child:
        # Signals go to the program: whoever started this wants to stop that.
        import signal
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(child, number))
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
    call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
    prepare(tree, spec.get("mounts", {}))
    os.chroot(tree)
    os.chdir(spec.get("folder", "/"))
    become(spec["user"])
    # The signal of a parent's death is forgotten when a process becomes somebody else.
    call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
    writable = [place for place, source in spec.get("mounts", {}).items() if not source]
    if place := is_written_to({"/", "/etc", "/usr", "/usr/local/bin", "/tmp", "/var", "/data"} - set(writable)):
        print(f"{place} can be written to", file=sys.stderr)
        os._exit(97)
    try:
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])
    except OSError as error:
        print(f"{spec['argv'][0]}: {error}", file=sys.stderr)
        os._exit(127)


if __name__ == "__main__":
    main()

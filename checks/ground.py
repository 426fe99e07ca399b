"""What checks stand on: ports of their own, and patience."""

import pathlib
import random
import socket
import sys
import time

PATIENCE = 120


def until(what, ask, patience=PATIENCE):
    """Asks until there is an answer. Who does not answer yet, or not in full, is asked again."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    sys.exit(f"not in {patience} s: {what}")


def free_ports(count):
    """So many different ports of 127.0.0.1 that were free just now.

    They lie below those that the kernel gives to whoever connects: a server that is away for a moment finds its port again,
    however many connections are made meanwhile.
    """
    given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    below = range(10_000, max(given, 20_000))
    ports = []
    for port in random.sample(below, 1_000):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    sys.exit(f"no {count} ports are free")

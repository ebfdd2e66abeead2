"""Ports for a server on this machine: is one free, and which to take."""

import errno
import secrets
import socket
from pathlib import Path

from headrace_core.errors import SetupError

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST, HIGHEST = 20_000, 32_767
TRIES = 200


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server does it: connections in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as fault:
            if fault.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def choose_port(host: str) -> int:
    """A free port below the kernel's ephemeral range.

    While the server is down for a moment no outgoing connection can take such a port, and a
    client that retries cannot connect to itself.
    """
    highest = max(LOWEST + 1000, min(HIGHEST, _ephemeral_start() - 1))
    for _ in range(TRIES):
        port = LOWEST + secrets.randbelow(highest - LOWEST + 1)
        if is_free(host, port):
            return port
    raise SetupError(f"No free port found on {host} between {LOWEST} and {highest}.")


def _ephemeral_start() -> int:
    try:
        return int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST + 1

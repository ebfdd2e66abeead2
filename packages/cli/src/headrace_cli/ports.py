"""Ports of the services of one home: the gateway's is well known, all are kept over restarts."""

import json
from collections.abc import Mapping
from pathlib import Path

from headrace_core.errors import SetupError
from headrace_runtime.postgres.free_port import choose_port, is_free

HOST = "127.0.0.1"
GATEWAY = "api-gateway"
GATEWAY_PORT = 8080
SERVICES = ("scheduler", "connectors", "executor", "history", GATEWAY)


def choose_ports(kept: Path, *, automatic: bool, api_port: int | None) -> Mapping[str, int]:
    """The kept ports where they are still free; else new ones, but never for a port that a
    person named or knows: that one is an error, which says what to do."""
    known = _read(kept)
    ports: dict[str, int] = {}
    for service in SERVICES:
        port = known.get(service)
        if service == GATEWAY and api_port is not None:
            port = _required(api_port)
        elif service == GATEWAY and port is None and not automatic:
            port = _required(GATEWAY_PORT)
        elif port is None or port in ports.values() or not is_free(HOST, port):
            port = choose_port(HOST)
        ports[service] = port
    kept.write_text(json.dumps(ports, indent=1), encoding="utf-8")
    return ports


def _required(port: int) -> int:
    if not is_free(HOST, port):
        raise SetupError(
            f"Port {port} for the API is taken by another program. "
            "Use --ports auto for any free port, or --api-port N for one of your choice."
        )
    return port


def _read(kept: Path) -> dict[str, int]:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): int(port) for name, port in found.items()}

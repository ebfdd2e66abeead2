"""Is a PostgreSQL server taking logins? Asked in its own protocol, without a password."""

import socket
import struct
from enum import Enum

PROTOCOL_3_0 = 196_608
CANNOT_CONNECT_NOW = b"C57P03\x00"


class Readiness(Enum):
    READY = "ready"
    STARTING = "starting"
    SILENT = "silent"


def probe(host: str, port: int, timeout_s: float = 2.0) -> Readiness:
    """READY once the server asks for a password; STARTING while it starts, recovers or stops."""
    parameters = b"user\0postgres\0database\0postgres\0\0"
    hello = struct.pack("!ii", 8 + len(parameters), PROTOCOL_3_0) + parameters
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(hello)
            answer = connection.recv(4096)
    except OSError:
        return Readiness.SILENT
    if answer[:1] == b"R":
        return Readiness.READY
    if answer[:1] == b"E":
        # Any other refusal (too many clients, say) comes from a server that does take logins.
        return Readiness.STARTING if CANNOT_CONNECT_NOW in answer else Readiness.READY
    return Readiness.SILENT

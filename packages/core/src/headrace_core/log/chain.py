"""Hash chains over stored bytes: one per run, one for records of the partition alone."""

import hashlib

CHAIN_BYTES = 32


def chain_hash(
    previous: bytes, tenant: str, run: str, sequence: int, time_ms: int, body: bytes
) -> bytes:
    """SHA-256 of the previous hash, what the envelope says of the turn, and its stored body."""
    head = f"{tenant}\x00{run}\x00{sequence}\x00{time_ms}\x00".encode()
    return hashlib.sha256(b"".join((previous, head, body))).digest()

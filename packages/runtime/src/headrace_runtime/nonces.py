"""Nonces for AES-GCM, never twice in this process or a child of it."""

import os
from collections.abc import Iterator

from headrace_runtime.keys import NONCE_BYTES

NONCES_PER_DRAW = 1_024


class Nonces:
    """Nonces of the system's randomness, drawn by the thousand: one by one they cost as much as
    the encryption. Taking one is atomic, so threads never share one."""

    def __init__(self) -> None:
        self._ready: Iterator[bytes] = iter(())

    def take(self) -> bytes:
        nonce = next(self._ready, None)
        while nonce is None:
            block = os.urandom(NONCE_BYTES * NONCES_PER_DRAW)
            places = range(0, len(block), NONCE_BYTES)
            self._ready = iter([block[place : place + NONCE_BYTES] for place in places])
            nonce = next(self._ready, None)
        return nonce

    def forget(self) -> None:
        self._ready = iter(())


NONCES = Nonces()
# A forked child would otherwise go on with the nonces that its parent uses too.
os.register_at_fork(after_in_child=NONCES.forget)

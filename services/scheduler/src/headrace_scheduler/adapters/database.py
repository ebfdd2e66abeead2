"""A database that is away, said in the words of the error tree."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from headrace_core.errors import Unavailable
from headrace_runtime.postgres.pool import CONNECTION_LOST


@contextmanager
def unavailable_when_lost(doing: str) -> Generator[None]:
    """Raises Unavailable in place of whatever a lost or refused statement raised."""
    try:
        yield
    except (*CONNECTION_LOST, asyncpg.PostgresError, TimeoutError) as fault:
        raise Unavailable(f"{doing}: the database does not answer ({fault!r})") from fault

"""Faults of the database as the platform's errors."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from headrace_core.errors import Unavailable

_PASSING = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


@contextmanager
def passing_faults() -> Generator[None]:
    """What goes away by itself becomes Unavailable; the rest is a bug and stays what it is."""
    try:
        yield
    except _PASSING as fault:
        if isinstance(fault, asyncpg.InterfaceError) and "clos" not in str(fault):
            # A wrong call, unlike a call on a connection or pool that is closed, stays wrong.
            raise
        raise Unavailable(
            f"history's database does not answer: {fault or type(fault).__name__}"
        ) from fault

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
    except ValueError:
        # asyncpg's word for a wrong argument is an interface error too, but it stays wrong.
        raise
    except _PASSING as fault:
        raise Unavailable(
            f"history's database does not answer: {fault or type(fault).__name__}"
        ) from fault

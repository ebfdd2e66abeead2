"""Pages of lists that are ordered by a time and an id: where one ended, as an opaque cursor."""

import base64
import binascii
from collections.abc import Callable
from contextlib import suppress

from headrace_core.errors import InvalidInput, Unavailable
from headrace_core.ids import TenantId
from headrace_history.app.projector import Projector

LIMIT_DEFAULT = 50
LIMIT_MAX = 500


def page_limit(asked: int) -> int:
    return min(asked or LIMIT_DEFAULT, LIMIT_MAX)


def cursor_of(time_ms: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{time_ms}:{name}".encode()).decode()


def place_of(cursor: str, is_name: Callable[[str], bool]) -> tuple[int, str]:
    """Raises InvalidInput for a cursor that is not one of ours."""
    try:
        time, _, name = base64.urlsafe_b64decode(cursor).decode().partition(":")
        time_ms = int(time)
    except (ValueError, binascii.Error) as fault:
        raise InvalidInput(f"{cursor!r} is no cursor: pass on `next_cursor` as it came") from fault
    if not is_name(name):
        raise InvalidInput(f"{cursor!r} is no cursor: pass on `next_cursor` as it came")
    return time_ms, name


async def catch_up(projector: Projector, tenant: TenantId, wait_s: float) -> None:
    """So that a list includes what has just happened."""
    # A list that is a little late is better than none while one partition is.
    with suppress(Unavailable):
        await projector.passed_ends(wait_s)
    await projector.flush(tenant)

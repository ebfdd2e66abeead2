"""Pages of a tenant's runs, newest first, and its usage: both include what has just happened."""

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from headrace_core.errors import InvalidInput, Unavailable
from headrace_core.ids import DAY_MS, RunId, TenantId, is_run_id
from headrace_history.app.ports import Place, RunFilter, RunStore, UsageStore
from headrace_history.app.projector import Projector
from headrace_history.domain.rendering import Document, row_document, usage_document

LIMIT_DEFAULT = 50
LIMIT_MAX = 500
USAGE_DAYS_MAX = 400


@dataclass(frozen=True, slots=True)
class Page:
    """`cursor` asks for the next page; empty on the last one."""

    runs: Sequence[Document]
    cursor: str


class RunList:
    def __init__(
        self, projector: Projector, runs: RunStore, usage: UsageStore, wait_s: float
    ) -> None:
        self._projector = projector
        self._runs = runs
        self._usage = usage
        self._wait_s = wait_s

    async def page(self, tenant: TenantId, wanted: RunFilter, limit: int, cursor: str) -> Page:
        """Raises InvalidInput for a cursor that is not one of ours."""
        after = _place(cursor) if cursor else None
        limit = min(limit or LIMIT_DEFAULT, LIMIT_MAX)
        await self._catch_up(tenant)
        rows = await self._runs.rows(tenant, wanted, after, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(
            [row_document(row) for row in rows],
            _cursor(Place(rows[-1].started_ms, rows[-1].run)) if more else "",
        )

    async def usage(self, tenant: TenantId, from_ms: int, to_ms: int) -> Document:
        """Raises InvalidInput for a span that ends before it begins or is too long."""
        if not 0 <= from_ms <= to_ms or to_ms - from_ms > USAGE_DAYS_MAX * DAY_MS:
            raise InvalidInput(
                f"usage is asked for from a time to a later one, over at most {USAGE_DAYS_MAX} days"
            )
        await self._catch_up(tenant)
        return usage_document(await self._usage.usage(tenant, from_ms, to_ms), from_ms, to_ms)

    async def _catch_up(self, tenant: TenantId) -> None:
        # A list that is a little late is better than none while one partition is.
        with suppress(Unavailable):
            await self._projector.passed_ends(self._wait_s)
        await self._projector.flush(tenant)


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.started_ms}:{place.run}".encode()).decode()


def _place(cursor: str) -> Place:
    try:
        started_ms, _, run = base64.urlsafe_b64decode(cursor).decode().partition(":")
        place = Place(int(started_ms), RunId(run))
    except (ValueError, binascii.Error) as fault:
        raise InvalidInput(f"{cursor!r} is no cursor: pass on `next_cursor` as it came") from fault
    if not is_run_id(place.run):
        raise InvalidInput(f"{cursor!r} is no cursor: pass on `next_cursor` as it came")
    return place

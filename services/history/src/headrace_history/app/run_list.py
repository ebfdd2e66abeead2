"""Pages of a tenant's runs, newest first, and its usage: both include what has just happened."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.errors import InvalidInput
from headrace_core.ids import DAY_MS, RunId, TenantId, is_run_id
from headrace_history.app.paging import catch_up, cursor_of, page_limit, place_of
from headrace_history.app.ports import Place, RunFilter, RunStore, UsageStore
from headrace_history.app.projector import Projector
from headrace_history.domain.rendering import Document, row_document, usage_document

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
        limit = page_limit(limit)
        await catch_up(self._projector, tenant, self._wait_s)
        rows = await self._runs.rows(tenant, wanted, after, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(
            [row_document(row) for row in rows],
            cursor_of(rows[-1].started_ms, rows[-1].run) if more else "",
        )

    async def usage(self, tenant: TenantId, from_ms: int, to_ms: int) -> Document:
        """Raises InvalidInput for a span that ends before it begins or is too long."""
        if not 0 <= from_ms <= to_ms or to_ms - from_ms > USAGE_DAYS_MAX * DAY_MS:
            raise InvalidInput(
                f"usage is asked for from a time to a later one, over at most {USAGE_DAYS_MAX} days"
            )
        await catch_up(self._projector, tenant, self._wait_s)
        return usage_document(await self._usage.usage(tenant, from_ms, to_ms), from_ms, to_ms)


def _place(cursor: str) -> Place:
    started_ms, run = place_of(cursor, is_run_id)
    return Place(started_ms, RunId(run))

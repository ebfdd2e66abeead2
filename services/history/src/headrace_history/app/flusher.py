"""Writes what the projector has taken in: in large batches, one transaction each.

A run is written when it has ended, has filled a chunk, has waited for `age_max_s`, or when a
reader asks. Runs that are not written hold the watermark back, so a short run costs one row and
one chunk in its whole life.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from headrace_core.ids import TenantId
from headrace_history.app.open_run import OpenRun
from headrace_history.app.ports import ProjectionStore
from headrace_history.app.runs_in_memory import RunsInMemory
from headrace_history.app.tail import Tail
from headrace_history.domain.watermark import Flush, TenantFlush, Watermark
from headrace_history.metrics import FLUSHED_EVENTS, FLUSHES

EVERYTHING = TenantId("")


class Flusher:
    def __init__(
        self,
        store: ProjectionStore,
        memory: RunsInMemory,
        tails: Sequence[Tail],
        *,
        interval_s: float,
        age_max_s: float,
        bytes_max: int,
    ) -> None:
        self._store = store
        self._memory = memory
        self._tails = {tail.partition: tail for tail in tails}
        self._interval_s = interval_s
        self._age_max_s = age_max_s
        self._bytes_max = bytes_max
        self._asked = asyncio.Event()
        self._requests: list[tuple[TenantId, asyncio.Future[None]]] = []
        self._room = asyncio.Event()
        self._closed = False
        self._written = {tail.partition: tail.watermark() for tail in tails}

    async def run(self) -> None:
        """Until cancelled. What the store raises ends it: memory is then no longer to be used."""
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_s):
                        await self._asked.wait()
                await self.flush_once()
        finally:
            self._closed = True
            _answer(self._requests)

    async def flush_once(self) -> None:
        self._asked.clear()
        requests, self._requests = self._requests, []
        try:
            await self._write(self._choose({tenant for tenant, _ in requests}))
        finally:
            _answer(requests)

    def ask(self, tenant: TenantId = EVERYTHING) -> asyncio.Future[None]:
        """Done when all that was taken in for this tenant until now is written, or has failed."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.append((tenant, answered))
        self._asked.set()
        if self._closed:
            _answer(self._requests)
        return answered

    async def wait_for_room(self) -> None:
        """Ask for a flush once enough has gathered, wait only when twice that has."""
        if self._memory.bytes > self._bytes_max:
            self._asked.set()
        while self._memory.bytes > 2 * self._bytes_max:
            self._room.clear()
            self._asked.set()
            await self._room.wait()

    def _choose(self, tenants: set[TenantId]) -> list[OpenRun]:
        chosen = self._memory.due
        self._memory.due = {}
        everything = EVERYTHING in tenants or self._memory.bytes > self._bytes_max
        oldest_s = asyncio.get_running_loop().time() - self._age_max_s
        for tail in self._tails.values():
            for run, open_run in tail.dirty.items():
                old = open_run.dirty_since_s <= oldest_s
                if old or everything or open_run.row.tenant in tenants:
                    chosen[run] = open_run
                elif not tenants:
                    break
        for run, open_run in chosen.items():
            self._tails[open_run.partition].dirty.pop(run, None)
        return list(chosen.values())

    async def _write(self, chosen: Sequence[OpenRun]) -> None:
        flush = self._build(chosen)
        if flush is None:
            return
        await self._store.write(flush)
        for watermark in flush.watermarks:
            self._written[watermark.partition] = watermark
        for open_run in chosen:
            self._memory.written(open_run)
        self._room.set()
        FLUSHES.inc()
        FLUSHED_EVENTS.inc(sum(_events_of(flush.tenants.values())))

    def _build(self, chosen: Sequence[OpenRun]) -> Flush | None:
        tenants: dict[TenantId, TenantFlush] = {}
        for open_run in chosen:
            tenant = open_run.row.tenant
            into = tenants.get(tenant)
            if into is None:
                into = tenants[tenant] = TenantFlush()
            open_run.write_into(into)
        for tail in self._tails.values():
            for decision in tail.decisions():
                tenants.setdefault(decision.tenant, TenantFlush()).decisions.append(decision)
        moved = [mark for tail in self._tails.values() if self._moved(mark := tail.watermark())]
        if not tenants and not any(self._far(mark) for mark in moved):
            return None
        return Flush(tenants, moved)

    def _moved(self, mark: Watermark) -> bool:
        return mark != self._written[mark.partition]

    def _far(self, mark: Watermark) -> bool:
        """Records without a run move the watermark too, but need no transaction each."""
        return mark.offset - self._written[mark.partition].offset >= WATERMARK_RECORDS


WATERMARK_RECORDS = 1000


def _answer(requests: Iterable[tuple[TenantId, asyncio.Future[None]]]) -> None:
    for _, answered in requests:
        if not answered.done():
            answered.set_result(None)


def _events_of(tenants: Iterable[TenantFlush]) -> Iterable[int]:
    for tenant in tenants:
        for _, chunk in tenant.chunks:
            yield chunk.last - chunk.first + 1

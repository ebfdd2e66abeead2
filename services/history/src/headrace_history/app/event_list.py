"""Pages of a run's events."""

from collections.abc import Sequence

from headrace_core.ids import RunId, TenantId
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer
from headrace_history.domain.projections.journal import CHUNK_EVENTS_MAX
from headrace_history.domain.rendering import Document

LIMIT_DEFAULT = 200
LIMIT_MAX = 1_000


class EventList:
    def __init__(self, replayer: Replayer, presenter: Presenter) -> None:
        self._replayer = replayer
        self._presenter = presenter

    async def page(
        self, tenant: TenantId, run: RunId, after_sequence: int, limit: int
    ) -> tuple[Sequence[Document], bool]:
        """Events from `after_sequence` + 1 on, and whether there are more. Raises NotFound."""
        limit = min(limit or LIMIT_DEFAULT, LIMIT_MAX)
        row = await self._replayer.row(tenant, run)
        plan, sequence = row.plan, row.sequence
        chunks_max = limit // CHUNK_EVENTS_MAX + 2
        documents: list[Document] = []
        last = after_sequence
        while len(documents) < limit and last < sequence:
            turns = await self._replayer.turns_now(tenant, run, last, chunks_max)
            if not turns:
                break
            decoded = [self._replayer.decode(turn) for turn in turns]
            documents += await self._presenter.events(tenant, run, plan, decoded, last)
            last = turns[-1].last_sequence
        return documents[:limit], len(documents) > limit or last < sequence

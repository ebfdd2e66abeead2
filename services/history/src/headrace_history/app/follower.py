"""Follows a run from any event on: first what journal and memory have, then live."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from headrace_core.errors import Unavailable
from headrace_core.ids import PlanHash, RunId, TenantId
from headrace_core.run.events import RUN_TERMINAL_EVENTS
from headrace_history.app.live import Live
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer
from headrace_history.domain.rendering import Document
from headrace_history.domain.turns import JournalTurn

BACKLOG_CHUNKS = 8
"""Chunks of backlog sent at a time; a slow reader then holds few of them in memory."""


@dataclass(frozen=True, slots=True)
class Followed:
    """Events in order; after `ended` nothing follows."""

    events: Sequence[Document]
    ended: bool


class Follower:
    def __init__(self, replayer: Replayer, presenter: Presenter, live: Live) -> None:
        self._replayer = replayer
        self._presenter = presenter
        self._live = live

    async def follow(
        self, tenant: TenantId, run: RunId, after_sequence: int
    ) -> AsyncGenerator[Followed, None]:
        """Events from `after_sequence` + 1 on without gap or repeat, until the run has ended.

        Raises NotFound, and Unavailable when the caller reads too slowly.
        """
        row = await self._replayer.row(tenant, run)
        plan, sequence, ended = row.plan, after_sequence, row.ended
        with self._live.subscribe(run) as subscription:
            while True:
                # What came until now is read below; the queue is for what comes meanwhile.
                subscription.restart()
                turns = await self._replayer.turns_now(tenant, run, sequence, BACKLOG_CHUNKS)
                if not turns:
                    break
                followed, sequence = await self._present(tenant, run, plan, turns, sequence)
                yield followed
                if followed.ended:
                    return
            if ended:
                yield Followed([], ended=True)
                return
            while True:
                turns = await subscription.next()
                fresh = [turn for turn in turns if turn.last_sequence > sequence]
                if not fresh:
                    continue
                followed, sequence = await self._present(tenant, run, plan, fresh, sequence)
                yield followed
                if followed.ended:
                    return

    async def _present(
        self,
        tenant: TenantId,
        run: RunId,
        plan: PlanHash,
        turns: Sequence[JournalTurn],
        after_sequence: int,
    ) -> tuple[Followed, int]:
        if turns[0].sequence > after_sequence + 1:
            raise Unavailable(
                f"run {run} cannot be followed without a gap after event {after_sequence} at the "
                "moment: subscribe again after that event"
            )
        decoded = [self._replayer.decode(turn) for turn in turns]
        events = await self._presenter.events(tenant, run, plan, decoded, after_sequence)
        ended = any(isinstance(event, RUN_TERMINAL_EVENTS) for event in decoded[-1].events)
        return Followed(events, ended), turns[-1].last_sequence

"""Reads runs from journal and memory as one, and folds them to any event.

A run that is not known yet is waited for until the projector has passed its partition's end as
seen at the call: a client reads its own writes, and what is not there then is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import RunId, TenantId, is_run_id
from headrace_core.run.replay import StoredTurn, replay
from headrace_core.run.state import RunState
from headrace_history.app.ports import JournalStore, RecordReader, RunStore
from headrace_history.app.projector import Projector
from headrace_history.domain.projections.runs import RunRow
from headrace_history.domain.turns import JournalTurn


@dataclass(frozen=True, slots=True)
class Folded:
    """A run at one event, with the turns that led there (the last one may lead further)."""

    state: RunState
    turns: Sequence[StoredTurn]


class Replayer:
    def __init__(
        self,
        projector: Projector,
        runs: RunStore,
        journal: JournalStore,
        reader: RecordReader,
        wait_s: float,
    ) -> None:
        self._projector = projector
        self._runs = runs
        self._journal = journal
        self._reader = reader
        self._wait_s = wait_s

    async def row(self, tenant: TenantId, run: RunId) -> RunRow:
        """The run's row as of now; the caller must not keep it. Raises NotFound."""
        check_run_id(run)
        await self._projector.caught_up(run, self._wait_s)
        found = self._row_in_memory(tenant, run) or await self._runs.row(tenant, run)
        if found is None:
            await self._projector.passed_end(run, self._wait_s)
            found = self._row_in_memory(tenant, run) or await self._runs.row(tenant, run)
        if found is None:
            raise not_found(run)
        return found

    def _row_in_memory(self, tenant: TenantId, run: RunId) -> RunRow | None:
        found = self._projector.open_run(tenant, run)
        return found.row if found is not None and found.row.sequence else None

    async def turns(
        self,
        tenant: TenantId,
        run: RunId,
        after_sequence: int = 0,
        chunks_max: int | None = None,
    ) -> list[JournalTurn]:
        """Turns from the one that holds event `after_sequence` + 1 on, without gap or repeat; a
        bound on chunks may end them early. Raises NotFound."""
        check_run_id(run)
        await self._projector.caught_up(run, self._wait_s)
        turns = await self.turns_now(tenant, run, after_sequence, chunks_max)
        if not turns and not after_sequence:
            await self._projector.passed_end(run, self._wait_s)
            turns = await self.turns_now(tenant, run, after_sequence, chunks_max)
            if not turns:
                raise not_found(run)
        return turns

    async def turns_now(
        self,
        tenant: TenantId,
        run: RunId,
        after_sequence: int,
        chunks_max: int | None = None,
    ) -> list[JournalTurn]:
        """As `turns`, of what is known at this moment: memory is read before the first await."""
        recent = self._projector.turns(tenant, run)
        if recent and recent[0].sequence <= after_sequence + 1:
            turns = recent
        else:
            turns = list(await self._journal.turns(tenant, run, after_sequence, chunks_max))
            if recent:
                turns = [turn for turn in turns if turn.offset < recent[0].offset]
                known = turns[-1].last_sequence if turns else after_sequence
                if recent[0].sequence == known + 1:
                    turns += recent
        return [turn for turn in turns if turn.last_sequence > after_sequence]

    async def fold(self, tenant: TenantId, run: RunId, sequence: int = 0) -> Folded:
        """The run at event `sequence`, 0 for the newest.

        Raises NotFound, and InvalidInput when the run has no such event.
        """
        if sequence < 0:
            raise InvalidInput(f"there is no event {sequence}: the first one is 1")
        turns = [self.decode(turn) for turn in await self.turns(tenant, run)]
        try:
            return Folded(replay(run, tenant, turns, sequence or None), turns)
        except ValueError as fault:
            raise InvalidInput(str(fault)) from fault

    async def fork_point(
        self, tenant: TenantId, run: RunId, sequence: int = 0
    ) -> tuple[RunState, RunState]:
        """The run at the end of a turn (0 for the newest), and as it is now.

        Raises NotFound, and InvalidInput for an event that does not exist or ends no turn.
        """
        newest = await self.fold(tenant, run)
        if not sequence or sequence == newest.state.sequence:
            return newest.state, newest.state
        if not 0 < sequence < newest.state.sequence:
            raise InvalidInput(
                f"run {run} has {newest.state.sequence} events, there is no event {sequence}"
            )
        turn = next(one for one in newest.turns if sequence <= one.last_sequence)
        if turn.last_sequence != sequence:
            ends = f"{turn.sequence - 1} or " if turn.sequence > 1 else ""
            raise InvalidInput(
                f"event {sequence} of run {run} is no end of a turn: fork at {ends}"
                f"{turn.last_sequence}"
            )
        return replay(run, tenant, newest.turns, sequence), newest.state

    def decode(self, turn: JournalTurn) -> StoredTurn:
        events = self._reader.events(turn.body)
        return StoredTurn(turn.offset, turn.time_ms, turn.sequence, turn.chain, events)


def check_run_id(run: str) -> None:
    if not is_run_id(run):
        raise NotFound(f"{run!r} is no run's id: they look like run_04c2ekq1… (26 characters)")


def not_found(run: RunId) -> NotFound:
    return NotFound(f"there is no run {run} in this tenant")

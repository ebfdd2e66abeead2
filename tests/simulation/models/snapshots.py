"""Snapshots of one partition, recovery from them, and deletion of the log below the checkpoint.

Two owners, up to three claims, void records. The state is a counter of the partition (it stands for
its watermarks) and one run. Stored are a checkpoint row (offset, epoch, next seq, partition state)
and a row of the open run (offset, state).

What is abstracted, and why nothing is lost by it
* Every owner, fenced or not, may write what it holds at any time, and the log may be deleted up to
  the checkpoint at any time: no pace of snapshots or retention is assumed.
* An append and its acknowledgement are one move: what a fenced owner has appended is void, and it
  learns so at once; the control in which it has applied it already is the late acknowledgement.
* One run is enough, since rows of different runs meet only in the checkpoint's transaction.

Checked in every state: recovery from what is stored and the tail of the log equals the fold of the
whole log, and no owner ever recovers anything else than the fold up to its own claim.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from tests.simulation.models.explore import PROGRESS, Broken
from tests.simulation.models.explore import Move as MoveOf

RECOVERS_WRONGLY: Final = "recovery differs from the fold of the log"
OWNER_RECOVERED_WRONGLY: Final = "an owner has recovered something else than the fold"
UNKNOWN_RUN: Final = "recovery meets an event of a run that it does not know"
TAIL_DELETED: Final = "recovery needs a deleted range of the log"

FOLDS_CACHED_MAX: Final = 65_536
STEPS_MAX: Final = 2

Operation = Literal["tick", "start", "step", "end"]


class Record(NamedTuple):
    """A claim, or a turn of one event: `tick` changes the partition only, `step` the run only."""

    operation: Operation | Literal["claim"]
    epoch: int = 0
    seq: int = 0


CLAIM: Final = Record("claim")
Log = tuple[Record, ...]


class Checkpoint(NamedTuple):
    offset: int
    epoch: int | None
    next_seq: int
    partition: int


class RunRow(NamedTuple):
    offset: int
    run: int


class Recovery(NamedTuple):
    """An owner that has claimed, and what it has loaded so far."""

    stage: Literal["claimed", "rows loaded", "all loaded"]
    claim: int
    checkpoint: Checkpoint | None = None
    row: RunRow | None = None


class Owner(NamedTuple):
    """An owner that serves. `run` is None before the run's start and after its end."""

    epoch: int
    next_seq: int
    offset: int
    partition: int
    run: int | None
    knows_row: bool


class State(NamedTuple):
    """`start`: the first offset that is still in the log."""

    log: Log = (CLAIM,)
    owners: tuple[Owner | Recovery | None, ...] = (Owner(0, 0, 0, 0, None, knows_row=False), None)
    claims: int = 1
    checkpoint: Checkpoint | None = None
    row: RunRow | None = None
    start: int = 0


Move = MoveOf[State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The protocol as designed; a negative control changes one rule."""

    log_max: int = 6
    claims: int = 3
    newer_than: Literal["checkpoint", "row", "nothing"] = "checkpoint"  # else a write is refused
    acked_only: bool = True  # only acknowledged state is written
    own_offset: bool = True  # a run skips the tail up to its own row's offset
    one_load: bool = True  # checkpoint and rows are loaded in one transaction
    whole_tail: bool = True  # a tail that does not begin at the checkpoint means: load again
    delete_rows: Literal["all ended", "known", "before checkpoint"] = "all ended"
    rows_first: bool = True  # the checkpoint moves together with all changed open runs' rows
    filter_state: bool = True  # the checkpoint has the filter's epoch and next seq
    retention: Literal["checkpoint", "run rows"] = "checkpoint"  # what the log is deleted below


class Folded(NamedTuple):
    epoch: int | None
    next_seq: int
    partition: int
    run: int | None


EMPTY: Final = Folded(None, 0, 0, None)


def apply(operation: Operation, partition: int, run: int | None) -> tuple[int, int | None]:
    match operation:
        case "start":
            return partition + 1, 1
        case "step":
            return partition, (run or 0) + 1
        case "end":
            return partition + 1, None
        case "tick":
            return partition + 1, run


@lru_cache(maxsize=FOLDS_CACHED_MAX)
def fold(log: Log, first: int = 0, before: Folded = EMPTY, run_first: int = 0) -> Folded:
    """The one filter, then apply: the partition's part from `first`, the run's from `run_first`."""
    epoch, seq, partition, run = before
    for offset in range(first, len(log)):
        record = log[offset]
        if record.operation == "claim":
            epoch, seq = offset, 0
        elif record.epoch == epoch and record.seq == seq:
            seq += 1
            partition, run_after = apply(record.operation, partition, run)
            if offset >= run_first:
                if run is None and record.operation in ("step", "end"):
                    raise Broken(UNKNOWN_RUN)
                run = run_after
    return Folded(epoch, seq, partition, run)


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The model to explore."""

    rules: Rules

    @property
    def initial(self) -> State:
        return State()

    def is_goal(self, state: State) -> bool:
        """Safety alone: nothing here has to happen for the partition to get on."""
        return True

    def check(self, state: State) -> None:
        if state.start > tail_first(state.checkpoint):
            raise Broken(TAIL_DELETED)
        recovered = self.recovered(state.log, state.checkpoint, state.row)
        expected = fold(state.log)
        if recovered[2:] != expected[2:]:
            raise Broken(RECOVERS_WRONGLY, f"({recovered[2:]}, fold {expected[2:]})")
        if not self.rules.acked_only:
            return
        for owner in state.owners:
            if isinstance(owner, Owner):
                folded = fold(state.log[: owner.offset + 1])
                if (owner.partition, owner.run) != (folded.partition, folded.run):
                    raise Broken(OWNER_RECOVERED_WRONGLY, f"({owner}, {folded})")

    def recovered(
        self, log: Log, checkpoint: Checkpoint | None, row: RunRow | None, begin: int = 0
    ) -> Folded:
        """What an owner holds that loads these rows and folds the tail, from `begin` on at most."""
        first, before, run_first = max(tail_first(checkpoint), begin), EMPTY, 0
        if checkpoint is not None:
            before = before._replace(partition=checkpoint.partition)
            if self.rules.filter_state:
                before = before._replace(epoch=checkpoint.epoch, next_seq=checkpoint.next_seq)
        if row is not None:
            before = before._replace(run=row.run)
            run_first = row.offset + 1
        return fold(log, first, before, run_first if self.rules.own_offset else first)

    def moves(self, state: State) -> Iterator[Move]:
        for number, owner in enumerate(state.owners):
            if state.claims < self.rules.claims and len(state.log) < self.rules.log_max:
                recovery = Recovery("claimed", len(state.log))
                claimed = state._replace(log=(*state.log, CLAIM), claims=state.claims + 1)
                yield f"owner {number} claims", with_owner(claimed, number, recovery), PROGRESS
            if isinstance(owner, Recovery):
                yield self.recovery_move(state, number, owner)
            elif owner is not None:
                yield from self.append_moves(state, number, owner)
                yield from self.snapshot_moves(state, number, owner)
        yield from self.retention_moves(state)

    def recovery_move(self, state: State, number: int, recovery: Recovery) -> Move:
        """Checkpoint and rows in one transaction (a control: in two), then the tail."""
        claim, checkpoint, row = recovery.claim, recovery.checkpoint, recovery.row
        label = f"owner {number} loads"
        if recovery.stage == "claimed" and self.rules.one_load:
            loaded = Recovery("all loaded", claim, state.checkpoint, state.row)
            return label, with_owner(state, number, loaded), PROGRESS
        if recovery.stage == "claimed":
            loaded = Recovery("rows loaded", claim, None, state.row)
            return label, with_owner(state, number, loaded), PROGRESS
        if recovery.stage == "rows loaded":
            loaded = Recovery("all loaded", claim, state.checkpoint, row)
            return f"{label} the checkpoint", with_owner(state, number, loaded), PROGRESS
        if any(stored is not None and stored.offset > claim for stored in (checkpoint, row)):
            label = f"owner {number} finds newer snapshots than its claim"
            return label, with_owner(state, number, None), PROGRESS
        if state.start > tail_first(checkpoint) and self.rules.whole_tail:
            again = with_owner(state, number, Recovery("claimed", claim))
            return f"owner {number} finds its tail deleted", again, PROGRESS
        # Control: a reader whose tail was deleted goes on where the log begins.
        folded = self.recovered(state.log[: claim + 1], checkpoint, row, state.start)
        owner = Owner(claim, 0, claim, folded.partition, folded.run, knows_row=row is not None)
        return f"owner {number} recovers", with_owner(state, number, owner), PROGRESS

    def append_moves(self, state: State, number: int, owner: Owner) -> Iterator[Move]:
        if len(state.log) >= self.rules.log_max:
            return
        newest_claim = max(i for i, record in enumerate(state.log) if record == CLAIM)
        for operation in possible_operations(state.log, owner.run):
            log = (*state.log, Record(operation, owner.epoch, owner.next_seq))
            partition, run = apply(operation, owner.partition, owner.run)
            after = owner._replace(
                next_seq=owner.next_seq + 1, offset=len(log) - 1, partition=partition, run=run
            )
            label = f"owner {number} appends {operation}"
            appended = state._replace(log=log)
            if owner.epoch == newest_claim:
                yield label, with_owner(appended, number, after), PROGRESS
            else:  # it learns it from the gap and stops; the control has applied before it knows
                stopped = None if self.rules.acked_only else after
                yield f"{label}, void", with_owner(appended, number, stopped), PROGRESS

    def snapshot_moves(self, state: State, number: int, owner: Owner) -> Iterator[Move]:
        """Transactions on the stored rows, each refused unless it is newer than what is there."""
        checkpoint_offset = -1 if state.checkpoint is None else state.checkpoint.offset
        row_offset = -1 if state.row is None else state.row.offset
        floors = {"checkpoint": checkpoint_offset, "row": row_offset, "nothing": -1}
        is_new_row = owner.offset > floors[self.rules.newer_than]
        if owner.run is not None and is_new_row:
            written = state._replace(row=RunRow(owner.offset, owner.run))
            after = with_owner(written, number, owner._replace(knows_row=True))
            yield f"owner {number} writes the run's row at {owner.offset}", after, PROGRESS
        if owner.offset > checkpoint_offset or self.rules.newer_than == "nothing":
            after = self.checkpoint_written(state, number, owner, is_new_row=is_new_row)
            yield f"owner {number} writes the checkpoint at {owner.offset}", after, PROGRESS
        is_leftover = owner.run is None and owner.knows_row and state.row is not None
        if self.rules.delete_rows == "before checkpoint" and is_leftover:
            deleted = state._replace(row=None)
            yield f"owner {number} deletes the ended run's row", deleted, PROGRESS

    def checkpoint_written(
        self, state: State, number: int, owner: Owner, *, is_new_row: bool
    ) -> State:
        row = state.row
        if owner.run is not None:
            if self.rules.rows_first and (self.rules.newer_than != "row" or is_new_row):
                row = RunRow(owner.offset, owner.run)
        elif self.rules.delete_rows != "known" or owner.knows_row:
            row = None
        checkpoint = Checkpoint(owner.offset, owner.epoch, owner.next_seq, owner.partition)
        written = state._replace(checkpoint=checkpoint, row=row)
        return with_owner(written, number, owner._replace(knows_row=row is not None))

    def retention_moves(self, state: State) -> Iterator[Move]:
        stored = state.checkpoint if self.rules.retention == "checkpoint" else state.row
        below = 0 if stored is None else stored.offset + 1
        if below > state.start:
            yield f"log deleted below {below}", state._replace(start=below), PROGRESS


def tail_first(checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None else checkpoint.offset + 1


def possible_operations(log: Log, run: int | None) -> list[Operation]:
    if run is not None:
        return ["tick", "end", "step"] if run < STEPS_MAX else ["tick", "end"]
    has_started = any(record.operation == "start" for record in log)
    return ["tick"] if has_started else ["tick", "start"]


def with_owner(state: State, number: int, owner: Owner | Recovery | None) -> State:
    first, second = state.owners
    return state._replace(owners=(owner, second) if number == 0 else (first, owner))

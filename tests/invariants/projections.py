"""Whether history's tables are the fold of the log at the offset that they name.

Expected rows are derived here from the raw log, by counts and folds of this module's own; of
history only the format of its journal is used.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace_core.ids import DAY_MS, RunId
from headrace_core.log.chain import chain_hash
from headrace_core.run import events as ev
from headrace_core.run.apply import apply_turn
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState
from headrace_history.domain.projections.journal import unpack
from tests.invariants.facts import LogFacts, RunFacts, Violation
from tests.invariants.witnesses import Projected, TenantTables, Witnesses

RULE = "projections equal the fold"
_COUNTED: Mapping[str, type[ev.RunEvent]] = {
    "attempts": ev.StepAssigned,
    "succeeded": ev.StepSucceeded,
    "failed": ev.StepFailed,
    "skipped": ev.StepSkipped,
    "cancelled": ev.StepCancelled,
}
_AS_FOLDED = (
    *("sequence", "chain", "time_ms", "flow", "version", "plan", "trigger", "started_by"),
    *("priority", "started_ms"),
)
Row = Mapping[str, Any]
Usage = dict[tuple[int, str, str], Counter[str]]


def projections_equal_the_fold(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Every run below the watermark has its row, rows and journal are those of the turns up to
    the row's offset, and what is added up is the sum over them."""
    rebuilt = [witnesses.rebuilt] if witnesses.rebuilt is not None else []
    for projected in (*witnesses.projected, *rebuilt):
        for tables in projected.tenants:
            yield from _tenant_faults(facts, projected, tables)


def a_rebuild_gives_the_same_rows(facts: LogFacts, witnesses: Witnesses) -> Iterator[Violation]:
    """Chunks of the journal may be cut elsewhere: what is in them is compared with the log."""
    if witnesses.rebuilt is None:
        return
    again = {one.tenant: one.tables for one in witnesses.rebuilt.tenants}
    for one in witnesses.projected[-1].tenants:
        for table, rows in one.tables.items():
            same = _sorted(rows) == _sorted(again.get(one.tenant, {}).get(table, ()))
            if table != "journal" and not same:
                what = f"table {table} of {one.tenant} is another after a rebuild"
                yield Violation("a rebuild gives the same rows", what)


def _sorted(rows: Sequence[Row]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def _tenant_faults(
    facts: LogFacts, projected: Projected, tables: TenantTables
) -> Iterator[Violation]:
    rows = {RunId(row["run"]): row for row in tables.tables["run"]}
    covered: dict[RunId, Sequence[StoredTurn]] = {}
    for run in facts.runs.values():
        if run.tenant != tables.tenant:
            continue
        row = rows.get(run.run)
        end = row["off"] if row is not None else -1
        covered[run.run] = [turn for turn in run.turns if turn.offset <= end]
        missing = run.turns[len(covered[run.run]) :]
        if missing and missing[0].offset < projected.offsets.get(run.partition, 0):
            what = f"the row of {run.run} ends at offset {end}, and {missing[0].offset} is passed"
            yield Violation(RULE, what, run.run, run.told())
        if row is not None:
            for fault in _row_faults(run, covered[run.run], row):
                yield Violation(RULE, f"row of {run.run}: {fault}", run.run, run.told())
    for name in rows.keys() - covered.keys():
        yield Violation(RULE, f"there is a row of {name}, which the log does not know")
    yield from _journal_faults(facts, covered, tables)
    yield from _sum_faults(facts, covered, tables)
    yield from _approval_faults(covered, tables)


def _row_faults(run: RunFacts, turns: Sequence[StoredTurn], row: Row) -> Iterator[str]:
    state = RunState(run.run, run.tenant)
    for turn in turns:
        apply_turn(state, turn.events, turn.time_ms, turn.chain)
    events = [event for turn in turns for event in turn.events]
    kinds = Counter(type(event) for event in events)
    counted = {name: kinds[kind] for name, kind in _COUNTED.items()}
    counted["failed"] -= sum(isinstance(one, ev.StepRepaired) and one.failed for one in events)
    parent = state.parent
    expected: dict[str, object] = {
        **{name: getattr(state, name) for name in _AS_FOLDED},
        **counted,
        "status": int(state.status),
        "off": turns[-1].offset if turns else None,
        "parent": parent.run if parent is not None else None,
        "parent_step": parent.step if parent is not None else None,
        "ended_ms": state.ended_ms or None,
    }
    if state.error is not None:
        expected |= {"error_type": state.error.type, "failed_step": state.failed_step}
    for name, value in expected.items():
        if row[name] != value:
            yield f"{name} is {row[name]!r}, the log folds to {value!r}"


def _journal_faults(
    facts: LogFacts, covered: Mapping[RunId, Sequence[StoredTurn]], tables: TenantTables
) -> Iterator[Violation]:
    """The bytes are the log's own where they lead to its chain."""
    chunks: dict[RunId, list[Row]] = defaultdict(list)
    for chunk in tables.tables["journal"]:
        chunks[RunId(chunk["run"])].append(chunk)
    for run, turns in covered.items():
        found = [
            turn
            for chunk in sorted(chunks.pop(run, []), key=lambda chunk: chunk["off"])
            for turn in unpack(chunk["chunk"])
        ]
        kept = [(one.offset, one.time_ms, one.sequence, one.chain) for one in found]
        logged = [(one.offset, one.time_ms, one.sequence, one.chain) for one in turns]
        chain, whole = b"", kept == logged
        for one in found:
            chain = chain_hash(chain, tables.tenant, run, one.sequence, one.time_ms, one.body)
            whole = whole and chain == one.chain
        if not whole:
            what = f"the journal of {run} has {len(kept)} turns, which are not the log's"
            yield Violation(RULE, what, run, facts.told(run))
    for run in chunks:
        yield Violation(RULE, f"there is a journal of {run}, which has no row")


def _sum_faults(
    facts: LogFacts, covered: Mapping[RunId, Sequence[StoredTurn]], tables: TenantTables
) -> Iterator[Violation]:
    expected: Usage = defaultdict(Counter)
    for run, turns in covered.items():
        flow = _flow_of(facts.runs[run])
        for turn in turns:
            _add(expected, turn, flow)
    shown: Usage = defaultdict(Counter)
    for row in tables.tables["usage"]:
        counts = {name: count for name, count in row.items() if isinstance(count, int) and count}
        counts.pop("day", None)
        shown[row["day"], row["flow"], row["model"]] = Counter(counts)
    for key in sorted(expected.keys() | shown.keys()):
        if expected[key] != shown[key]:
            what = f"usage of {key} is {dict(shown[key])}, the log has {dict(expected[key])}"
            yield Violation(RULE, what)


def _add(usage: Usage, turn: StoredTurn, flow: str) -> None:
    day = turn.time_ms // DAY_MS
    for event in turn.events:
        if isinstance(event, ev.RunStarted | ev.RunForked):
            usage[day, flow, ""]["runs"] += 1
        elif isinstance(event, ev.StepAssigned):
            usage[day, flow, ""]["attempts"] += 1
        used: ev.Usage | None = getattr(event, "usage", None)
        if used is not None:
            of_model = usage[day, flow, used.model]
            of_model["calls"] += 1
            for name in ("input_tokens", "output_tokens", "cost_micros"):
                if getattr(used, name):
                    of_model[name] += getattr(used, name)


def _flow_of(run: RunFacts) -> str:
    first = run.turns[0].events[0]
    assert isinstance(first, ev.RunStarted | ev.RunForked), "a run begins with its start"
    return first.flow


def _approval_faults(
    covered: Mapping[RunId, Sequence[StoredTurn]], tables: TenantTables
) -> Iterator[Violation]:
    """Of every approval whether it is open, and since when it is not; of decisions also which."""
    expected: dict[tuple[str, str], tuple[int, int | None, str | None]] = {}
    for run, turns in covered.items():
        for turn in turns:
            for event in turn.events:
                _ask_or_close(expected, run, turn.time_ms, event)
    shown = {(row["run"], row["step"]): row for row in tables.tables["approval"]}
    for key in sorted(expected.keys() | shown.keys()):
        asked, row = expected.get(key), shown.get(key)
        said = (row["requested_ms"], row["closed_ms"], row["decision"]) if row else None
        if asked is None or said is None or not _same_approval(asked, said):
            yield Violation(RULE, f"approval {key} is {said}, the log has {asked}")


def _ask_or_close(
    found: dict[tuple[str, str], tuple[int, int | None, str | None]],
    run: RunId,
    time_ms: int,
    event: ev.RunEvent,
) -> None:
    if isinstance(event, ev.ApprovalRequested):
        found[run, event.step] = (time_ms, None, "")
    elif isinstance(event, ev.ApprovalDecided):
        found[run, event.step] = (found[run, event.step][0], time_ms, event.decision)
    elif isinstance(event, ev.StepSucceeded | ev.StepFailed | ev.StepCancelled):
        asked = found.get((run, event.step))
        if asked is not None and asked[1] is None:
            found[run, event.step] = (asked[0], time_ms, None)


def _same_approval(asked: tuple[int, int | None, str | None], said: tuple[object, ...]) -> bool:
    """One that ended without a decision has some word for that."""
    return asked[:2] == said[:2] and (
        asked[2] == said[2] if asked[2] is not None else bool(said[2])
    )

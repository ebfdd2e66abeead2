"""The checks of history's tables and of single connections can fail: each finds what is planted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from headrace_core.ids import StepKey
from headrace_core.payload import NOTHING
from headrace_core.run import events as ev
from tests.invariants.checks import check_campaign
from tests.invariants.facts import Violation, gather
from tests.invariants.log_builder import (
    BARE,
    END,
    LOG_ID,
    PAID,
    PINGED,
    LogBuilder,
    assigned,
    healthy,
    honest,
    run_in,
    started,
    succeeded,
)
from tests.invariants.projecting import projected_of
from tests.invariants.witnesses import Heard, Projected, TenantTables

FOLD, AGAIN = "projections equal the fold", "a rebuild gives the same rows"
STREAM = "a stream goes on where it was asked to"
ASK = StepKey("ask")
Rows = Sequence[Mapping[str, Any]]
Change = Callable[[Rows], Rows]


def asking() -> LogBuilder:
    """The healthy log, with a run that asks a person and uses a model."""
    log, _ = healthy()
    run, used = run_in(1, 5), ev.Usage(model="m", input_tokens=3, cost_micros=2)
    asked = ev.ApprovalRequested(step=ASK, request=NOTHING)
    log.turn(run, [started(), ev.StepReady(step=ASK), asked, ev.StepReady(step=BARE)])
    log.turn(run, [assigned(BARE), replace(succeeded(BARE), usage=used)])
    decided = ev.ApprovalDecided(step=ASK, decision="approved", answer=NOTHING)
    log.turn(run, [decided, succeeded(ASK, 0), END])
    return log


def changed(projected: Projected, table: str, change: Change) -> Projected:
    tenants = [
        TenantTables(one.tenant, {**one.tables, table: change(one.tables[table])})
        for one in projected.tenants
    ]
    return replace(projected, tenants=tenants)


def field(name: str, value: object) -> Change:
    return lambda rows: [{**rows[0], name: value}, *rows[1:]]


def without_first(rows: Rows) -> Rows:
    return rows[1:]


def doubled(rows: Rows) -> Rows:
    """Added up twice, as by a flush that was written again."""
    return [{**row, "runs": 2 * row["runs"]} for row in rows]


def first_twice(rows: Rows) -> Rows:
    return [*rows, {**rows[0], "off": rows[0]["off"] + 1_000}]


def found(log: LogBuilder, **seen: Any) -> list[Violation]:
    facts = gather(log.raw, LOG_ID)
    witnesses = replace(honest(log, []), usage={}, rows=[])
    assert facts.violations == []
    return check_campaign(log.raw, LOG_ID, replace(witnesses, **seen))


def test_what_history_makes_of_a_log_is_its_fold() -> None:
    log = asking()
    projected = projected_of(log.raw, LOG_ID)
    assert found(log, projected=[projected], rebuilt=projected) == []


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("run", field("status", 3)),
        ("run", field("sequence", 2)),
        ("run", field("attempts", 7)),
        ("run", field("succeeded", 0)),
        ("run", field("chain", bytes(32))),
        ("run", field("ended_ms", None)),
        ("run", field("flow", "other")),
        ("run", field("off", 1)),
        ("run", field("run", run_in(0, 77))),
        ("run", without_first),
        ("journal", without_first),
        ("journal", first_twice),
        ("journal", field("run", run_in(0, 77))),
        ("usage", without_first),
        ("usage", doubled),
        ("usage", field("day", 1)),
        ("approval", without_first),
        ("approval", field("decision", "rejected")),
        ("approval", field("closed_ms", None)),
    ],
)
def test_a_table_that_is_not_the_fold_is_found(table: str, change: Change) -> None:
    log = asking()
    projected = changed(projected_of(log.raw, LOG_ID), table, change)
    assert FOLD in {one.check for one in found(log, projected=[projected])}


def test_rows_that_are_behind_are_found_only_below_the_watermark() -> None:
    log = asking()
    behind = projected_of(log.raw, LOG_ID)
    run = run_in(1, 9)
    log.turn(run, [started(), END])
    assert found(log, projected=[behind]) == []
    passed = replace(behind, offsets={**behind.offsets, 1: len(log.raw[1])})
    assert [one.check for one in found(log, projected=[passed])] == [FOLD]


@pytest.mark.parametrize("table", ["run", "usage", "approval"])
def test_a_rebuild_that_gives_other_rows_is_found(table: str) -> None:
    log = asking()
    projected = projected_of(log.raw, LOG_ID)
    again = changed(projected, table, without_first)
    assert AGAIN in {one.check for one in found(log, projected=[projected], rebuilt=again)}


def heard(log: LogBuilder, after: int) -> Heard:
    events = [(n, type(one).__name__) for n, _, one in gather(log.raw, LOG_ID).runs[PAID].events()]
    return Heard(PAID, "websocket", after, events[after:], ended=True)


@pytest.mark.parametrize("after", range(9))
def test_a_connection_may_begin_after_any_event_and_end_anywhere(after: int) -> None:
    log, _ = healthy()
    whole = heard(log, after)
    cut = replace(whole, events=whole.events[:2], ended=False)
    assert found(log, heard=[whole, cut, Heard(PINGED, "grpc", 0, [], ended=False)]) == []


PLANTS: Mapping[str, Callable[[Heard], Heard]] = {
    "skipped": lambda one: replace(one, events=one.events[1:]),
    "too late": lambda one: replace(one, after=0),
    "twice": lambda one: replace(one, events=[*one.events[:1], *one.events]),
    "gap": lambda one: replace(one, events=[*one.events[:1], *one.events[2:]], ended=False),
    "cut": lambda one: replace(one, events=one.events[:-1]),
    "another kind": lambda one: replace(one, events=[(3, "RunFailed"), *one.events[1:]]),
    "never was": lambda one: replace(one, events=[*one.events, (99, "RunFailed")], ended=False),
    "nobody's": lambda one: replace(one, run=run_in(0, 77)),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_connection_with_a_gap_a_repeat_or_an_early_end_is_found(plant: str) -> None:
    log, _ = healthy()
    assert [one.check for one in found(log, heard=[PLANTS[plant](heard(log, 2))])] == [STREAM]

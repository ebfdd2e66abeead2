"""The checks of shares, credits and slots can fail: each finds what is planted for it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headrace_core.ids import RunId, StepKey, TenantId
from headrace_core.run import events as ev
from tests.invariants.checks import check_campaign
from tests.invariants.fairness import BURST
from tests.invariants.log_builder import (
    END,
    EXECUTOR,
    KEYED,
    LOG_ID,
    PAID,
    LogBuilder,
    assigned,
    healthy,
    run_in,
    started,
    succeeded,
)
from tests.invariants.witnesses import CreditsSeen, SlotsSeen, Witnesses

NOISY, QUIET = TenantId("noisy"), TenantId("quiet")
FIRST, OTHER = (PAID, KEYED, 1), (PAID, StepKey("other"), 1)
EVEN = CreditsSeen(EXECUTOR, "owner", granted=8, free=6, under_way=2, share=8)
SAME = SlotsSeen(EXECUTOR, "owner", frozenset({FIRST}), frozenset({FIRST}))


def rules_broken(log: LogBuilder, witnesses: Witnesses) -> list[str]:
    """Of those that look at shares; what else such a log lacks is not what this is about."""
    found = check_campaign(log.raw, LOG_ID, witnesses)
    mine = ("credits", "slots", "steps start")
    return [one.check for one in found if one.check.startswith(mine)]


@pytest.mark.parametrize(
    "seen",
    [
        replace(EVEN, free=7),
        replace(EVEN, free=5),
        replace(EVEN, under_way=0),
        replace(EVEN, granted=6, free=6, under_way=0, at_rest=True),
    ],
    ids=["free twice", "lost", "lost on the way", "not come back"],
)
def test_credits_that_are_not_conserved_are_found(seen: CreditsSeen) -> None:
    log, _ = healthy()
    assert rules_broken(log, Witnesses(credits=[EVEN, seen])) == ["credits are conserved"]


def test_credits_that_are_on_their_way_or_not_worth_a_message_are_none_that_are_lost() -> None:
    log, _ = healthy()
    quiet = replace(EVEN, granted=7, free=7, under_way=0, at_rest=True)
    busy = replace(EVEN, granted=2, free=2, under_way=0)
    assert rules_broken(log, Witnesses(credits=[EVEN, quiet, busy])) == []


@pytest.mark.parametrize(
    "seen",
    [
        replace(SAME, held=frozenset[tuple[str, str, int]]()),
        replace(SAME, held=frozenset({FIRST, OTHER})),
        replace(SAME, assigned=frozenset[tuple[str, str, int]](), at_rest=True),
        replace(SAME, executor="executor-2", assigned=frozenset[tuple[str, str, int]]()),
    ],
    ids=["no slot", "never assigned", "left at rest", "of another"],
)
def test_a_slot_without_an_open_attempt_and_an_attempt_without_a_slot_are_found(
    seen: SlotsSeen,
) -> None:
    log, _ = healthy()
    rule = "slots are held by open attempts"
    assert rules_broken(log, Witnesses(slots=[SAME, seen])) == [rule]


def test_an_executor_that_was_taken_for_lost_may_still_hold_what_it_was_given() -> None:
    log, _ = healthy()
    seen = replace(SAME, assigned=frozenset[tuple[str, str, int]]())
    assert rules_broken(log, Witnesses(slots=[seen])) == []


def crowd(order: Sequence[TenantId]) -> LogBuilder:
    """Two tenants ask for steps at the same time, and get them one by one in this order."""
    log, runs = LogBuilder(), dict[RunId, TenantId]()
    log.claim(0)
    for number, tenant in enumerate(order):
        run = run_in(0, number)
        runs[run] = tenant
        log.turn(run, [started(), ev.StepReady(step=KEYED)], tenant=tenant)
    for run, tenant in runs.items():
        log.turn(run, [assigned(KEYED)], tenant=tenant)
    for run, tenant in runs.items():
        log.turn(run, [succeeded(KEYED), END], tenant=tenant)
    return log


def test_a_tenant_that_waits_while_another_is_served_again_and_again_is_found() -> None:
    log = crowd([NOISY] * (BURST + 2) + [QUIET])
    assert rules_broken(log, Witnesses()) == ["steps start in fair shares"]


def test_tenants_that_are_served_in_turn_have_their_shares() -> None:
    assert rules_broken(crowd([NOISY, QUIET] * 6), Witnesses()) == []
    assert rules_broken(crowd([NOISY] * 3 + [QUIET]), Witnesses()) == []

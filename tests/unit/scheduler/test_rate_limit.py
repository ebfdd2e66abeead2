"""`rate_limit`: calls of one key begin no more often than its limit, whichever run makes them."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from headrace_core.ids import (
    LimitKey,
    RunId,
    StepKey,
    TenantId,
    partition_of,
    rate_limit_of,
    slot_of,
    slot_of_limit,
)
from headrace_core.partition.apply import apply_turn
from headrace_core.partition.events import RateAsk, RateGranted
from headrace_core.partition.state import RATES_SWEPT_FROM, PartitionState, Rate
from headrace_core.run.apply import apply
from headrace_core.run.events import StepAssigned, StepError
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import CancelCause, WaitingKind
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide import rate_limit
from headrace_scheduler.domain.decision import PartitionTurn
from headrace_scheduler.domain.effects import EnqueueStep, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import compiled
from tests.support.partitions import PARTITIONS, Partitions
from tests.support.run_harness import EXECUTOR, TENANT

CALL = StepKey("call")
SECOND_MS = 1_000


def flow_of(limit: str, more: str = "") -> Plan:
    rate = f"rate_limit: {{key: '${{{{ inputs.to }}}}', {limit}}}"
    return compiled(
        "flow: v1\nname: sync\ninputs: {to: {type: string}}\nsteps:\n"
        f"  call: {{uses: worker.call@1, {rate}{more}}}\n"
    )


def begin(world: Partitions, plan: Plan, to: str = "crm", slot: int = 0) -> RunId:
    return world.start(plan, {"to": to}, slot)


def status(world: Partitions, run: RunId, step: StepKey = CALL) -> str:
    return world.runs[run].steps[step].status.text


def statuses(world: Partitions, runs: Sequence[RunId]) -> list[str]:
    return [status(world, run) for run in runs]


def answer(world: Partitions, run: RunId, outcome: cmd.Outcome) -> None:
    """An executor takes the step and answers at once."""
    state = world.runs[run].steps[CALL]
    attempt = state.attempt + 1
    assigned = StepAssigned(step=CALL, attempt=attempt, executor=EXECUTOR, token=1)
    apply(world.runs[run], assigned)
    error = StepError(type="network") if outcome is cmd.Outcome.FAILED else None
    done = cmd.CompleteStep(
        run=run, step=CALL, attempt=attempt, token=1, outcome=outcome, error=error
    )
    assert world.take(partition_of(slot_of(run), PARTITIONS), done) is None


def test_no_more_calls_than_the_limit_begin_in_any_time_of_that_length() -> None:
    plan = flow_of("per: 1s, limit: 2")
    world = Partitions({plan.hash: plan})
    began_ms = world.now_ms
    runs = [begin(world, plan, slot=slot) for slot in (0, 300, 600, 900, 1_000)]
    assert statuses(world, runs) == ["ready", "ready", "waiting", "waiting", "waiting"]
    waiting = world.runs[runs[2]].steps[CALL]
    assert (waiting.waiting, waiting.due_ms) == (WaitingKind.RATE, began_ms + SECOND_MS)
    other = begin(world, plan, "erp")
    assert status(world, other) == "ready", "another key has a limit of its own"
    world.pass_time(began_ms + SECOND_MS - 1)
    assert statuses(world, runs)[2:] == ["waiting", "waiting", "waiting"]
    world.pass_time(began_ms + SECOND_MS)
    assert statuses(world, runs)[2:] == ["ready", "ready", "waiting"]
    world.pass_time(began_ms + 2 * SECOND_MS)
    assert statuses(world, runs)[4:] == ["ready"]


def test_flows_of_one_tenant_share_a_key() -> None:
    one = flow_of("per: 1s, limit: 1")
    other = flow_of("per: 1s, limit: 1", ", timeout: 5s")
    world = Partitions({one.hash: one, other.hash: other})
    assert status(world, begin(world, one)) == "ready"
    assert status(world, begin(world, other, slot=700)) == "waiting"


def test_every_attempt_waits_for_its_own_turn() -> None:
    retry = ", retry: {max_attempts: 2, backoff: {initial: 10ms, jitter: none}, on: [network]}"
    plan = flow_of("per: 1m, limit: 1", retry)
    world = Partitions({plan.hash: plan})
    run = begin(world, plan)
    began_ms = world.now_ms
    answer(world, run, cmd.Outcome.FAILED)
    world.pass_time(began_ms + 10)
    again = world.runs[run].steps[CALL]
    assert (again.waiting, again.due_ms) == (WaitingKind.RATE, began_ms + 60_000)
    world.pass_time(began_ms + 60_000)
    assert status(world, run) == "ready"


def test_calls_that_were_due_in_an_outage_do_not_all_begin_after_it() -> None:
    plan = flow_of("per: 1s, limit: 1")
    world = Partitions({plan.hash: plan})
    runs = [begin(world, plan, slot=slot) for slot in (0, 200, 400, 600, 800)]
    due = [one for one in world.timers if one.step == CALL]
    world.now_ms += 60_000
    for timer in due:
        fire = cmd.FireTimer(run=timer.run, step=CALL, kind=timer.kind, due_ms=timer.due_ms)
        assert world.take(partition_of(slot_of(timer.run), PARTITIONS), fire) is None
    assert statuses(world, runs) == ["ready", "ready", "waiting", "waiting", "waiting"]
    assert world.runs[runs[4]].steps[CALL].due_ms == world.now_ms + 3 * SECOND_MS


def test_items_go_by_the_rate_and_their_key_may_come_from_the_item() -> None:
    plan = compiled(
        "flow: v1\nname: sync\nsteps:\n  call:\n    uses: worker.call@1\n"
        "    foreach: {in: '[1, 1, 2]', as: shop}\n"
        "    rate_limit: {key: '${{ shop }}', per: 1s, limit: 1}\n"
    )
    world = Partitions({plan.hash: plan})
    run = world.start(plan)
    items = [status(world, run, StepKey(f"call[{index}]")) for index in range(3)]
    assert items == ["ready", "waiting", "ready"]


def test_a_step_that_waits_for_its_rate_is_cancelled_at_once_and_its_answer_changes_nothing() -> (
    None
):
    plan = flow_of("per: 1s, limit: 1")
    home = slot_of_limit(rate_limit_of(TENANT, "crm"))
    world = Partitions({plan.hash: plan})
    away = (home + 512) % 1_024
    world.undelivered.add(partition_of(home, PARTITIONS))
    run = begin(world, plan, slot=away)
    asked = world.runs[run].steps[CALL]
    assert asked.waiting is WaitingKind.RATE and asked.due_ms is None
    stop = cmd.CancelRun(run=run, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="bob")
    assert world.take(partition_of(away, PARTITIONS), stop) is None
    world.undelivered.clear()
    world.deliver()
    assert world.runs[run].status.text == "cancelled"


def test_a_deadline_counts_while_a_step_waits_for_its_rate() -> None:
    plan = flow_of("per: 1h, limit: 1", ", deadline: 1m")
    world = Partitions({plan.hash: plan})
    begin(world, plan)
    late = begin(world, plan)
    world.pass_time(world.now_ms + 60_000)
    error = world.runs[late].steps[CALL].error
    assert error is not None and error.type == "timeout.deadline"


def test_a_key_that_is_none_fails_the_step() -> None:
    plan = compiled(
        "flow: v1\nname: sync\ninputs: {to: {}}\nsteps:\n"
        "  call: {uses: worker.call@1, rate_limit: {key: '${{ inputs.to }}', per: 1s, limit: 1}}\n"
    )
    world = Partitions({plan.hash: plan})
    run = world.start(plan, {"to": [1]})
    error = world.runs[run].steps[CALL].error
    assert error is not None and error.type == "expr.error"
    assert "`rate_limit.key` gave [1]" in world.opened(run, error.message)


def test_a_new_owner_keeps_the_times_that_were_given_and_the_timers_of_those_who_wait() -> None:
    plan = flow_of("per: 1s, limit: 1")
    world = Partitions({plan.hash: plan})
    first, second = begin(world, plan), begin(world, plan, slot=500)
    for number, owned in world.owned.items():
        folded = world.refolded(number)
        assert folded.rates == owned.state.rates
        owned.state = folded
    thawed = thaw_run(freeze_run(world.runs[second]))
    assert thawed == world.runs[second]
    due = [one for one in effects_of_run(thawed, plan) if isinstance(one, SetTimer)]
    assert [one.due_ms for one in due] == [world.now_ms + SECOND_MS]
    ready = list(effects_of_run(world.runs[first], plan))
    assert any(isinstance(one, EnqueueStep) for one in ready)
    third = begin(world, plan, slot=900)
    assert world.runs[third].steps[CALL].due_ms == world.now_ms + 2 * SECOND_MS


@given(
    waits_ms=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    limits=st.lists(st.integers(1, 5), min_size=60, max_size=60),
)
def test_times_are_never_too_dense_and_never_out_of_order(
    waits_ms: list[int], limits: list[int]
) -> None:
    partition, now_ms, per_ms = PartitionState(0), 1_000_000, 1_000
    granted_ms: list[int] = []
    for number, wait_ms in enumerate(waits_ms, start=1):
        now_ms += wait_ms
        limit = limits[number - 1]
        turn = PartitionTurn(partition, now_ms, 1)
        ask = RateAsk(
            key=LimitKey("k"), tenant=TENANT, run=RunId("run_" + "0" * 22), step=CALL,
            per_ms=per_ms, limit=limit,
        )  # fmt: skip
        rate_limit.give_rate(turn, cmd.TakeMessage(source=0, number=number, message=ask))
        turn.commit()
        at_ms = next(one.at_ms for one in turn.partition_events if isinstance(one, RateGranted))
        assert at_ms >= now_ms
        assert not granted_ms or at_ms >= granted_ms[-1]
        granted_ms.append(at_ms)
        within = [one for one in granted_ms if at_ms - per_ms < one <= at_ms]
        assert len(within) <= limit


def test_keys_that_are_over_are_forgotten() -> None:
    partition = PartitionState(0)
    for number in range(4 * RATES_SWEPT_FROM):
        granted = RateGranted(
            key=LimitKey(f"k{number}"), tenant=TenantId("t"), per_ms=10, limit=1, at_ms=number * 10
        )
        apply_turn(partition, [granted], number * 10)
    assert len(partition.rates) <= RATES_SWEPT_FROM
    assert isinstance(partition.rates[LimitKey(f"k{4 * RATES_SWEPT_FROM - 1}")], Rate)


def test_a_high_limit_is_spread_so_that_little_is_remembered() -> None:
    plan = flow_of("per: 1m, limit: 10000")
    world = Partitions({plan.hash: plan})
    begin(world, plan)
    key = rate_limit_of(TENANT, "crm")
    rate = world.owned[partition_of(slot_of_limit(key), PARTITIONS)].state.rates[key]
    assert (rate.limit, rate.per_ms) == (1_000, 6_000)

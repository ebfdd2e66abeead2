"""A run that waits for an event: early, in time, late; by its home or by a signal."""

import pytest

from headrace_core.ids import RunId, StepKey
from headrace_core.run.status import CancelCause, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide import event_home
from headrace_scheduler.domain.decision import Reason
from tests.support.flow_run import compiled
from tests.support.partitions import Partitions
from tests.support.run_harness import TENANT

PAID = """\
flow: v1
name: order
inputs: {order: {type: string}}
steps:
  paid:
    wait:
      event: {topic: order.paid, key: "${{ inputs.order }}", keep: 1m, match: event.body.amount > 0}
      expires: 1h
  thanks: {needs: [paid.received], set: {amount: "${{ steps.paid.output.body.amount }}"}}
  remind: {needs: [paid.expired], set: {late: true}}
outputs: {paid: "${{ steps.paid.status }}"}
"""
MINUTE_MS = 60_000


@pytest.fixture
def flow() -> Plan:
    return compiled(PAID)


@pytest.fixture
def world(flow: Plan) -> Partitions:
    return Partitions({flow.hash: flow})


def cancel(world: Partitions, run: RunId) -> None:
    command = cmd.CancelRun(run=run, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="bob")
    assert world.take(0, command) is None


def kinds(world: Partitions, run: RunId) -> list[str]:
    return [type(event).__name__ for event in world.events[run]]


def test_a_run_waits_for_the_event_of_its_key_and_goes_on_with_its_content(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, {"order": "o-1"})
    assert world.runs[run].status is RunStatus.WAITING
    assert world.publish("order.paid", "o-2", {"amount": 1}) is None
    assert world.publish("order.refunded", "o-1", {"amount": 1}) is None
    assert world.runs[run].status is RunStatus.WAITING
    assert world.publish("order.paid", "o-1", {"amount": 7}) is None
    assert world.runs[run].status is RunStatus.SUCCEEDED
    assert world.runs[run].steps[StepKey("paid")].port == "received"
    assert world.output_of(run, "thanks") == {"amount": 7}
    assert "EventReceived" in kinds(world, run)


def test_an_event_that_came_early_is_kept_for_as_long_as_the_step_says(
    world: Partitions, flow: Plan
) -> None:
    world.publish("order.paid", "o-1", {"amount": 3}, keep_ms=10 * MINUTE_MS)
    world.now_ms += MINUTE_MS
    in_time = world.start(flow, {"order": "o-1"})
    assert world.output_of(in_time, "thanks") == {"amount": 3}
    world.now_ms += 1
    too_late = world.start(flow, {"order": "o-1"})
    assert world.runs[too_late].status is RunStatus.WAITING


def test_an_early_event_that_its_home_no_longer_keeps_is_gone(
    world: Partitions, flow: Plan
) -> None:
    world.publish("order.paid", "o-1", {"amount": 3}, keep_ms=1_000)
    world.now_ms += 1_000
    assert world.runs[world.start(flow, {"order": "o-1"})].status is RunStatus.WAITING


def test_an_event_that_does_not_match_is_passed_over_and_so_is_one_that_cannot_be_judged(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, {"order": "o-1"})
    world.publish("order.paid", "o-1", {"amount": 0})
    world.publish("order.paid", "o-1", {"total": 9})
    assert world.runs[run].status is RunStatus.WAITING
    world.publish("order.paid", "o-1", {"amount": 2})
    assert world.output_of(run, "thanks") == {"amount": 2}


def test_a_wait_that_expires_takes_that_port_and_hears_of_no_event_any_more(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, {"order": "o-1"})
    world.pass_time(world.now_ms + 60 * MINUTE_MS)
    assert world.runs[run].steps[StepKey("paid")].port == "expired"
    assert world.output_of(run, "remind") == {"late": True}
    assert not world.home("order.paid", "o-1").waiters
    world.publish("order.paid", "o-1", {"amount": 2})
    assert world.runs[run].steps[StepKey("paid")].port == "expired"


def test_every_run_that_waits_for_a_key_receives_its_event(world: Partitions, flow: Plan) -> None:
    runs = [world.start(flow, {"order": "o-1"}, slot=slot) for slot in (0, 300, 700, 1_023)]
    world.publish("order.paid", "o-1", {"amount": 7})
    assert [world.output_of(run, "thanks") for run in runs] == [{"amount": 7}] * 4
    assert not world.home("order.paid", "o-1").waiters


def test_an_event_sent_again_with_its_id_is_one_event(world: Partitions, flow: Plan) -> None:
    assert world.publish("order.paid", "o-1", {"amount": 1}, client_id="e1") is None
    again = world.publish("order.paid", "o-1", {"amount": 1}, client_id="e1")
    other = world.publish("order.paid", "o-1", {"amount": 2}, client_id="e1")
    assert again is not None and again.reason is Reason.REPEATED and again.run is not None
    assert other is not None and other.reason is Reason.KEY_REUSED
    assert world.home("order.paid", "o-1").events_published == 1


def test_a_cancelled_wait_leaves_the_home(world: Partitions, flow: Plan) -> None:
    run = world.start(flow, {"order": "o-1"})
    assert world.home("order.paid", "o-1").waiters
    cancel(world, run)
    assert world.runs[run].status is RunStatus.CANCELLED
    assert not world.home("order.paid", "o-1").waiters


def test_an_event_meets_a_wait_that_joins_and_one_that_has_just_left(
    world: Partitions, flow: Plan
) -> None:
    """Messages are under way: the event comes first to the home, the cancel first to the run."""
    home = world.home("order.paid", "o-1").partition
    world.undelivered = {home}
    waits, gone = (world.start(flow, {"order": "o-1"}, slot=slot) for slot in (0, 1))
    world.publish("order.paid", "o-1", {"amount": 7})
    cancel(world, gone)
    world.undelivered = set()
    world.deliver()
    assert world.output_of(waits, "thanks") == {"amount": 7}
    assert world.runs[gone].status is RunStatus.CANCELLED
    assert not world.home("order.paid", "o-1").waiters


def test_two_waits_in_a_row_do_not_take_one_event_twice() -> None:
    flow = compiled("""\
flow: v1
name: twice
steps:
  one: {wait: {event: {topic: t, key: k}}}
  two: {needs: [one], wait: {event: {topic: t, key: k}}}
""")
    world = Partitions({flow.hash: flow})
    world.publish("t", "k", 1)
    run = world.start(flow)
    assert world.output_of(run, "one")["body"] == 1
    assert world.runs[run].status is RunStatus.WAITING
    world.publish("t", "k", 2)
    assert world.output_of(run, "two")["body"] == 2


def test_a_signal_ends_the_wait_for_its_topic_without_a_key(world: Partitions, flow: Plan) -> None:
    run = world.start(flow, {"order": "o-1"})
    assert world.signal(run, "order.paid", {"amount": 9}) is None
    assert world.output_of(run, "thanks") == {"amount": 9}
    assert "SignalReceived" in kinds(world, run)
    assert not world.home("order.paid", "o-1").waiters


def test_a_signal_nobody_waits_for_is_refused_and_changes_nothing(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, {"order": "o-1"})
    sequence = world.runs[run].sequence
    unknown = world.signal(run, "order.payed")
    assert unknown is not None and unknown.reason is Reason.INVALID_STATE
    assert unknown.message == (
        "nobody waits for signal 'order.payed': the run waits for 'order.paid'"
    )
    unmatched = world.signal(run, "order.paid", {"amount": 0})
    assert unmatched is not None
    assert "`match` of step 'paid' does not hold" in unmatched.message
    assert world.runs[run].sequence == sequence
    ended = world.start(compiled_sleepless(world))
    late = world.signal(ended, "order.paid")
    assert late is not None and late.reason is Reason.NOT_FOUND


def compiled_sleepless(world: Partitions) -> Plan:
    flow = compiled("flow: v1\nname: brief\nsteps:\n  a: {set: {}}\n")
    world.plans = {**world.plans, flow.hash: flow}
    world.__post_init__()
    return flow


def test_a_signal_sent_again_is_known_and_ends_no_second_wait() -> None:
    flow = compiled("""\
flow: v1
name: twice
steps:
  one: {wait: {event: {topic: go, key: a}}}
  two: {needs: [one], wait: {event: {topic: go, key: a}}}
""")
    world = Partitions({flow.hash: flow})
    run = world.start(flow)
    assert world.signal(run, "go", 1, client_id="s1") is None
    again = world.signal(run, "go", 1, client_id="s1")
    assert again is not None and again.reason is Reason.REPEATED and again.run == run
    assert world.runs[run].status is RunStatus.WAITING
    assert world.signal(run, "go", 2, client_id="s2") is None
    assert world.output_of(run, "two")["body"] == 2


def test_a_key_that_is_no_key_fails_the_step() -> None:
    flow = compiled("""\
flow: v1
name: keyless
inputs: {key: {default: null}}
steps:
  one: {wait: {event: {topic: t, key: "${{ inputs.key }}"}}}
""")
    world = Partitions({flow.hash: flow})
    run = world.start(flow)
    error = world.runs[run].error
    assert error is not None and error.type == "expr.error"


def test_what_one_record_does_not_hold_is_forwarded_in_the_next(
    world: Partitions, flow: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_home, "FORWARDED_BYTES_MAX", 1_000)
    runs = [world.start(flow, {"order": "o-1"}, slot=slot) for slot in range(0, 1_024, 100)]
    world.publish("order.paid", "o-1", {"amount": 0}, keep_ms=0)
    world.publish("order.paid", "o-1", {"amount": 5}, keep_ms=0)
    assert [world.output_of(run, "thanks") for run in runs] == [{"amount": 5}] * len(runs)
    for number, owned in world.owned.items():
        assert world.refolded(number) == owned.state


def test_a_home_keeps_no_more_than_its_bounds(
    world: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_home, "KEPT_PER_CORRELATION_MAX", 2)
    for amount in (1, 2):
        assert world.publish("t", "k", amount) is None
    full = world.publish("t", "k", 3)
    assert full is not None and full.reason is Reason.FULL
    assert world.publish("t", "k", 3, keep_ms=0) is None
    world.now_ms += MINUTE_MS
    assert world.publish("t", "k", 4) is None
    monkeypatch.setattr(event_home, "KEPT_TENANT_BYTES_MAX", 1)
    assert world.publish("t", "k", 5) is not None


def test_expired_events_are_swept_out(world: Partitions) -> None:
    for number in range(1_000):
        world.publish("t", "k" if number < 100 else f"k{number}", "x" * 300, keep_ms=1_000)
        world.now_ms += 20
    kept = sum(len(events) for one in world.owned.values() for events in one.state.kept_events)
    homes = [one.state for one in world.owned.values()]
    assert kept and all(one.kept_bytes <= 2 * one.kept_bytes_swept for one in homes)


def test_a_large_event_stays_in_the_blob_store_until_a_run_looks_at_it(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, {"order": "o-1"})
    world.publish("order.paid", "o-1", {"amount": 7, "text": "x" * 70_000})
    assert world.output_of(run, "thanks") == {"amount": 7}


def test_passes_and_items_wait_each_for_an_event_of_its_own() -> None:
    flow = compiled("""\
flow: v1
name: rounds
steps:
  each:
    foreach: {in: '["a", "b"]', as: key}
    wait: {event: {topic: t, key: "${{ key }}"}}
  round:
    group:
      got: {wait: {event: {topic: t, key: r}, expires: 1h}}
    outputs: {body: "${{ steps.got.output.body }}"}
    repeat: {until: steps.round.output.body == 2, max: 5}
""")
    world = Partitions({flow.hash: flow})
    world.publish("t", "r", 1)
    run = world.start(flow)
    assert len(world.home("t", "r").waiters) >= 1
    world.publish("t", "b", "B")
    world.publish("t", "a", "A")
    world.publish("t", "r", 2)
    assert world.runs[run].status is RunStatus.SUCCEEDED
    got = [type(event).__name__ for event in world.events[run]].count("EventReceived")
    assert got == 4, "the early event of the first pass is not taken by the second"
    assert not any(owned.state.waiters for owned in world.owned.values())

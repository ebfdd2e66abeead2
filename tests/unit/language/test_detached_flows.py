"""Sub-flows with `mode: detach`: started once, on their own from then on."""

import json
from dataclasses import replace

import pytest

from headrace_core.ids import StepKey
from headrace_core.partition.events import ChildCancel, ChildEnded, ChildStart, Message, MessageSent
from headrace_core.run.state import RunState
from headrace_core.run.status import CancelCause, RunStatus, StepStatus
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import FlowRun, compiled
from tests.support.run_harness import RUN, TENANT

INNER = compiled("""
flow: v1
name: notify
inputs: {who: {type: string}, broken: {type: boolean, default: false}}
steps:
  wait: {wait: {for: 1h}}
  stop: {needs: [wait], when: inputs.broken, fail: {message: no}}
""")


def calling(steps: str) -> Plan:
    descriptor = FlowDescriptor(INNER.flow, 1, INNER.hash, INNER.inputs)
    catalogue = Catalogue(flows={(INNER.flow, "stable"): descriptor})
    return compiled(f"flow: v1\nname: outer\nsteps:\n{steps}", catalogue)


ONE = """
  tell: {uses: flow/notify@stable, mode: detach, timeout: 1m, with: {who: ann}}
  after: {needs: [tell], set: {run: "${{ steps.tell.output.run }}"}}
outputs: {run: "${{ steps.after.output.run }}"}
"""


WITH_SLEEP = """
  tell: {uses: flow/notify@stable, mode: detach, with: {who: ann}}
  sleep: {wait: {for: 1h}}
"""


def run_of(steps: str) -> FlowRun:
    return FlowRun(calling(steps), called={INNER.hash: INNER}).begin()


def sent(run: FlowRun) -> list[Message]:
    return [one.message for one in run.partition_events if isinstance(one, MessageSent)]


def test_a_detached_flow_is_started_and_not_waited_for() -> None:
    run = run_of(ONE)
    assert run.state.status is RunStatus.SUCCEEDED
    [start] = sent(run)
    assert isinstance(start, ChildStart)
    assert start.parent.detached
    assert run.output == {"run": start.run}
    assert run.state.steps[StepKey("tell")].child == start.run
    assert run.refolded() == run.state


@pytest.mark.parametrize("broken", [False, True])
def test_nobody_hears_how_a_detached_flow_ended(broken: bool) -> None:
    outer = run_of(ONE)
    [start] = sent(outer)
    assert isinstance(start, ChildStart)
    child = FlowRun(INNER, vault=outer.vault, state=RunState(start.run, TENANT))
    given = child.vault.seal(start.run, json.dumps({"who": "ann", "broken": broken}).encode())
    child.take(replace(start, input=given))
    child.pass_time()
    assert child.state.status is (RunStatus.FAILED if broken else RunStatus.SUCCEEDED)
    assert [one for one in sent(child) if isinstance(one, ChildEnded)] == []


def test_a_cancel_does_not_reach_a_flow_that_was_detached() -> None:
    run = run_of(WITH_SLEEP)
    assert run.state.status is RunStatus.WAITING
    run.when(cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="ann"))
    assert run.state.status is RunStatus.CANCELLED
    assert [one for one in sent(run) if isinstance(one, ChildCancel)] == []


def test_each_item_of_a_fan_out_starts_a_flow_of_its_own() -> None:
    run = run_of("""
  tell:
    foreach: {in: '["ann", "bob", "cid"]', as: who, max_parallel: 1}
    uses: flow/notify@stable
    mode: detach
    with: {who: "${{ who }}"}
outputs: {runs: "${{ steps.tell.items.map(one, one.output.run) }}"}
""")
    starts = [one.run for one in sent(run) if isinstance(one, ChildStart)]
    assert len(set(starts)) == 3
    assert run.output == {"runs": starts}


def test_an_input_that_the_flow_refuses_fails_the_step() -> None:
    run = run_of('  tell: {uses: flow/notify@stable, mode: detach, with: {who: "${{ 1 }}"}}\n')
    assert run.state.status is RunStatus.FAILED
    assert run.error_of("tell")[0] == "input.invalid"
    assert sent(run) == []


def test_a_new_owner_does_not_start_it_again() -> None:
    run = run_of(WITH_SLEEP)
    assert run.status("tell") is StepStatus.SUCCEEDED
    [timer] = list(effects_of_run(run.state, run.plan))
    assert isinstance(timer, SetTimer)
    assert timer.step == "sleep"

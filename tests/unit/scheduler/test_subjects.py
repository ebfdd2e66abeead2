"""Runs of a data subject: what is sealed under whose key, and what an erasure leaves of them."""

import pytest

from headrace_core.ids import RunId, StepKey
from headrace_core.payload import Stored, subject_key_of
from headrace_core.run.status import CancelCause, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_history.domain.export import stored_of
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from tests.support.flow_run import compiled
from tests.support.partitions import Partitions
from tests.support.run_harness import TENANT

PARCEL = """\
flow: v1
name: parcel
inputs: {customer: {type: string}, parcel: {type: string}}
subject: inputs.customer
steps:
  label: {set: {to: "${{ inputs.customer }}"}}
  posted:
    needs: [label]
    wait: {event: {topic: parcel.posted, key: "${{ inputs.parcel }}", match: event.body.fits}}
  thanks: {needs: [posted.received], set: {to: "${{ steps.label.output.to }}"}}
outputs: {to: "${{ steps.thanks.output.to }}"}
"""
ADA = {"customer": "ada", "parcel": "p-1"}


@pytest.fixture
def flow() -> Plan:
    return compiled(PARCEL)


@pytest.fixture
def world(flow: Plan) -> Partitions:
    return Partitions({flow.hash: flow})


def payloads(world: Partitions, run: RunId) -> list[Stored]:
    return [stored for stored in stored_of(world.events[run]) if stored]


def cancelled(run: RunId, reason: Stored) -> cmd.CancelRun:
    cause = CancelCause.REQUEST
    return cmd.CancelRun(run=run, tenant=TENANT, cause=cause, requested_by="bob", reason=reason)


def error_of(world: Partitions, run: RunId, step: str) -> tuple[str, bytes]:
    error = world.runs[run].steps[StepKey(step)].error
    assert error is not None
    return error.type, error.message


@pytest.mark.parametrize("signalled", [True, False], ids=["signal", "event"])
def test_everything_of_a_run_is_sealed_under_its_data_subject_s_key(
    world: Partitions, flow: Plan, signalled: bool
) -> None:
    run = world.start(flow, ADA)
    # The gateway does not know the run: what it sends is sealed under the tenant's key.
    if signalled:
        assert world.signal(run, "parcel.posted", {"fits": True}) is None
    else:
        assert world.publish("parcel.posted", "p-1", {"fits": True}) is None
    assert world.output(run) == {"to": "ada"}
    found = payloads(world, run)
    assert len(found) >= 4
    assert {subject_key_of(stored) for stored in found} == {world.vault.subjects["ada"]}


def test_each_data_subject_has_a_key_of_its_own(world: Partitions, flow: Plan) -> None:
    ada, again, bob = (
        world.start(flow, {**ADA, "customer": name}) for name in ("ada", "ada", "bob")
    )
    keys = [subject_key_of(world.runs[run].input) for run in (ada, again, bob)]
    assert keys[0] == keys[1] != keys[2]


def test_a_cancel_s_reason_is_sealed_under_the_data_subject_s_key(
    world: Partitions, flow: Plan
) -> None:
    run = world.start(flow, ADA)
    reason = world.vault.seal(run, b'"Ada has changed her mind"')
    assert world.take(0, cancelled(run, reason)) is None
    assert world.runs[run].status is RunStatus.CANCELLED
    assert {subject_key_of(stored) for stored in payloads(world, run)} == {1}


def test_a_new_owner_fetches_the_key_before_it_decides(world: Partitions, flow: Plan) -> None:
    run = world.start(flow, ADA)
    world.vault.keys.clear()
    assert world.signal(run, "parcel.posted", {"fits": True}) is None
    assert world.output(run) == {"to": "ada"}
    assert {subject_key_of(stored) for stored in payloads(world, run)} == {1}


def erased(world: Partitions, flow: Plan) -> RunId:
    """A run that waits, and whose data subject is then erased."""
    run = world.start(flow, ADA)
    world.vault.erased.add(world.vault.subjects["ada"])
    return run


def test_what_an_open_run_needs_and_is_erased_fails_its_step_and_is_logged(
    world: Partitions, flow: Plan
) -> None:
    run = erased(world, flow)
    assert world.publish("parcel.posted", "p-1", {"fits": True}) is None
    assert world.runs[run].status is RunStatus.FAILED
    assert error_of(world, run, "posted") == ("input.erased", b"")
    kinds = [type(event).__name__ for event in world.events[run]]
    assert kinds[-2:] == ["StepFailed", "RunFailed"] or kinds[-3] == "StepFailed", kinds
    assert not world.owned[0].parking, "an erasure is no fault of the engine"


def test_a_signal_to_a_run_that_was_erased_is_refused_and_changes_nothing(
    world: Partitions, flow: Plan
) -> None:
    run = erased(world, flow)
    before = len(world.events[run])
    refused = world.signal(run, "parcel.posted", {"fits": True})
    assert refused is not None and refused.reason is Reason.INVALID_STATE
    assert "was erased" in refused.message
    assert len(world.events[run]) == before


def test_a_run_that_was_erased_can_be_cancelled_and_keeps_no_reason(
    world: Partitions, flow: Plan
) -> None:
    run = erased(world, flow)
    reason = world.vault.seal(run, b'"Ada has changed her mind"')
    assert world.take(0, cancelled(run, reason)) is None
    assert world.runs[run].status is RunStatus.CANCELLED
    assert len(payloads(world, run)) == 2, "its input and the first output, nothing new"


CONTROL = """\
flow: v1
name: control
inputs: {who: {type: string}}
subject: inputs.who
steps:
  pause: {wait: {for: 1m}}
  next: {needs: [pause], STEP}
"""


@pytest.mark.parametrize(
    "step",
    [
        'when: inputs.who == "ada", set: {}',
        'set: {who: "${{ inputs.who }}"}',
        "set: {constant: 1}",
        'switch: [{port: a, when: inputs.who == "ada"}]',
        'foreach: {in: "[inputs.who]", as: one}, uses: data.echo@1, with: {value: 1}',
        'wait: {until: "${{ inputs.who }}"}',
        'wait: {event: {topic: t, key: "${{ inputs.who }}"}}',
        'approval: {assignees: ["${{ inputs.who }}"]}',
        'fail: {message: "${{ inputs.who }}"}',
        'repeat: {until: inputs.who == "ada", max: 2}, set: {}',
        (
            "uses: data.echo@1, with: {value: 1}, "
            'rate_limit: {key: "${{ inputs.who }}", per: 1m, limit: 1}'
        ),
    ],
)
def test_a_decision_that_needs_what_is_erased_fails_its_step(step: str) -> None:
    flow = compiled(CONTROL.replace("STEP", step))
    world = Partitions({flow.hash: flow})
    run = world.start(flow, {"who": "ada"})
    world.vault.erased.add(1)
    world.pass_time(world.now_ms + 60_000)
    assert error_of(world, run, "next") == ("input.erased", b"")
    assert world.runs[run].status is RunStatus.FAILED

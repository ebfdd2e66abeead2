"""Frozen states: the same state gives the same bytes, and comes back equal."""

import pytest
from hypothesis import given, settings

from headrace_core.errors import UnknownEvent
from headrace_core.ids import RunId, StepKey, TenantId
from headrace_core.partition.state import PartitionState, StartKey
from headrace_core.payload import Stored
from headrace_core.run.events import EdgeTaken, StepError
from headrace_core.run.freeze import (
    freeze_partition,
    freeze_run,
    state_hash,
    thaw_partition,
    thaw_run,
)
from headrace_core.run.state import FanOut, ItemOutcome, RunState, StepState
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.joins import EdgeState
from tests.support.strategies import instances

SECRET = b"\xff\xfe a payload"


def a_run() -> RunState:
    key = StepKey("read")
    step = StepState(
        key,
        status=StepStatus.FAILED,
        output=Stored(b"\xff\x00\xfe"),
        error=StepError(type="http.500", message=Stored(b"\x80")),
        edges=(EdgeTaken(source="a", port="", state=EdgeState.ACTIVE),),
        fan_out=FanOut(2, Stored(b"\x99"), outcomes=[None, ItemOutcome(StepStatus.SUCCEEDED)]),
        notes=[Stored(b"\xfd")],
    )
    return RunState(
        RunId("run_1"), TenantId("acme"), RunStatus.RUNNING, chain=bytes(32), steps={key: step}
    )


@given(instances(RunState))
@settings(max_examples=60)
def test_a_run_comes_back_as_it_was(run: RunState) -> None:
    frozen = freeze_run(run)
    again = thaw_run(frozen)
    assert again == run
    assert freeze_run(again) == frozen
    assert state_hash(again) == state_hash(run)


@given(instances(PartitionState))
@settings(max_examples=60)
def test_a_partition_comes_back_as_it_was(partition: PartitionState) -> None:
    frozen = freeze_partition(partition)
    again = thaw_partition(frozen)
    assert again == partition
    assert freeze_partition(again) == frozen


def test_what_comes_back_has_the_types_that_the_fold_compares() -> None:
    step = thaw_run(freeze_run(a_run())).steps[StepKey("read")]
    assert step.status is StepStatus.FAILED
    assert isinstance(step.edges, tuple)
    assert step.edges[0].state is EdgeState.ACTIVE
    assert step.fan_out is not None
    assert isinstance(step.fan_out.outcomes[1], ItemOutcome)


def test_the_hash_of_a_state_is_the_same_on_every_machine() -> None:
    """A change here means that snapshots and state hashes of released versions do not hold."""
    assert state_hash(a_run()) == (
        "a107a0f870cf253f828760c45475d86b0bdc085244063af16668d870fa1222b0"
    )


def test_what_nobody_uses_is_not_written_so_that_a_new_field_changes_no_hash() -> None:
    frozen = freeze_run(a_run())
    for unused in ("child", "due_ms", "approval", "parent", "scheduled_at_ms"):
        assert f'"{unused}"'.encode() not in frozen


def test_the_hash_depends_on_the_order_in_which_the_log_named_the_steps() -> None:
    one, other = a_run(), a_run()
    later = StepState(StepKey("later"))
    one.steps[later.key] = later
    other.steps = {later.key: later, **other.steps}
    assert state_hash(one) != state_hash(other)


def test_a_state_with_a_field_of_a_newer_version_is_refused() -> None:
    frozen = freeze_run(a_run()).replace(b'"tenant":', b'"invented":1,"tenant":')
    with pytest.raises(UnknownEvent, match=r"not one of this version \(invented: "):
        thaw_run(frozen)


@pytest.mark.parametrize("frozen", [b"", b"{}", b"[]", b"\xff", b'[{"run_id":"run_1"}]', b"[1,2]"])
def test_what_is_no_state_is_refused(frozen: bytes) -> None:
    with pytest.raises(UnknownEvent, match="delete the snapshot"):
        thaw_run(frozen)
    with pytest.raises(UnknownEvent):
        thaw_partition(frozen)


def test_a_refusal_does_not_show_what_the_state_holds() -> None:
    partition = PartitionState(1, start_keys={SECRET: StartKey(SECRET, RunId("run_1"), 5)})
    frozen = freeze_partition(partition).replace(b'"expires_at_ms":5', b'"expires_at_ms":"soon"')
    with pytest.raises(UnknownEvent) as refusal:
        thaw_partition(frozen)
    assert "payload" not in str(refusal.value)

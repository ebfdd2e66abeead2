"""Canonical bytes of a run's state, for snapshots and for the state hash.

The same fold gives the same bytes: fields in their declared order, steps in the order in which
the log first named them. A field at its default is left out, so that a field which a later version
adds leaves the hash of every run that does not use it as it was.
"""

import hashlib

from pydantic import ConfigDict, TypeAdapter, ValidationError

from headrace_core.errors import UnknownEvent
from headrace_core.ids import PlanHash, RunId, StepKey, TenantId
from headrace_core.partition.state import PartitionState
from headrace_core.run.state import RunState, StepState
from headrace_core.run.status import RunStatus, StepStatus, WaitingKind

# Unknown fields are refused: dropping what a newer version remembers would change the state.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")
# A config is passed on to plain dataclasses only from the type around them: hence the tuples.
_RUN = TypeAdapter(tuple[RunState], config=_CONFIG)
_PARTITION = TypeAdapter(tuple[PartitionState], config=_CONFIG)


SOME_TIME_MS = 1_795_678_147_885


def freeze_run(run: RunState) -> bytes:
    return _RUN.dump_json((run,), exclude_defaults=True)


def thaw_run(frozen: bytes) -> RunState:
    """Raises UnknownEvent for a state that this version cannot have written."""
    try:
        return _RUN.validate_json(frozen)[0]
    except ValidationError as fault:
        raise _unknown("a run", fault) from fault


def frozen_sleeper() -> bytes:
    """A typical run that waits for a time: what to compress others against."""
    nap = StepState(
        StepKey("wait"),
        status=StepStatus.WAITING,
        waiting=WaitingKind.TIMER,
        first_ready_ms=SOME_TIME_MS,
        ready_ms=SOME_TIME_MS,
        due_ms=SOME_TIME_MS,
    )
    run = RunState(
        RunId("run_000kh00000000000000001"),
        TenantId("tenant"),
        status=RunStatus.WAITING,
        sequence=4,
        chain=bytes(32),
        time_ms=SOME_TIME_MS,
        flow="flow",
        version=1,
        plan=PlanHash("0" * 64),
        trigger="manual",
        started_by="key",
        started_ms=SOME_TIME_MS,
        idle=1,
        steps={nap.key: nap},
    )
    return freeze_run(run)


def state_hash(run: RunState) -> str:
    """SHA-256 in hex; equal for equal folds on every machine."""
    return hashlib.sha256(freeze_run(run)).hexdigest()


def freeze_partition(partition: PartitionState) -> bytes:
    return _PARTITION.dump_json((partition,), exclude_defaults=True)


def thaw_partition(frozen: bytes) -> PartitionState:
    """Raises UnknownEvent for a state that this version cannot have written."""
    try:
        return _PARTITION.validate_json(frozen)[0]
    except ValidationError as fault:
        raise _unknown("a partition", fault) from fault


def _unknown(whose: str, fault: ValidationError) -> UnknownEvent:
    # Without the input: it holds payloads and keys.
    first = fault.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "its beginning"
    return UnknownEvent(
        f"the stored state of {whose} is not one of this version ({place}: {first['msg']}): "
        "run the version that wrote it, or delete the snapshot so that the log is folded again"
    )

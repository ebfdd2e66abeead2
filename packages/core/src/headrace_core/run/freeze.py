"""Canonical bytes of a run's state, for snapshots and for the state hash.

The same fold gives the same bytes: fields in their declared order, steps in the order in which
the log first named them.
"""

import hashlib

from pydantic import ConfigDict, TypeAdapter

from headrace_core.partition.state import PartitionState
from headrace_core.run.state import RunState

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_RUN = TypeAdapter(RunState, config=_CONFIG)
_PARTITION = TypeAdapter(PartitionState, config=_CONFIG)


def freeze_run(run: RunState) -> bytes:
    return _RUN.dump_json(run)


def thaw_run(frozen: bytes) -> RunState:
    return _RUN.validate_json(frozen)


def state_hash(run: RunState) -> str:
    """SHA-256 in hex; equal for equal folds on every machine."""
    return hashlib.sha256(freeze_run(run)).hexdigest()


def freeze_partition(partition: PartitionState) -> bytes:
    return _PARTITION.dump_json(partition)


def thaw_partition(frozen: bytes) -> PartitionState:
    return _PARTITION.validate_json(frozen)

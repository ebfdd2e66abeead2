"""The record: one turn in its envelope.

A turn is the atomic outcome of one input: events of at most one run, and events of its
partition. Epoch and seq belong to the envelope and are outside the hash, so that a copied log
can wrap the same bodies under its own claim.
"""

from dataclasses import dataclass

from headrace_core.ids import RunId, TenantId
from headrace_core.partition.events import PartitionEvent
from headrace_core.run.events import RunEvent

RECORD_BYTES_MAX = 900_000
"""Below every broker's default limit; checked before sending, since one record that is too large
burns a producer's sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """`seq` counts the owner's records in its epoch from 0. `sequence` is the number of the first
    run event in the body (0 without a run). `claim` marks an owner's claim, whose epoch is its
    own offset and therefore not yet known here."""

    log_id: bytes
    partition: int
    epoch: int
    seq: int
    time_ms: int
    tenant: TenantId
    run: RunId | None
    sequence: int
    chain: bytes
    claim: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    run_events: tuple[RunEvent, ...]
    partition_events: tuple[PartitionEvent, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded envelope with its stored body, which is decoded by those who fold it."""

    envelope: Envelope
    body: bytes

"""Recorded runs and partitions as files: the stored bytes of each record, and what they fold to.

One run a file, JSON lines: a head {run, tenant, release, kinds}, then one line a record with its
time, number of the first event, body, chain, and the hash of the state after it. A partition's own
events, in `golden/partitions`, have a head {partition, release, kinds}, and in each line no number
and no chain, which belong to the runs beside them.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace_contracts.codec import decode_body, encode_body
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.partition.apply import apply_turn as apply_partition_turn
from headrace_core.partition.events import MessageSent, PartitionEvent
from headrace_core.partition.state import PartitionState
from headrace_core.run.apply import apply_turn
from headrace_core.run.freeze import freeze_partition, state_hash
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState

FOLDER = Path(__file__).with_name("golden")
PARTITIONS = FOLDER / "partitions"
RELEASE = "0.1"


@dataclass(frozen=True, slots=True)
class GoldenRecord:
    time_ms: int
    sequence: int
    body: bytes
    chain: bytes
    state_hash: str


@dataclass(frozen=True, slots=True)
class GoldenLog:
    """`kinds` are the events in it, by name."""

    run: RunId
    tenant: TenantId
    release: str
    kinds: Sequence[str]
    records: Sequence[GoldenRecord]


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    time_ms: int
    body: bytes
    state_hash: str


@dataclass(frozen=True, slots=True)
class GoldenPartition:
    """`kinds` are the events and the messages in it, by name."""

    partition: int
    release: str
    kinds: Sequence[str]
    records: Sequence[PartitionRecord]


def read_golden(path: Path) -> GoldenLog:
    head, *lines = (json.loads(line) for line in path.read_text().splitlines())
    records = [
        GoldenRecord(
            time_ms=line["time_ms"],
            sequence=line["sequence"],
            body=base64.b64decode(line["body"]),
            chain=bytes.fromhex(line["chain"]),
            state_hash=line["state_hash"],
        )
        for line in lines
    ]
    run, tenant = RunId(head["run"]), TenantId(head["tenant"])
    return GoldenLog(run, tenant, head["release"], head["kinds"], records)


def folded(log: GoldenLog) -> Iterator[tuple[GoldenRecord, RunState]]:
    """The state after each record; one object, folded on."""
    state = RunState(log.run, log.tenant)
    for record in log.records:
        apply_turn(state, decode_body(record.body).run_events, record.time_ms, record.chain)
        yield record, state


def write_golden(path: Path, run: RunId, tenant: TenantId, turns: Iterable[StoredTurn]) -> None:
    state, chain = RunState(run, tenant), b""
    kinds: set[str] = set()
    lines: list[str] = []
    for turn in turns:
        body = encode_body(turn.events)
        chain = chain_hash(chain, tenant, run, turn.sequence, turn.time_ms, body)
        apply_turn(state, turn.events, turn.time_ms, chain)
        kinds |= {type(event).__name__ for event in turn.events}
        record = {
            "time_ms": turn.time_ms,
            "sequence": turn.sequence,
            "body": base64.b64encode(body).decode(),
            "chain": chain.hex(),
            "state_hash": state_hash(state),
        }
        lines.append(json.dumps(record))
    head = {"run": run, "tenant": tenant, "release": RELEASE, "kinds": sorted(kinds)}
    path.write_text("\n".join([json.dumps(head), *lines]) + "\n")


def read_golden_partition(path: Path) -> GoldenPartition:
    head, *lines = (json.loads(line) for line in path.read_text().splitlines())
    records = [
        PartitionRecord(line["time_ms"], base64.b64decode(line["body"]), line["state_hash"])
        for line in lines
    ]
    return GoldenPartition(head["partition"], head["release"], head["kinds"], records)


def folded_partition(log: GoldenPartition) -> Iterator[tuple[PartitionRecord, PartitionState]]:
    """The state after each record; one object, folded on."""
    state = PartitionState(log.partition)
    for record in log.records:
        apply_partition_turn(state, decode_body(record.body).partition_events, record.time_ms)
        yield record, state


def partition_hash(state: PartitionState) -> str:
    return hashlib.sha256(freeze_partition(state)).hexdigest()


def partition_kinds(events: Iterable[PartitionEvent]) -> set[str]:
    """Names of the events, and of the messages that they carry."""
    found: set[str] = set()
    for event in events:
        found.add(type(event).__name__)
        if isinstance(event, MessageSent):
            found.add(type(event.message).__name__)
    return found


def write_golden_partition(
    path: Path, partition: int, records: Iterable[tuple[int, tuple[PartitionEvent, ...]]]
) -> None:
    state, kinds, lines = PartitionState(partition), set[str](), list[str]()
    for time_ms, events in records:
        apply_partition_turn(state, events, time_ms)
        kinds |= partition_kinds(events)
        body = base64.b64encode(encode_body([], events)).decode()
        record = {"time_ms": time_ms, "body": body, "state_hash": partition_hash(state)}
        lines.append(json.dumps(record))
    head = {"partition": partition, "release": RELEASE, "kinds": sorted(kinds)}
    path.write_text("\n".join([json.dumps(head), *lines]) + "\n")

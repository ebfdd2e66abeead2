"""Recorded runs as files: the stored bytes of each record, and what they fold to.

One run a file, JSON lines: a head {run, tenant, release, kinds}, then one line a record with its
time, number of the first event, body, chain, and the hash of the state after it.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace_contracts.codec import decode_body, encode_body
from headrace_core.ids import RunId, TenantId
from headrace_core.log.chain import chain_hash
from headrace_core.run.apply import apply_turn
from headrace_core.run.freeze import state_hash
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState

FOLDER = Path(__file__).with_name("golden")
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

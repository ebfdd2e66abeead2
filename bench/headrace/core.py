"""What the core costs without I/O: CPU time of turns, folding, compiling; memory of sleeping runs.

`make bench-core`. Real plans, decisions, sealed payloads and records; the log is a list. CPU time
of this one process, the best of several rounds, since whatever disturbs a round only adds to it.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from bench.headrace.flows import INPUT, sequential

from headrace_contracts.codec import decode_body, decode_record
from headrace_core.errors import NotFound
from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId, run_id
from headrace_core.partition.state import PartitionState
from headrace_core.payload import Stored, Vault
from headrace_core.run.apply import apply_turn
from headrace_core.run.events import StepAssigned
from headrace_core.run.state import RunState
from headrace_core.run.status import RunStatus
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue as Published
from headrace_runtime.blobs import LocalBlobs
from headrace_runtime.clock import SystemClock
from headrace_runtime.keys import DataKey, month_of
from headrace_runtime.sealing import Keyring
from headrace_scheduler.app.appending import record_of
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.snapshots import take_change
from headrace_scheduler.app.turns import Draft, Turns
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.effects import EnqueueStep, SetTimer
from headrace_scheduler.domain.timers import Timers

TENANT = TenantId("bench")
EXECUTOR = ExecutorId("bench")
ROUNDS = 5
CHAIN_STEPS = 500
WINDOW_STEPS = 100
COMPILED_STEPS = 100
SLEEPERS = 100_000
CHECKPOINT_RUNS = 1_000
SLEEPING = "flow: v1\nname: sleep\nsteps:\n  nap: {wait: {for: 30d}}\n"
DAY = 20_000


@dataclass(frozen=True, slots=True)
class OneTenant:
    """The key source of the benchmark: one tenant with one data key."""

    secret: bytes = b"k" * 32

    async def of_tenants(self, tenants: Sequence[TenantId], above_id: int = 0) -> Sequence[DataKey]:
        return [DataKey(1, TENANT, month_of(SystemClock().now_ms()), self.secret)]

    async def of_ids(self, tenant: TenantId, ids: Sequence[int]) -> Sequence[DataKey]:
        return []

    async def erased_of(self, ids: Sequence[int]) -> Sequence[int]:
        return []

    async def ensure_subject(self, tenant: TenantId, subject: str, now_ms: int) -> int:
        raise NotFound(f"Tenant {tenant!r} of the benchmark has no data subjects.")


@dataclass(frozen=True, slots=True)
class OnePlan:
    """What decisions ask of the scheduler's catalogue: a plan, and a real vault."""

    known: Plan
    keyring: Keyring

    async def load(self, tenant: TenantId, plan: PlanHash) -> None:
        await self.keyring.ready(tenant)

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return self.known

    def vault(self, tenant: TenantId) -> Vault:
        return self.keyring.vault(tenant)

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        return await self.keyring.subject_key(tenant, subject)

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        return 1

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        await (await self.keyring.ready(tenant)).fetch(owner, stored)

    async def store_blobs(self) -> None:
        await self.keyring.store_pending_blobs()


class Engine:
    """One partition without a loop around it: an input in, a record out."""

    def __init__(self, plan: Plan, keyring: Keyring) -> None:
        self._turns = Turns(OnePlan(plan, keyring), 1)
        self._plan = plan
        self.vault = keyring.vault(TENANT)
        self.partition = OwnedPartition(0, b"l" * 16, 0, 1, PartitionState(0))
        self.timers = Timers()
        self.records: list[bytes] = []
        self._token = 0

    def start(self, number: int, fields: object = INPUT) -> list[cmd.CompleteStep]:
        run = _bench_run(number)
        start = cmd.StartRun(
            run=run,
            tenant=TENANT,
            flow=self._plan.flow,
            version=1,
            plan=self._plan.hash,
            input=self.vault.seal(run, json.dumps(fields).encode()),
            trigger="manual",
            started_by="bench",
            start_key=number.to_bytes(32),
            fingerprint=b"f" * 32,
            key_kept_ms=0,
        )
        return self.take(start)

    def take(self, command: cmd.Command) -> list[cmd.CompleteStep]:
        """One turn with the assignments that follow from it; what executors will answer."""
        draft = self._turns.decide(self.partition, Input(0, command), time.time_ns() // 1_000_000)
        assert isinstance(draft, Draft), "the benchmark sends nothing that is refused"
        answers = [
            self._assign(draft, effect.run, effect.step)
            for effect in draft.turn.effects
            if isinstance(effect, EnqueueStep)
        ]
        for effect in draft.turn.effects:
            if isinstance(effect, SetTimer):
                self.timers.add(0, effect)
        if draft.run is not None:
            self.partition.dirty.add(draft.run.run_id)
        record = record_of(draft)
        assert record is not None
        self.records.append(record)
        return answers

    def _assign(self, draft: Draft, run: RunId, step: StepKey) -> cmd.CompleteStep:
        assert isinstance(draft.turn, RunTurn) and draft.run is not None
        self._token += 1
        attempt = draft.run.steps[step].attempt + 1
        event = StepAssigned(step=step, attempt=attempt, executor=EXECUTOR, token=self._token)
        draft.turn.emit(event)
        return cmd.CompleteStep(
            run=run,
            step=step,
            attempt=attempt,
            token=self._token,
            outcome=cmd.Outcome.SUCCEEDED,
        )


@dataclass(slots=True)
class Turned:
    """CPU-µs of each window of steps, best of the rounds, and the records of the last round."""

    windows: list[float]
    records: list[bytes] = field(default_factory=list[bytes])


def measure_turns(keyring: Keyring) -> Turned:
    plan = compiled(sequential("chain", CHAIN_STEPS))
    best = Turned([float("inf")] * (CHAIN_STEPS // WINDOW_STEPS))
    for _ in range(ROUNDS):
        engine = Engine(plan, keyring)
        (answer,) = engine.start(1)
        output = engine.vault.seal(answer.run, json.dumps(INPUT["document"]).encode())
        for window in range(len(best.windows)):
            began_ns = time.process_time_ns()
            for _ in range(WINDOW_STEPS):
                done = _succeeded(answer, output)
                answer, *_ = engine.take(done) or (answer,)
            took_us = (time.process_time_ns() - began_ns) / 1_000
            best.windows[window] = min(best.windows[window], took_us / WINDOW_STEPS)
        best.records = engine.records
    return best


def _bench_run(number: int) -> RunId:
    return run_id(0, DAY, number.to_bytes(10))


def _succeeded(assigned: cmd.CompleteStep, output: Stored) -> cmd.CompleteStep:
    return cmd.CompleteStep(
        run=assigned.run,
        step=assigned.step,
        attempt=assigned.attempt,
        token=assigned.token,
        outcome=assigned.outcome,
        output=output,
    )


def measure_fold(records: Sequence[bytes]) -> tuple[float, float]:
    """Events per CPU second: applied alone, and decoded from the log's bytes before."""
    applied, with_decoding = 0.0, 0.0
    for _ in range(ROUNDS):
        began_ns = time.process_time_ns()
        turns = [
            (record.envelope, decode_body(record.body).run_events)
            for record in map(decode_record, records)
        ]
        decoded_ns = time.process_time_ns()
        run = RunState(RunId(""), TENANT)
        for envelope, events in turns:
            apply_turn(run, events, envelope.time_ms, envelope.chain)
        ended_ns = time.process_time_ns()
        assert run.status is RunStatus.SUCCEEDED
        applied = max(applied, run.sequence * 1e9 / (ended_ns - decoded_ns))
        with_decoding = max(with_decoding, run.sequence * 1e9 / (ended_ns - began_ns))
    return applied, with_decoding


def measure_sleepers(keyring: Keyring, count: int, fields: object) -> float:
    """Bytes that each run keeps in memory once a checkpoint has put it to sleep, its timer and
    its place in the tables included; the records are dropped as a log would take them."""
    engine = Engine(compiled(SLEEPING), keyring)
    engine.start(0, fields)
    before = psutil.Process().memory_info().rss
    for number in range(1, count + 1):
        engine.start(number, fields)
        engine.records.clear()
        if number % CHECKPOINT_RUNS == 0:
            take_change(engine.partition, SystemClock().now_ms())
    return (psutil.Process().memory_info().rss - before) / count


def measure_compile() -> float:
    """CPU-ms of a long flow, text to plan."""
    text = sequential("long", COMPILED_STEPS)
    best = float("inf")
    for _ in range(ROUNDS):
        began_ns = time.process_time_ns()
        compiled(text)
        best = min(best, (time.process_time_ns() - began_ns) / 1e6)
    return best


def compiled(text: str) -> Plan:
    plan = compile_definition(text, Published())
    assert isinstance(plan, Plan)
    return plan


async def _keyring(folder: Path) -> Keyring:
    keyring = Keyring(OneTenant(), LocalBlobs(folder), SystemClock())
    await keyring.ready(TENANT)
    return keyring


def table(report: dict[str, object]) -> str:
    rows = [
        ("turn of a sequential step, CPU-µs", "turn_us", "40"),
        (f"  the last {WINDOW_STEPS} of {CHAIN_STEPS} steps, CPU-µs", "last_turn_us", "40"),
        ("fold, events per CPU-s", "fold_per_s", "200,000"),
        ("  with decoding", "decode_fold_per_s", ""),
        ("a sleeping run without input, bytes", "sleeper_bytes", "500"),
        ("  with an input of 300 bytes", "sleeper_300_bytes", ""),
        (f"compile of {COMPILED_STEPS} steps, CPU-ms", "compile_ms", "50"),
    ]
    lines = [f"{'':44}{'measured':>12}{'goal':>10}"]
    lines += [f"{text:44}{report[name]:>12,.1f}{goal:>10}" for text, name, goal in rows]
    lines.append(f"load before {report['load']:.2f}, commit {report['commit']}")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench-core", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench/core.json"))
    parser.add_argument("--sleepers", type=int, default=SLEEPERS)
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        keyring = asyncio.run(_keyring(Path(folder)))
        turned = measure_turns(keyring)
        fold, with_decoding = measure_fold(turned.records)
        report: dict[str, object] = {
            "turn_us": min(turned.windows),
            "last_turn_us": turned.windows[-1],
            "windows_us": turned.windows,
            "fold_per_s": fold,
            "decode_fold_per_s": with_decoding,
            "compile_ms": measure_compile(),
            "sleeper_bytes": measure_sleepers(keyring, options.sleepers, {}),
            "sleeper_300_bytes": measure_sleepers(keyring, options.sleepers, INPUT),
            "sleepers": options.sleepers,
            "load": load,
            "python": platform.python_version(),
            "commit": _commit(),
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table(report) + "\n")
    return 0


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

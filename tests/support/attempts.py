"""Attempts for tests of the executor: real vaults, plans at hand, actions that a test drives."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace_core.errors import NotFound, Unavailable
from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.plan_parts import Action, Effect, Idempotency, UsesKind
from headrace_executor.adapters.catalogue import PayloadVaults
from headrace_executor.app.effects import Effects, Timing
from headrace_executor.app.ports import Call, Completion
from headrace_executor.app.prepared import Kinds
from headrace_executor.app.steps.transform import DataTransform
from headrace_executor.app.worker import Worker
from headrace_runtime.sealing import Keyring, TenantVault
from headrace_worker.messages import Attempt, AttemptKey, Outcome, Result, StepInput, Task
from tests.support.effect_rows import RowsInMemory, SecretsAtHand
from tests.support.tenant_keys import ACME, RUN, KeysInMemory, keyring, two_tenants

ME = ExecutorId("exec-1")
QUICK = Timing(renew_s=0.005, cancel_grace_s=0.02, look_first_s=0.001, look_max_s=0.005)


def action(
    name: str, effect: Effect = Effect.NONE, idempotency: Idempotency = Idempotency.NONE
) -> Action:
    return Action(UsesKind.ACTION, name, f"{name}@1", "1", effect, idempotency)


def attempt(step: str, number: int = 1, run: RunId = RUN, tenant: TenantId = ACME) -> Attempt:
    return Attempt(0, 5, tenant, run, StepKey(step), number, 77)


def task(of: Attempt, plan: Plan, **fields: Any) -> Task:
    return Task(of, ME, 1, plan.hash, plan.flow, "shared", **fields)


def succeeded(step: str, output: Stored) -> StepInput:
    return StepInput(step, "succeeded", output)


@dataclass(slots=True)
class PlansAtHand:
    """Implements app.ports.Plans over one plan; `away` makes the store unreachable."""

    plan: Plan
    cached: bool = True
    away: bool = False
    loads: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def get_cached(self, tenant: TenantId, plan: PlanHash) -> Plan | None:
        return self.plan if self.cached and plan == self.plan.hash else None

    async def load(self, tenant: TenantId, plan: PlanHash) -> Plan:
        self.loads += 1
        self.news.set()
        if self.away:
            raise Unavailable("the store of plans is away")
        if plan != self.plan.hash:
            raise NotFound(f"there is no plan {plan}")
        return self.plan

    async def asked(self, count: int) -> None:
        """Until it was asked so often in all."""
        while self.loads < count:
            self.news.clear()
            await self.news.wait()


@dataclass(slots=True)
class DrivenOperation:
    """Calls end when the test says so. `begins`: whether they reach the outside at once."""

    calls: list[Call] = field(default_factory=list[Call])
    cut_off: list[Call] = field(default_factory=list[Call])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ends: dict[int, "asyncio.Future[Completion]"] = field(
        default_factory=dict[int, "asyncio.Future[Completion]"]
    )
    begins: bool = True

    async def run(self, call: Call) -> Completion:
        self.calls.append(call)
        call.contact.begun = self.begins
        end = self.ends[call.attempt.number] = asyncio.get_running_loop().create_future()
        self.news.set()
        try:
            return await end
        except asyncio.CancelledError:
            self.cut_off.append(call)
            raise

    async def called(self, count: int) -> None:
        """Until so many calls have begun in all."""
        while len(self.calls) < count:
            self.news.clear()
            await self.news.wait()

    def end(self, number: int, completion: Completion) -> None:
        self.ends[number].set_result(completion)


@dataclass(slots=True)
class Bench:
    """A worker with real keys and blobs under a test's own folder."""

    plans: PlansAtHand
    keys: KeysInMemory
    keyring: Keyring
    vault: TenantVault
    worker: Worker
    operation: DrivenOperation
    rows: RowsInMemory
    secrets: SecretsAtHand

    def seal(self, value: Any, run: RunId = RUN) -> Stored:
        return self.vault.seal(run, json.dumps(value).encode())

    def opened(self, stored: Stored, run: RunId = RUN) -> Any:
        return json.loads(self.vault.open(run, stored))

    def message(self, result: Result) -> str:
        assert result.error is not None
        return self.opened(result.error.message)


async def bench(plan: Plan, root: Path, *, cached: bool = True) -> Bench:
    keys = two_tenants()
    ring = keyring(keys, root)
    vault = await ring.ready(ACME)
    plans, operation = PlansAtHand(plan, cached), DrivenOperation()
    rows, secrets, acceptances = RowsInMemory(), SecretsAtHand(), itertools.count(1)
    effects = Effects(rows, lambda: f"{ME}/{next(acceptances)}", QUICK)
    kinds = Kinds(transforms={"data": DataTransform()}, operations={"test": operation})
    worker = Worker(plans, PayloadVaults(ring), secrets, effects, kinds)
    return Bench(plans, keys, ring, vault, worker, operation, rows, secrets)


@dataclass(slots=True)
class SaidWords:
    """Implements app.ports.Dispatch: what a session said, in order."""

    results: list[Result] = field(default_factory=list[Result])
    windows: list[int] = field(default_factory=list[int])
    beats: list[AttemptKey] = field(default_factory=list[AttemptKey])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, result: Result) -> None:
        self.results.append(result)
        self.news.set()

    def beat(self, attempt: AttemptKey) -> None:
        self.beats.append(attempt)
        self.news.set()

    def set_window(self, window: int) -> None:
        self.windows.append(window)

    async def until(self, count: int) -> Sequence[Result]:
        while len(self.results) < count:
            self.news.clear()
            await self.news.wait()
        return self.results

    def outcomes(self) -> list[tuple[int, Outcome]]:
        return [(result.attempt.number, result.outcome) for result in self.results]

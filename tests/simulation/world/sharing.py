"""Looks at both ends of streams between two passes of an owner: credits and slots."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headrace_core.run.status import StepStatus
from headrace_scheduler.assembly import Engine
from tests.invariants.witnesses import AttemptKey, CreditsSeen, SlotsSeen
from tests.simulation.world.executor import LANE, WINDOW, SimExecutor
from tests.simulation.world.links import Link
from tests.simulation.world.owners import OwnerHost

SAMPLED = 0.05


@dataclass(slots=True)
class SharingWatch:
    """`at_rest` is set once nothing is open any more."""

    chance: random.Random
    at_rest: bool = False
    credits: list[CreditsSeen] = field(default_factory=list[CreditsSeen])
    slots: list[SlotsSeen] = field(default_factory=list[SlotsSeen])

    def over(self, host: OwnerHost, executors: Callable[[], Iterable[SimExecutor]]) -> None:
        """From now on after some passes of this life: what they assigned is on its way by then."""
        assert host.engine is not None
        loop = host.engine.loop
        before = loop.after_pass

        def after_pass() -> None:
            before()
            if self.chance.random() < SAMPLED:
                self.look(host, executors())

        loop.after_pass = after_pass

    def look(self, host: OwnerHost, executors: Iterable[SimExecutor]) -> None:
        engine = host.engine
        if engine is None:
            return
        for executor in executors:
            link = executor.link_to(host.owner)
            away = executor.crashed or executor.frozen or host.frozen
            if not away and link is not None and link.session is not None and not link.doubled:
                self._look_at(executor, link, engine)

    def _look_at(self, executor: SimExecutor, link: Link, engine: Engine) -> None:
        streams = sum(1 for one in executor.links if not one.broken)
        seen = CreditsSeen(
            executor=executor.name,
            owner=link.owner,
            granted=executor.window_of(link.owner).granted,
            free=engine.assigning.credits.of(executor.name, LANE),
            under_way=link.tasks_under_way + link.credits_under_way,
            share=max(1, WINDOW // streams),
            at_rest=self.at_rest,
        )
        self.credits.append(seen)
        if not link.under_way and engine.loop.is_idle():
            held = _held(executor, link.owner, engine)
            assigned = _open(executor, engine)
            self.slots.append(
                SlotsSeen(executor.name, link.owner, held, assigned, at_rest=self.at_rest)
            )


def _held(executor: SimExecutor, owner: str, engine: Engine) -> frozenset[AttemptKey]:
    partitions = engine.loop.partitions
    return frozenset(
        attempt.key for attempt in executor.held_of(owner) if attempt.partition in partitions
    )


def _open(executor: SimExecutor, engine: Engine) -> frozenset[AttemptKey]:
    return frozenset(
        (run.run_id, state.key, state.attempt)
        for owned in engine.loop.partitions.values()
        for run in owned.runs.awake()
        for state in run.steps.values()
        if state.status is StepStatus.RUNNING and state.executor == executor.name
    )

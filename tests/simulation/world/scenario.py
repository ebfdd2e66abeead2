"""What happens in one campaign, as data: drawn from a seed, played, and cut down when it fails."""

import random
from dataclasses import dataclass
from enum import StrEnum

from headrace_runtime.eventlog.memory import StaleAppend
from tests.simulation.world.flows import SimFlow
from tests.simulation.world.shapes import random_flow

FAULT_PHASE_MS = 3_500
"""Longer than the grace of executors and two leases, so that takeovers meet further faults."""
OWNERS, EXECUTORS = 2, 3
PARTITIONS = 4


class FaultKind(StrEnum):
    """`target` counts owners or executors; `for_ms` is how long it lasts."""

    OWNER_CRASHES = "owner crash"
    OWNER_FREEZES = "zombie owner"
    OWNER_CLOCK_JUMPS = "clock jump"
    """By `for_ms`, back or forth."""
    EXECUTOR_CRASHES = "executor crash"
    EXECUTOR_FREEZES = "zombie executor"
    STREAM_BREAKS = "stream broken"
    APPENDS_LOST = "append lost"
    ACKS_LOST = "append ack_lost"
    APPENDS_DELAYED = "append delayed"
    APPENDS_DOUBLED = "append doubled"
    LOG_SLOW = "slow log"
    MESSAGES_DOUBLED = "doubled message"
    MESSAGES_LATE = "late message"
    SNAPSHOTS_FAIL = "snapshot behind"
    ROWS_AWAY = "effect rows away"
    RANGE_DELETED = "range deleted"


OWNER_POINTS = (
    "append sent",
    "append landed",
    "claim landed",
    "checkpoint sent",
    "checkpoint written",
    "row closed",
)
EXECUTOR_POINTS = ("task accepted", "claimed", "called", "settled")
DOUBLED_POINTS = ("checkpoint sent", "task accepted")
"""Drawn twice as often: whoever stands still just there does the most harm later on."""
ZOMBIES = 0.45
"""So often each kind of zombie is among the faults, beside the kinds that are drawn evenly."""
OF_OWNERS = frozenset(
    {FaultKind.OWNER_CRASHES, FaultKind.OWNER_FREEZES, FaultKind.OWNER_CLOCK_JUMPS}
)
AT_POINTS = {
    FaultKind.OWNER_CRASHES: OWNER_POINTS,
    FaultKind.OWNER_FREEZES: OWNER_POINTS,
    FaultKind.EXECUTOR_CRASHES: EXECUTOR_POINTS,
    FaultKind.EXECUTOR_FREEZES: EXECUTOR_POINTS,
}
LASTS_MS = {
    FaultKind.OWNER_CRASHES: (50, 2_000),
    FaultKind.OWNER_FREEZES: (300, 6_000),
    FaultKind.OWNER_CLOCK_JUMPS: (-1_500, 1_500),
    FaultKind.EXECUTOR_CRASHES: (50, 1_000),
    FaultKind.EXECUTOR_FREEZES: (300, 6_000),
    FaultKind.STREAM_BREAKS: (10, 2_600),
    FaultKind.RANGE_DELETED: (0, 1),
}
WINDOW_MS = (100, 1_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """At a `point` it happens the first time that its target gets there after `at_ms`."""

    at_ms: int
    kind: FaultKind
    target: int = 0
    for_ms: int = 0
    point: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A client's run, which it may cancel later on. `number` stays when others are left out."""

    number: int
    at_ms: int
    flow: int
    slot: int
    cancel_after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`seed` is also that of everything that is drawn while it is played: delays, tokens, names.
    The first flow is the others' sub-flow."""

    seed: int
    stale: StaleAppend
    skews_ms: tuple[int, ...]
    flows: tuple[SimFlow, ...]
    starts: tuple[Start, ...]
    faults: tuple[Fault, ...]


def draw_scenario(seed: int) -> Scenario:
    chance = random.Random(seed)
    child = random_flow(chance, 0, None)
    flows = (child, *(random_flow(chance, number, child) for number in range(1, 4)))
    return Scenario(
        seed=seed,
        stale=chance.choice((StaleAppend.REFUSES, StaleAppend.VOIDS)),
        skews_ms=tuple(chance.randint(-200, 200) for _ in range(OWNERS)),
        flows=flows,
        starts=tuple(
            _draw_start(chance, number, len(flows)) for number in range(chance.randint(4, 9))
        ),
        faults=_draw_faults(chance),
    )


def _draw_start(chance: random.Random, number: int, flows: int) -> Start:
    return Start(
        number=number,
        at_ms=chance.randrange(FAULT_PHASE_MS * 3 // 4),
        flow=chance.randrange(1, flows),
        slot=chance.randrange(1_024),
        cancel_after_ms=_draw_cancel(chance) if chance.random() < 0.4 else None,
    )


def _draw_cancel(chance: random.Random) -> int:
    """In the midst of things, or when attempts of executors that are gone were given out again."""
    return chance.randrange(*chance.choice(((10, 1_500), (2_000, 4_500))))


def _draw_faults(chance: random.Random) -> tuple[Fault, ...]:
    """A few kinds per seed, so that campaigns differ in kind and not only in order."""
    kinds = chance.sample(tuple(FaultKind), chance.randint(1, 6))
    zombies = (FaultKind.EXECUTOR_FREEZES, FaultKind.OWNER_FREEZES)
    kinds += [kind for kind in zombies if kind not in kinds and chance.random() < ZOMBIES]
    faults = [
        _draw_fault(chance, kind) for kind in kinds for _ in range(chance.choice((1, 2, 3, 5)))
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _draw_fault(chance: random.Random, kind: FaultKind) -> Fault:
    points = AT_POINTS.get(kind, ())
    points += tuple(point for point in points if point in DOUBLED_POINTS)
    return Fault(
        at_ms=chance.randrange(FAULT_PHASE_MS),
        kind=kind,
        target=chance.randrange(OWNERS if kind in OF_OWNERS else EXECUTORS),
        for_ms=chance.randint(*LASTS_MS.get(kind, WINDOW_MS)),
        point=chance.choice(points) if points and chance.random() < 0.7 else "",
    )

"""When a step runs or is skipped: edge states and joins as two pure tables.

An edge is decided once, by its direct source only. A join is decided as soon as it cannot change,
never before, so that the set of steps that ran is a function of outcomes and not of timing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from headrace_core.run.status import StepStatus

ERROR_PORT = "error"


class EdgeState(IntEnum):
    """Numbers are those of the log's format."""

    UNDECIDED = 1
    ACTIVE = 2
    SKIPPED = 3
    DEAD = 4
    BROKEN = 5


class JoinKind(StrEnum):
    ALL = "all"
    ANY = "any"
    AT_LEAST = "at_least"
    SETTLED = "settled"
    ALWAYS = "always"


class JoinDecision(IntEnum):
    WAIT = 0
    RUN = 1
    SKIP = 2


@dataclass(frozen=True, slots=True)
class Join:
    """`count` is how many active edges suffice, for `any` (1) and `at_least`."""

    kind: JoinKind = JoinKind.ALL
    count: int = 1


def edge_state(status: StepStatus, port_taken: str, port: str, *, catches: bool) -> EdgeState:
    """State of one `needs` entry given its source.

    `port_taken` is the port by which the source succeeded, empty where it has none. `port` is the
    one the edge names, empty for a plain edge. `catches` says that the source has
    `on_error: catch`.
    """
    if status is StepStatus.SUCCEEDED:
        return EdgeState.ACTIVE if not port or port == port_taken else EdgeState.DEAD
    if status is StepStatus.SKIPPED:
        return EdgeState.SKIPPED
    if status is StepStatus.FAILED:
        if port == ERROR_PORT:
            return EdgeState.ACTIVE
        return EdgeState.DEAD if catches else EdgeState.BROKEN
    if status is StepStatus.CANCELLED:
        return EdgeState.DEAD if port == ERROR_PORT else EdgeState.BROKEN
    return EdgeState.UNDECIDED


def decide_join(join: Join, edges: Sequence[EdgeState]) -> JoinDecision:
    """Monotone: once the answer is not WAIT, no later edge decision changes it."""
    if not edges:
        return JoinDecision.RUN
    kind = join.kind
    if kind is JoinKind.ALL:
        return _decide_all(edges)
    if kind is JoinKind.ALWAYS:
        return JoinDecision.WAIT if EdgeState.UNDECIDED in edges else JoinDecision.RUN
    if kind is JoinKind.SETTLED:
        return _decide_settled(edges)
    return _decide_count(join.count, edges)


def _decide_all(edges: Sequence[EdgeState]) -> JoinDecision:
    decision = JoinDecision.RUN
    for edge in edges:
        if edge is EdgeState.UNDECIDED:
            decision = JoinDecision.WAIT
        elif edge is not EdgeState.ACTIVE:
            return JoinDecision.SKIP
    return decision


def _decide_settled(edges: Sequence[EdgeState]) -> JoinDecision:
    if EdgeState.DEAD in edges or EdgeState.BROKEN in edges:
        return JoinDecision.SKIP
    if EdgeState.UNDECIDED in edges:
        return JoinDecision.WAIT
    return JoinDecision.RUN if EdgeState.ACTIVE in edges else JoinDecision.SKIP


def _decide_count(count: int, edges: Sequence[EdgeState]) -> JoinDecision:
    active = edges.count(EdgeState.ACTIVE)
    if active >= count:
        return JoinDecision.RUN
    reachable = active + edges.count(EdgeState.UNDECIDED)
    return JoinDecision.WAIT if reachable >= count else JoinDecision.SKIP

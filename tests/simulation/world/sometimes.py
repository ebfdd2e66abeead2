"""What must happen sometimes: a campaign that never met one of these has proven nothing of it."""

from collections.abc import Mapping

from tests.simulation.world.scenario import EXECUTOR_POINTS, OWNER_POINTS, FaultKind
from tests.simulation.world.verdict import KINDS

RARE = (
    *KINDS,
    "checkpoint refused",
    "child run",
    "credits compared",
    "detached run",
    "fallback",
    "further pass",
    "output in place of a failure",
    "effect row closed by an owner",
    "fenced owner",
    "lapsed effect claim",
    "late result",
    "lost attempt",
    "repeated call",
    "run cancelled",
    "slots compared",
    "state compared",
    "takeover in mid-compensation",
    "unknown outcome",
    "void record",
)
SOMETIMES = (
    *RARE,
    *(kind.value for kind in FaultKind),
    *(f"owner crash at {point}" for point in OWNER_POINTS if point != "row closed"),
    *(f"zombie executor at {point}" for point in EXECUTOR_POINTS),
)


def never_met(seen: Mapping[str, int]) -> list[str]:
    return [what for what in SOMETIMES if not seen.get(what)]

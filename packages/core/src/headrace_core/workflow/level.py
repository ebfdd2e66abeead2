"""One level of steps: those of the flow, or those of a group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.graph import topological_order, upstream
from headrace_core.workflow.joins import ERROR_PORT
from headrace_core.workflow.model import Step
from headrace_core.workflow.plan_parts import Edge

APPROVAL_PORTS = ("approved", "rejected", "expired")
EVENT_PORTS = ("received", "expired")


@dataclass(frozen=True, slots=True)
class Level:
    """`outer` are the steps of enclosing levels that have ended before this level begins, and the
    enclosing groups that are repeated; `outer_fan_outs` those among them that have items;
    `aliases` the item names of enclosing fan-outs."""

    steps: Mapping[str, Step]
    path: DocumentPath
    needs: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    upstream: Mapping[str, frozenset[str]]
    outer: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    outer_fan_outs: frozenset[str] = frozenset()

    def path_of(self, step: str) -> DocumentPath:
        return (*self.path, step)


def level_of(
    steps: Mapping[str, Step],
    path: DocumentPath,
    outer: frozenset[str] = frozenset(),
    aliases: tuple[str, ...] = (),
    outer_fan_outs: frozenset[str] = frozenset(),
) -> Level:
    needs = {name: tuple(edge.source for edge in edges_of(step)) for name, step in steps.items()}
    order, before = topological_order(needs), upstream(needs)
    return Level(steps, path, needs, order, before, outer, aliases, outer_fan_outs)


def levels(steps: Mapping[str, Step]) -> Iterator[Level]:
    """The flow's level first, then those of its groups, outer before inner."""
    waiting = [level_of(steps, ("steps",))]
    while waiting:
        level = waiting.pop(0)
        yield level
        for name, step in level.steps.items():
            if step.group is not None:
                waiting.append(_inside(level, name, step, step.group))


def _inside(level: Level, name: str, step: Step, steps: Mapping[str, Step]) -> Level:
    before = level.upstream.get(name, frozenset())
    fan_outs = {one for one in before if level.steps[one].foreach is not None}
    outer_fan_outs = (level.outer_fan_outs - before) | fan_outs
    if step.repeat is not None:
        # A pass sees what the one before it came to.
        before |= {name}
        outer_fan_outs -= {name}
    aliases = level.aliases
    if step.foreach is not None:
        aliases = (*aliases, step.foreach.as_)
    path = (*level.path_of(name), "group")
    return level_of(steps, path, level.outer | before, aliases, frozenset(outer_fan_outs))


def edges_of(step: Step) -> tuple[Edge, ...]:
    parts = (need.partition(".") for need in step.needs or ())
    return tuple(Edge(source, port) for source, _, port in parts)


def ports_of(step: Step) -> tuple[str, ...]:
    """Named ports beside the plain edge; every step has `error`. The ports of a fan-out's items
    are no ports of the fan-out."""
    if step.foreach is not None:
        return (ERROR_PORT,)
    if step.switch is not None:
        return (*(case.port for case in step.switch), ERROR_PORT)
    if step.approval is not None:
        return (*APPROVAL_PORTS, ERROR_PORT)
    if step.wait is not None and step.wait.event is not None:
        return (*EVENT_PORTS, ERROR_PORT)
    return (ERROR_PORT,)

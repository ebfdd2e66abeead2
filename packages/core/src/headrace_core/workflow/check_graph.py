"""Checks of the graph: steps and ports exist, no cycle, joins can be reached."""

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.graph import cycles
from headrace_core.workflow.level import Level, edges_of, ports_of
from headrace_core.workflow.model_steps import AtLeast, Step
from headrace_core.workflow.plan_parts import Edge
from headrace_core.workflow.report import Report

STEPS_MAX = 500


def check_graph(level: Level, broken: frozenset[DocumentPath], report: Report) -> None:
    for name, step in level.steps.items():
        path = level.path_of(name)
        for index, edge in enumerate(edges_of(step)):
            _check_edge(level, broken, edge, (*path, "needs", index), report)
        _check_join(step, path, report)
    for cycle in cycles(level.needs):
        step = cycle[0]
        index = level.needs[step].index(cycle[-2])
        message = "these steps wait for each other: " + " -> ".join(cycle)
        place = (*level.path_of(step), "needs", index)
        remedy = "remove one of these `needs`; to go round again use `repeat`"
        report.at_value("HR-1203", place, message, remedy)


def check_count(count: int, report: Report) -> None:
    if count > STEPS_MAX:
        message = f"the flow has {count} steps, more than {STEPS_MAX}"
        report.at_key("HR-1205", ("steps",), message, "move part of it into a sub-flow")


def _check_edge(
    level: Level,
    broken: frozenset[DocumentPath],
    edge: Edge,
    path: DocumentPath,
    report: Report,
) -> None:
    source = level.steps.get(edge.source)
    if source is None:
        if level.path_of(edge.source) in broken:
            return
        remedy = did_you_mean(edge.source, level.steps) or f"steps here: {listed(level.steps)}"
        report.at_value("HR-1201", path, f"there is no step {edge.source!r}", remedy)
        return
    ports = ports_of(source)
    if edge.port and edge.port not in ports and level.path_of(edge.source) not in broken:
        remedy = did_you_mean(edge.port, ports) or f"its ports: {listed(ports)}"
        message = f"step {edge.source!r} has no port {edge.port!r}"
        report.at_value("HR-1202", path, message, remedy)


def _check_join(step: Step, path: DocumentPath, report: Report) -> None:
    count = len(step.needs or ())
    join = step.join
    if isinstance(join, AtLeast) and join.at_least > count:
        message = f"{join.at_least} of {count} edges can never be active"
        report.at_value(
            "HR-1204", (*path, "join", "at_least"), message, f"write {count} or less, or add needs"
        )
    elif join is not None and not count:
        remedy = "add `needs`, or remove `join`"
        report.at_key("HR-1109", (*path, "join"), "a join without `needs` joins nothing", remedy)
    if step.cancel_others and not (join == "any" or isinstance(join, AtLeast)):
        message = "`cancel_others` belongs to the joins `any` and `at_least`"
        report.at_key(
            "HR-1109", (*path, "cancel_others"), message, "remove it, or write such a join"
        )

"""Definition to plan, or every fault found at once.

result = compile_definition(text, Catalogue())
if isinstance(result, Plan): ...        # publish it: plan_to_json(result), result.lock
else: print(render_faults(result, text, "my.flow.yaml"))
"""

import hashlib
from collections.abc import Mapping
from typing import Any, cast

from headrace_core.ids import PlanHash
from headrace_core.workflow.build_plan import build_plan, locked_content
from headrace_core.workflow.canonical import canonical_json
from headrace_core.workflow.check_flow import check_flow
from headrace_core.workflow.check_graph import check_count, check_graph
from headrace_core.workflow.check_references import References
from headrace_core.workflow.check_scopes import ScopeCheck
from headrace_core.workflow.check_steps import check_step
from headrace_core.workflow.document import Document, DocumentPath, from_data
from headrace_core.workflow.fault import Fault
from headrace_core.workflow.level import Level, levels
from headrace_core.workflow.loader import load
from headrace_core.workflow.model import Flow
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.report import Report
from headrace_core.workflow.resolution import Resolver
from headrace_core.workflow.shape import shape


def compile_definition(
    definition: str | bytes | Mapping[str, Any],
    resolver: Resolver,
) -> Plan | list[Fault]:
    """A plan, or all faults in the order of their places.

    `definition` is YAML text, or the decoded document, whose faults then have paths only.
    """
    document, faults = _read(definition)
    report = Report(document, faults)
    if document.data is None and faults:
        return report.faults
    shaped = shape(document.data, report)
    references = References(resolver, report)
    if shaped.flow is not None:
        _check(shaped.flow, shaped.broken, references, report)
    if report.faults or shaped.flow is None:
        return report.faults
    content = locked_content(cast(Mapping[str, Any], document.data), references.lock)
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    return build_plan(shaped.flow, references, PlanHash(digest))


def _read(definition: str | bytes | Mapping[str, Any]) -> tuple[Document, list[Fault]]:
    if isinstance(definition, (str, bytes)):
        return load(definition)
    return from_data(definition)


def _check(
    flow: Flow, broken: frozenset[DocumentPath], references: References, report: Report
) -> None:
    all_levels = list(levels(flow.steps))
    check_count(sum(len(level.steps) for level in all_levels), report)
    for level in all_levels:
        check_graph(level, broken, report)
        for name, step in level.steps.items():
            if level.path_of(name) not in broken:
                check_step(level, name, step, report)
        references.check_level(level)
    scopes = ScopeCheck(flow, references, broken, report)
    check_flow(flow, scopes.names, scopes.expressions, report)
    for level in all_levels:
        scopes.check_level(level)
        _check_group_outputs(level, all_levels, scopes)
    scopes.check_outputs(flow.outputs, all_levels[0], ("outputs",))


def _check_group_outputs(level: Level, all_levels: list[Level], scopes: ScopeCheck) -> None:
    """The outputs of a group see what is inside it."""
    inner = {one.path: one for one in all_levels}
    for name, step in level.steps.items():
        path = level.path_of(name)
        if step.group is not None and step.outputs is not None:
            scopes.check_outputs(step.outputs, inner[(*path, "group")], (*path, "outputs"))

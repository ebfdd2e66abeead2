"""Every expression of a definition with the names it may use: what ends before what is seen."""

from collections.abc import Mapping
from typing import Any

from headrace_core.workflow.check_expressions import ExpressionCheck
from headrace_core.workflow.check_references import References
from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.expression import TypeChecker
from headrace_core.workflow.level import Level
from headrace_core.workflow.model import Flow, Step
from headrace_core.workflow.model_steps import FallbackUses, RecoveredOutput
from headrace_core.workflow.names import Names
from headrace_core.workflow.report import Report
from headrace_core.workflow.resolution import FLOW_PREFIX, WORKER_PREFIX
from headrace_core.workflow.value_types import (
    DYN,
    is_plain_name,
    item_type,
    schema_variables,
    value_type,
)

_SECRETS_NOWHERE = "secrets may stand only in the `with` of actions that call outside"
_SECRETS_LOGGED = "what goes into a sub-flow is logged; name the secret there"
_SECRETS_WORKER = "a worker has no access to secrets; give it its own configuration"
_SECRETS_DATA = "the output of a transform is logged; use the secret where it is needed"


class ScopeCheck:
    """`unsure` are steps of which nothing can be said: broken ones."""

    def __init__(
        self, flow: Flow, references: References, broken: frozenset[DocumentPath], report: Report
    ) -> None:
        self._references = references
        self._broken = broken
        self._check = ExpressionCheck(report)
        inputs = frozenset(flow.inputs or {})
        self._names = Names(
            checker=TypeChecker(_flow_variables(flow)),
            inputs=inputs,
            vars=frozenset(flow.vars or {}),
            no_secrets=_SECRETS_NOWHERE,
        )
        self._variables = _flow_variables(flow)

    @property
    def names(self) -> Names:
        """Of the flow itself: no step is seen."""
        return self._names

    @property
    def expressions(self) -> ExpressionCheck:
        return self._check

    def level_names(self, level: Level) -> Names:
        unsure = {path[-1] for path in self._broken if path[:-1] == level.path}
        unsure |= set(level.steps) - set(level.order)
        variables = {**self._variables, **dict.fromkeys(level.aliases, DYN)}
        for name in level.steps:
            variables.update(self._step_variables(level, name))
        return self._names.where(
            checker=TypeChecker(variables),
            aliases=level.aliases,
            known=frozenset(level.steps) | level.outer,
            unsure=frozenset(str(name) for name in unsure),
            fan_outs=_fan_outs(level),
        )

    def check_outputs(self, outputs: Any, level: Level, path: DocumentPath) -> None:
        """All steps of the level have ended."""
        names = self.level_names(level)
        self._check.template(outputs, path, names.where(visible=names.known))

    def check_level(self, level: Level) -> None:
        names = self.level_names(level)
        behind_cycles = frozenset(level.steps) - frozenset(level.order)
        for name, step in level.steps.items():
            visible = level.outer | level.upstream.get(name, frozenset())
            if name in behind_cycles:
                visible = names.known
            self._check_step(level, name, step, names.where(visible=visible, step=name))

    def _check_step(self, level: Level, name: str, step: Step, names: Names) -> None:
        path, check = level.path_of(name), self._check
        check.bare(step.when, (*path, "when"), names, "bool")
        for index, case in enumerate(step.switch or ()):
            check.bare(case.when, (*path, "switch", index, "when"), names, "bool")
        inside = self._foreach_names(step, path, names)
        own = inside.where(visible=inside.visible | {name})
        if step.repeat is not None:
            # Each item goes round by itself: for its passes the step is the item.
            own = own.where(fan_outs=own.fan_outs - {name})
        if step.repeat is not None:
            check.bare(step.repeat.until, (*path, "repeat", "until"), own, "bool")
        self._check_kind(step, path, own if step.repeat else inside)
        self._check_calls(step, path, own if step.repeat else inside, own)
        check.plain(step.title, (*path, "title"), "write plain text")
        if isinstance(step.on_error, RecoveredOutput):
            after = names.where(visible=names.visible | {name})
            check.template(step.on_error.output, (*path, "on_error", "output"), after)

    def _foreach_names(self, step: Step, path: DocumentPath, names: Names) -> Names:
        """The names with the item's; its type is known where the list's is."""
        if step.foreach is None:
            return names
        place = (*path, "foreach")
        found = self._check.bare(step.foreach.in_, (*place, "in"), names, "list")
        inside = names.with_alias(step.foreach.as_, item_type(found))
        self._check.bare(step.foreach.key, (*place, "key"), inside, "key")
        self._check.bare(step.foreach.where, (*place, "where"), inside, "bool")
        return inside

    def _check_kind(self, step: Step, path: DocumentPath, names: Names) -> None:
        check = self._check
        check.template(step.set, (*path, "set"), names)
        if step.fail is not None:
            check.template(step.fail.message, (*path, "fail", "message"), names)
            check.plain(step.fail.type, (*path, "fail", "type"), "write a constant type")
        if step.wait is not None:
            check.template(step.wait.until, (*path, "wait", "until"), names)
            if step.wait.event is not None:
                place = (*path, "wait", "event")
                event = names.where(
                    checker=names.checker.with_names({"event": DYN}),
                    roots=names.roots | {"event"},
                )
                check.template(step.wait.event.key, (*place, "key"), names)
                check.plain(step.wait.event.topic, (*place, "topic"), "write a constant topic")
                check.bare(step.wait.event.match, (*place, "match"), event, "bool")
        if step.approval is not None:
            self._check_approval(step, (*path, "approval"), names)

    def _check_approval(self, step: Step, path: DocumentPath, names: Names) -> None:
        approval = step.approval
        assert approval is not None, "asked only of approvals"
        self._check.template(approval.assignees, (*path, "assignees"), names)
        self._check.template(approval.title, (*path, "title"), names)
        self._check.plain(approval.form, (*path, "form"), "a form is a constant schema")
        for index, entry in enumerate(approval.escalate or ()):
            place = (*path, "escalate", index)
            self._check.template(entry.to, (*place, "to"), names)
            self._check.plain(entry.via, (*place, "via"), "write constant channels")

    def _check_calls(self, step: Step, path: DocumentPath, names: Names, own: Names) -> None:
        """`own` sees the step itself, as what is called after it has run or failed does."""
        check = self._check
        check.template(step.with_, (*path, "with"), _with_secrets(step.uses, names))
        check.template(step.idempotency_key, (*path, "idempotency_key"), names)
        if step.rate_limit is not None:
            check.template(step.rate_limit.key, (*path, "rate_limit", "key"), names)
        for index, entry in enumerate(step.fallback or ()):
            place = (*path, "fallback", index)
            if isinstance(entry, FallbackUses):
                check.template(entry.with_, (*place, "with"), _with_secrets(entry.uses, own))
            else:
                check.template(entry.output, (*place, "output"), own)
        if step.compensate is not None:
            # Each item is undone for itself: to what undoes it, the step is this one item.
            one = own.where(fan_outs=own.fan_outs - {own.step})
            allowed = _with_secrets(step.compensate.uses, one)
            check.template(step.compensate.with_, (*path, "compensate", "with"), allowed)

    def _step_variables(self, level: Level, name: str) -> dict[str, str]:
        """`steps.x.status` and so on, typed; only for names that CEL reads as such."""
        if not is_plain_name(name):
            return {}
        prefix, step = f"steps.{name}", level.steps[name]
        variables = {f"{prefix}.status": "string"}
        variables |= {f"{prefix}.error.type": "string", f"{prefix}.error.message": "string"}
        if step.foreach is not None:
            variables |= {f"{prefix}.items": "list<dyn>", f"{prefix}.counts": "map<string, int>"}
            return variables
        schema = self._references.output_schema(level.path_of(name), step)
        if schema is not None and (*level.path, name) not in self._broken:
            variables.update(schema_variables(f"{prefix}.output", schema))
        return variables


def _fan_outs(level: Level) -> frozenset[str]:
    own = frozenset(name for name, step in level.steps.items() if step.foreach)
    return own | (level.outer_fan_outs - frozenset(level.steps))


def _with_secrets(uses: str | None, names: Names) -> Names:
    name = uses or ""
    if name.startswith(FLOW_PREFIX):
        return names.where(no_secrets=_SECRETS_LOGGED)
    if name.startswith(WORKER_PREFIX):
        return names.where(no_secrets=_SECRETS_WORKER)
    if name.startswith("data."):
        return names.where(no_secrets=_SECRETS_DATA)
    return names.where(no_secrets="")


def _flow_variables(flow: Flow) -> Mapping[str, str]:
    variables = {
        "inputs": "map<string, dyn>",
        "vars": "map<string, dyn>",
        "run": "map<string, dyn>",
        "run.id": "string",
        "run.tenant": "string",
        "run.started_at": "string",
        "trigger": DYN,
        "trigger.id": "string",
        "steps": DYN,
        "secrets": "map<string, string>",
    }
    for name, schema in (flow.inputs or {}).items():
        if is_plain_name(name):
            variables.update(schema_variables(f"inputs.{name}", schema))
    for name, value in (flow.vars or {}).items():
        if is_plain_name(name):
            variables[f"vars.{name}"] = value_type(value)
    return variables

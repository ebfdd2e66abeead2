"""Resolves the `@` references of steps and checks what is handed to them."""

import re
from collections.abc import Mapping
from typing import Any, cast

from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.level import Level
from headrace_core.workflow.model_steps import FallbackUses, Step
from headrace_core.workflow.plan_parts import Action, Effect, Idempotency, UsesKind
from headrace_core.workflow.report import Report
from headrace_core.workflow.resolution import (
    FLOW_PREFIX,
    WORKER_PREFIX,
    FlowDescriptor,
    Resolver,
)
from headrace_core.workflow.template import OPENING

FLOWS_DEEP_MAX = 8
_PROMPT = re.compile(r"[a-z][a-z0-9_.-]*@[a-z0-9][a-z0-9.-]*")


class References:
    """What was resolved, by the path of its `uses`; `lock` is what is stored with the version."""

    def __init__(self, resolver: Resolver, report: Report) -> None:
        self._resolver = resolver
        self._report = report
        self.actions: dict[DocumentPath, Action] = {}
        self.descriptors: dict[DocumentPath, ActionDescriptor] = {}
        self.lock: dict[str, str] = {}
        self.depth = 1

    def check_level(self, level: Level) -> None:
        for name, step in level.steps.items():
            path = level.path_of(name)
            if step.uses is not None:
                self._check(step.uses, step.with_, path)
            for index, entry in enumerate(step.fallback or ()):
                if isinstance(entry, FallbackUses):
                    self._check(entry.uses, entry.with_, (*path, "fallback", index))
            if step.compensate is not None:
                self._check(step.compensate.uses, step.compensate.with_, (*path, "compensate"))

    def attempts(self, path: DocumentPath) -> int:
        """How often the operation at a path is tried where nothing is said."""
        descriptor = self.descriptors.get((*path, "uses"))
        return descriptor.attempts if descriptor is not None else 1

    def output_schema(self, path: DocumentPath, step: Step) -> Mapping[str, Any] | None:
        """Of a step whose output can only come from its action."""
        descriptor = self.descriptors.get((*path, "uses"))
        recovered = step.fallback is not None or not isinstance(step.on_error, str | None)
        return descriptor.output_schema if descriptor is not None and not recovered else None

    def _check(self, uses: str, arguments: dict[str, Any] | None, path: DocumentPath) -> None:
        place = (*path, "uses")
        name, _, version = uses.partition("@")
        if name.startswith(FLOW_PREFIX):
            self._check_flow(uses, name.removeprefix(FLOW_PREFIX), version, arguments, path)
        elif name.startswith(WORKER_PREFIX):
            self.actions[place] = Action(UsesKind.WORKER, name.removeprefix(WORKER_PREFIX), uses)
        else:
            self._check_action(uses, name, version, arguments, path)

    def _check_flow(
        self,
        uses: str,
        name: str,
        version: str,
        arguments: dict[str, Any] | None,
        path: DocumentPath,
    ) -> None:
        place = (*path, "uses")
        flow = self._resolver.flow(name, version)
        if flow is None:
            self._unknown(FLOW_PREFIX + name, f"there is no flow {name!r} at {version!r}", place)
            return
        self.depth = max(self.depth, flow.depth + 1)
        if flow.depth + 1 > FLOWS_DEEP_MAX:
            message = f"sub-flows are nested {flow.depth + 1} deep; {FLOWS_DEEP_MAX} is the limit"
            self._report.at_value("HR-1402", place, message, "call one of the inner flows directly")
        self.lock[uses] = flow.plan
        self.actions[place] = Action(
            UsesKind.FLOW, name, uses, flow.plan, Effect.WRITE, Idempotency.NONE, flow.version
        )
        _check_arguments(_inputs_schema(flow), arguments, path, self._report)

    def _check_action(
        self,
        uses: str,
        name: str,
        version: str,
        arguments: dict[str, Any] | None,
        path: DocumentPath,
    ) -> None:
        place = (*path, "uses")
        descriptor = self._resolver.action(name, version)
        if descriptor is None:
            self._unknown(name, f"there is no action {name!r} at version {version!r}", place)
            return
        self.lock[uses] = descriptor.lock
        self.descriptors[place] = descriptor
        self.actions[place] = Action(
            UsesKind.ACTION, name, uses, descriptor.lock, descriptor.effect, descriptor.idempotency
        )
        _check_arguments(descriptor.input_schema, arguments, path, self._report)
        if name.startswith("ai.") and isinstance((arguments or {}).get("prompt"), str):
            self._check_prompt(cast(dict[str, Any], arguments)["prompt"], (*path, "with", "prompt"))

    def _check_prompt(self, prompt: str, path: DocumentPath) -> None:
        if not _PROMPT.fullmatch(prompt):
            message = "a prompt is an object {system, user}, or name@version of a stored one"
            remedy = "write `prompt: {user: ...}`"
            self._report.at_value("HR-1403", path, message, remedy)
            return
        locked = self._resolver.prompt(*prompt.split("@", 1))
        if locked is None:
            message = f"the stored prompt {prompt!r}: not executed by this release"
            remedy = "write the prompt inline, as `prompt: {system: ..., user: ...}`"
            self._report.at_value("HR-1901", path, message, remedy)
        else:
            self.lock[f"prompt {prompt}"] = locked

    def _unknown(self, name: str, message: str, place: DocumentPath) -> None:
        known = set(self._resolver.known())
        same_name = name in known
        remedy = "it exists in other versions" if same_name else did_you_mean(name, known)
        group = name.split(".", 1)[0].split("/", 1)[0]
        near = [one for one in known if one.startswith(group)]
        remedy = remedy or (f"known: {listed(near)}" if near else "publish or install it first")
        self._report.at_value("HR-1401", place, message, remedy)


def _inputs_schema(flow: FlowDescriptor) -> Mapping[str, Any]:
    return {
        "properties": {one.name: one.schema for one in flow.inputs},
        "required": [one.name for one in flow.inputs if one.required],
        "additionalProperties": False,
    }


def _check_arguments(
    schema: Mapping[str, Any],
    arguments: dict[str, Any] | None,
    path: DocumentPath,
    report: Report,
) -> None:
    """As far as it can be said before expressions have values; the rest is checked at run time."""
    given = arguments or {}
    place = (*path, "with") if arguments is not None else (*path, "uses")
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in given:
            message = f"the argument {name!r} is missing"
            report.at_key("HR-1403", place, message, f"add `{name}:` under `with`")
    for name, value in given.items():
        if name in properties:
            _check_argument(properties[name], value, (*path, "with", name), report)
        elif schema.get("additionalProperties") is False:
            remedy = did_you_mean(name, properties) or f"it takes: {listed(properties)}"
            message = f"there is no argument {name!r}"
            report.at_key("HR-1403", (*path, "with", name), message, remedy)


def _check_argument(
    schema: Mapping[str, Any], value: Any, path: DocumentPath, report: Report
) -> None:
    if _is_mixed_text(value):
        # Whatever the expressions give, the whole will be text.
        kinds = schema.get("type", "string")
        if "string" not in (kinds if isinstance(kinds, list) else [kinds]):
            message = f"`{path[-1]}` must be of type {kinds}, but text around ${{{{ }}}} makes text"
            report.at_value("HR-1403", path, message, "leave only the expression")
    elif not _has_expression(value):
        for fault in value_faults(schema, value):
            message = f"`{path[-1]}`: {fault}"
            report.at_value("HR-1403", path, message, "see what the action takes")


def _is_mixed_text(value: Any) -> bool:
    if not isinstance(value, str) or OPENING not in value:
        return False
    return not (value.startswith(OPENING) and value.endswith("}}") and value.count(OPENING) == 1)


def _has_expression(value: Any) -> bool:
    if isinstance(value, str):
        return OPENING in value
    if isinstance(value, dict):
        return any(_has_expression(one) for one in cast(dict[str, Any], value).values())
    return isinstance(value, list) and any(_has_expression(one) for one in cast(list[Any], value))

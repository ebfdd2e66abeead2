"""Checks of the flow itself: inputs, variables, triggers, policies, outputs."""

import re
from collections.abc import Mapping
from typing import Any

from headrace_core.workflow.check_expressions import ExpressionCheck
from headrace_core.workflow.check_steps import check_duration, check_retry
from headrace_core.workflow.cron import cron_fault, is_time_zone
from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.expression import TypeChecker
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.inputs import schema_fault, value_faults
from headrace_core.workflow.model import Flow
from headrace_core.workflow.model_triggers import (
    EventTrigger,
    ManualTrigger,
    Schedule,
    ScheduleTrigger,
    Trigger,
    Webhook,
    WebhookTrigger,
    secret_name,
)
from headrace_core.workflow.names import EVENT_FIELDS, SCHEDULE_FIELDS, TRIGGER_FIELDS, Names
from headrace_core.workflow.report import Report
from headrace_core.workflow.value_types import DYN

EVERY_MS_MIN = 1_000
_HOOK_PATH = re.compile(r"/?(?=.{1,200}$)[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*/?")
_INPUT_ALONE = frozenset({"inputs", "vars"})
"""Asked before there is a run, and by whoever starts it."""
_NO_STEPS = frozenset({"inputs", "vars", "run", "trigger"})


def check_flow(flow: Flow, names: Names, expressions: ExpressionCheck, report: Report) -> None:
    _check_inputs(flow, report)
    remedy = "variables are constants; compute values in a `set` step"
    expressions.plain(flow.vars, ("vars",), remedy)
    check_duration(flow.timeout, ("timeout",), report, least_ms=1)
    if flow.defaults is not None:
        check_duration(flow.defaults.timeout, ("defaults", "timeout"), report, least_ms=1)
        check_retry(flow.defaults.retry, ("defaults", "retry"), report)
    before = names.where(roots=_NO_STEPS)
    expressions.bare(flow.subject, ("subject",), names.where(roots=_INPUT_ALONE), "string")
    if flow.concurrency is not None:
        expressions.template(flow.concurrency.key, ("concurrency", "key"), before)
    for name, trigger in (flow.triggers or {}).items():
        _TriggerCheck(flow, expressions, report, ("triggers", name)).check(trigger)


def _check_inputs(flow: Flow, report: Report) -> None:
    for name, schema in (flow.inputs or {}).items():
        path = ("inputs", name)
        fault = schema_fault(schema)
        if fault:
            remedy = "see JSON Schema; references must stay inside the schema"
            report.at_value("HR-1501", path, f"the schema of {name!r}: {fault}", remedy)
        elif "default" in schema:
            for wrong in value_faults(schema, schema["default"]):
                message = f"the default of {name!r} breaks its schema: {wrong}"
                remedy = "change the default or the schema"
                report.at_value("HR-1502", (*path, "default"), message, remedy)


class _TriggerCheck:
    """One trigger; `trigger` is all that its expressions know."""

    def __init__(
        self, flow: Flow, expressions: ExpressionCheck, report: Report, path: DocumentPath
    ) -> None:
        self._inputs: Mapping[str, Mapping[str, Any]] = flow.inputs or {}
        self._expressions = expressions
        self._report = report
        self._path = path
        self._names = Names(
            checker=TypeChecker({"trigger": DYN, "trigger.id": "string"}),
            inputs=frozenset(),
            vars=frozenset(),
            roots=frozenset({"trigger"}),
            trigger_fields=TRIGGER_FIELDS,
            no_secrets="what a trigger maps becomes an input, which is logged",
        )

    def check(self, trigger: Trigger) -> None:
        path = self._path
        if isinstance(trigger, ScheduleTrigger):
            self._names = self._names.where(trigger_fields=SCHEDULE_FIELDS)
        if isinstance(trigger, EventTrigger):
            self._names = self._names.where(trigger_fields=EVENT_FIELDS)
        if isinstance(trigger, ManualTrigger):
            if trigger.manual:
                message = "a manual trigger has no settings"
                self._report.at_value("HR-1109", (*path, "manual"), message, "write `manual: {}`")
            return
        self._check_mapping(trigger.with_, has_body=not isinstance(trigger, ScheduleTrigger))
        if isinstance(trigger, ScheduleTrigger):
            _check_schedule(trigger.schedule, (*path, "schedule"), self._report)
        elif isinstance(trigger, WebhookTrigger):
            hook, place = trigger.webhook, (*path, "webhook")
            self._expressions.plain(hook.path, (*place, "path"), "write a constant path")
            self._expressions.template(hook.dedupe, (*place, "dedupe"), self._names)
            _check_webhook(hook, place, self._report)
        else:
            self._check_event(trigger)

    def _check_event(self, trigger: EventTrigger) -> None:
        place = (*self._path, "event")
        self._expressions.plain(trigger.event.topic, (*place, "topic"), "write a constant topic")
        self._expressions.bare(trigger.event.match, (*place, "match"), self._names, "bool")

    def _check_mapping(self, mapping: Mapping[str, Any] | None, *, has_body: bool) -> None:
        path = (*self._path, "with")
        if mapping is None and has_body:
            return
        for name in mapping or {}:
            if name not in self._inputs:
                known = listed(self._inputs)
                remedy = did_you_mean(name, self._inputs) or (
                    f"inputs: {known}" if known else "declare it under `inputs`"
                )
                message = f"there is no input {name!r}"
                self._report.at_key("HR-1503", (*path, name), message, remedy)
        for name, schema in self._inputs.items():
            if "default" not in schema and name not in (mapping or {}):
                message = f"this trigger gives no value to the required input {name!r}"
                place = path if mapping is not None else self._path
                remedy = f"add `{name}:` under `with`, or a `default` to the input"
                self._report.at_key("HR-1503", place, message, remedy)
        self._expressions.template(dict(mapping or {}), path, self._names)


def _check_webhook(hook: Webhook, path: DocumentPath, report: Report) -> None:
    if not _HOOK_PATH.fullmatch(hook.path):
        message = f"{hook.path!r} is not a path"
        remedy = "write letters, digits, `.`, `_`, `-` in parts with `/` between, 200 at most"
        report.at_value("HR-1109", (*path, "path"), message, remedy)
    if hook.verify in (None, "none"):
        if hook.secret is not None:
            message = "`secret` means nothing where nothing is verified"
            remedy = "write `verify: standard-webhooks`, hmac or bearer"
            report.at_key("HR-1109", (*path, "secret"), message, remedy)
    elif hook.secret is None:
        message = f"`verify: {hook.verify}` needs a `secret`"
        report.at_value("HR-1109", (*path, "verify"), message, "write `secret: NAME`")
    elif not secret_name(hook.secret):
        message = f"{hook.secret!r} does not name one secret"
        report.at_value("HR-1109", (*path, "secret"), message, "write `secret: NAME`")


def _check_schedule(schedule: Schedule, path: DocumentPath, report: Report) -> None:
    check_duration(schedule.every, (*path, "every"), report, least_ms=EVERY_MS_MIN)
    fault = cron_fault(schedule.cron) if schedule.cron is not None else ""
    if fault:
        message = f"{schedule.cron!r} is not a cron expression: {fault}"
        remedy = "write minute, hour, day, month, weekday, as in 0 2 * * *"
        report.at_value("HR-1504", (*path, "cron"), message, remedy)
    if schedule.timezone is not None and not is_time_zone(schedule.timezone):
        message = f"{schedule.timezone!r} is not a time zone"
        report.at_value("HR-1504", (*path, "timezone"), message, "write a name like Europe/Berlin")
    if schedule.timezone is not None and schedule.cron is None:
        message = "`timezone` means nothing for `every`"
        report.at_key("HR-1109", (*path, "timezone"), message, "remove it")

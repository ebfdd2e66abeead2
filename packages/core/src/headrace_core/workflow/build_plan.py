"""A checked definition to its plan: defaults filled in, durations in milliseconds."""

from collections.abc import Mapping
from typing import Any

from headrace_core.ids import PlanHash
from headrace_core.workflow import model_steps as written
from headrace_core.workflow.check_references import References
from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.duration import duration_ms
from headrace_core.workflow.graph import successors
from headrace_core.workflow.joins import Join, JoinKind
from headrace_core.workflow.level import Level, edges_of, level_of
from headrace_core.workflow.model import Defaults, Flow, Step
from headrace_core.workflow.model_triggers import (
    ManualTrigger,
    ScheduleTrigger,
    WebhookTrigger,
    secret_name,
)
from headrace_core.workflow.model_triggers import (
    Trigger as WrittenTrigger,
)
from headrace_core.workflow.plan import (
    Approval,
    Case,
    Catchup,
    Compensation,
    Concurrency,
    Escalation,
    EventWait,
    Failure,
    Fallback,
    Foreach,
    Input,
    Jitter,
    OnConflict,
    OnError,
    OnExpire,
    OnFailure,
    Overlap,
    Plan,
    PlanStep,
    RateLimit,
    Repeat,
    RetryPolicy,
    Scope,
    StepKind,
    Trigger,
    TriggerKind,
    Wait,
)
from headrace_core.workflow.template import Expression, Template, parse_expression, parse_template

_NULL = "${{ null }}"
"""A template that gives null; as data it could not be told from no template at all."""


def build_plan(flow: Flow, references: References, plan_hash: PlanHash) -> Plan:
    builder = _Builder(references, flow.defaults or Defaults())
    scope = builder.scope(level_of(flow.steps, ("steps",)))
    return Plan(
        hash=plan_hash,
        flow=flow.name,
        steps=scope.steps,
        order=scope.order,
        entry=scope.entry,
        successors=scope.successors,
        inputs=tuple(Input(name, flow.inputs[name]) for name in sorted(flow.inputs or {}))
        if flow.inputs
        else (),
        vars=dict(flow.vars or {}),
        outputs=_template(flow.outputs),
        timeout_ms=_ms(flow.timeout),
        on_failure=OnFailure(flow.on_failure or "drain"),
        triggers={name: _trigger(one) for name, one in sorted((flow.triggers or {}).items())},
        subject=_expression(flow.subject),
        concurrency=_concurrency(flow),
        depth=references.depth,
        lock=dict(sorted(references.lock.items())),
    )


class _Builder:
    def __init__(self, references: References, defaults: Defaults) -> None:
        self._references = references
        self._defaults = defaults

    def scope(self, level: Level) -> Scope:
        steps = {
            name: self._step(level, name, index, level.steps[name])
            for index, name in enumerate(level.order)
        }
        return Scope(
            steps=steps,
            order=level.order,
            entry=tuple(name for name in level.order if not level.needs[name]),
            successors=successors(level.needs),
        )

    def _step(self, level: Level, name: str, index: int, step: Step) -> PlanStep:
        path = level.path_of(name)
        calls = step.uses is not None
        recovered = isinstance(step.on_error, written.RecoveredOutput)
        return PlanStep(
            id=name,
            index=index,
            kind=StepKind(step.kind),
            title=step.title or "",
            needs=edges_of(step),
            join=_join(step.join),
            cancel_others=bool(step.cancel_others),
            when=_expression(step.when),
            foreach=_foreach(step.foreach),
            repeat=_repeat(step.repeat),
            uses=self._references.actions[(*path, "uses")] if calls else None,
            arguments=_template(step.with_ or {}) if calls else None,
            switch=tuple(Case(one.port, _expression(one.when)) for one in step.switch or ()),
            wait=_wait(step.wait),
            approval=_approval(step.approval),
            group=self._group(level, name, step),
            set=_template(step.set),
            fail=_fail(step.fail),
            outputs=_template(step.outputs),
            detach=step.mode == "detach",
            retry=self._retry(step.retry, path),
            timeout_ms=_ms(step.timeout or (self._defaults.timeout if calls else None)),
            deadline_ms=_ms(step.deadline),
            heartbeat_ms=_ms(step.heartbeat),
            fallback=self._fallback(step, path),
            on_error=OnError.OUTPUT if recovered else OnError(step.on_error or "fail"),
            on_error_output=_output(step.on_error),
            compensate=self._compensate(step.compensate, path),
            idempotency_key=_template(step.idempotency_key),
            priority=step.priority or 0,
            rate_limit=_rate_limit(step.rate_limit),
            sensitive=bool(step.sensitive),
        )

    def _group(self, level: Level, name: str, step: Step) -> Scope | None:
        if step.group is None:
            return None
        return self.scope(level_of(step.group, (*level.path_of(name), "group")))

    def _retry(self, own: written.Retry | None, path: DocumentPath) -> RetryPolicy:
        retry = own or self._defaults.retry
        if retry is None:
            return RetryPolicy(max_attempts=self._references.attempts(path))
        backoff = retry.backoff or written.Backoff()
        plain = RetryPolicy()
        return RetryPolicy(
            max_attempts=retry.max_attempts,
            initial_ms=duration_ms(backoff.initial) if backoff.initial else plain.initial_ms,
            factor=backoff.factor or plain.factor,
            max_ms=duration_ms(backoff.max) if backoff.max else plain.max_ms,
            jitter=Jitter(backoff.jitter or plain.jitter),
            on=tuple(retry.on or ()),
            not_on=tuple(retry.not_on or ()),
        )

    def _fallback(self, step: Step, path: DocumentPath) -> tuple[Fallback, ...]:
        entries: list[Fallback] = []
        for index, entry in enumerate(step.fallback or ()):
            place = (*path, "fallback", index)
            if isinstance(entry, written.FallbackUses):
                uses = self._references.actions[(*place, "uses")]
                arguments = _template(entry.with_ or {})
                entries.append(Fallback(uses, arguments, None, self._retry(step.retry, place)))
            else:
                entries.append(Fallback(output=_output(entry)))
        return tuple(entries)

    def _compensate(
        self, compensate: written.Compensate | None, path: DocumentPath
    ) -> Compensation | None:
        if compensate is None:
            return None
        place = (*path, "compensate")
        return Compensation(
            self._references.actions[(*place, "uses")],
            _template(compensate.with_ or {}),
            self._retry(compensate.retry, place),
        )


def _ms(text: str | None) -> int | None:
    return duration_ms(text) if text is not None else None


def _expression(source: str | None) -> Expression | None:
    return parse_expression(source) if source is not None else None


def _template(data: Any) -> Template | None:
    return parse_template(data) if data is not None else None


def _output(written_output: object) -> Template | None:
    if not isinstance(written_output, written.RecoveredOutput):
        return None
    data = written_output.output
    return parse_template(_NULL if data is None else data)


def _join(join: str | written.AtLeast | None) -> Join:
    if isinstance(join, written.AtLeast):
        return Join(JoinKind.AT_LEAST, join.at_least)
    return Join(JoinKind(join or "all"))


def _foreach(foreach: written.Foreach | None) -> Foreach | None:
    if foreach is None:
        return None
    tolerate = foreach.tolerate or written.Tolerate()
    return Foreach(
        items=parse_expression(foreach.in_),
        alias=foreach.as_,
        key=_expression(foreach.key),
        where=_expression(foreach.where),
        max_parallel=foreach.max_parallel or 100,
        tolerated_failures=tolerate.failures,
        tolerated_percent=tolerate.percent,
    )


def _repeat(repeat: written.Repeat | None) -> Repeat | None:
    if repeat is None:
        return None
    return Repeat(parse_expression(repeat.until), repeat.max, _ms(repeat.delay) or 0)


def _wait(wait: written.Wait | None) -> Wait | None:
    if wait is None:
        return None
    event = None
    if wait.event is not None:
        one = wait.event
        keep_ms = _ms(one.keep)
        match = _expression(one.match)
        key = parse_template(one.key)
        event = (
            EventWait(one.topic, key, match)
            if keep_ms is None
            else EventWait(one.topic, key, match, keep_ms)
        )
    return Wait(_ms(wait.for_), _template(wait.until), event, _ms(wait.expires))


def _approval(approval: written.Approval | None) -> Approval | None:
    if approval is None:
        return None
    return Approval(
        assignees=parse_template(approval.assignees),
        title=_template(approval.title),
        form=approval.form,
        expires_ms=_ms(approval.expires),
        on_expire=OnExpire(approval.on_expire or "expired"),
        escalate=tuple(
            Escalation(duration_ms(one.after), parse_template(one.to), _template(one.via))
            for one in approval.escalate or ()
        ),
    )


def _fail(fail: written.Fail | None) -> Failure | None:
    if fail is None:
        return None
    message = parse_template(fail.message)
    return Failure(message, fail.type) if fail.type is not None else Failure(message)


def _rate_limit(limit: written.RateLimit | None) -> RateLimit | None:
    if limit is None:
        return None
    return RateLimit(parse_template(limit.key), duration_ms(limit.per), limit.limit)


def _concurrency(flow: Flow) -> Concurrency | None:
    one = flow.concurrency
    if one is None:
        return None
    return Concurrency(parse_template(one.key), one.limit, OnConflict(one.on_conflict or "queue"))


def _trigger(trigger: WrittenTrigger) -> Trigger:
    if isinstance(trigger, ManualTrigger):
        return Trigger(TriggerKind.MANUAL)
    mapping = _template(trigger.with_)
    if isinstance(trigger, ScheduleTrigger):
        schedule = trigger.schedule
        return Trigger(
            TriggerKind.SCHEDULE,
            mapping,
            every_ms=_ms(schedule.every),
            cron=schedule.cron or "",
            timezone=schedule.timezone or "UTC",
            overlap=Overlap(schedule.overlap or "allow"),
            catchup=Catchup(schedule.catchup or "last"),
        )
    if isinstance(trigger, WebhookTrigger):
        hook = trigger.webhook
        return Trigger(
            TriggerKind.WEBHOOK,
            mapping,
            path=hook.path.strip("/"),
            verify=hook.verify or "none",
            secret=secret_name(hook.secret or ""),
            dedupe=_template(hook.dedupe),
            respond=hook.respond or "accepted",
        )
    event = trigger.event
    return Trigger(TriggerKind.EVENT, mapping, topic=event.topic, match=_expression(event.match))


def locked_content(data: Mapping[str, Any], lock: Mapping[str, str]) -> dict[str, Any]:
    """What a version's hash covers: not its title, description and layout, which change nothing,
    but what its references meant, which does."""
    kept = {key: value for key, value in data.items() if key not in _WITHOUT_MEANING}
    return {"definition": kept, "lock": dict(lock)}


_WITHOUT_MEANING = frozenset({"title", "description", "layout"})

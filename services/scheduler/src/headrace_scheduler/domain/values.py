"""What decisions ask of expressions: conditions, ports, lists, times and what people are shown.

Only the payloads that an expression refers to are opened. Each function answers the value or the
error as it goes into an event; BlobMissingHere passes through, before anything was emitted.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from headrace_core.errors import KeyErased
from headrace_core.ids import (
    Correlation,
    LimitKey,
    RunId,
    StepKey,
    compensated_by,
    correlation_of,
    enclosing_items,
    item_of,
    rate_limit_of,
    run_limit_of,
    wholes_of,
)
from headrace_core.payload import NOTHING, Stored, Vault
from headrace_core.run.apply import apply, set_time
from headrace_core.run.events import RunForked, RunStarted, StepError
from headrace_core.run.state import ItemOutcome, RunState, RunView, StepView
from headrace_core.run.status import StepStatus
from headrace_core.workflow.expression import (
    ExprError,
    Expression,
    Names,
    Template,
    evaluate,
    evaluate_bool,
    render,
)
from headrace_core.workflow.plan import Escalation, EventWait, Plan, PlanStep, RateLimit
from headrace_core.workflow.references import References, StepReference
from headrace_core.workflow.template import JsonValue, without_members
from headrace_core.workflow.values import (
    ErrorValue,
    ItemValue,
    RunFacts,
    StepValue,
    build_names,
)
from headrace_scheduler.domain.decision import RunTurn
from headrace_scheduler.domain.erasure import OrErased, erased_error
from headrace_scheduler.domain.failure import Seals, engine_error

ITEMS_MAX = 500
"""Longer lists need pages, which this release does not have."""


class StateValues:
    """Opens what an expression refers to, from a run's folded state.

    `key` is the step or item evaluated for. What stands in for it sees its last error, which is
    `error` where that is in no event yet.
    """

    def __init__(
        self,
        run: RunView,
        plan: Plan,
        vault: Vault,
        key: StepKey | None = None,
        error: StepError | None = None,
    ) -> None:
        self._run = run
        self._plan = plan
        self._vault = vault
        self._key = key
        self._last_error = error

    def names(self, references: References) -> Names:
        return build_names(self._plan, references, self)

    def run(self) -> RunFacts:
        run = self._run
        return RunFacts(run.run_id, run.tenant, run.started_ms, run.scheduled_at_ms, run.trigger)

    def input(self) -> JsonValue:
        return self._open(self._run.input)

    def arguments(self, template: Template | None) -> JsonValue | ExprError:
        """The value of a `with` of the step evaluated for, as an operator may have edited it."""
        edited = self._edited()
        if template is None:
            return edited
        if edited:
            template = without_members(template, edited)
        value = render(template, self.names(template.references))
        return {**value, **edited} if edited and isinstance(value, Mapping) else value

    def _edited(self) -> Mapping[str, JsonValue]:
        state = self._run.steps.get(self._key) if self._key is not None else None
        if state is None or not state.input or state.fallback:
            return {}
        return cast("Mapping[str, JsonValue]", self._open(state.input))

    def step(self, reference: StepReference) -> StepValue:
        meant = self._plan.key_meant(self._key, reference.step)
        state = self._run.steps.get(meant)
        error = self._error_of(meant, state) if reference.error else None
        if state is None:
            return StepValue(StepStatus.PENDING.text, error=error)
        items = None
        if state.fan_out is not None:
            items = [self._item(one, opened=reference.items) for one in state.fan_out.outcomes]
        output = None
        if reference.output:
            output = self._open(item_undone(self._run, self._key, meant) or state.output)
        return StepValue(state.status.text, output, error, items)

    def _error_of(self, meant: StepKey, state: StepView | None) -> ErrorValue | None:
        found = state.error if state is not None else None
        if self._key is not None and meant in wholes_of(self._key):
            # Asked about itself: of an item its own error, not the fan-out's.
            own = self._run.steps.get(self._key)
            found = self._last_error or (own.error if own is not None else None)
        return self._error(found)

    def items(self, wanted: frozenset[str]) -> Mapping[str, JsonValue]:
        if self._key is None:
            return {}
        found: dict[str, JsonValue] = {}
        for owner, index in enclosing_items(self._key):
            foreach, fan_out = self._plan.step_at(owner).foreach, self._run.steps[owner].fan_out
            if foreach is not None and fan_out is not None and foreach.alias in wanted:
                pairs = cast("list[tuple[str, JsonValue]]", self._open(fan_out.items))
                found[foreach.alias] = pairs[index][1]
        return found

    def _item(self, outcome: ItemOutcome | None, *, opened: bool) -> ItemValue:
        if outcome is None:
            return ItemValue(StepStatus.PENDING.text)
        if not opened:
            return ItemValue(outcome.status.text)
        return ItemValue(
            outcome.status.text, self._open(outcome.output), self._error(outcome.error)
        )

    def _error(self, error: StepError | None) -> ErrorValue | None:
        if error is None:
            return None
        return ErrorValue(error.type, cast(str, self._open(error.message) or ""))

    def _open(self, stored: Stored) -> JsonValue:
        if not stored:
            return None
        return json.loads(self._vault.open(self._run.run_id, stored))


def item_undone(run: RunView, key: StepKey | None, meant: StepKey) -> Stored:
    """The output of the item that is undone at this key, as far as it is one of the step meant."""
    undone = compensated_by(key) if key is not None else None
    item = item_of(undone) if undone is not None else None
    if item is None or item[0] != meant:
        return NOTHING
    fan_out = run.steps[meant].fan_out
    outcome = fan_out.outcomes[item[1]] if fan_out is not None else None
    return outcome.output if outcome is not None else NOTHING


@OrErased(False)
def condition_holds(turn: RunTurn, step: PlanStep, key: StepKey) -> tuple[bool, StepError | None]:
    assert step.when is not None
    value = evaluate_bool(step.when, _names(turn, step.when.references, key))
    if isinstance(value, ExprError):
        return False, _expr_error(turn, value)
    return value, None


@OrErased(False)
def until_holds(turn: RunTurn, step: PlanStep, key: StepKey) -> tuple[bool, StepError | None]:
    """Whether a repeated step is done; its newest pass has ended."""
    assert step.repeat is not None
    value = evaluate_bool(step.repeat.until, _names(turn, step.repeat.until.references, key))
    if isinstance(value, ExprError):
        return False, _expr_error(turn, value)
    return value, None


@OrErased(None)
def choose_port(turn: RunTurn, step: PlanStep, key: StepKey) -> tuple[str | None, StepError | None]:
    """The first case that holds; None when none does."""
    for case in step.switch:
        if case.when is None:
            return case.port, None
        value = evaluate_bool(case.when, _names(turn, case.when.references, key))
        if isinstance(value, ExprError):
            return None, _expr_error(turn, value)
        if value:
            return case.port, None
    return None, None


@OrErased(NOTHING)
def seal_template(
    turn: RunTurn,
    template: Template | None,
    key: StepKey | None = None,
    error: StepError | None = None,
) -> tuple[Stored, StepError | None]:
    """The template's value, sealed for this run; `key` has just ended with `error`, if given."""
    if template is None:
        return NOTHING, None
    value = render(template, _names(turn, template.references, key, error))
    if isinstance(value, ExprError):
        return NOTHING, _expr_error(turn, value)
    return turn.vault.seal(turn.run_id, _json(value)), None


def evaluate_outputs(turn: RunTurn) -> tuple[Stored, StepError | None]:
    return seal_template(turn, turn.plan.outputs)


@OrErased("")
def failure_message(turn: RunTurn, step: PlanStep, key: StepKey) -> tuple[str, StepError | None]:
    assert step.fail is not None
    value = render(step.fail.message, _names(turn, step.fail.message.references, key))
    if isinstance(value, ExprError):
        return "", _expr_error(turn, value)
    return value if isinstance(value, str) else json.dumps(value), None


@OrErased(0)
def wake_time(turn: RunTurn, step: PlanStep, key: StepKey) -> tuple[int, StepError | None]:
    """When a `wait` ends, in epoch milliseconds."""
    assert step.wait is not None
    if step.wait.for_ms is not None:
        return turn.now_ms + step.wait.for_ms, None
    assert step.wait.until is not None, "a wait for an event has no time"
    value = render(step.wait.until, _names(turn, step.wait.until.references, key))
    if isinstance(value, ExprError):
        return 0, _expr_error(turn, value)
    try:
        moment = datetime.fromisoformat(cast(str, value))
        if moment.tzinfo is None:
            raise ValueError("it names no time zone")
    except (TypeError, ValueError) as fault:
        message = f"`wait.until` gave {json.dumps(value)}, which is no RFC 3339 time: {fault}"
        return 0, engine_error(turn, "expr.error", message)
    return int(moment.timestamp() * 1_000), None


def event_correlation(
    turn: RunTurn, step: PlanStep, step_key: StepKey
) -> tuple[Correlation, StepError | None]:
    """Where a `wait.event` waits."""
    assert step.wait is not None and step.wait.event is not None
    wait = step.wait.event
    values = StateValues(turn.run, turn.plan, turn.vault, step_key)
    text, error = _key_text(turn, "wait.event.key", wait.key, values)
    if error is not None:
        return Correlation(""), error
    return correlation_of(turn.tenant, wait.topic, text), None


def concurrency_key(
    turn: RunTurn, template: Template, started: RunStarted | RunForked
) -> tuple[LimitKey, StepError | None]:
    """Where the run asks for its place. Nothing of the run is emitted yet: asked of the state that
    `started` will lead to."""
    asked = RunState(turn.run_id, turn.tenant)
    set_time(asked, turn.now_ms)
    apply(asked, started)
    values = StateValues(asked, turn.plan, turn.vault)
    text, error = _key_text(turn, "concurrency.key", template, values)
    if error is not None:
        return LimitKey(""), error
    return run_limit_of(turn.tenant, started.flow, text), None


def rate_limit_key(
    turn: RunTurn, limit: RateLimit, step_key: StepKey
) -> tuple[LimitKey, StepError | None]:
    """Whose rate the step's calls go by."""
    values = StateValues(turn.run, turn.plan, turn.vault, step_key)
    text, error = _key_text(turn, "rate_limit.key", limit.key, values)
    if error is not None:
        return LimitKey(""), error
    return rate_limit_of(turn.tenant, text), None


@OrErased("")
def _key_text(
    turn: RunTurn, keyword: str, template: Template, values: StateValues
) -> tuple[str, StepError | None]:
    """A key that is no text is its JSON."""
    key = render(template, values.names(template.references))
    if isinstance(key, ExprError):
        return "", _expr_error(turn, key)
    if key is None or key == "" or isinstance(key, (list, dict)):
        message = f"`{keyword}` gave {json.dumps(key)[:80]}, which is no key"
        return "", engine_error(turn, "expr.error", message)
    return (key if isinstance(key, str) else json.dumps(key)), None


def event_matches(
    turn: RunTurn, key: StepKey, wait: EventWait, owner: RunId, content: Stored
) -> tuple[bool, str]:
    """Whether `match` holds, and why that cannot be said. `content` is sealed under `owner`."""
    if wait.match is None:
        return True, ""
    names = dict(_names(turn, wait.match.references, key))
    names["event"] = json.loads(turn.vault.open(owner, content))
    holds = evaluate_bool(wait.match, names)
    return (False, str(holds)) if isinstance(holds, ExprError) else (holds, "")


@OrErased(NOTHING)
def approval_request(
    turn: RunTurn, step: PlanStep, key: StepKey
) -> tuple[Stored, StepError | None]:
    """What the people asked are shown: sealed JSON {assignees, title, form}."""
    approval = step.approval
    assert approval is not None
    assignees = render(approval.assignees, _names(turn, approval.assignees.references, key))
    if isinstance(assignees, ExprError):
        return NOTHING, _expr_error(turn, assignees)
    title: JsonValue = step.title or step.id
    if approval.title is not None:
        rendered = render(approval.title, _names(turn, approval.title.references, key))
        if isinstance(rendered, ExprError):
            return NOTHING, _expr_error(turn, rendered)
        title = rendered
    request = {"assignees": assignees, "title": title, "form": approval.form}
    return turn.vault.seal(turn.run_id, _json(request)), None


@OrErased(NOTHING)
def escalated_request(
    turn: RunTurn, step: PlanStep, state: StepView, entry: Escalation
) -> tuple[Stored, StepError | None]:
    """The request with the people of this entry added: {assignees, title, form, added, via}."""
    to = render(entry.to, _names(turn, entry.to.references, state.key))
    if isinstance(to, ExprError):
        return NOTHING, _expr_error(turn, to)
    via: JsonValue = entry.via.data if entry.via is not None else []
    request = json.loads(turn.vault.open(turn.run_id, state.approval))
    asked, added = _listed(request["assignees"]), _listed(to)
    request["assignees"] = list(dict.fromkeys([*asked, *added]))
    return turn.vault.seal(turn.run_id, _json({**request, "added": added, "via": via})), None


def _listed(people: JsonValue) -> list[JsonValue]:
    return [people] if isinstance(people, str) or not isinstance(people, Sequence) else [*people]


def evaluate_items(
    turn: RunTurn, step: PlanStep, key: StepKey
) -> tuple[int, Stored, StepError | None]:
    """The fan-out's list, filtered and keyed: (count, sealed [[key, value], ...], error)."""
    try:
        return _evaluated_items(turn, step, key)
    except KeyErased as fault:
        return 0, NOTHING, erased_error(turn, fault)


def _evaluated_items(
    turn: RunTurn, step: PlanStep, key: StepKey
) -> tuple[int, Stored, StepError | None]:
    foreach = step.foreach
    assert foreach is not None
    names = _names(turn, foreach.items.references, key)
    listed = evaluate(foreach.items, names)
    if isinstance(listed, ExprError):
        return 0, NOTHING, _expr_error(turn, listed)
    if not isinstance(listed, list):
        message = f"`foreach.in` gave {json.dumps(listed)[:80]}, which is not a list"
        return 0, NOTHING, engine_error(turn, "expr.error", message)
    if len(listed) > ITEMS_MAX:
        message = f"`foreach.in` gave {len(listed)} items, this release takes {ITEMS_MAX}"
        return 0, NOTHING, engine_error(turn, "input.invalid", message)
    pairs, error = _keyed_items(turn, step, key, listed)
    if error is not None:
        return 0, NOTHING, error
    return len(pairs), turn.vault.seal(turn.run_id, _json(pairs)), None


def _keyed_items(
    turn: RunTurn, step: PlanStep, of: StepKey, listed: Sequence[JsonValue]
) -> tuple[list[list[JsonValue]], StepError | None]:
    foreach = step.foreach
    assert foreach is not None
    where_names = dict(_names(turn, foreach.where.references, of)) if foreach.where else {}
    key_names = dict(_names(turn, foreach.key.references, of)) if foreach.key else {}
    pairs: list[list[JsonValue]] = []
    seen: set[str] = set()
    for position, value in enumerate(listed):
        if foreach.where is not None:
            where_names[foreach.alias] = value
            holds = evaluate_bool(foreach.where, where_names)
            if isinstance(holds, ExprError):
                return [], _expr_error(turn, holds)
            if not holds:
                continue
        key_names[foreach.alias] = value
        key = _item_key(foreach.key, key_names, position)
        if isinstance(key, ExprError):
            return [], _expr_error(turn, key)
        if key in seen:
            message = f"two items have the key {key!r}: `foreach.key` must tell them apart"
            return [], engine_error(turn, "input.invalid", message)
        seen.add(key)
        pairs.append([key, value])
    return pairs, None


def _item_key(expression: Expression | None, names: Names, position: int) -> str | ExprError:
    if expression is None:
        return str(position)
    value = evaluate(expression, names)
    if isinstance(value, ExprError):
        return value
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _names(
    turn: RunTurn,
    references: References,
    key: StepKey | None = None,
    error: StepError | None = None,
) -> Names:
    return StateValues(turn.run, turn.plan, turn.vault, key, error).names(references)


def _expr_error(turn: Seals, error: ExprError) -> StepError:
    return engine_error(turn, "expr.error", str(error))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

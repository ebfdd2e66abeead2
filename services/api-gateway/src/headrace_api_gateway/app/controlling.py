"""Cancel a run, resume a suspended one, decide an approval.

A command may be sent twice when its stream breaks; a refusal is then compared with what the run
says before it is passed on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from headrace_api_gateway.app.ports import Flows, History, MaybeDone, Scheduler, SealedEdit
from headrace_api_gateway.domain.authorisation import Principal
from headrace_core.errors import InvalidInput, InvalidState, NotFound
from headrace_core.ids import PlanHash, RunId, StepKey
from headrace_core.payload import NOTHING
from headrace_core.run.status import Repair
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.plan import PlanStep
from headrace_runtime.clock import Clock

APPROVED = "approved"
_WITH_VALUE = (Repair.OUTPUT, Repair.INPUT)


@dataclass(frozen=True, slots=True)
class Decision:
    """`decision` is approved or rejected; `form` is what the decider filled in."""

    decision: str
    comment: str = ""
    form: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Of one step: `value` is the output, or the members of `with` that change."""

    step: StepKey
    repair: Repair
    value: Any = None
    port: str = ""


class Controlling:
    def __init__(self, scheduler: Scheduler, history: History, flows: Flows, clock: Clock) -> None:
        self._scheduler = scheduler
        self._history = history
        self._flows = flows
        self._clock = clock

    async def cancel(self, principal: Principal, run: RunId, reason: str) -> None:
        """Raises NotFound, InvalidState for a run that ended or is being cancelled."""
        tenant = principal.tenant
        sealed = NOTHING
        if reason:
            sealer = await self._flows.sealer(tenant)
            sealed = await sealer.seal(run, orjson.dumps(reason))
        try:
            await self._scheduler.cancel(tenant, principal.actor, run, sealed)
        except MaybeDone as refused:
            document = await self._document(principal, run)
            cancel = cast("dict[str, Any]", document.get("cancel") or {})
            if cancel.get("cause") != "request":
                raise InvalidState(refused.message) from None
        except NotFound:
            # The scheduler has only open runs; history knows whether there was one.
            raise _ended(await self._document(principal, run)) from None

    async def resume(self, principal: Principal, run: RunId, edits: Sequence[Edit]) -> None:
        """Raises NotFound, InvalidState for a run that is not suspended or a step that cannot be
        repaired, InvalidInput for an edit that is not possible; nothing is changed then."""
        before = await self._document(principal, run)
        sealer = await self._flows.sealer(principal.tenant)
        sealed = [
            SealedEdit(
                edit.step,
                edit.repair,
                await sealer.seal(run, orjson.dumps(edit.value))
                if edit.repair in _WITH_VALUE
                else NOTHING,
                edit.port,
            )
            for edit in edits
        ]
        try:
            await self._scheduler.resume(principal.tenant, principal.actor, run, sealed)
        except MaybeDone as refused:
            resumed = cast(
                "dict[str, Any]", (await self._document(principal, run)).get("resumed") or {}
            )
            # Somebody has resumed it since: this very request, if it was this principal.
            is_new = resumed != (before.get("resumed") or {})
            if not is_new or resumed.get("by") != principal.actor:
                raise InvalidState(refused.message) from None
        except NotFound:
            raise _ended(await self._document(principal, run)) from None

    async def decide(
        self, principal: Principal, run: RunId, step: StepKey, decision: Decision
    ) -> None:
        """Raises NotFound, InvalidInput for a form that does not fit, InvalidState when nobody
        asks (any more)."""
        document = await self._document(principal, run)
        await self._check(principal, document, step, decision)
        answer = {
            "decision": decision.decision,
            "comment": decision.comment,
            "form": decision.form,
            "decided_by": principal.actor,
            "decided_at_ms": self._clock.now_ms(),
        }
        sealer = await self._flows.sealer(principal.tenant)
        sealed = await sealer.seal(run, orjson.dumps(answer))
        try:
            await self._scheduler.decide(
                principal.tenant, principal.actor, run, step, decision.decision, sealed
            )
        except MaybeDone as refused:
            ended = (await self._document(principal, run)).get("steps", {}).get(step, {})
            # The time makes the answer this very request's.
            if ended.get("output") != answer:
                raise InvalidState(refused.message) from None
        except NotFound:
            raise _ended(await self._document(principal, run)) from None

    async def _check(
        self,
        principal: Principal,
        document: Mapping[str, Any],
        step: StepKey,
        decision: Decision,
    ) -> None:
        plan = await self._flows.plan(principal.tenant, PlanHash(document["plan"]))
        planned = plan.find(step)
        if planned is None or planned.approval is None:
            approvals = list(_approvals(plan.steps))
            known = f"it has {', '.join(approvals)}" if approvals else "it has none"
            raise NotFound(f"Run {document['id']} has no approval {step!r}; {known}.")
        form = planned.approval.form
        if form is None and decision.form:
            raise InvalidInput(f"Approval {step!r} asks for no form: leave `form` out.")
        if form is not None and decision.decision == APPROVED:
            faults = value_faults(form, decision.form or {})
            if faults:
                raise InvalidInput(
                    f"The form of approval {step!r} is not filled in as it asks.",
                    [f"form.{fault}" if fault.path else f"form: {fault}" for fault in faults],
                )

    async def _document(self, principal: Principal, run: RunId) -> dict[str, Any]:
        document = orjson.loads(await self._history.run(principal.tenant, run))
        return cast("dict[str, Any]", document)


def _approvals(steps: Mapping[str, PlanStep], around: str = "") -> Iterator[str]:
    for name, step in steps.items():
        if step.approval is not None:
            yield around + name
        if step.group is not None:
            yield from _approvals(step.group.steps, f"{around}{name}/")


def _ended(document: Mapping[str, Any]) -> InvalidState:
    return InvalidState(f"Run {document['id']} is over: it has {document['status']}.")

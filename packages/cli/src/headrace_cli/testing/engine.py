"""One partition in memory: the scheduler's own turns, with time that moves only by jumping.

What the services do around a turn is done here at once and in order: steps are given out as soon
as they are ready, messages arrive, timers fire when the clock has been set to them.
"""

import asyncio
import heapq
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, assert_never, cast

from headrace_cli.testing.outside import Call, Outside, Reply, without_passes
from headrace_cli.testing.vault import OpenVault
from headrace_core.errors import InvalidInput
from headrace_core.ids import (
    DAY_MS,
    ExecutorId,
    PlanHash,
    RunId,
    StepKey,
    TenantId,
    name_of,
    origin_of,
    run_id,
    step_of,
)
from headrace_core.partition.events import ChildCancel, ChildEnded, ChildStart, Message
from headrace_core.partition.state import PartitionState
from headrace_core.payload import NOTHING, Stored
from headrace_core.run.events import ApprovalRequested, StepAssigned, StepError
from headrace_core.run.replay import StoredTurn
from headrace_core.run.state import RunState, RunView
from headrace_core.run.status import RunStatus
from headrace_core.workflow.duration import duration_text
from headrace_core.workflow.expression import ExprError, render
from headrace_core.workflow.plan import Action, Plan, UsesKind
from headrace_executor.app.failures import StepFailed
from headrace_executor.app.steps.transform import DataTransform
from headrace_executor.domain.effect_flow import guard_of, needs_row, unsure
from headrace_scheduler.app.inputs import Input
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.preparing import child_input
from headrace_scheduler.app.turns import Draft, Rejected, Turns, find_ready
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain import effects as fx
from headrace_scheduler.domain.decide.start_action import action_of
from headrace_scheduler.domain.decision import Rejection, RunTurn
from headrace_scheduler.domain.failure import sealed_error
from headrace_scheduler.domain.values import StateValues
from headrace_worker.messages import Outcome

TENANT = TenantId("test")
TRANSFORMS = "data."
TURNS_MAX = 100_000
"""A case that takes more turns than that is given up."""
UNKNOWN_OUTCOME = "unknown_outcome"
_HERE = 0
_ELSEWHERE = 1
_EXECUTOR = ExecutorId("test")


class NoReply(InvalidInput):
    """A step calls something, and the case does not say what comes back."""


@dataclass(frozen=True, slots=True)
class Plans:
    """What the engine asks of a catalogue. Everything is at hand."""

    plans: Mapping[PlanHash, Plan]
    held: OpenVault = field(default_factory=OpenVault)

    async def load(self, tenant: TenantId, plan: PlanHash) -> None:
        assert plan in self.plans, "a flow compiles only with the flows that it calls"

    def plan(self, tenant: TenantId, plan: PlanHash) -> Plan:
        return self.plans[plan]

    def vault(self, tenant: TenantId) -> OpenVault:
        return self.held

    async def subject_key(self, tenant: TenantId, subject: str) -> int:
        return 0

    async def version(self, tenant: TenantId, plan: PlanHash) -> int:
        return 1

    async def fetch(self, tenant: TenantId, owner: RunId, stored: Stored) -> None:
        raise AssertionError("nothing is stored elsewhere")

    async def store_blobs(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class _Attempt:
    run: RunId
    step: StepKey
    number: int
    token: int


@dataclass(order=True, slots=True)
class _Later:
    """`whose` is the attempt or the sub-flow's run that answers then."""

    due_ms: int
    number: int
    act: Callable[[], object] = field(compare=False)
    whose: _Attempt | ChildStart | None = field(compare=False, default=None)


class Engine:
    """`calls` are the attempts made so far, in order; `now_ms` is the clock."""

    def __init__(self, plans: Plans, outside: Outside, now_ms: int) -> None:
        self.now_ms = now_ms
        self.calls: list[Call] = []
        self.runs: dict[RunId, RunState] = {}
        self._plans = plans
        self._outside = outside
        self._turns = Turns(plans, 1)
        self._partition = OwnedPartition(_HERE, b"", 0, 0, PartitionState(_HERE))
        self._records: dict[RunId, list[StoredTurn]] = defaultdict(list)
        self._effects: deque[fx.Effect] = deque()
        self._later: list[_Later] = []
        self._numbers = count(1)
        self._delivered = 0
        self._taken = 0

    def start(self, plan: Plan, inputs: Mapping[str, Any]) -> RunState:
        """`inputs` are checked and complete. Goes on until only time or a person can go on."""
        run = run_id(0, self.now_ms // DAY_MS, b"a-flow-run")
        command = cmd.StartRun(
            run=run,
            tenant=TENANT,
            flow=plan.flow,
            version=1,
            plan=plan.hash,
            input=self._sealed(run, inputs),
            trigger="manual",
            started_by="test",
            start_key=b"test",
            fingerprint=b"test",
            key_kept_ms=DAY_MS,
        )
        self.tell(command)
        return self.runs[run]

    def tell(self, command: cmd.Command) -> Rejection | None:
        """One input, and whatever follows from it without time."""
        rejection = self._decide(command)
        self._settle()
        return rejection

    def later(
        self, after_ms: int, act: Callable[[], object], whose: _Attempt | ChildStart | None = None
    ) -> None:
        due_ms = self.now_ms + max(0, after_ms)
        heapq.heappush(self._later, _Later(due_ms, next(self._numbers), act, whose))

    def jump(self) -> bool:
        """To the next thing that time brings; False if it brings nothing any more."""
        if not self._later:
            return False
        later = heapq.heappop(self._later)
        self.now_ms = max(self.now_ms, later.due_ms)
        later.act()
        self._settle()
        return True

    def records(self, run: RunId) -> Sequence[StoredTurn]:
        return self._records[run]

    def opened(self, stored: Stored) -> Any:
        return json.loads(self._plans.held.open(RunId(""), stored))

    def payloads(self) -> OpenVault:
        return self._plans.held

    def _settle(self) -> None:
        while self._effects:
            self._perform(self._effects.popleft())

    def _decide(self, command: cmd.Command) -> Rejection | None:
        self._taken += 1
        if self._taken > TURNS_MAX:
            raise InvalidInput(f"This case goes on after {TURNS_MAX} turns: is there a loop?")
        outcome = self._turns.decide(self._partition, Input(_HERE, command), self.now_ms)
        if isinstance(outcome, Rejected):
            return outcome.rejection
        self._keep(outcome)
        return None

    def _keep(self, draft: Draft) -> None:
        turn = draft.turn
        self._effects.extend(turn.effects)
        if draft.run is None or not isinstance(turn, RunTurn) or not turn.events:
            return
        run = draft.run
        self.runs[run.run_id] = run
        events = tuple(turn.events)
        stored = StoredTurn(0, turn.now_ms, turn.first_sequence, b"", events)
        self._records[run.run_id].append(stored)
        for event in events:
            if isinstance(event, ApprovalRequested):
                self._ask(run, event.step)

    def _ask(self, run: RunState, step: StepKey) -> None:
        said = self._outside.decision(run.flow, step)
        if said is not None:
            command = cmd.DecideApproval(
                run=run.run_id,
                tenant=TENANT,
                step=step,
                decision=said.decision,
                answer=self._sealed(run.run_id, said.answer),
            )
            self.later(said.after_ms, lambda: self._decide(command))

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.EnqueueStep():
                self._assign(effect.run, effect.step)
            case fx.SetTimer():
                fire = cmd.FireTimer(
                    run=effect.run, step=effect.step, kind=effect.kind, due_ms=effect.due_ms
                )
                self.later(effect.due_ms - self.now_ms, lambda: self._decide(fire))
            case fx.CancelAttempt():
                self._give_up(effect)
            case fx.CloseRow():
                # An attempt that was given up has said so: whatever is left had no effect.
                closed = cmd.CloseByRow(
                    run=effect.run,
                    step=effect.step,
                    attempt=effect.attempt,
                    verdict=cmd.RowVerdict.NO_EFFECT,
                )
                self._decide(closed)
            case fx.PrepareChild():
                run = self.runs[effect.run]
                self._decide(asyncio.run(child_input(self._plans, run, effect)))
            case fx.DeliverMessages():
                self._deliver()
            case fx.EvictRun():
                self._partition.runs.pop(effect.run)
            case fx.ArmSchedule() | fx.ReleaseFiring() | fx.CancelOpenRun():
                pass  # Nothing here sets a schedule.
            case fx.ContinueLater():
                self._decide(cmd.ContinueRun(run=effect.run))
            case fx.FetchPayload():
                raise AssertionError("nothing is stored elsewhere")
            case _:
                assert_never(effect)

    # Steps that an executor or a worker runs.

    def _assign(self, run_id: RunId, step: StepKey) -> None:
        run = find_ready(self._partition, run_id, step)
        if run is None:
            return
        turn = self._turns.turn_of(self._partition, run, self.now_ms)
        token = next(self._numbers)
        attempt = run.steps[step].attempt + 1
        turn.emit(StepAssigned(step=step, attempt=attempt, executor=_EXECUTOR, token=token))
        self._keep(Draft(self._partition, turn, run))
        reply = self._attempt(run, step)
        command = self._completion(run.run_id, step, attempt, token, reply)
        if reply.after_ms:
            whose = _Attempt(run.run_id, step, attempt, token)
            self.later(reply.after_ms, lambda: self._decide(command), whose)
        else:
            self._decide(command)

    def _attempt(self, run: RunView, step: StepKey) -> Reply:
        plan = self._plans.plan(TENANT, run.plan)
        plan_step, state = plan.step_at(step), run.steps[step]
        action = action_of(plan_step, state)
        template = plan_step.arguments
        if state.fallback:
            template = plan_step.fallback[state.fallback - 1].arguments
        arguments: Any = {}
        if template is not None:
            values = StateValues(run, plan, self._plans.held, step)
            names = dict(values.names(template.references))
            names["secrets"] = {one: f"secret {one}" for one in template.references.secrets}
            arguments = render(template, names)
            if isinstance(arguments, ExprError):
                return Reply(error_type="expr.error", message=str(arguments))
        reply = self._reply(run, step, action, arguments)
        timeout_ms = plan_step.timeout_ms
        if timeout_ms is None or reply.after_ms <= timeout_ms:
            return reply
        return _timed_out(action, timeout_ms)

    def _reply(self, run: RunView, step: StepKey, action: Action, arguments: Any) -> Reply:
        call = self._call(run, step, action, arguments)
        self.calls.append(call)
        reply = self._outside.reply(call)
        if reply is not None:
            return reply
        if not action.name.startswith(TRANSFORMS):
            raise NoReply(
                f"Step {name_of(step)!r} of {run.flow!r} calls {action.reference}, and nothing "
                f"is called here: say under `given` what it answers."
            )
        try:
            return Reply(DataTransform().run(action.name, arguments))
        except StepFailed as failed:
            return Reply(error_type=failed.error_type, message=failed.message)

    def _call(self, run: RunView, step: StepKey, action: Action, arguments: Any) -> Call:
        place = without_passes(step)
        before = sum(one.run == run.run_id and one.place == place for one in self.calls)
        return Call(
            run.run_id, run.flow, step, self._item_key(run, step), before + 1, action, arguments
        )

    def _item_key(self, run: RunView, step: StepKey) -> str | None:
        name, index = step_of(origin_of(step))
        fan_out = run.steps[StepKey(name)].fan_out if index is not None else None
        if fan_out is None or index is None:
            return None
        pairs = cast("list[tuple[str, Any]]", self.opened(fan_out.items))
        return pairs[index][0]

    def _completion(
        self, run: RunId, step: StepKey, attempt: int, token: int, reply: Reply
    ) -> cmd.CompleteStep:
        outcome, error = cmd.Outcome.SUCCEEDED, None
        if reply.error_type:
            outcome = _outcome(reply)
            error = sealed_error(self._plans.held, run, reply.error_type, reply.message)
        return cmd.CompleteStep(
            run=run,
            step=step,
            attempt=attempt,
            token=token,
            outcome=outcome,
            output=NOTHING if error else self._sealed(run, reply.output),
            error=error,
            retry_after_ms=reply.retry_after_ms,
        )

    def _give_up(self, effect: fx.CancelAttempt) -> None:
        """The executor hears of it and says that nothing happened."""
        for later in self._later:
            one = later.whose
            if (
                isinstance(one, _Attempt)
                and (one.run, one.step) == (effect.run, effect.step)
                and one.number == effect.attempt
            ):
                self._forget(later)
                cancelled = cmd.CompleteStep(
                    run=one.run,
                    step=one.step,
                    attempt=one.number,
                    token=one.token,
                    outcome=cmd.Outcome.CANCELLED,
                )
                self._decide(cancelled)
                return

    def _forget(self, later: _Later) -> None:
        self._later.remove(later)
        heapq.heapify(self._later)

    # Runs that start and answer each other.

    def _deliver(self) -> None:
        outbox = self._partition.state.outboxes[_HERE]
        while self._delivered < outbox.sent:
            self._delivered += 1
            message = outbox.messages[self._delivered]
            take = cmd.TakeMessage(source=_HERE, number=self._delivered, message=message)
            if self._answered_elsewhere(message):
                incoming = Input(_HERE, take)
                self._keep(self._turns.record_message(self._partition, incoming, take, self.now_ms))
            else:
                self._decide(take)

    def _answered_elsewhere(self, message: Message) -> bool:
        """Whether this is for a sub-flow that does not run here: the case says what it gives."""
        match message:
            case ChildStart():
                reply = self._child_reply(message)
                if reply is None:
                    return False
                ended = self._ended(message, reply)
                self.later(reply.after_ms, lambda: self._hear(ended), message)
                return True
            case ChildCancel():
                for later in self._later:
                    if isinstance(later.whose, ChildStart) and later.whose.run == message.run:
                        self._forget(later)
                        self._hear(_cancelled(later.whose))
                        return True
                return False
            case _:
                return False

    def _child_reply(self, message: ChildStart) -> Reply | None:
        parent, step = self.runs[message.parent.run], message.parent.step
        plan = self._plans.plan(TENANT, parent.plan)
        action = action_of(plan.step_at(step), parent.steps[step])
        call = self._call(parent, step, action, self.opened(message.input))
        self.calls.append(call)
        return self._outside.reply(call)

    def _hear(self, message: ChildEnded) -> None:
        number = self._partition.state.inboxes.get(_ELSEWHERE, 0) + 1
        self._decide(cmd.TakeMessage(source=_ELSEWHERE, number=number, message=message))

    def _ended(self, start: ChildStart, reply: Reply) -> ChildEnded:
        if reply.error_type:
            error = sealed_error(self._plans.held, start.run, reply.error_type, reply.message)
            return _child_ended(start, RunStatus.FAILED, error=error)
        return _child_ended(
            start, RunStatus.SUCCEEDED, output=self._sealed(start.run, reply.output)
        )

    def _sealed(self, run: RunId, value: Any) -> Stored:
        return self._plans.held.seal(run, json.dumps(value, ensure_ascii=False).encode())


def _outcome(reply: Reply) -> cmd.Outcome:
    if reply.error_type == UNKNOWN_OUTCOME:
        return cmd.Outcome.UNKNOWN
    return cmd.Outcome.AMBIGUOUS if reply.ambiguous else cmd.Outcome.FAILED


def _cancelled(start: ChildStart) -> ChildEnded:
    return _child_ended(start, RunStatus.CANCELLED)


def _child_ended(
    start: ChildStart,
    status: RunStatus,
    output: Stored = NOTHING,
    error: StepError | None = None,
) -> ChildEnded:
    return ChildEnded(
        parent=start.parent,
        tenant=start.tenant,
        child=start.run,
        status=status,
        output=output,
        error=error,
    )


def _timed_out(action: Action, timeout_ms: int) -> Reply:
    """As an executor tells it: whether an effect came about is open, and only a key makes a
    further attempt safe."""
    error_type, message = "timeout.attempt", f"no answer within {duration_text(timeout_ms)}"
    ambiguous = action.kind is UsesKind.ACTION and needs_row(action)
    if ambiguous and unsure(guard_of(action.idempotency)) is Outcome.UNKNOWN:
        error_type = UNKNOWN_OUTCOME
    return Reply(None, error_type, message, timeout_ms, ambiguous=ambiguous)

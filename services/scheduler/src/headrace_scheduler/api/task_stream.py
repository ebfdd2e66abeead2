"""The outgoing side of one executor's stream: what gathered since the last write is one message.

Tasks carry what the step's templates refer to, as stored bytes; nothing is opened here.
"""

import asyncio

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace_core.ids import (
    ExecutorId,
    RunId,
    StepKey,
    enclosing_items,
    origin_of,
    owner_of,
    wholes_of,
)
from headrace_core.payload import Stored, subject_key_of
from headrace_core.run.events import StepError
from headrace_core.run.state import RunView, StepView
from headrace_core.workflow.plan import Plan, PlanStep
from headrace_core.workflow.references import References, StepReference
from headrace_scheduler.app.ports import Assignment, Catalogue
from headrace_scheduler.domain.values import item_undone

MESSAGE_BYTES_MAX = 900_000


class OutgoingStream:
    """Implements app.dispatch.ExecutorStream; the servicer awaits `next_message`."""

    def __init__(self, executor: ExecutorId, log_id: bytes, catalogue: Catalogue) -> None:
        self._executor = executor
        self._log_id = log_id
        self._catalogue = catalogue
        self._ready = asyncio.Event()
        self._full: list[pb.WorkResponse] = []
        self._message = self._new_message()
        self._bytes = 0
        self._filled = False
        self._open: dict[tuple[RunId, StepKey, int], pb.Attempt] = {}

    def welcome(self, scheduler: str, tenant: str) -> None:
        self._message.welcome.scheduler = scheduler
        self._message.welcome.tenant = tenant
        self._filled = True
        self.flush()

    def send_task(self, assignment: Assignment) -> None:
        run = assignment.run
        plan = self._catalogue.plan(run.tenant, run.plan)
        task = self._message.tasks.add()
        size = fill_task(task, assignment, plan)
        self._count(size)

    def send_cancellation(self, run: RunId, step: StepKey, attempt: int) -> None:
        one = self._message.cancellations.add().attempt
        one.run, one.step, one.attempt = run, step, attempt
        self._count(100)

    def send_announcement(self, partition: int, epoch: int) -> None:
        one = self._message.announcements.add()
        one.partition, one.epoch = partition, epoch
        self._count(16)

    def send_acknowledgement(self, attempt: pb.Attempt, epoch: int) -> None:
        one = self._message.acknowledgements.add()
        one.attempt.CopyFrom(attempt)
        one.epoch = epoch
        self._count(100)

    def send_note_acknowledgement(self, attempt: pb.Attempt, number: int) -> None:
        one = self._message.note_acknowledgements.add()
        one.attempt.CopyFrom(attempt)
        one.number = number
        self._count(100)

    def flush(self) -> None:
        if self._filled or self._full:
            self._ready.set()

    async def next_message(self) -> pb.WorkResponse:
        """Waits until something was flushed."""
        while not (self._full or self._filled):
            self._ready.clear()
            await self._ready.wait()
        if self._full:
            return self._full.pop(0)
        return self._cut()

    def _count(self, size: int) -> None:
        self._filled = True
        self._bytes += size
        if self._bytes >= MESSAGE_BYTES_MAX:
            self._full.append(self._cut())

    def _cut(self) -> pb.WorkResponse:
        message = self._message
        self._message = self._new_message()
        self._bytes = 0
        self._filled = False
        return message

    def _new_message(self) -> pb.WorkResponse:
        return pb.WorkResponse(log_id=self._log_id)


def fill_task(task: pb.Task, assignment: Assignment, plan: Plan) -> int:
    """Fill in the task; answers its approximate size in bytes."""
    run = assignment.run
    step = fill_attempt(task, assignment, plan)
    state = run.steps.get(assignment.step)
    subject_key = subject_key_of(run.input)
    if subject_key:
        task.subject_key = subject_key
    if state is not None:
        task.fallback = state.fallback
        task.notes.extend(state.notes)
        if state.input and not state.fallback:
            task.edited_input = state.input
    size = 300 + _fill_values(task, run, plan, step.references, assignment.step)
    return size + _fill_items(task, run, plan, assignment.step)


def fill_attempt(task: pb.Task, assignment: Assignment, plan: Plan) -> PlanStep:
    """Everything but what the step is given; answers the step."""
    run = assignment.run
    step = plan.step_at(assignment.step)
    attempt = task.attempt
    attempt.partition, attempt.epoch = assignment.partition, assignment.epoch
    attempt.tenant, attempt.run = run.tenant, run.run_id
    attempt.step, attempt.attempt = assignment.step, assignment.attempt
    attempt.token = assignment.token
    task.executor, task.offset = assignment.executor, assignment.offset
    task.plan, task.flow, task.lane = run.plan, run.flow, assignment.lane
    task.run_started_ms, task.trigger = run.started_ms, run.trigger
    if run.scheduled_at_ms is not None:
        task.scheduled_at_ms = run.scheduled_at_ms
    if step.timeout_ms is not None:
        task.timeout_ms = step.timeout_ms
    if step.heartbeat_ms is not None:
        task.heartbeat_ms = step.heartbeat_ms
    return step


def _fill_values(
    task: pb.Task, run: RunView, plan: Plan, references: References, key: StepKey
) -> int:
    size = 0
    if "inputs" in references.names:
        task.input = run.input
        size += len(run.input)
    for reference in references.steps:
        meant = plan.key_meant(key, reference.step)
        state = run.steps.get(meant)
        if state is not None:
            # A fallback is told what it stands for: an item's own error, not its fan-out's.
            own = run.steps.get(key, state) if meant in wholes_of(key) else state
            # What undoes an item is told that item's output: its fan-out has none.
            output = item_undone(run, key, meant) or state.output
            size += _fill_value(task.values.add(), state, reference, output, own.error)
    return size


def _fill_value(
    value: pb.StepValue,
    state: StepView,
    reference: StepReference,
    output: Stored,
    error: StepError | None,
) -> int:
    value.step, value.status = reference.step, state.status.text
    size = 50
    if reference.output:
        value.output = output
        size += len(output)
    if reference.error and error is not None:
        size += _fill_error(value, error)
    if state.fan_out is not None:
        for outcome in state.fan_out.outcomes:
            item = value.items.add()
            if outcome is None:
                continue
            item.status = outcome.status.text
            size += 16
            if reference.items:
                item.output = outcome.output
                size += len(outcome.output)
                if outcome.error is not None:
                    size += _fill_error(item, outcome.error)
    return size


def _fill_error(to: "pb.StepValue | pb.ItemValue", error: StepError) -> int:
    to.error.type, to.error.message = error.type, error.message
    return len(error.message) + 32


def _fill_items(task: pb.Task, run: RunView, plan: Plan, key: StepKey) -> int:
    if "[" not in key:
        return 0
    size = 0
    wanted = plan.step_at(key).references.names
    for owner, index in enclosing_items(key):
        own = owner == owner_of(origin_of(key))
        if own:
            task.item = index
        foreach, fan_out = plan.step_at(owner).foreach, run.steps[owner].fan_out
        if foreach is None or fan_out is None or foreach.alias not in wanted:
            continue
        size += len(fan_out.items)
        if own:
            task.items = fan_out.items
        else:
            task.outer_items.add(alias=foreach.alias, item=index, items=fan_out.items)
    return size

"""Dispatch messages to and from protobuf."""

from collections.abc import Callable
from typing import Any, cast

from headrace.dispatch.v1 import dispatch_service_pb2 as pb
from headrace.event.v1 import run_events_pb2 as events
from headrace_core.ids import TenantId
from headrace_core.payload import Stored
from headrace_core.run.events import StepError
from headrace_worker.messages import (
    Acknowledgement,
    Announcement,
    Attempt,
    AttemptKey,
    ItemInput,
    OuterItem,
    Received,
    Result,
    Sending,
    StepInput,
    Task,
    Welcome,
)

# Straight to the tuple: the generated constructor and a call per NewType would double the price
# of a task. The fields are those of the class, in its order.
_new = cast(
    "Callable[[type[Any], tuple[Any, ...]], Any]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType] typeshed leaves the items open
)


def decode(message: pb.WorkResponse) -> Received:
    return Received(
        log_id=message.log_id,
        announcements=[Announcement(one.partition, one.epoch) for one in message.announcements],
        tasks=[_task(one) for one in message.tasks],
        acknowledgements=[
            Acknowledgement(_key(one.attempt), one.epoch) for one in message.acknowledgements
        ],
        cancellations=[_key(one.attempt) for one in message.cancellations],
        note_acknowledgements=[
            (_key(one.attempt), one.number) for one in message.note_acknowledgements
        ],
        welcome=_welcome(message.welcome) if message.HasField("welcome") else None,
    )


def encode(message: Sending) -> pb.WorkRequest:
    request = pb.WorkRequest()
    if message.hello is not None:
        request.hello.executor = message.hello.executor
        request.hello.api_key = message.hello.api_key
        request.hello.lanes.extend(message.hello.lanes)
    for credit in message.credits:
        request.credits.add(lane=credit.lane, count=credit.room)
    add_result = request.results.add
    for result in message.results:
        _put_result(add_result(), result)
    for note in message.notes:
        request.notes.add(
            attempt=_attempt_message(note.attempt), number=note.number, note=note.payload
        )
    for report in message.reports:
        request.reports.add(
            partition=report.partition,
            epoch=report.epoch,
            open=[_attempt_message(attempt) for attempt in report.open],
        )
    for refusal in message.refusals:
        request.refusals.add(attempt=_attempt_message(refusal.attempt), reason=refusal.reason)
    for alive in message.heartbeats:
        request.heartbeats.add(attempt=_attempt_message(alive))
    return request


def _put_result(to: pb.Result, result: Result) -> None:
    _put_attempt(to.attempt, result.attempt)
    to.outcome = pb.Outcome.ValueType(result.outcome)
    to.output = result.output
    if result.error is not None:
        to.error.type = result.error.type
        to.error.message = result.error.message
    usage = result.usage
    if usage is not None:
        to.usage.model = usage.model
        to.usage.prompt_hash = usage.prompt_hash
        to.usage.input_tokens = usage.input_tokens
        to.usage.output_tokens = usage.output_tokens
        to.usage.cost_micros = usage.cost_micros
        to.usage.duration_ms = usage.duration_ms
    if result.retry_after_ms:
        to.retry_after_ms = result.retry_after_ms


def _put_attempt(to: pb.Attempt, attempt: Attempt) -> None:
    to.partition, to.epoch, to.tenant, to.run, to.step, to.attempt, to.token = attempt


def _attempt_message(attempt: Attempt) -> pb.Attempt:
    message = pb.Attempt()
    _put_attempt(message, attempt)
    return message


def _key(attempt: pb.Attempt) -> AttemptKey:
    return (attempt.run, attempt.step, attempt.attempt)


def _task(task: pb.Task) -> Task:
    attempt = task.attempt
    return _new(
        Task,
        (
            _new(
                Attempt,
                (
                    attempt.partition,
                    attempt.epoch,
                    attempt.tenant,
                    attempt.run,
                    attempt.step,
                    attempt.attempt,
                    attempt.token,
                ),
            ),
            task.executor,
            task.offset,
            task.plan,
            task.flow,
            task.lane,
            task.input,
            [_step_input(one) for one in task.values],
            task.item if task.HasField("item") else None,
            task.items,
            task.fallback,
            task.run_started_ms,
            task.scheduled_at_ms if task.HasField("scheduled_at_ms") else None,
            task.trigger,
            task.timeout_ms,
            tuple(task.notes),
            task.arguments,
            task.idempotency_key,
            task.edited_input,
            [_new(OuterItem, (one.alias, one.item, one.items)) for one in task.outer_items],
            task.heartbeat_ms,
            task.subject_key,
        ),
    )


def _step_input(value: pb.StepValue) -> StepInput:
    error = _error(value.error) if value.HasField("error") else None
    items = [_item_input(item) for item in value.items]
    return _new(StepInput, (value.step, value.status, value.output, error, items))


def _item_input(item: pb.ItemValue) -> ItemInput:
    error = _error(item.error) if item.HasField("error") else None
    return _new(ItemInput, (item.status, item.output, error))


def _error(error: events.StepError) -> StepError:
    return StepError(type=error.type, message=Stored(error.message))


def _welcome(welcome: pb.Welcome) -> Welcome:
    return Welcome(welcome.scheduler, TenantId(welcome.tenant))

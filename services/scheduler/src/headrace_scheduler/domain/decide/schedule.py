"""Schedules live in their partition's state; setting one again replaces it."""

from headrace_core.partition.events import (
    ScheduleFired,
    ScheduleHeld,
    ScheduleReleased,
    ScheduleSet,
)
from headrace_core.partition.state import Schedule
from headrace_core.workflow.firing import Catchup, Overlap
from headrace_scheduler.domain.commands import FireSchedule, SetSchedule
from headrace_scheduler.domain.decide.start_run import start_from_schedule
from headrace_scheduler.domain.decision import PartitionTurn, Reason, Rejection, RunTurn
from headrace_scheduler.domain.effects import ArmSchedule, CancelOpenRun, ReleaseFiring
from headrace_scheduler.domain.rhythm import last_due_ms, next_due_ms

MISSED_AFTER_MS = 60_000
"""So late a firing counts as missed for `catchup: none`: a takeover takes seconds."""
QUEUED_MAX = 1_000
"""More firings than this do not wait for an earlier run: they are dropped, and logged so."""


def set_schedule(turn: PartitionTurn, command: SetSchedule) -> None:
    """A schedule first fires at its first time after it was set; without a rhythm it is removed."""
    removed = not command.every_ms and not command.cron
    due_ms = turn.now_ms if removed else next_due_ms(command, turn.now_ms, turn.now_ms)
    turn.emit_partition(
        ScheduleSet(
            schedule=command.schedule,
            tenant=command.tenant,
            flow=command.flow,
            version=command.version,
            plan=command.plan,
            trigger=command.trigger,
            every_ms=command.every_ms,
            next_due_ms=due_ms,
            cron=command.cron,
            timezone=command.timezone,
            overlap=command.overlap,
            catchup=command.catchup,
        )
    )
    if removed:
        return
    turn.effects.append(ArmSchedule(command.schedule, due_ms))
    before = turn.partition.schedules.get(command.schedule)
    if before is not None and before.queued and command.overlap is Overlap.ALLOW:
        turn.effects.append(ReleaseFiring(command.schedule, before.queued[0]))


def firing_ms(schedule: Schedule, due_ms: int, now_ms: int) -> int:
    """Which of the times from `due_ms` to now is fired: the latest, or with `catchup: all` each."""
    if schedule.catchup is Catchup.ALL:
        return due_ms
    return last_due_ms(schedule, due_ms, now_ms)


def is_expected(schedule: Schedule, command: FireSchedule) -> bool:
    """Whether this firing still means something."""
    expected = schedule.queued[:1] if command.queued else (schedule.next_due_ms,)
    return expected == (command.due_ms,)


def starts_now(schedule: Schedule, command: FireSchedule, now_ms: int) -> bool:
    """Whether the firing starts a run in its own turn."""
    if schedule.overlap is not Overlap.ALLOW and schedule.open:
        return False
    if command.queued:
        return True
    waits_behind = schedule.overlap is not Overlap.ALLOW and bool(schedule.queued)
    return not waits_behind and not _is_missed(schedule, command, now_ms)


def fire_schedule(turn: RunTurn, command: FireSchedule) -> None:
    """Firing and start are one record."""
    name = command.schedule
    schedule = turn.partition.schedules[name]
    if command.queued:
        released = ScheduleReleased(schedule=name, due_ms=command.due_ms, run=command.run)
        turn.emit_partition(released)
        if schedule.overlap is Overlap.ALLOW and schedule.queued[1:]:
            turn.perform(ReleaseFiring(name, schedule.queued[1]))
    else:
        due_ms = _after(schedule, command, turn.now_ms)
        turn.emit_partition(
            ScheduleFired(
                schedule=name, due_ms=command.firing_ms, next_due_ms=due_ms, run=command.run
            )
        )
        turn.perform(ArmSchedule(name, due_ms))
    start_from_schedule(turn, command, schedule)


def hold_firing(turn: PartitionTurn, command: FireSchedule) -> Rejection | None:
    """The firing's time is over without a run: dropped, or queued until the open run has ended."""
    name = command.schedule
    schedule = turn.partition.schedules[name]
    if command.queued:
        return Rejection(Reason.LATE, "an earlier run of the schedule is open")
    due_ms = _after(schedule, command, turn.now_ms)
    queued = (
        schedule.overlap in (Overlap.QUEUE, Overlap.CANCEL_RUNNING)
        and not _is_missed(schedule, command, turn.now_ms)
        and len(schedule.queued) < QUEUED_MAX
    )
    turn.emit_partition(
        ScheduleHeld(schedule=name, due_ms=command.firing_ms, next_due_ms=due_ms, queued=queued)
    )
    turn.effects.append(ArmSchedule(name, due_ms))
    if queued and schedule.overlap is Overlap.CANCEL_RUNNING:
        turn.effects += [CancelOpenRun(run, f"schedule {name}") for run in schedule.open]
        if not schedule.open:
            # It takes the place of a firing that was about to start.
            turn.effects.append(ReleaseFiring(name, command.firing_ms))
    return None


def _is_missed(schedule: Schedule, command: FireSchedule, now_ms: int) -> bool:
    late_ms = now_ms - command.firing_ms
    return schedule.catchup is Catchup.NONE and late_ms > MISSED_AFTER_MS


def _after(schedule: Schedule, command: FireSchedule, now_ms: int) -> int:
    """The next time: with `catchup: all` it may have passed already."""
    now_ms = command.firing_ms if schedule.catchup is Catchup.ALL else now_ms
    return next_due_ms(schedule, command.firing_ms, now_ms)

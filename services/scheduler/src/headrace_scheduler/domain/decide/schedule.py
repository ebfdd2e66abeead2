"""Schedules live in their partition's state; setting one again replaces it."""

from headrace_core.partition.events import ScheduleSet
from headrace_scheduler.domain.commands import SetSchedule
from headrace_scheduler.domain.decision import PartitionTurn
from headrace_scheduler.domain.effects import ArmSchedule


def set_schedule(turn: PartitionTurn, command: SetSchedule) -> None:
    """A schedule first fires one period after it was set; `every_ms` 0 removes it."""
    next_due_ms = turn.now_ms + command.every_ms
    turn.emit_partition(
        ScheduleSet(
            schedule=command.schedule,
            tenant=command.tenant,
            flow=command.flow,
            version=command.version,
            plan=command.plan,
            trigger=command.trigger,
            every_ms=command.every_ms,
            next_due_ms=next_due_ms,
        )
    )
    if command.every_ms:
        turn.effects.append(ArmSchedule(command.schedule, next_due_ms))

"""When a schedule is due: every so often, or by its cron expression in its time zone."""

from typing import Protocol

from headrace_core.workflow.cron import last_time_ms, next_time_ms


class Rhythm(Protocol):
    """`every_ms` is 0 where `cron` says when."""

    @property
    def every_ms(self) -> int: ...
    @property
    def cron(self) -> str: ...
    @property
    def timezone(self) -> str: ...


def next_due_ms(rhythm: Rhythm, due_ms: int, now_ms: int) -> int:
    """The first due time later than `now_ms`, in step with `due_ms`."""
    if rhythm.cron:
        return next_time_ms(rhythm.cron, rhythm.timezone, max(due_ms, now_ms))
    missed = max(0, (now_ms - due_ms) // rhythm.every_ms)
    return due_ms + (missed + 1) * rhythm.every_ms


def last_due_ms(rhythm: Rhythm, due_ms: int, now_ms: int) -> int:
    """The latest due time that is not after `now_ms`, and `due_ms` where there is no later one."""
    if rhythm.cron:
        return last_time_ms(rhythm.cron, rhythm.timezone, due_ms, now_ms)
    return due_ms + max(0, (now_ms - due_ms) // rhythm.every_ms) * rhythm.every_ms

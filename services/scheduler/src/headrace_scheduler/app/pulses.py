"""Signs of life of running attempts: kept in memory, since only the newest one matters.

A new owner knows of none and counts from its first look: an attempt that it took over may be
silent for up to twice its step's `heartbeat`.
"""

from dataclasses import dataclass

from headrace_core.ids import RunId, StepKey
from headrace_core.run.status import StepStatus
from headrace_core.workflow.plan import Plan
from headrace_runtime.clock import Clock
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.ports import Catalogue
from headrace_scheduler.domain.commands import MissHeartbeat, TimerKind
from headrace_scheduler.domain.effects import SetTimer


@dataclass(slots=True)
class _Pulse:
    attempt: int
    newest_ms: int
    look_ms: int


class Pulses:
    """Of steps with a `heartbeat` alone: others have no timer that would look here."""

    def __init__(self, catalogue: Catalogue, clock: Clock) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._pulses: dict[tuple[RunId, StepKey], _Pulse] = {}

    def begin(self, run: RunId, step: StepKey, attempt: int, plan: Plan) -> SetTimer | None:
        """The attempt is given out; answers when it has to be looked at, if ever."""
        heartbeat_ms = plan.step_at(step).heartbeat_ms
        if heartbeat_ms is None:
            return None
        return self._watch(run, step, attempt, self._clock.now_ms(), heartbeat_ms)

    def beat(self, run: RunId, step: StepKey, attempt: int) -> None:
        """Word of an attempt that nobody watches is dropped."""
        pulse = self._pulses.get((run, step))
        if pulse is not None and pulse.attempt == attempt:
            pulse.newest_ms = self._clock.now_ms()

    def look(
        self, partition: OwnedPartition, timer: SetTimer, now_ms: int
    ) -> SetTimer | MissHeartbeat | None:
        """The next time to look, or that the attempt was silent for too long, or nothing where
        it has ended."""
        run_id, step = timer.run, timer.step
        run = partition.runs.get(run_id)
        state = run.steps.get(step) if run is not None else None
        if run is None or state is None or state.status is not StepStatus.RUNNING:
            self._pulses.pop((run_id, step), None)
            return None
        heartbeat_ms = self._catalogue.plan(run.tenant, run.plan).step_at(step).heartbeat_ms
        assert heartbeat_ms is not None, "its timer was set by the same plan"
        pulse = self._pulses.get((run_id, step))
        if pulse is None:
            return self._watch(run_id, step, state.attempt, now_ms, heartbeat_ms)
        if pulse.look_ms != timer.due_ms:
            # An earlier attempt's timer; this one has its own.
            return None
        if pulse.newest_ms + heartbeat_ms > now_ms:
            pulse.look_ms = pulse.newest_ms + heartbeat_ms
            return SetTimer(pulse.look_ms, run_id, step, TimerKind.STEP_HEARTBEAT)
        del self._pulses[run_id, step]
        return MissHeartbeat(run=run_id, step=step, attempt=state.attempt)

    def _watch(
        self, run: RunId, step: StepKey, attempt: int, now_ms: int, heartbeat_ms: int
    ) -> SetTimer:
        due_ms = now_ms + heartbeat_ms
        self._pulses[run, step] = _Pulse(attempt, now_ms, due_ms)
        return SetTimer(due_ms, run, step, TimerKind.STEP_HEARTBEAT)

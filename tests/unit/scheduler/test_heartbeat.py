"""`heartbeat`: an attempt that is silent for too long has failed, whatever becomes of it."""

from dataclasses import dataclass, replace

from headrace_core.ids import StepKey
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.plan import Action, Effect, Plan, RetryPolicy, UsesKind
from headrace_scheduler.app.open_runs import OpenRuns
from headrace_scheduler.app.partition import OwnedPartition
from headrace_scheduler.app.pulses import Pulses
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from headrace_scheduler.domain.effects import CancelAttempt, CloseRow, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.simulation.world.parts import SimCatalogue
from tests.support.run_harness import EXECUTOR, Harness, plan_of, step

BEAT_MS = 5_000
KEY = StepKey("crawl")
READ = Action(UsesKind.WORKER, "crawl", "worker.crawl@1", "1", Effect.NONE)
WRITE = Action(UsesKind.ACTION, "http.post", "http.post@1", "1", Effect.WRITE)


@dataclass(slots=True)
class HandClock:
    run: Harness

    def now_ms(self) -> int:
        return self.run.now_ms


class Watched:
    """A run with one step, and the pulses of its owner."""

    def __init__(self, uses: Action = READ, attempts: int = 2) -> None:
        retry = RetryPolicy(max_attempts=attempts, initial_ms=0)
        plan = plan_of(step(KEY, uses=uses, retry=retry, heartbeat_ms=BEAT_MS))
        self.plan: Plan = plan
        self.run = Harness(plan).start()
        self.pulses = self.fresh()

    def fresh(self) -> Pulses:
        return Pulses(
            SimCatalogue({self.plan.hash: self.plan}, self.run.vault), HandClock(self.run)
        )

    def assign(self) -> tuple[cmd.CompleteStep, SetTimer]:
        done = self.run.assign(KEY)
        timer = self.pulses.begin(self.run.state.run_id, KEY, done.attempt, self.plan)
        assert timer is not None
        return done, timer

    def look(self, timer: SetTimer) -> SetTimer | cmd.MissHeartbeat | None:
        """When its time has come."""
        self.run.now_ms = timer.due_ms
        owned = OwnedPartition(0, b"l", 1, 1, self.run.partition, runs=OpenRuns([self.run.state]))
        return self.pulses.look(owned, timer, self.run.now_ms)

    def beat(self, attempt: int, after_ms: int) -> None:
        self.run.now_ms += after_ms
        self.pulses.beat(self.run.state.run_id, KEY, attempt)

    def miss(self) -> None:
        _, timer = self.assign()
        missed = self.look(timer)
        assert isinstance(missed, cmd.MissHeartbeat)
        assert self.run.when(missed) is None


def test_a_silent_attempt_fails_and_another_one_follows() -> None:
    watched = Watched()
    watched.miss()
    run = watched.run
    assert CancelAttempt(run.state.run_id, KEY, 1, EXECUTOR) in run.effects
    state = run.state.steps[KEY]
    assert (state.status, state.tries) == (StepStatus.READY, 1)
    assert state.error is not None and state.error.type == "timeout.heartbeat"
    watched.miss()
    assert run.state.status is RunStatus.FAILED
    assert run.state.error is not None and run.state.error.type == "timeout.heartbeat"


def test_a_sign_of_life_puts_the_look_off() -> None:
    watched = Watched()
    done, timer = watched.assign()
    watched.beat(done.attempt, BEAT_MS - 1)
    again = watched.look(timer)
    assert isinstance(again, SetTimer)
    assert again.due_ms == timer.due_ms + BEAT_MS - 1
    watched.run.when(done)
    assert watched.look(again) is None, "the attempt has ended"


def test_the_word_of_an_earlier_attempt_keeps_nothing_alive() -> None:
    watched = Watched()
    watched.miss()
    _, timer = watched.assign()
    watched.beat(1, BEAT_MS - 1)
    assert isinstance(watched.look(timer), cmd.MissHeartbeat)


def test_a_timer_of_an_earlier_attempt_says_nothing_of_the_next() -> None:
    watched = Watched()
    done, old = watched.assign()
    watched.run.now_ms += 1
    watched.run.when(replace(done, outcome=cmd.Outcome.FAILED))
    watched.assign()
    assert watched.look(old) is None


def test_a_new_owner_waits_a_whole_heartbeat_from_its_first_look() -> None:
    watched = Watched()
    watched.assign()
    [timer] = [
        one for one in effects_of_run(watched.run.state, watched.plan) if isinstance(one, SetTimer)
    ]
    assert timer.kind is cmd.TimerKind.STEP_HEARTBEAT
    watched.pulses = watched.fresh()
    again = watched.look(timer)
    assert isinstance(again, SetTimer)
    assert again.due_ms == timer.due_ms + BEAT_MS
    assert isinstance(watched.look(again), cmd.MissHeartbeat)


def test_of_an_effect_the_row_has_the_last_word() -> None:
    watched = Watched(WRITE, attempts=1)
    watched.miss()
    run = watched.run
    [close] = [one for one in run.effects if isinstance(one, CloseRow)]
    assert run.status(KEY) is StepStatus.RUNNING, "nobody has said yet what happened"
    by_row = cmd.CloseByRow(
        run=run.state.run_id,
        step=KEY,
        attempt=1,
        verdict=cmd.RowVerdict.NO_EFFECT,
        cause=close.cause,
    )
    assert run.when(by_row) is None
    error = run.state.steps[KEY].error
    assert error is not None and error.type == "timeout.heartbeat"


def test_an_attempt_that_has_ended_meanwhile_misses_nothing() -> None:
    watched = Watched()
    done, _ = watched.assign()
    watched.run.when(done)
    missed = cmd.MissHeartbeat(run=watched.run.state.run_id, step=KEY, attempt=1)
    rejection = watched.run.when(missed)
    assert rejection is not None and rejection.reason is Reason.LATE

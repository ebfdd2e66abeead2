"""A run that fails and is undone: which steps, in which order, with what, and how it ends."""

from collections.abc import Callable
from typing import Any

import pytest

from headrace_core.ids import StepKey
from headrace_core.run.events import (
    StepAssigned,
    StepCompensating,
    StepError,
    StepFailed,
    StepSucceeded,
)
from headrace_core.run.freeze import freeze_run, thaw_run
from headrace_core.run.status import CancelCause, Repair, RunStatus
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decision import Reason
from headrace_scheduler.domain.effects import CloseRow, EnqueueStep, PrepareChild, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import Called, Fails, FlowRun, compiled
from tests.support.run_harness import RUN, TENANT

HEAD = "flow: v1\nname: order\non_failure: compensate\n"
TRIP = """
  flight:
    uses: worker.book@1
    with: {what: flight}
    compensate: {uses: worker.release@1, with: {booking: "${{ steps.flight.output.id }}"}}
  hotel:
    needs: [flight]
    uses: worker.book@1
    with: {what: hotel}
    compensate: {uses: worker.release@1, with: {booking: "${{ steps.hotel.output.id }}"}}
  pay:
    needs: [hotel]
    uses: worker.pay@1
    compensate: {uses: worker.refund@1}
"""


def flow(steps: str, more: str = "") -> Plan:
    return compiled(f"{HEAD}{more}\nsteps:\n{steps}")


class Outside:
    """Books, releases and never takes money."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {"pay": Fails("card.declined"), **answers}

    def __call__(self, call: Called) -> Any:
        answer = self._answers.get(call.action, {})
        if callable(answer):
            return answer(call)
        return {"id": f"b-{call.arguments['what']}"} if call.action == "book" else answer


def run_of(plan: Plan, fields: Any = None, **answers: Any) -> FlowRun:
    outside = Outside(**answers)
    names = ("book", "pay", "release", "refund")
    return FlowRun(plan, outside=dict.fromkeys(names, outside)).begin(fields)


def in_turn(*answers: Any) -> Callable[[Called], Any]:
    left = iter(answers)
    return lambda call: next(left)


def made(run: FlowRun) -> list[tuple[str, Any]]:
    return [(call.action, dict(call.arguments)) for call in run.calls]


def undone(run: FlowRun) -> list[str]:
    return [event.step for event in run.events if isinstance(event, StepCompensating)]


def test_what_succeeded_is_undone_in_reverse_order_of_completion() -> None:
    run = run_of(flow(TRIP))
    assert made(run) == [
        ("book", {"what": "flight"}),
        ("book", {"what": "hotel"}),
        ("pay", {}),
        ("release", {"booking": "b-hotel"}),
        ("release", {"booking": "b-flight"}),
    ]
    assert run.state.status is RunStatus.COMPENSATED
    assert run.why() == ("card.declined", "no")
    assert run.state.failed_step == "pay"
    assert run.refolded() == run.state


def test_the_order_is_that_of_completion_and_not_that_of_the_definition() -> None:
    steps = "".join(
        f"  {name}:\n    uses: worker.hold@1\n    compensate: {{uses: worker.release@1}}\n"
        for name in ("a", "b", "c")
    )
    plan = flow(steps + "  end: {needs: [a, b, c], fail: {message: no}}\n")
    run = FlowRun(plan).begin()
    for name in ("b", "c", "a"):
        run.succeed(name)
    for name in ("a", "c", "b"):
        assert run.ready() == [f"{name}:compensate"], "one at a time"
        run.succeed(f"{name}:compensate")
    assert undone(run) == ["a", "c", "b"]
    assert run.state.status is RunStatus.COMPENSATED


def test_the_run_is_drained_before_anything_is_undone() -> None:
    plan = flow("""
  hold: {uses: worker.hold@1, compensate: {uses: worker.release@1}}
  slow: {uses: worker.slow@1, compensate: {uses: worker.release@1}}
  after: {needs: [slow], uses: worker.hold@1, compensate: {uses: worker.release@1}}
  bad: {needs: [hold], fail: {message: no}}
""")
    run = FlowRun(plan).begin()
    run.succeed("hold")
    assert run.state.status is RunStatus.RUNNING
    run.succeed("slow")
    run.succeed("after")
    assert run.state.status is RunStatus.COMPENSATING
    for name in ("after", "slow", "hold"):
        run.succeed(f"{name}:compensate")
    assert undone(run) == ["after", "slow", "hold"]


def test_a_run_that_succeeds_undoes_nothing() -> None:
    run = run_of(flow(TRIP), pay={"receipt": 1})
    assert run.state.status is RunStatus.SUCCEEDED
    assert undone(run) == []


def test_without_the_policy_nothing_is_undone() -> None:
    plan = compiled(f"flow: v1\nname: order\nsteps:\n{TRIP}")
    run = run_of(plan)
    assert run.state.status is RunStatus.FAILED
    assert undone(run) == []
    assert run.state.compensable == []


def test_a_failure_with_nothing_to_undo_is_a_failure() -> None:
    plan = flow("  pay: {uses: worker.pay@1, compensate: {uses: worker.refund@1}}\n")
    run = run_of(plan)
    assert run.state.status is RunStatus.FAILED


def test_undoing_has_its_own_retry_and_the_next_one_waits_for_it() -> None:
    plan = flow(
        TRIP.replace(
            'with: {booking: "${{ steps.hotel.output.id }}"}',
            "retry: {max_attempts: 2, backoff: {initial: 5s, jitter: none}}",
        )
    )
    run = run_of(plan, release=in_turn(Fails("network"), {}, {}))
    assert undone(run) == ["hotel"]
    assert run.state.status is RunStatus.COMPENSATING
    before_ms = run.now_ms
    run.pass_time()
    assert run.now_ms == before_ms + 5_000
    assert undone(run) == ["hotel", "flight"]
    assert run.state.status is RunStatus.COMPENSATED


def hotel_is_gone(call: Called) -> Any:
    return Fails("http.410") if "hotel" in call.step else {}


def test_what_cannot_be_undone_is_named_and_the_others_are_undone_all_the_same() -> None:
    run = run_of(flow(TRIP), release=hotel_is_gone)
    assert run.state.status is RunStatus.FAILED
    assert undone(run) == ["hotel", "flight"]
    kind, message = run.why()
    assert kind == "compensation.failed"
    assert message == (
        "the run failed with card.declined, and this could not be undone: hotel (http.410)"
    )
    assert run.state.failed_step == "pay"
    assert run.state.first_failed == "pay", "what failed the run is not what could not be undone"
    assert run.refolded() == run.state


def test_the_key_outside_is_the_same_over_all_attempts_and_another_than_that_of_doing() -> None:
    plan = flow("""
  hold:
    uses: http.post@1
    with: {url: "https://a.example/hold"}
    compensate:
      uses: http.delete@1
      with: {url: "https://a.example/hold"}
      retry: {max_attempts: 2, backoff: {initial: 1s}}
  end: {needs: [hold], fail: {message: no}}
""")
    delete = in_turn(Fails("network"), {"status": 200})
    run = FlowRun(plan, outside={"http.post": in_turn({}), "http.delete": delete}).begin()
    run.pass_time()
    assert run.state.status is RunStatus.COMPENSATED
    keys = [call.key for call in run.calls]
    assert keys == [f"{RUN}/hold/0/do", *[f"{RUN}/hold/0/compensate"] * 2]


ITEMS = """
  book:
    foreach: {in: inputs.rooms, as: room, key: room.no, tolerate: {failures: TOLERATED}}
    uses: worker.book@1
    with: {what: "${{ room.no }}"}
    compensate:
      uses: worker.release@1
      with: {booking: "${{ steps.book.output.id }}", room: "${{ room.no }}"}
  pay: {needs: [book], uses: worker.pay@1}
"""
ROOMS = {"rooms": [{"no": "1"}, {"no": "2"}, {"no": "3"}]}


def book(call: Called) -> Any:
    what = call.arguments["what"]
    return Fails("full") if what == "2" else {"id": f"b-{what}"}


@pytest.mark.parametrize("tolerated", [0, 1])
def test_each_item_that_succeeded_is_undone_with_its_own_output(tolerated: int) -> None:
    plan = flow(ITEMS.replace("TOLERATED", str(tolerated)), "inputs: {rooms: {type: array}}")
    run = run_of(plan, ROOMS, book=book)
    released = [arguments for action, arguments in made(run) if action == "release"]
    assert released == [{"booking": "b-3", "room": "3"}, {"booking": "b-1", "room": "1"}]
    assert undone(run) == ["book[2]", "book[0]"]
    assert run.state.status is RunStatus.COMPENSATED
    assert run.refolded() == run.state


def test_a_sub_flow_can_undo_and_what_it_undoes_can_be_one() -> None:
    inner = compiled("""
flow: v1
name: give-back
inputs: {id: {type: string}}
steps:
  release: {uses: worker.release@1, with: {booking: "${{ inputs.id }}"}}
""")
    catalogue = Catalogue(
        flows={(inner.flow, "stable"): FlowDescriptor(inner.flow, 1, inner.hash, inner.inputs)}
    )
    plan = compiled(
        f"""{HEAD}
steps:
  hold:
    uses: worker.book@1
    with: {{what: room}}
    compensate: {{uses: flow/give-back@stable, with: {{id: "${{{{ steps.hold.output.id }}}}"}}}}
  end: {{needs: [hold], fail: {{message: no}}}}
""",
        catalogue,
    )
    outside = Outside()
    run = FlowRun(
        plan, outside={"book": outside, "release": outside}, called={inner.hash: inner}
    ).begin()
    assert run.state.status is RunStatus.COMPENSATED
    assert run.state.steps[StepKey("hold:compensate")].child is not None


def test_a_run_whose_timeout_passes_is_undone() -> None:
    plan = flow(
        """
  hold: {uses: worker.hold@1, compensate: {uses: worker.release@1}}
  sleep: {needs: [hold], wait: {for: 1h}}
""",
        "timeout: 1m",
    )
    run = FlowRun(plan).begin()
    run.succeed("hold")
    run.pass_time()
    assert run.state.status is RunStatus.COMPENSATING
    assert run.why()[0] == "timeout.run"
    timeouts = [one for one in effects_of_run(run.state, plan) if isinstance(one, SetTimer)]
    assert timeouts == [], "the run's time is over once: undoing has none"
    run.succeed("hold:compensate")
    assert run.state.status is RunStatus.COMPENSATED
    assert run.refolded() == run.state


def test_outputs_that_cannot_be_told_fail_the_run_and_undo_it() -> None:
    plan = flow(
        "  hold: {uses: worker.hold@1, compensate: {uses: worker.release@1}}\n",
        'outputs: {no: "${{ steps.hold.output.no.such }}"}',
    )
    run = FlowRun(plan).begin()
    run.succeed("hold", {})
    assert run.state.status is RunStatus.COMPENSATING
    run.succeed("hold:compensate")
    assert run.state.status is RunStatus.COMPENSATED
    assert run.why()[0] == "expr.error"


def cancel(cause: CancelCause) -> cmd.CancelRun:
    return cmd.CancelRun(run=RUN, tenant=TENANT, cause=cause, requested_by="ann")


def test_a_cancelled_run_has_not_failed_and_is_not_undone() -> None:
    run = FlowRun(flow(TRIP)).begin()
    run.succeed("flight", {"id": "b-1"})
    run.when(cancel(CancelCause.REQUEST))
    assert run.state.status is RunStatus.CANCELLED
    assert undone(run) == []


def in_mid_compensation() -> FlowRun:
    run = FlowRun(flow(TRIP)).begin()
    run.succeed("flight", {"id": "b-1"})
    run.succeed("hotel", {"id": "b-2"})
    run.fail("pay", "card.declined")
    assert run.ready() == ["hotel:compensate"]
    return run


def test_a_cancel_ends_the_undoing_and_the_run_says_what_is_left() -> None:
    run = in_mid_compensation()
    run.assign("hotel:compensate")
    assert run.when(cancel(CancelCause.REQUEST)) is None
    assert run.state.status is RunStatus.COMPENSATING, "a call under way is waited for"
    word = run.state.steps[StepKey("hotel:compensate")]
    run.when(
        cmd.CompleteStep(
            run=RUN,
            step=word.key,
            attempt=word.attempt,
            token=word.token,
            outcome=cmd.Outcome.CANCELLED,
        )
    )
    assert run.state.status is RunStatus.FAILED
    assert run.why()[1].endswith("could not be undone: hotel (cancelled), flight (not begun)")
    assert run.refolded() == run.state


def test_a_parent_that_gives_a_run_up_does_not_stop_its_undoing() -> None:
    run = in_mid_compensation()
    rejection = run.when(cancel(CancelCause.PARENT))
    assert rejection is not None
    assert rejection.reason is Reason.INVALID_STATE
    assert run.ready() == ["hotel:compensate"]


@pytest.mark.parametrize("moment", ["ready", "running", "waiting"])
def test_a_takeover_in_mid_compensation_goes_on_exactly_there(moment: str) -> None:
    plan = flow(
        TRIP.replace("uses: worker.release@1,", "uses: worker.release@1, retry: {max_attempts: 2},")
    )
    run = FlowRun(plan).begin()
    run.succeed("flight", {"id": "b-1"})
    run.succeed("hotel", {"id": "b-2"})
    run.fail("pay", "card.declined")
    if moment == "running":
        run.assign("hotel:compensate")
    if moment == "waiting":
        run.fail("hotel:compensate", "network")
    taken = thaw_run(freeze_run(run.state))
    assert taken == run.state
    found = list(effects_of_run(taken, plan))
    key = StepKey("hotel:compensate")
    expected = {
        "ready": [EnqueueStep(RUN, key, "worker:acme:release@1", 0)],
        "running": [],
        "waiting": [
            one
            for one in run.effects
            if isinstance(one, SetTimer) and one.kind is cmd.TimerKind.STEP_DUE
        ],
    }
    assert [one for one in found if not isinstance(one, PrepareChild)] == expected[moment]
    successor = FlowRun(plan, now_ms=run.now_ms, state=taken, vault=run.vault)
    before = len(taken.steps)
    assert successor.when(cmd.ContinueRun(run=RUN)) is None
    assert successor.events == [], "nothing is begun twice"
    if moment == "running":
        successor.when(cmd.LoseAttempt(run=RUN, step=key, attempt=1))
    if moment == "waiting":
        successor.effects += [one for one in found if isinstance(one, SetTimer)]
        successor.pass_time()
    successor.succeed("hotel:compensate")
    successor.succeed("flight:compensate")
    assert successor.state.status is RunStatus.COMPENSATED
    assert len(taken.steps) == before + 1


def test_a_lost_executor_of_an_undoing_with_an_effect_is_decided_by_its_row() -> None:
    run = in_mid_compensation()
    run.assign("hotel:compensate")
    run.when(cancel(CancelCause.REQUEST))
    run.when(cmd.LoseAttempt(run=RUN, step=StepKey("hotel:compensate"), attempt=1))
    key = StepKey("hotel:compensate")
    assert run.effects[-1] == CloseRow(RUN, key, 1, 0)
    run.when(cmd.CloseByRow(run=RUN, step=key, attempt=1, verdict=cmd.RowVerdict.UNKNOWN))
    assert run.state.status is RunStatus.FAILED
    assert "hotel (unknown_outcome)" in run.why()[1]


def parked() -> FlowRun:
    run = in_mid_compensation()
    run.when(cmd.ParkRun(run=RUN, incident=StepError(type="engine.fault")))
    assert run.state.status is RunStatus.SUSPENDED
    return run


def test_a_run_parked_in_its_undoing_says_what_is_left_when_it_is_cancelled() -> None:
    run = parked()
    run.when(cancel(CancelCause.REQUEST))
    assert run.state.status is RunStatus.FAILED
    assert run.why()[1].startswith("the run failed with card.declined")
    assert "flight (not begun)" in run.why()[1]


def test_a_run_parked_in_its_undoing_goes_on_with_it_when_it_is_resumed() -> None:
    run = parked()
    retry = cmd.StepEdit(step=StepKey("pay"), repair=Repair.RETRY)
    edited = run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="ann", edits=(retry,)))
    assert edited is not None, "what is being undone is past repair"
    assert run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="ann")) is None
    assert run.state.status is RunStatus.COMPENSATING
    run.succeed("hotel:compensate")
    run.succeed("flight:compensate")
    assert run.state.status is RunStatus.COMPENSATED
    assert run.why()[0] == "card.declined"
    assert run.state.failed_step == "pay"


def test_the_log_says_what_can_be_undone_when_it_succeeds() -> None:
    run = in_mid_compensation()
    succeeded = {one.step: one for one in run.events if isinstance(one, StepSucceeded)}
    assert {step: one.compensable for step, one in succeeded.items()} == {
        "flight": True,
        "hotel": True,
    }
    run.succeed("hotel:compensate")
    assert not [one for one in run.events if isinstance(one, StepSucceeded)][-1].compensable
    run.fail("flight:compensate")
    last = [one for one in run.events if isinstance(one, StepFailed)][-1]
    assert last.step == "flight:compensate"
    assert [one.step for one in run.events if isinstance(one, StepAssigned)][-2:] == [
        "hotel:compensate",
        "flight:compensate",
    ]


NESTED = """
  sync:
    foreach: {in: inputs.rooms, as: room, key: room.no}
    group:
      name: {set: {text: "room ${{ room.no }}"}}
      book:
        needs: [name]
        uses: worker.book@1
        with: {what: "${{ room.no }}"}
        compensate:
          uses: worker.release@1
          with:
            booking: "${{ steps.book.output.id }}"
            said: "${{ steps.name.output.text }}"
            room: "${{ room.no }}"
  pay: {needs: [sync], uses: worker.pay@1}
"""


def test_what_undoes_a_step_of_an_item_sees_what_was_around_it() -> None:
    run = run_of(flow(NESTED, "inputs: {rooms: {type: array}}"), ROOMS)
    released = [arguments for action, arguments in made(run) if action == "release"]
    assert released == [
        {"booking": f"b-{number}", "said": f"room {number}", "room": number}
        for number in ("3", "2", "1")
    ]
    assert undone(run) == ["sync[2]/book", "sync[1]/book", "sync[0]/book"]
    assert run.state.status is RunStatus.COMPENSATED
    assert run.refolded() == run.state


def test_steps_of_passes_are_undone_pass_by_pass_and_a_repeated_step_once() -> None:
    plan = flow("""
  twice:
    repeat: {until: steps.twice.output.id == 1, max: 3}
    group:
      hold: {uses: worker.hold@1, compensate: {uses: worker.release@1}}
    outputs: {id: "${{ steps.hold.output.id }}"}
  again:
    needs: [twice]
    repeat: {until: steps.again.output.id == 3, max: 3}
    uses: worker.hold@1
    compensate: {uses: worker.release@1, with: {id: "${{ steps.again.output.id }}"}}
  pay: {needs: [again], uses: worker.pay@1}
""")
    ids = iter(range(10))
    outside = Outside()
    run = FlowRun(
        plan,
        outside={"hold": lambda call: {"id": next(ids)}, "release": outside, "pay": outside},
    ).begin()
    assert undone(run) == ["again", "twice#2/hold", "twice#1/hold"]
    assert [dict(call.arguments) for call in run.calls if call.action == "release"] == [
        {"id": 3},
        {},
        {},
    ]
    assert run.state.status is RunStatus.COMPENSATED
    assert run.refolded() == run.state


def test_a_group_is_undone_and_then_what_is_in_it() -> None:
    plan = flow("""
  both:
    group:
      hold: {uses: worker.book@1, with: {what: x}, compensate: {uses: worker.release@1}}
    compensate: {uses: worker.refund@1}
  pay: {needs: [both], uses: worker.pay@1}
""")
    run = run_of(plan)
    assert undone(run) == ["both", "both/hold"]
    assert run.state.status is RunStatus.COMPENSATED


def test_a_step_of_a_group_that_failed_is_undone_although_the_group_is_not() -> None:
    plan = flow("""
  both:
    group:
      hold: {uses: worker.book@1, with: {what: x}, compensate: {uses: worker.release@1}}
      pay: {needs: [hold], uses: worker.pay@1}
    compensate: {uses: worker.refund@1}
""")
    run = run_of(plan)
    assert undone(run) == ["both/hold"]
    assert run.state.status is RunStatus.COMPENSATED
    assert run.why()[0] == "card.declined"

"""`group`: steps inside of a step, with a graph, failures and an end of their own."""

import pytest

from headrace_contracts.codec.record import encode_body
from headrace_core.ids import StepKey
from headrace_core.log.record import RECORD_BYTES_MAX
from headrace_core.run.events import StepSkipped
from headrace_core.run.state import RunState
from headrace_core.run.status import CancelCause, Repair, RunStatus, SkipReason, StepStatus
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.effects import EnqueueStep, SetTimer
from headrace_scheduler.domain.recovery import effects_of_run
from tests.support.flow_run import FlowRun, compiled
from tests.support.run_harness import RUN, TENANT

HEAD = "flow: v1\nname: sample\n"


def begun(steps: str) -> FlowRun:
    run = FlowRun(compiled(HEAD + steps))
    run.begin()
    return run


def cancel(run: FlowRun) -> None:
    command = cmd.CancelRun(run=RUN, tenant=TENANT, cause=CancelCause.REQUEST, requested_by="eve")
    assert run.when(command) is None


PAIR = """
steps:
  before: {set: {n: 20}}
  pair:
    needs: [before]
    group:
      left: {uses: worker.left@1, with: {n: "${{ steps.before.output.n }}"}}
      right: {uses: worker.right@1}
      both: {needs: [left, right], set: {sum: "${{ steps.left.output + steps.right.output }}"}}
    outputs: {sum: "${{ steps.both.output.sum }}", before: "${{ steps.before.output.n }}"}
    REST
  after: {needs: [pair], set: {got: "${{ steps.pair.output.sum }}"}}
outputs: {got: "${{ steps.after.output.got }}"}
"""


def pair(rest: str = "on_error: fail", head: str = "") -> FlowRun:
    return begun(head + PAIR.replace("REST", rest))


def test_a_group_gives_what_its_outputs_say_of_the_steps_inside() -> None:
    run = pair()
    assert run.ready() == ["pair/left", "pair/right"]
    run.succeed("pair/right", 2)
    run.succeed("pair/left", 40)
    assert run.go_on().output == {"got": 42}
    assert run.output_of("pair") == {"sum": 42, "before": 20}
    assert run.status("pair/both") is StepStatus.SUCCEEDED
    assert run.refolded() == run.state


def test_a_failure_inside_drains_the_group_and_fails_it_with_its_own_error() -> None:
    run = pair()
    run.fail("pair/left", "http.404")
    assert run.ready() == ["pair/right"], "the other step goes on to its end"
    run.succeed("pair/right", 2)
    assert run.status("pair/both") is StepStatus.SKIPPED
    assert run.status("pair") is StepStatus.FAILED
    assert run.status("after") is StepStatus.SKIPPED
    assert run.state.failed_step == "pair"
    assert run.why() == ("http.404", "no")


def test_a_failure_that_is_caught_inside_does_not_fail_the_group() -> None:
    run = begun(
        """
steps:
  pair:
    group:
      left: {uses: worker.left@1, on_error: catch}
      instead: {needs: [left.error], set: {n: 1}}
    outputs: {n: "${{ steps.instead.output.n }}"}
outputs: {n: "${{ steps.pair.output.n }}"}
"""
    )
    run.fail("pair/left")
    assert run.output == {"n": 1}


@pytest.mark.parametrize(
    ("rest", "pair_ends", "run_ends"),
    [
        ("on_error: catch", StepStatus.FAILED, RunStatus.SUCCEEDED),
        ("on_error: {output: {sum: 7, before: 0}}", StepStatus.SUCCEEDED, RunStatus.SUCCEEDED),
        ("on_error: fail", StepStatus.FAILED, RunStatus.FAILED),
    ],
)
def test_the_groups_own_on_error_is_for_what_was_not_handled_inside(
    rest: str, pair_ends: StepStatus, run_ends: RunStatus
) -> None:
    run = begun(PAIR.replace("REST", rest).replace("needs: [pair]", "needs: [pair], when: 'true'"))
    run.fail("pair/left")
    run.succeed("pair/right", 2)
    run.go_on()
    assert run.status("pair") is pair_ends
    failed = run.state.first_failed
    assert (failed is None) == (run_ends is RunStatus.SUCCEEDED)


def test_on_failure_cancel_stops_what_is_open_beside_the_failed_step_inside_too() -> None:
    run = pair(head="on_failure: cancel\n")
    run.fail("pair/left")
    assert run.status("pair/right") is StepStatus.CANCELLED
    assert run.status("pair") is StepStatus.FAILED
    assert run.state.status is RunStatus.FAILED
    assert run.refolded() == run.state


def test_on_failure_cancel_lets_a_steps_error_edge_inside_of_the_group_go_on() -> None:
    run = begun(
        """
on_failure: cancel
steps:
  pair:
    group:
      left: {uses: worker.left@1}
      right: {uses: worker.right@1}
      told: {needs: [left.error], uses: worker.tell@1}
"""
    )
    run.fail("pair/left")
    assert run.ready() == ["pair/told"]
    run.succeed("pair/told")
    assert run.status("pair/right") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.FAILED


def test_a_cancel_skips_what_is_pending_inside_and_ends_with_the_last_open_step() -> None:
    run = pair()
    done = run.assign("pair/left")
    cancel(run)
    skipped = {one.step: one.reason for one in run.events if isinstance(one, StepSkipped)}
    assert skipped == {
        "after": SkipReason.RUN_CANCELLED,
        "pair/both": SkipReason.RUN_CANCELLED,
    }
    assert run.status("pair/right") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.RUNNING, "an effect may still happen"
    run.when(
        cmd.CompleteStep(
            run=RUN,
            step=done.step,
            attempt=done.attempt,
            token=done.token,
            outcome=cmd.Outcome.CANCELLED,
        )
    )
    assert run.status("pair") is StepStatus.CANCELLED
    assert run.state.status is RunStatus.CANCELLED
    assert run.refolded() == run.state


@pytest.mark.parametrize(
    ("limit", "error_type"),
    [("timeout: 5m", "timeout.attempt"), ("deadline: 5m", "timeout.deadline")],
)
def test_a_group_whose_time_is_up_stops_its_steps_and_fails(limit: str, error_type: str) -> None:
    run = pair(rest=limit)
    run.succeed("pair/left", 40)
    run.pass_time()
    assert run.status("pair/right") is StepStatus.CANCELLED
    assert run.status("pair/both") is StepStatus.SKIPPED
    assert run.status("pair") is StepStatus.FAILED
    assert run.why()[0] == error_type
    assert run.refolded() == run.state


def test_a_new_owner_sets_the_timers_of_a_group_and_queues_its_steps_again() -> None:
    run = pair(rest="timeout: 5m")
    again = list(effects_of_run(run.state, run.plan))
    queued = [one.step for one in again if isinstance(one, EnqueueStep)]
    timers = [one.step for one in again if isinstance(one, SetTimer)]
    assert queued == ["pair/left", "pair/right"]
    assert timers == ["pair"]


def test_an_approval_inside_is_decided_by_its_address() -> None:
    run = begun(
        """
steps:
  pair:
    group:
      ask: {approval: {assignees: [ann]}}
      yes: {needs: [ask.approved], set: {n: 1}}
    outputs: {n: "${{ steps.yes.output.n }}"}
outputs: {n: "${{ steps.pair.output.n }}"}
"""
    )
    run.decide_approval("pair/ask", "approved")
    assert run.output == {"n": 1}


def test_outputs_that_cannot_be_told_fail_the_group() -> None:
    run = begun(
        """
steps:
  pair:
    group: {one: {uses: worker.one@1}}
    outputs: {n: "${{ steps.one.output.missing }}"}
"""
    )
    run.succeed("pair/one", {})
    assert run.status("pair") is StepStatus.FAILED
    assert run.why()[0] == "expr.error"


def test_groups_stand_in_groups_and_the_nearest_step_of_a_name_is_meant() -> None:
    run = begun(
        """
steps:
  n: {set: {n: 1}}
  outer:
    needs: [n]
    group:
      n: {set: {n: 10}}
      inner:
        needs: [n]
        group: {sum: {set: {n: "${{ steps.n.output.n + 1 }}"}}}
        outputs: {n: "${{ steps.sum.output.n }}"}
    outputs: {n: "${{ steps.inner.output.n }}"}
outputs: {n: "${{ steps.outer.output.n + steps.n.output.n }}"}
"""
    )
    assert run.output == {"n": 12}
    assert run.refolded() == run.state


NESTED = """
inputs: {rows: {type: array}}
steps:
  each:
    foreach: {in: inputs.rows, as: row, max_parallel: 2, key: row.id}
    group:
      pages:
        foreach: {in: row.pages, as: page}
        group:
          words:
            foreach: {in: page, as: word}
            uses: worker.read@1
            with: {row: "${{ row.id }}", word: "${{ word }}"}
        outputs: {words: "${{ steps.words.items.map(one, one.output) }}"}
      all: {needs: [pages], set: {n: "${{ steps.pages.items.map(one, one.output.words) }}"}}
    outputs: {id: "${{ row.id }}", n: "${{ steps.all.output.n }}"}
    REST
outputs: {all: "${{ steps.each.items.map(one, one.output) }}"}
"""
ROWS: list[dict[str, object]] = [
    {"id": "a", "pages": [["x", "y"], ["z"]]},
    {"id": "b", "pages": []},
    {"id": "c", "pages": [["w"]]},
]


def nested(rest: str = "on_error: fail", head: str = "") -> FlowRun:
    run = FlowRun(compiled(HEAD + head + NESTED.replace("REST", rest)))
    run.begin({"rows": ROWS})
    return run


def test_fan_outs_nest_three_deep_and_outputs_keep_the_order_of_their_lists() -> None:
    run = nested()
    ready = run.ready()
    assert ready == [
        "each[0]/pages[0]/words[0]",
        "each[0]/pages[0]/words[1]",
        "each[0]/pages[1]/words[0]",
        "each[2]/pages[0]/words[0]",
    ], "the second row has no pages: its place is free at once"
    for number, key in enumerate(reversed(ready)):
        run.succeed(key, number)
    run.go_on()
    assert run.output == {
        "all": [
            {"id": "a", "n": [[3, 2], [1]]},
            {"id": "b", "n": []},
            {"id": "c", "n": [[0]]},
        ]
    }
    assert list(run.state.steps) == ["each"], "items leave only their outcome behind"
    assert run.refolded() == run.state


def test_an_executor_is_told_the_items_of_all_fan_outs_around() -> None:
    arguments = 'with: {row: "${{ row.id }}", word: "${{ word }}"}'
    calling = NESTED.replace("REST", "on_error: fail").replace("worker.read@1", "http.get@1")
    calling = calling.replace(arguments, 'with: {url: "https://${{ row.id }}.test/${{ word }}"}')
    run = FlowRun(compiled(HEAD + calling))
    run.outside = {"http.get": lambda called: called.arguments["url"]}
    run.begin({"rows": ROWS})
    assert [(one.step, one.arguments["url"]) for one in run.calls] == [
        ("each[0]/pages[0]/words[0]", "https://a.test/x"),
        ("each[0]/pages[0]/words[1]", "https://a.test/y"),
        ("each[0]/pages[1]/words[0]", "https://a.test/z"),
        ("each[2]/pages[0]/words[0]", "https://c.test/w"),
    ]
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_failure_deep_inside_is_counted_by_its_own_fan_out_and_then_outwards() -> None:
    run = nested()
    run.fail("each[0]/pages[0]/words[0]", "http.404")
    for key in run.ready():
        run.succeed(key, 1)
    run.go_on()
    assert run.status("each") is StepStatus.FAILED
    error_type, message = run.why()
    assert error_type == "http.404"
    assert message.startswith("1 of 3 items failed")


def test_a_tolerated_item_takes_its_steps_with_it_and_the_others_go_on() -> None:
    run = begun(
        """
steps:
  each:
    foreach: {in: "[1, 2, 3]", as: n, max_parallel: 1, tolerate: {failures: 1}}
    group:
      read: {uses: worker.read@1}
      write: {needs: [read], uses: worker.write@1}
    outputs: {n: "${{ n }}"}
outputs: {counts: "${{ steps.each.counts }}"}
"""
    )
    run.fail("each[0]/read")
    assert run.ready() == ["each[1]/read"], "what needed the failed step is skipped"
    for item in ("each[1]", "each[2]"):
        run.succeed(f"{item}/read")
        run.succeed(f"{item}/write")
    counts = {"total": 3, "succeeded": 2, "failed": 1, "cancelled": 0}
    assert run.output == {"counts": counts}


def test_a_cancel_ends_everything_that_is_open_at_any_depth() -> None:
    run = nested()
    cancel(run)
    assert run.state.status is RunStatus.CANCELLED
    assert list(run.state.steps) == ["each"]
    assert run.refolded() == run.state


def test_on_failure_cancel_stops_the_items_beside_a_failed_one_at_every_depth() -> None:
    run = nested(head="on_failure: cancel\n")
    run.fail("each[0]/pages[0]/words[0]")
    run.go_on()
    assert run.ready() == []
    assert run.status("each") is StepStatus.FAILED
    assert run.state.status is RunStatus.FAILED
    assert run.refolded() == run.state


def test_a_repeated_group_goes_round_as_a_whole_and_sees_its_last_pass() -> None:
    run = begun(
        """
steps:
  improve:
    repeat: {until: steps.improve.output.good, max: 5}
    group:
      write: {set: {n: "${{ steps.improve.output == null ? 1 : steps.improve.output.n + 1 }}"}}
      judge: {needs: [write], set: {good: "${{ steps.write.output.n >= 3 }}"}}
    outputs: {n: "${{ steps.write.output.n }}", good: "${{ steps.judge.output.good }}"}
outputs: {n: "${{ steps.improve.output.n }}"}
"""
    )
    assert run.output == {"n": 3}
    assert list(run.state.steps) == ["improve"]
    assert run.refolded() == run.state


def test_approvals_waits_and_values_fan_out_too() -> None:
    run = begun(
        """
steps:
  ask: {foreach: {in: "['ann', 'bob']", as: who}, approval: {assignees: ["${{ who }}"]}}
  pause: {foreach: {in: "[1, 2]", as: n}, wait: {for: 1m}}
  double: {foreach: {in: "[1, 2]", as: n}, set: {n: "${{ n * 2 }}"}}
outputs:
  double: "${{ steps.double.items.map(one, one.output.n) }}"
  ask: "${{ steps.ask.items.map(one, one.output.decision) }}"
"""
    )
    run.decide_approval("ask[1]", "rejected")
    run.decide_approval("ask[0]", "approved")
    run.pass_time()
    run.pass_time()
    assert run.output == {"double": [2, 4], "ask": ["approved", "rejected"]}


def test_a_value_that_has_to_be_fetched_holds_up_its_item_alone() -> None:
    run = FlowRun(
        compiled(
            HEAD
            + """
steps:
  big: {uses: worker.big@1}
  each:
    needs: [big]
    foreach: {in: "[0, 1]", as: n}
    set: {n: "${{ steps.big.output[n] }}"}
outputs: {n: "${{ steps.each.items.map(one, one.output.n) }}"}
"""
        )
    )
    run.begin()
    run.succeed("big", [5, 6])
    assert run.output == {"n": [5, 6]}
    assert isinstance(run.refolded(), RunState)
    assert StepKey("each[0]") not in run.state.steps


MANY = """
inputs: {rows: {type: array}}
steps:
  each:
    foreach: {in: inputs.rows, as: row}
    group:
      inner:
        foreach: {in: inputs.rows, as: column}
        KIND
      sum: {needs: [inner], set: {n: "${{ steps.inner.counts.succeeded }}"}}
    outputs: {n: "${{ steps.sum.output.n }}"}
outputs: {counts: "${{ steps.each.counts }}"}
"""


def many(kind: str, rows: int) -> FlowRun:
    run = FlowRun(compiled(HEAD + MANY.replace("KIND", kind)))
    run.begin({"rows": list(range(rows))})
    return run


def test_what_does_not_fit_into_one_turn_goes_on_in_the_next_ones() -> None:
    run = many('set: {text: "${{ string(row) }}/${{ string(column) }}"}', 40)
    assert run.output == {"counts": {"total": 40, "succeeded": 40, "failed": 0, "cancelled": 0}}
    sizes = [len(encode_body(events, [])) for _, events in run.turns]
    assert len(sizes) >= 3, "no turn takes it all"
    assert max(sizes) < RECORD_BYTES_MAX
    assert run.refolded() == run.state


def test_a_cancel_of_more_than_one_turn_can_end_goes_on_in_the_next_ones() -> None:
    run = many("uses: worker.read@1", 40)
    assert len(run.ready()) == 1_600
    cancel(run)
    run.go_on()
    assert run.state.status is RunStatus.CANCELLED
    assert max(len(encode_body(events, [])) for _, events in run.turns) < RECORD_BYTES_MAX
    assert run.refolded() == run.state


def test_a_run_is_suspended_by_its_group_and_goes_on_when_that_is_skipped() -> None:
    run = pair(head="on_failure: suspend\n")
    run.fail("pair/left")
    assert run.state.status is RunStatus.RUNNING, "the other step goes on to its end"
    run.succeed("pair/right", 2)
    assert run.state.status is RunStatus.SUSPENDED
    assert run.state.failed_step == "pair"
    again = run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="eve"))
    assert again is not None and "parts of its own" in again.message
    skip = cmd.StepEdit(step=StepKey("pair"), repair=Repair.SKIP)
    assert run.when(cmd.ResumeRun(run=RUN, tenant=TENANT, resumed_by="eve", edits=(skip,))) is None
    run.go_on()
    assert run.status("pair") is StepStatus.SKIPPED
    assert run.state.status is not RunStatus.SUSPENDED
    assert run.refolded() == run.state


def test_steps_inside_of_a_group_are_undone_in_the_order_in_which_they_ended() -> None:
    run = begun(
        """
on_failure: compensate
steps:
  trip:
    group:
      flight:
        uses: worker.book@1
        compensate: {uses: worker.cancel@1, with: {id: "${{ steps.flight.output.id }}"}}
      hotel:
        uses: worker.book@1
        compensate: {uses: worker.cancel@1, with: {id: "${{ steps.hotel.output.id }}"}}
  pay: {needs: [trip], uses: worker.pay@1}
"""
    )
    run.succeed("trip/hotel", {"id": 1})
    run.succeed("trip/flight", {"id": 2})
    run.fail("pay")
    assert run.ready() == ["trip/flight:compensate"]
    run.succeed("trip/flight:compensate")
    assert run.ready() == ["trip/hotel:compensate"]
    run.succeed("trip/hotel:compensate")
    assert run.state.status is RunStatus.COMPENSATED
    assert run.refolded() == run.state

"""The flows of examples/ run as they stand, to the end that their comments promise."""

from typing import Any

import pytest

from headrace_core.ids import StepKey
from headrace_core.partition.events import ScheduleFired
from headrace_core.run.status import RunStatus, SkipReason
from headrace_core.workflow.values import time_text
from headrace_scheduler.app.preparing import schedule_input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.schedule import fire_schedule, set_schedule
from tests.support.flow_run import Called, Fails, FlowRun, example
from tests.support.run_harness import RUN, TENANT


def skip_reason(run: FlowRun, step: str) -> SkipReason | None:
    return run.state.steps[StepKey(step)].skip_reason


def test_hello_greets_whom_it_is_told_and_the_world_if_nobody() -> None:
    assert FlowRun(example("hello")).begin({"name": "Ann"}).output == {"greeting": "Hello, Ann!"}
    assert FlowRun(example("hello")).begin().output == {"greeting": "Hello, world!"}


def test_sequence_hands_a_value_through_five_steps_unchanged() -> None:
    value = {"a": [1, 2.5, None, True], "ü": {"nested": "text"}}
    run = FlowRun(example("sequence")).begin({"value": value})
    assert run.output == {"value": value}
    assert run.kinds().count("StepSucceeded") == 5
    assert run.refolded() == run.state


@pytest.mark.parametrize(
    ("score", "ran", "called"),
    [
        (95, ["route", "call", "write", "summary"], True),
        (80, ["route", "call", "write", "summary"], True),
        (40, ["route", "write", "summary"], False),
        (10, ["route", "wait_and_see", "summary"], False),
    ],
)
def test_branch_takes_one_way_and_comes_together_again(
    score: int, ran: list[str], called: bool
) -> None:
    run = FlowRun(example("branch")).begin({"score": score})
    statuses = run.statuses()
    assert sorted(name for name in statuses if statuses[name] == "succeeded") == sorted(ran)
    assert set(statuses.values()) <= {"succeeded", "skipped"}
    assert run.output == {"called": called}


def test_branch_says_of_a_step_not_run_that_its_branch_was_not_taken() -> None:
    run = FlowRun(example("branch")).begin({"score": 10})
    assert skip_reason(run, "call") is SkipReason.BRANCH_NOT_TAKEN
    assert skip_reason(run, "write") is SkipReason.BRANCH_NOT_TAKEN


def test_trip_keeps_what_can_be_paid_for() -> None:
    assert FlowRun(example("trip")).begin().output == {"seat": "12A", "room": 7}


def test_trip_gives_back_what_it_booked_when_nobody_pays() -> None:
    run = FlowRun(example("trip")).begin({"price": 1200})
    assert run.state.status is RunStatus.COMPENSATED
    assert run.why() == ("card.declined", "nobody pays 1200")
    assert run.output_of("hotel:compensate") == "gave back room 7"
    assert run.output_of("flight:compensate") == "gave back seat 12A"
    assert run.refolded() == run.state


def test_cleanup_closes_when_all_went_well() -> None:
    run = FlowRun(example("cleanup")).begin({"detailed": True})
    assert run.output == {"closed": 7}
    assert run.output_of("report") == {"with_details": True}
    assert skip_reason(run, "break_down") is SkipReason.CONDITION


def test_cleanup_reports_without_what_was_optional() -> None:
    run = FlowRun(example("cleanup")).begin()
    assert run.output_of("report") == {"with_details": False}
    assert skip_reason(run, "details") is SkipReason.CONDITION


def test_cleanup_closes_even_when_something_broke_and_the_run_still_fails() -> None:
    run = FlowRun(example("cleanup")).begin({"broken": True})
    assert run.output_of("close") == {"closed": 7}
    assert run.state.status is RunStatus.FAILED
    assert run.why() == ("demo.broken", "handle 7 broke down")
    assert run.state.failed_step == "break_down"


def test_errors_replaces_catches_and_routes_and_the_run_succeeds() -> None:
    run = FlowRun(example("errors")).begin({"code": "X"})
    assert run.output == {"message": "the table has no 'X' and there is no default"}
    assert run.statuses() == {
        "replaced": "succeeded",
        "caught": "failed",
        "after_failure": "succeeded",
        "after_success": "skipped",
        "told": "succeeded",
    }
    assert run.output_of("replaced") == "other"
    assert run.state.steps[StepKey("replaced")].recovered
    assert run.output_of("told") == {"replaced": "succeeded"}
    assert run.error_of("caught")[0] == "input.invalid"


def test_errors_keeps_an_output_that_needed_no_replacement() -> None:
    run = FlowRun(example("errors")).begin({"code": "A"})
    assert run.output_of("replaced") == "first"
    assert not run.state.steps[StepKey("replaced")].recovered


EXPENSE = {"amount": 250, "employee": "eve", "manager": "bob"}


def test_expense_approval_pays_a_small_one_without_asking() -> None:
    run = FlowRun(example("expense-approval")).begin({**EXPENSE, "amount": 99})
    assert run.output == {"paid": True}
    assert skip_reason(run, "ask") is SkipReason.BRANCH_NOT_TAKEN
    assert run.output_of("pay") == {"paid": 99}


@pytest.mark.parametrize(("decision", "paid"), [("approved", True), ("rejected", False)])
def test_expense_approval_does_what_the_manager_decides(decision: str, paid: bool) -> None:
    run = FlowRun(example("expense-approval")).begin(EXPENSE)
    asked = run.open(run.state.steps[StepKey("ask")].approval)
    assert asked["assignees"] == ["bob"] and asked["title"] == "Expense of 250 by eve"
    assert run.state.status is RunStatus.WAITING
    run.decide_approval("ask", decision, {"comment": "seen"})
    assert run.output == {"paid": paid}
    assert run.statuses()["refuse"] == ("skipped" if paid else "succeeded")


def test_expense_approval_takes_silence_for_a_no() -> None:
    run = FlowRun(example("expense-approval")).begin(EXPENSE)
    asked_ms = run.now_ms
    run.pass_time()
    assert run.now_ms - asked_ms == 3 * 86_400_000
    assert run.output == {"paid": False}
    assert run.output_of("refuse") == {"reason": "refused by the manager"}


def test_fan_out_filters_counts_and_tolerates_nothing_it_need_not() -> None:
    orders = [{"id": f"o{index}", "amount": index} for index in range(5, 30)]
    run = FlowRun(example("fan-out")).begin({"orders": orders})
    assert run.output == {"handled": 20, "succeeded": 20}
    assert run.output_of("total") == {"total": 20, "by": {"succeeded": 20}}


def test_fan_out_refuses_two_orders_of_one_id() -> None:
    orders = [{"id": "same", "amount": 20}, {"id": "same", "amount": 30}]
    run = FlowRun(example("fan-out")).begin({"orders": orders})
    assert run.state.status is RunStatus.FAILED
    assert run.why() == (
        "input.invalid",
        "two items have the key 'same': `foreach.key` must tell them apart",
    )


def test_greet_all_calls_the_other_flow_for_each_name_in_order() -> None:
    hello = example("hello")
    run = FlowRun(example("greet-all", hello), called={hello.hash: hello})
    run.begin({"names": ["Ann", "Bob", "Eve"]})
    assert run.output == {"letter": "Hello, Ann!\nHello, Bob!\nHello, Eve!"}


def test_greet_all_of_nobody_is_an_empty_letter() -> None:
    hello = example("hello")
    run = FlowRun(example("greet-all", hello), called={hello.hash: hello})
    assert run.begin({"names": []}).output == {"letter": ""}


def test_heartbeat_fires_with_its_time_and_knows_its_trigger() -> None:
    plan = example("heartbeat")
    run = FlowRun(plan, now_ms=1_700_000_000_000)
    schedule = cmd.SetSchedule(
        schedule="beat",
        tenant=TENANT,
        flow=plan.flow,
        version=1,
        plan=plan.hash,
        trigger="tick",
        every_ms=plan.triggers["tick"].every_ms or 0,
    )
    run.decide(lambda turn: set_schedule(turn, schedule))
    due_ms = run.partition.schedules["beat"].next_due_ms
    assert due_ms == run.now_ms + 5_000
    run.now_ms = due_ms + 7
    fields, fault = schedule_input(plan, "tick", due_ms)
    assert not fault
    fire = cmd.FireSchedule(
        schedule="beat",
        due_ms=due_ms,
        firing_ms=due_ms,
        run=RUN,
        input=run.vault.seal(RUN, fields),
    )
    run.decide(lambda turn: fire_schedule(turn, fire))
    assert run.go_on().output == {"at": time_text(due_ms)}
    assert run.output_of("beat") == {"at": time_text(due_ms), "trigger": "tick"}
    fired = next(one for one in run.partition_events if isinstance(one, ScheduleFired))
    assert fired.next_due_ms == due_ms + 5_000


def test_heartbeat_by_hand_has_no_time_but_its_default() -> None:
    assert FlowRun(example("heartbeat")).begin().output == {"at": "by hand"}


def test_order_sync_sends_each_row_under_its_own_key_and_marks_them_all() -> None:
    marked: list[Any] = []

    def execute(call: Called) -> Any:
        marked.append(call.arguments["params"])
        return {"rows": 2}

    rows = [{"id": 1, "amount": 20}, {"id": 2, "amount": 5}]
    run = FlowRun(
        example("order-sync"),
        outside={
            "postgres.query": lambda call: {"rows": rows, "truncated": False},
            "http.post": lambda call: {"status": 201, "headers": {}, "body": None},
            "postgres.execute": execute,
        },
        secrets={"LEDGER_TOKEN": "t0ken"},
    ).begin()
    assert run.output == {"sent": 2}
    assert marked == [[[1, 2]]]
    posts = [call for call in run.calls if call.action == "http.post"]
    assert [call.step for call in posts] == ["send[0]", "send[1]"]
    assert [call.arguments["body"] for call in posts] == [
        {"order": 1, "amount": 20},
        {"order": 2, "amount": 5},
    ]
    assert {call.arguments["auth"] for call in posts} == {"t0ken"}
    assert [call.key for call in posts] == ["order-1", "order-2"]
    assert run.calls[0].timeout_ms == 30_000


def test_order_sync_marks_nothing_when_one_entry_could_not_be_sent() -> None:
    rows = [{"id": 1, "amount": 20}, {"id": 2, "amount": 5}]
    run = FlowRun(
        example("order-sync"),
        outside={
            "postgres.query": lambda call: {"rows": rows, "truncated": False},
            "http.post": lambda call: Fails("http.422") if "2" in str(call.key) else {},
        },
        secrets={"LEDGER_TOKEN": "t0ken"},
    ).begin()
    assert run.state.status is RunStatus.FAILED
    assert run.why()[0] == "http.422"
    assert run.statuses() == {"open_orders": "succeeded", "send": "failed", "mark": "skipped"}


def test_quorum_releases_with_the_second_voice_and_waits_for_the_third() -> None:
    run = FlowRun(example("quorum")).begin({"document": "D"})
    run.decide_approval("bob", "approved")
    assert run.statuses()["release"] == "pending"
    run.decide_approval("eve", "approved")
    assert run.statuses()["release"] == "succeeded"
    assert run.state.status is RunStatus.WAITING
    run.decide_approval("ann", "rejected")
    assert run.output == {"released": True}


def test_quorum_gives_up_as_soon_as_two_voices_can_no_longer_agree() -> None:
    run = FlowRun(example("quorum")).begin({"document": "D"})
    run.decide_approval("ann", "rejected")
    assert run.statuses()["release"] == "pending"
    run.decide_approval("bob", "rejected")
    assert run.statuses()["release"] == "skipped"
    assert skip_reason(run, "release") is SkipReason.BRANCH_NOT_TAKEN
    assert run.state.status is RunStatus.WAITING
    run.pass_time()
    assert run.output == {"released": False}


def test_table_report_groups_sorts_and_looks_up() -> None:
    packages = [
        {"name": "a", "licence": "MIT"},
        {"name": "b", "licence": "GPL-3.0"},
        {"name": "c", "licence": "MIT"},
        {"name": "d", "licence": "MIT", "test_only": True},
        {"name": "e", "licence": "Zlib"},
    ]
    run = FlowRun(example("table-report")).begin({"packages": packages})
    assert run.output == {
        "report": "MIT: 2\nGPL-3.0: 1\nZlib: 1",
        "verdicts": ["yes", "no", "unclear"],
    }


def test_waiting_pauses_and_does_not_wait_for_what_has_passed() -> None:
    run = FlowRun(example("waiting"), now_ms=1_800_000_000_000).begin()
    assert run.state.status is RunStatus.WAITING
    run.pass_time()
    assert run.output == {"at": "2026-01-01T00:00:00Z"}
    assert run.now_ms == 1_800_000_000_200


def test_waiting_sleeps_until_the_time_it_is_given_and_not_past_its_timeout() -> None:
    begun_ms = 1_800_000_000_000
    run = FlowRun(example("waiting"), now_ms=begun_ms).begin({"at": time_text(begun_ms + 90_000)})
    run.pass_time().pass_time()
    assert run.state.status is RunStatus.SUCCEEDED and run.now_ms == begun_ms + 90_000
    late = FlowRun(example("waiting"), now_ms=begun_ms)
    late.begin({"at": time_text(begun_ms + 7_200_000)}).pass_time().pass_time()
    assert late.now_ms == begun_ms + 3_600_000
    assert late.why()[0] == "timeout.run"


URLS = {"url": "https://a.example.com/", "mirror": "https://b.example.com/"}
GOOD: dict[str, Any] = {"status": 200, "headers": {}, "body": "ok"}


def test_web_check_retries_then_asks_the_mirror() -> None:
    def get(call: Called) -> Any:
        return GOOD if call.arguments["url"] == URLS["mirror"] else Fails("http.503")

    run = FlowRun(example("web-check"), outside={"http.get": get}).begin(URLS)
    while run.state.status is RunStatus.WAITING:
        run.pass_time()
    assert run.output == {"reached": True}
    assert [call.arguments["url"] for call in run.calls] == [URLS["url"]] * 4 + [URLS["mirror"]]
    assert {call.timeout_ms for call in run.calls} == {10_000}


def test_web_check_does_not_repeat_what_cannot_get_better_and_ends_with_a_plain_answer() -> None:
    run = FlowRun(example("web-check"), outside={"http.get": lambda call: Fails("http.404")})
    run.begin(URLS)
    assert run.output == {"reached": False}
    assert [call.arguments["url"] for call in run.calls] == [URLS["url"], URLS["mirror"]]
    assert run.output_of("fetch") == {"status": 0, "headers": {}, "body": None}


def test_worker_task_collects_what_the_workers_gave_in_input_order() -> None:
    run = FlowRun(
        example("worker-task"),
        outside={"resize": lambda call: len(call.arguments["image"])},
    ).begin({"images": ["a", "bb", "ccc", "dddd", "eeeee"]})
    assert run.output == {"sizes": [1, 2, 3, 4, 5]}
    assert {call.timeout_ms for call in run.calls} == {300_000}
    assert run.calls[0].arguments == {"image": "a", "width": 640}


def test_extract_gives_what_the_model_read() -> None:
    def read(call: Called) -> Any:
        assert call.arguments["prompt"]["user"].endswith("invoice: 12 EUR")
        return {"total": 12, "currency": "EUR"}

    run = FlowRun(example("extract"), outside={"ai.extract": read}).begin({"text": "12 EUR"})
    assert run.output == {"total": 12, "currency": "EUR"}


@pytest.mark.parametrize(("error", "asked"), [("ai.schema_mismatch", 2), ("ai.refusal", 1)])
def test_extract_answers_plainly_when_the_model_does_not(error: str, asked: int) -> None:
    run = FlowRun(example("extract"), outside={"ai.extract": lambda call: Fails(error)})
    run.begin({"text": "?"})
    while run.state.status is RunStatus.WAITING:
        run.pass_time()
    assert run.output == {"total": 0, "currency": "unknown"}
    assert len(run.calls) == asked
    assert run.state.steps[StepKey("read")].recovered

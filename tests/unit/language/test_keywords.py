"""Keywords of the language at run time, each with what it means and what it refuses."""

from typing import Any

import pytest

from headrace_core.ids import StepKey
from headrace_core.partition.events import ScheduleFired
from headrace_core.payload import Stored
from headrace_core.run.replay import StoredTurn
from headrace_core.run.status import RunStatus, StepStatus
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.inputs import value_faults
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue
from headrace_core.workflow.values import time_text
from headrace_history.domain.rendering import (
    MASKED,
    JsonText,
    Payloads,
    run_document,
)
from headrace_history.domain.timeline import timeline_of
from headrace_scheduler.app.preparing import schedule_input
from headrace_scheduler.domain import commands as cmd
from headrace_scheduler.domain.decide.schedule import fire_schedule, firing_ms, set_schedule
from headrace_scheduler.domain.effects import SetTimer
from tests.support.flow_run import Called, Fails, FlowRun, Outside, compiled
from tests.support.run_harness import RUN, TENANT

HEAD = "flow: v1\nname: sample\n"
URL = '"https://a.example.com/"'


def flow(steps: str, more: str = "") -> Plan:
    return compiled(f"{HEAD}{more}\nsteps:\n{steps}")


def codes(steps: str, more: str = "") -> set[str]:
    found = compile_definition(f"{HEAD}{more}\nsteps:\n{steps}", Catalogue())
    assert not isinstance(found, Plan), "it was accepted"
    return {fault.code for fault in found}


def answers(value: Any) -> Outside:
    return lambda call: value


# approval


ASK = """
  ask:
    approval:
      assignees: [bob]
      title: "Pay ${{{{ inputs.amount }}}} EUR?"
      form: {{type: object, required: [account], properties: {{account: {{type: string}}}}}}
      expires: 2h
      {0}
  yes: {{needs: [ask.approved], set: {{to: "${{{{ steps.ask.output.form.account }}}}"}}}}
  no: {{needs: [ask.rejected], set: {{}}}}
  late: {{needs: [ask.expired], set: {{}}}}
  any: {{needs: [ask], set: {{}}}}
"""
AMOUNT = "inputs: {amount: {type: integer}}"


def asking(more: str = "") -> FlowRun:
    return FlowRun(flow(ASK.format(more), AMOUNT)).begin({"amount": 5})


def asked(run: FlowRun) -> dict[str, Any]:
    return run.open(run.state.steps[StepKey("ask")].approval)


def test_an_approval_shows_its_title_with_the_values_of_the_run() -> None:
    assert asked(asking())["title"] == "Pay 5 EUR?"


def test_an_approval_whose_title_cannot_be_told_asks_nobody_and_fails() -> None:
    steps = '  a: {set: {}}\n  ask: {needs: [a], approval: {assignees: [bob], title: "${{ '
    run = FlowRun(flow(steps + 'steps.a.output.none }}"}}')).begin()
    assert run.why()[0] == "expr.error"
    assert "ApprovalRequested" not in run.kinds()


def test_an_approval_without_a_title_shows_that_of_the_step_and_without_that_its_name() -> None:
    titled = "  ask: {title: Release it?, approval: {assignees: [bob]}}"
    bare = "  ask: {approval: {assignees: [bob]}}"
    assert asked(FlowRun(flow(titled)).begin())["title"] == "Release it?"
    assert asked(FlowRun(flow(bare)).begin())["title"] == "ask"


def test_the_title_of_a_step_is_no_template() -> None:
    assert codes('  a: {title: "${{ run.id }}", set: {}}') == {"HR-1309"}


def test_an_approval_hands_its_form_to_the_people_and_what_they_fill_in_to_the_flow() -> None:
    run = asking()
    form = asked(run)["form"]
    assert form == {
        "type": "object",
        "required": ["account"],
        "properties": {"account": {"type": "string"}},
    }
    assert [fault.path for fault in value_faults(form, {"account": 7})] == ["account"]
    run.decide_approval("ask", "approved", {"account": "DE12"})
    assert run.output_of("yes") == {"to": "DE12"}


def test_an_approval_without_a_form_asks_for_none() -> None:
    run = FlowRun(flow("  ask: {approval: {assignees: [bob]}}")).begin()
    assert asked(run)["form"] is None


def test_a_form_that_is_no_schema_is_refused() -> None:
    steps = "  ask: {approval: {assignees: [bob], form: {type: circle}}}"
    assert codes(steps) == {"HR-1501"}


@pytest.mark.parametrize(
    ("more", "taken"),
    [
        ("", "late"),
        ("on_expire: expired", "late"),
        ("on_expire: rejected", "no"),
    ],
)
def test_an_approval_nobody_decided_takes_the_port_for_silence_and_no_other(
    more: str, taken: str
) -> None:
    run = asking(more)
    asked_ms = run.now_ms
    run.pass_time()
    assert run.now_ms == asked_ms + 2 * 3_600_000
    statuses = run.statuses()
    assert {name for name in ("yes", "no", "late") if statuses[name] == "succeeded"} == {taken}
    assert statuses["any"] == "succeeded", "a plain edge is active whatever the port"
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_decision_in_time_makes_the_expiry_mean_nothing() -> None:
    run = asking("on_expire: rejected")
    run.decide_approval("ask", "approved", {"account": "DE12"})
    assert run.state.status is RunStatus.SUCCEEDED
    timer = next(one for one in run.effects if isinstance(one, SetTimer))
    run.now_ms = timer.due_ms
    late = cmd.FireTimer(run=RUN, step=timer.step, kind=timer.kind, due_ms=timer.due_ms)
    assert run.when(late) is not None


def test_a_decision_after_the_expiry_is_rejected_with_what_happened() -> None:
    run = asking("on_expire: rejected").pass_time()
    answer = run.sealed({"decision": "approved"})
    rejection = run.when(
        cmd.DecideApproval(
            run=RUN, tenant=TENANT, step=StepKey("ask"), decision="approved", answer=answer
        )
    )
    assert rejection is not None and "rejected" in rejection.message


# fail


def test_fail_fails_the_run_with_its_type_and_its_message() -> None:
    run = FlowRun(
        flow('  a: {fail: {type: demo.sold_out, message: "only ${{ inputs.n }} left"}}', COUNT)
    ).begin({"n": 3})
    assert run.state.status is RunStatus.FAILED
    assert run.why() == ("demo.sold_out", "only 3 left")
    assert run.state.failed_step == "a"


def test_fail_without_a_type_has_one_all_the_same() -> None:
    assert FlowRun(flow("  a: {fail: {message: no}}")).begin().why() == ("flow.fail", "no")


def test_a_message_that_is_a_value_alone_is_shown_as_json() -> None:
    run = FlowRun(flow('  a: {fail: {message: "${{ inputs.n }}"}}', COUNT)).begin({"n": 3})
    assert run.why() == ("flow.fail", "3")


def test_a_message_that_cannot_be_told_fails_all_the_same_and_says_why() -> None:
    steps = '  a: {set: {}}\n  b: {needs: [a], fail: {message: "${{ steps.a.output.x }}"}}'
    assert FlowRun(flow(steps)).begin().why()[0] == "expr.error"


def test_fail_can_be_caught_and_routes_to_its_error_edge() -> None:
    run = FlowRun(
        flow("""
  a: {fail: {type: demo.no, message: because}, on_error: catch}
  after: {needs: [a], set: {}}
  rescue: {needs: [a.error], set: {why: "${{ steps.a.error.type }}"}}
""")
    ).begin()
    assert run.state.status is RunStatus.SUCCEEDED
    assert run.statuses() == {"a": "failed", "after": "skipped", "rescue": "succeeded"}
    assert run.output_of("rescue") == {"why": "demo.no"}


def test_the_type_of_a_fail_is_no_template() -> None:
    assert codes('  a: {fail: {type: "${{ run.id }}", message: no}}') == {"HR-1309"}


COUNT = "inputs: {n: {type: integer}}"


# with


def test_arguments_keep_their_types_and_become_text_only_inside_of_text() -> None:
    run = FlowRun(
        flow(
            '  a: {uses: data.echo@1, with: {value: {whole: "${{ inputs.n }}", '
            'list: ["${{ inputs.n * 2 }}"], mixed: "n=${{ inputs.n }}", plain: $n, no: null}}}',
            COUNT,
        )
    ).begin({"n": 3})
    value = {"whole": 3, "list": [6], "mixed": "n=3", "plain": "$n", "no": None}
    assert run.output_of("a") == value


def test_arguments_see_what_came_before_and_the_facts_of_the_run() -> None:
    run = FlowRun(
        flow(
            """
  a: {set: {x: 1}}
  b:
    needs: [a]
    uses: data.echo@1
    with:
      value: ["${{ steps.a.output.x }}", "${{ run.id }}", "${{ trigger.id }}", "${{ vars.v }}"]
""",
            "vars: {v: [2]}",
        )
    ).begin()
    assert run.output_of("b") == [1, RUN, "manual", [2]]


def test_an_argument_that_cannot_be_told_fails_the_step_without_a_call() -> None:
    run = FlowRun(
        flow(
            "  a: {set: {}}\n  b: {needs: [a], uses: http.get@1, "
            'with: {url: "${{ steps.a.output.url }}"}}'
        ),
        outside={"http.get": answers({})},
    ).begin()
    assert run.calls == []
    assert run.error_of("b")[0] == "expr.error"


def test_arguments_that_do_not_fit_their_action_fail_the_step_and_are_not_retried() -> None:
    run = FlowRun(
        flow('  a: {uses: data.count@1, with: {items: "${{ inputs.n }}"}}', "inputs: {n: {}}")
    ).begin({"n": 3})
    assert run.error_of("a")[0] == "input.invalid"
    assert run.kinds().count("StepAssigned") == 1


def test_a_missing_argument_is_found_before_anything_runs() -> None:
    assert codes("  a: {uses: http.get@1}") == {"HR-1403"}


# fallback.with


def test_a_fallback_call_has_arguments_of_its_own() -> None:
    plan = flow(f"""
  a:
    uses: http.get@1
    with: {{url: {URL}, headers: {{x: one}}}}
    retry: {{max_attempts: 1}}
    fallback:
      - {{uses: http.get@1, with: {{url: "https://b.example.com/${{{{ steps.a.error.type }}}}"}}}}
      - {{uses: worker.last@1}}
""")
    run = FlowRun(
        plan, outside={"http.get": answers(Fails("http.503")), "last": answers("done")}
    ).begin()
    assert [call.arguments for call in run.calls] == [
        {"url": "https://a.example.com/", "headers": {"x": "one"}},
        {"url": "https://b.example.com/http.503"},
        {},
    ]
    assert run.output_of("a") == "done"


def test_a_fallback_whose_arguments_cannot_be_told_gives_way_to_the_next() -> None:
    plan = flow(f"""
  none: {{set: {{}}}}
  a:
    needs: [none]
    uses: http.get@1
    with: {{url: {URL}}}
    retry: {{max_attempts: 1}}
    fallback:
      - {{uses: http.get@1, with: {{url: "${{{{ steps.none.output.url }}}}"}}}}
      - {{output: plain}}
""")
    run = FlowRun(plan, outside={"http.get": answers(Fails("http.503"))}).begin()
    assert len(run.calls) == 1
    assert run.output_of("a") == "plain"


# idempotency_key


POST = """
  a:
    uses: http.post@1
    with: {{url: "https://a.example.com/"}}
    retry: {{max_attempts: 3, backoff: {{initial: 0s}}}}
    {0}
"""


def keys(run: FlowRun) -> list[str]:
    return [call.key for call in run.calls]


def flaky(failures: int) -> Outside:
    left = [Fails("http.503")] * failures

    def call(called: Called) -> Any:
        return left.pop() if left else {"status": 200}

    return call


def test_a_key_is_the_same_for_all_attempts_of_a_step() -> None:
    plan = flow(POST.format('idempotency_key: "order-${{ inputs.n }}"'), COUNT)
    run = FlowRun(plan, outside={"http.post": flaky(2)}).begin({"n": 7})
    assert keys(run) == ["order-7"] * 3
    assert run.state.status is RunStatus.SUCCEEDED


def test_a_key_that_nobody_gave_names_run_and_step() -> None:
    run = FlowRun(flow(POST.format("")), outside={"http.post": flaky(1)}).begin()
    assert keys(run) == [f"{RUN}/a/0/do"] * 2


def test_a_key_survives_a_lost_executor() -> None:
    plan = flow(POST.format('idempotency_key: "order-${{ inputs.n }}"'), COUNT)
    run = FlowRun(plan).begin({"n": 7})
    lost = run.assign("a")
    run.when(cmd.LoseAttempt(run=RUN, step=lost.step, attempt=lost.attempt))
    run.outside = {"http.post": flaky(0)}
    run.go_on()
    assert keys(run) == ["order-7"]
    assert run.state.steps[StepKey("a")].attempt == 2


def test_items_and_fallbacks_have_keys_of_their_own() -> None:
    plan = flow("""
  each:
    foreach: {in: inputs.list, as: x}
    uses: http.post@1
    with: {url: "https://a.example.com/"}
    idempotency_key: item-${{ x }}
    retry: {max_attempts: 1}
    fallback: [{uses: http.put@1, with: {url: "https://b.example.com/"}}]
""", "inputs: {list: {type: array}}")  # fmt: skip
    outside = {"http.post": answers(Fails("http.503")), "http.put": answers({})}
    run = FlowRun(plan, outside=outside).begin({"list": ["p", "q"]})
    assert keys(run) == ["item-p", "item-q", "item-p/1", "item-q/1"]


@pytest.mark.parametrize("key", ['"${{ inputs.key }}"', '"${{ inputs.key == inputs.key }}"'])
def test_a_key_that_is_no_text_fails_the_step_before_anything_leaves(key: str) -> None:
    plan = flow(POST.format(f"idempotency_key: {key}"), "inputs: {key: {}}")
    run = FlowRun(plan, outside={"http.post": flaky(0)}).begin({"key": ""})
    assert run.calls == []
    assert run.error_of("a")[0] == "input.invalid"


# timeout of a step


def test_an_attempt_carries_its_limit_and_the_defaults_hold_where_none_is_said() -> None:
    steps = f"""
  own: {{uses: http.get@1, with: {{url: {URL}}}, timeout: 2s}}
  other: {{uses: http.get@1, with: {{url: {URL}}}}}
"""
    limited = FlowRun(flow(steps, "defaults: {timeout: 1m}"), outside={"http.get": answers({})})
    assert {call.step: call.timeout_ms for call in limited.begin().calls} == {
        "own": 2_000,
        "other": 60_000,
    }
    free = FlowRun(flow(steps), outside={"http.get": answers({})})
    assert {call.step: call.timeout_ms for call in free.begin().calls} == {"own": 2_000, "other": 0}


def test_each_attempt_has_the_whole_timeout_and_a_late_one_is_repeated_by_the_policy() -> None:
    plan = flow(
        f"  a: {{uses: http.get@1, with: {{url: {URL}}}, timeout: 2s, "
        "retry: {max_attempts: 2, backoff: {initial: 0s}, on: [timeout]}}"
    )
    run = FlowRun(plan, outside={"http.get": answers(Fails("timeout.attempt"))}).begin()
    assert [call.timeout_ms for call in run.calls] == [2_000, 2_000]
    assert run.why()[0] == "timeout.attempt"


def test_a_timeout_of_nothing_is_refused() -> None:
    assert codes(f"  a: {{uses: http.get@1, with: {{url: {URL}}}, timeout: 0s}}") == {"HR-1107"}


# sensitive


SECRET = """
  hidden: {{uses: worker.read@1, sensitive: {0}, on_error: catch}}
  shown: {{needs: [hidden], join: always, set: {{x: 1}}}}
"""


def document(run: FlowRun) -> dict[str, Any]:
    """As the API shows it to somebody who did not ask for what is sensitive."""
    hidden = frozenset(name for name, step in run.plan.steps.items() if step.sensitive)
    turns: list[StoredTurn] = []
    sequence = 1
    for time_ms, events in run.turns:
        turns.append(StoredTurn(0, time_ms, sequence, b"", events))
        sequence += len(events)
    payloads = Payloads(RUN, run.vault, hidden)
    return run_document(run.state, payloads, timeline_of(turns))


def test_a_sensitive_step_shows_neither_output_nor_message_and_the_others_do() -> None:
    for answer in ("salary", Fails("http.500", "salary")):
        run = FlowRun(flow(SECRET.format("true")), outside={"read": answers(answer)}).begin()
        steps = document(run)["steps"]
        told = steps["hidden"]
        shown = told["error"]["message"] if isinstance(answer, Fails) else told["output"]
        assert shown == MASKED
        assert steps["shown"]["output"] == JsonText(b'{"x":1}')
        assert "salary" not in repr(document(run))


def test_a_sensitive_step_stays_readable_for_the_flow_itself() -> None:
    steps = "  a: {uses: worker.read@1, sensitive: true}\n"
    steps += '  b: {needs: [a], set: {x: "${{ steps.a.output }}"}}'
    run = FlowRun(flow(steps), outside={"read": answers("salary")}).begin()
    assert run.output_of("b") == {"x": "salary"}


def test_the_failure_of_a_sensitive_step_does_not_show_up_in_that_of_its_run() -> None:
    plan = flow("  a: {uses: worker.read@1, sensitive: true}")
    failing = FlowRun(plan, outside={"read": answers(Fails("http.500", "salary"))}).begin()
    assert failing.state.status is RunStatus.FAILED
    assert document(failing)["error"]["message"] == MASKED
    assert "salary" not in repr(document(failing))


def test_a_step_that_is_not_sensitive_is_shown() -> None:
    run = FlowRun(flow(SECRET.format("false")), outside={"read": answers("salary")}).begin()
    assert document(run)["steps"]["hidden"]["output"] == JsonText(b'"salary"')


# vars


def test_constants_are_known_by_name_with_their_types() -> None:
    run = FlowRun(
        flow(
            '  a: {when: vars.on, set: {limit: "${{ vars.limits.high + 1 }}", '
            'whole: "${{ vars.limits }}"}}',
            "vars: {on: true, limits: {high: 4}}",
        )
    ).begin()
    assert run.output_of("a") == {"limit": 5, "whole": {"high": 4}}


def test_a_constant_that_is_not_there_is_found_before_anything_runs() -> None:
    assert codes('  a: {set: {x: "${{ vars.limt }}"}}', "vars: {limit: 4}") == {"HR-1303"}


def test_a_template_in_a_constant_is_refused() -> None:
    assert codes("  a: {set: {}}", 'vars: {x: "${{ run.id }}"}') == {"HR-1309"}


# triggers


TRIGGERED = """flow: v1
name: sample
triggers:
  hourly: {schedule: {every: 1h}, with: {at: "${{ trigger.time }}", n: 3}}
  bad: {schedule: {every: 1h}, with: {n: "${{ trigger.time }}"}}
  bare: {schedule: {every: 1h}}
  by_hand: {manual: {}}
inputs:
  at: {type: string, default: never}
  n: {type: integer, default: 1}
steps:
  a: {set: {at: "${{ inputs.at }}", n: "${{ inputs.n }}", by: "${{ trigger.id }}"}}
"""
BEGAN_MS = 1_700_000_000_000


def scheduled(trigger: str) -> FlowRun:
    """Published: the trigger's schedule is set."""
    run = FlowRun(compiled(TRIGGERED), now_ms=BEGAN_MS)
    every_ms = run.plan.triggers[trigger].every_ms
    assert every_ms is not None
    schedule = cmd.SetSchedule(
        schedule=trigger,
        tenant=TENANT,
        flow="sample",
        version=1,
        plan=run.plan.hash,
        trigger=trigger,
        every_ms=every_ms,
    )
    run.decide(lambda turn: set_schedule(turn, schedule))
    return run


def fired(run: FlowRun, trigger: str, late_ms: int = 0) -> ScheduleFired:
    due_ms = run.partition.schedules[trigger].next_due_ms
    run.now_ms = due_ms + late_ms
    time_ms = firing_ms(run.partition.schedules[trigger], due_ms, run.now_ms)
    fields, fault = schedule_input(run.plan, trigger, time_ms)
    sealed: Stored = run.vault.seal(RUN, fields)
    fire = cmd.FireSchedule(
        schedule=trigger, due_ms=due_ms, firing_ms=time_ms, run=RUN, input=sealed, fault=fault
    )
    run.decide(lambda turn: fire_schedule(turn, fire))
    run.go_on()
    return next(one for one in run.partition_events if isinstance(one, ScheduleFired))


def test_a_trigger_maps_what_came_to_inputs_and_is_known_to_the_run() -> None:
    run = scheduled("hourly")
    fired(run, "hourly")
    due = time_text(BEGAN_MS + 3_600_000)
    assert run.output_of("a") == {"at": due, "n": 3, "by": "hourly"}
    assert run.state.started_by == "schedule"


def test_a_trigger_without_a_mapping_starts_with_the_defaults() -> None:
    run = scheduled("bare")
    fired(run, "bare")
    assert run.output_of("a") == {"at": "never", "n": 1, "by": "bare"}


def test_a_mapping_that_does_not_fit_the_inputs_fails_the_run_and_the_schedule_goes_on() -> None:
    run = scheduled("bad")
    event = fired(run, "bad")
    assert run.state.status is RunStatus.FAILED
    assert run.why()[0] == "input.invalid" and run.why()[1].startswith("n: ")
    assert event.next_due_ms == BEGAN_MS + 2 * 3_600_000


def test_a_schedule_first_fires_one_period_after_it_was_set_and_then_in_step() -> None:
    run = scheduled("hourly")
    assert run.partition.schedules["hourly"].next_due_ms == BEGAN_MS + 3_600_000
    assert fired(run, "hourly", late_ms=1_234).next_due_ms == BEGAN_MS + 2 * 3_600_000


def test_of_the_firings_that_were_missed_only_the_last_is_made_up_for() -> None:
    run = scheduled("hourly")
    event = fired(run, "hourly", late_ms=5 * 3_600_000 + 1)
    assert event.next_due_ms == BEGAN_MS + 7 * 3_600_000
    assert run.state.scheduled_at_ms == event.due_ms == BEGAN_MS + 6 * 3_600_000


def test_a_manual_start_is_no_firing_and_has_no_time() -> None:
    run = FlowRun(compiled(TRIGGERED)).begin({"n": 2})
    assert run.output_of("a") == {"at": "never", "n": 2, "by": "manual"}
    assert run.state.scheduled_at_ms is None
    assert run.status("a") is StepStatus.SUCCEEDED


def test_a_manual_trigger_has_no_period_and_a_mapping_of_it_is_refused() -> None:
    assert compiled(TRIGGERED).triggers["by_hand"].every_ms is None
    assert codes("  a: {set: {}}", "triggers: {t: {manual: {}, with: {n: 1}}}") == {"HR-1101"}


def test_a_mapping_to_an_input_that_does_not_exist_is_refused() -> None:
    more = "triggers: {t: {schedule: {every: 1h}, with: {m: 1}}}\ninputs: {n: {default: 1}}"
    assert codes("  a: {set: {}}", more) == {"HR-1503"}


def test_a_schedule_without_a_period_is_refused() -> None:
    assert codes("  a: {set: {}}", "triggers: {t: {schedule: {}}}") == {"HR-1106"}

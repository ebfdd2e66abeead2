"""Attempts that change something outside: their row, key, secrets and limits."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace_core.workflow.plan import Foreach, PlanStep
from headrace_core.workflow.plan_parts import Action, Effect, Fallback, Idempotency
from headrace_core.workflow.template import Template, parse_expression, parse_template
from headrace_executor.app.ports import Call, Completion
from headrace_executor.app.worker import Running
from headrace_runtime.delivery.effect_rules import Row, RowStatus
from headrace_runtime.delivery.effects import EffectKey
from headrace_worker.messages import Outcome, Result, Task
from tests.support.attempts import Bench, action, attempt, bench, succeeded, task
from tests.support.run_harness import plan_of, step
from tests.support.tenant_keys import ACME, RUN

KEYED = action("test.keyed", Effect.WRITE, Idempotency.HEADER)
ONCE = action("test.once", Effect.DESTRUCTIVE)
READ = action("test.read", Effect.READ)
DONE = Completion(Outcome.SUCCEEDED, {"id": 7})
SECRET = "s3cret-token-of-acme"


def calls(name: str, uses: Action, arguments: Any, key: str = "", **fields: Any) -> PlanStep:
    template: Template | None = parse_template(key) if key else None
    return step(
        name,
        uses=uses,
        arguments=parse_template(arguments),
        idempotency_key=template,
        **fields,
    )


PLAN = plan_of(
    calls("pay", KEYED, {"amount": "${{ steps.prev.output }}"}),
    calls("once", ONCE, {}),
    calls("read", READ, {}, "custom"),
    calls("broken", KEYED, {"x": "${{ steps.prev.output.not.there }}"}),
    calls("custom", KEYED, {}, "order-${{ steps.prev.output }}"),
    calls("number", KEYED, {}, "${{ steps.prev.output }}"),
    calls("each", KEYED, {}, foreach=Foreach(items=parse_expression("inputs.rows"), alias="row")),
    calls("fallen", READ, {}, "k-1", fallback=(Fallback(uses=KEYED, arguments=None),)),
    calls("secret", KEYED, {"headers": {"x": "Bearer ${{ secrets.TOKEN }}"}}),
    calls("quoted", READ, {"x": "${{ int(secrets.TOKEN) }}"}),
)


@pytest.fixture
async def made(tmp_path: Path) -> Bench:
    return await bench(PLAN, tmp_path)


def of(made: Bench, name: str, number: int = 1, prev: Any = 5, **fields: Any) -> Task:
    values = [succeeded("prev", made.seal(prev))]
    return task(attempt(name, number), PLAN, values=values, **fields)


def at(name: str, fallback: int = 0) -> EffectKey:
    return EffectKey.of(ACME, RUN, attempt(name).step, fallback)


async def ended(made: Bench, given: Task, completion: Completion = DONE) -> tuple[Call, Result]:
    """The attempt's call, ended so, and its word."""
    asked = asyncio.create_task(made.worker.run(Running.of(given)))
    await made.operation.called(len(made.operation.calls) + 1)
    made.operation.end(given.attempt.number, completion)
    return made.operation.calls[-1], await asked


async def test_a_call_stands_between_its_claim_and_its_stored_result(made: Bench) -> None:
    call, result = await ended(made, of(made, "pay"))
    assert call.arguments == {"amount": 5}
    assert made.rows.said == ["claim", "done"]
    assert made.rows.only.status is RowStatus.DONE
    assert result.outcome is Outcome.SUCCEEDED
    assert made.rows.only.result == result.output
    assert made.opened(result.output) == {"id": 7}


async def test_a_done_effect_is_never_called_for_again(made: Bench) -> None:
    await ended(made, of(made, "pay"))
    later = await made.worker.run(Running.of(of(made, "pay", 2)))
    assert later.outcome is Outcome.SUCCEEDED
    assert made.opened(later.output) == {"id": 7}
    assert len(made.operation.calls) == 1


async def test_a_large_result_is_stored_before_its_row_names_it(made: Bench) -> None:
    _, result = await ended(made, of(made, "pay"), Completion(Outcome.SUCCEEDED, "x" * 100_000))
    assert not made.vault.has_pending_blobs
    assert made.rows.only.result == result.output and len(result.output) < 1_000


async def test_a_key_is_the_steps_own_over_all_its_attempts(made: Bench) -> None:
    refused = Completion(Outcome.FAILED, error_type="http.429")
    first, result = await ended(made, of(made, "pay"), refused)
    assert result.outcome is Outcome.FAILED
    assert made.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT
    second, _ = await ended(made, of(made, "pay", 2))
    assert first.idempotency_key == second.idempotency_key == f"{RUN}/pay/0/do"


async def test_items_and_fallbacks_have_keys_of_their_own(made: Bench) -> None:
    item, _ = await ended(made, of(made, "each[3]", item=3))
    assert item.idempotency_key == f"{RUN}/each[3]/0/do"
    fallen, _ = await ended(made, of(made, "fallen", fallback=1))
    assert fallen.idempotency_key == "k-1/1"
    assert set(made.rows.rows) == {at("each[3]"), at("fallen", 1)}


async def test_a_custom_key_goes_outside_and_is_never_the_rows(made: Bench) -> None:
    call, _ = await ended(made, of(made, "custom", prev="a1"))
    assert call.idempotency_key == "order-a1"
    assert set(made.rows.rows) == {at("custom")}
    number, _ = await ended(made, of(made, "number", prev=42))
    assert number.idempotency_key == "42"


@pytest.mark.parametrize(
    ("name", "value"),
    [("number", value) for value in ("", "  ", True, 1.5, None, ["a"], "x" * 256)]
    + [("custom", value) for value in ("", None)],
)
async def test_a_custom_key_that_names_nothing_fails_its_step_without_a_call(
    made: Bench, name: str, value: Any
) -> None:
    result = await made.worker.run(Running.of(of(made, name, prev=value)))
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == "input.invalid"
    assert "idempotency_key" in made.message(result)
    assert made.operation.calls == []


async def test_what_takes_no_key_gets_none(made: Bench) -> None:
    read, _ = await ended(made, of(made, "read"))
    once, _ = await ended(made, of(made, "once"))
    assert (read.idempotency_key, once.idempotency_key) == ("", "")
    assert set(made.rows.rows) == {at("once")}, "reading needs no row"


async def test_a_lapsed_claim_is_called_again_with_the_same_key_or_not_at_all(
    made: Bench,
) -> None:
    for name in ("pay", "once"):
        lapsed = Row(status=RowStatus.CLAIMED, attempt=1, claimant="killed")
        made.rows.rows[at(name)] = lapsed
    again, result = await ended(made, of(made, "pay", 2))
    assert result.outcome is Outcome.SUCCEEDED and again.idempotency_key
    unknown = await made.worker.run(Running.of(of(made, "once", 2)))
    assert unknown.outcome is Outcome.UNKNOWN and unknown.error is not None
    assert unknown.error.type == "unknown_outcome"
    assert len(made.operation.calls) == 1


async def test_a_refused_repeat_of_a_lost_call_does_not_say_that_nothing_happened(
    made: Bench,
) -> None:
    made.rows.rows[at("pay")] = Row(status=RowStatus.CLAIMED, attempt=1, claimant="killed")
    refused = Completion(Outcome.FAILED, error_type="http.400")
    _, result = await ended(made, of(made, "pay", 2), refused)
    assert result.outcome is Outcome.AMBIGUOUS
    assert made.rows.only.status is RowStatus.CLAIMED


async def test_a_live_claim_is_waited_for_until_it_says_how_it_ended(made: Bench) -> None:
    first = asyncio.create_task(made.worker.run(Running.of(of(made, "pay"))))
    await made.operation.called(1)
    second = asyncio.create_task(made.worker.run(Running.of(of(made, "pay", 2))))
    await made.rows.until("claim", 4)
    made.operation.end(1, DONE)
    words = [await first, await second]
    assert [word.outcome for word in words] == [Outcome.SUCCEEDED] * 2
    assert len(made.operation.calls) == 1


async def test_a_wait_for_a_live_claim_ends_with_the_attempts_time(made: Bench) -> None:
    live = Row(status=RowStatus.CLAIMED, attempt=1, claimant="other", live=True)
    made.rows.rows[at("pay")] = made.rows.rows[at("once")] = live
    late = await made.worker.run(Running.of(of(made, "pay", 2, timeout_ms=20)))
    assert late.outcome is Outcome.AMBIGUOUS and late.error is not None
    assert late.error.type == "timeout.attempt"
    once = await made.worker.run(Running.of(of(made, "once", 2, timeout_ms=20)))
    assert once.outcome is Outcome.UNKNOWN
    assert made.operation.calls == []


async def test_a_claim_is_renewed_while_its_call_runs(made: Bench) -> None:
    asked = asyncio.create_task(made.worker.run(Running.of(of(made, "pay"))))
    await made.rows.until("renew", 3)
    made.operation.end(1, DONE)
    await asked
    count = made.rows.said.count("renew")
    assert made.rows.said[-1] == "done"
    await asyncio.create_task(made.worker.run(Running.of(of(made, "pay", 2))))
    assert made.rows.said.count("renew") == count, "not longer"


async def test_a_failure_before_the_call_is_said_once_its_row_is_closed(made: Bench) -> None:
    made.rows.away = 2
    result = await made.worker.run(Running.of(of(made, "broken")))
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == "expr.error"
    assert made.rows.said == ["give up"] * 3
    assert made.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT


async def test_a_failure_before_the_call_does_not_deny_an_earlier_attempts_effect(
    made: Bench,
) -> None:
    row = Row(status=RowStatus.CLAIMED, attempt=1, claimant="killed")
    made.rows.rows[at("broken")] = row
    result = await made.worker.run(Running.of(of(made, "broken", 2)))
    assert result.outcome is Outcome.AMBIGUOUS
    assert made.rows.only == row


async def test_a_step_that_this_executor_cannot_run_says_so_by_its_row_too(
    tmp_path: Path,
) -> None:
    made = await bench(plan_of(calls("mail", action("smtp.send", Effect.WRITE), {})), tmp_path)
    given = task(attempt("mail"), made.plans.plan)
    assert made.worker.run_now(given) is None
    result = await made.worker.run(Running.of(given))
    assert result.error is not None and result.error.type == "input.invalid"
    assert made.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT


async def test_a_call_that_had_not_begun_when_it_was_cut_off_had_no_effect(made: Bench) -> None:
    made.operation.begins = False
    result = await made.worker.run(Running.of(of(made, "pay", timeout_ms=20)))
    assert result.outcome is Outcome.FAILED
    assert made.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT
    running = Running.of(of(made, "once"))
    asked = asyncio.create_task(made.worker.run(running))
    await made.operation.called(2)
    running.limits.cancel()
    assert (await asked).outcome is Outcome.CANCELLED
    assert made.rows.rows[at("once")].status is RowStatus.FAILED_BEFORE_EFFECT


async def test_a_call_that_is_cut_off_leaves_its_claim_to_the_next_attempt(made: Bench) -> None:
    result = await made.worker.run(Running.of(of(made, "pay", timeout_ms=20)))
    assert result.outcome is Outcome.AMBIGUOUS
    row = made.rows.only
    assert row.status is RowStatus.CLAIMED and not row.live
    _, again = await ended(made, of(made, "pay", 2))
    assert again.outcome is Outcome.SUCCEEDED


async def test_a_fault_of_ours_in_the_middle_of_a_call_promises_nothing(made: Bench) -> None:
    for name, expected in (("pay", Outcome.AMBIGUOUS), ("once", Outcome.UNKNOWN)):
        asked = asyncio.create_task(made.worker.run(Running.of(of(made, name))))
        await made.operation.called(len(made.operation.calls) + 1)
        made.operation.ends[1].set_exception(RuntimeError("a bug"))
        result = await asked
        assert result.outcome is expected and result.error is not None
        assert result.error.type == "code.error"


async def test_a_success_is_worth_saying_although_its_row_cannot_be_written(made: Bench) -> None:
    asked = asyncio.create_task(made.worker.run(Running.of(of(made, "pay"))))
    await made.operation.called(1)
    made.rows.away = 1_000
    made.operation.end(1, DONE)
    assert (await asked).outcome is Outcome.SUCCEEDED
    assert made.rows.only.status is RowStatus.CLAIMED


async def test_rows_that_answer_in_a_way_nobody_foresaw_leave_no_attempt_without_a_word(
    made: Bench,
) -> None:
    made.rows.fault = KeyError("no such column")
    result = await made.worker.run(Running.of(of(made, "pay")))
    assert result.outcome is Outcome.AMBIGUOUS and result.error is not None
    assert result.error.type == "code.error"
    assert made.operation.calls == []


async def test_secrets_are_opened_for_the_call_and_named_for_redaction(made: Bench) -> None:
    made.secrets.values["TOKEN"] = SECRET
    call, _ = await ended(made, of(made, "secret"))
    assert call.arguments == {"headers": {"x": f"Bearer {SECRET}"}}
    assert call.secret_names == ("TOKEN",)
    assert SECRET not in repr(call)


async def test_a_secret_that_comes_back_is_taken_out_of_what_is_stored(made: Bench) -> None:
    made.secrets.values["TOKEN"] = SECRET
    echo = Completion(Outcome.SUCCEEDED, {"sent": [f"Bearer {SECRET}"], SECRET: 1})
    _, result = await ended(made, of(made, "secret"), echo)
    assert made.opened(result.output) == {"sent": ["Bearer ***"], "***": 1}
    refused = Completion(Outcome.FAILED, None, "http.403", f"not with {SECRET}")
    made.rows.rows.clear()
    _, refusal = await ended(made, of(made, "secret", 2), refused)
    assert made.message(refusal) == "not with ***"


async def test_a_mistake_in_an_expression_does_not_quote_a_secret(made: Bench) -> None:
    made.secrets.values["TOKEN"] = SECRET
    result = await made.worker.run(Running.of(of(made, "quoted")))
    assert result.error is not None and result.error.type == "expr.error"
    assert SECRET not in made.message(result)


async def test_a_missing_secret_is_named_and_nothing_is_called(made: Bench) -> None:
    result = await made.worker.run(Running.of(of(made, "secret")))
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert "TOKEN" in made.message(result)
    assert made.operation.calls == [] and made.secrets.opened == []


async def test_a_call_knows_how_much_of_its_attempts_time_is_left(made: Bench) -> None:
    unlimited, _ = await ended(made, of(made, "pay"))
    assert unlimited.left_ms() == 0
    limited, _ = await ended(made, of(made, "once", timeout_ms=60_000))
    assert 59_000 < limited.left_ms() <= 60_000

"""One attempt: what it opens, evaluates and seals, and what it says when it cannot."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace_core.ids import PlanHash, TenantId
from headrace_core.payload import NOTHING, subject_key_of
from headrace_core.run.events import StepError
from headrace_core.workflow.plan import Foreach, Plan, PlanStep
from headrace_core.workflow.plan_parts import Action, Effect, Fallback, Idempotency
from headrace_core.workflow.template import parse_expression, parse_template
from headrace_executor.app.ports import Completion
from headrace_executor.app.worker import Running
from headrace_runtime.delivery.effect_rules import RowStatus
from headrace_worker.messages import ItemInput, Outcome, Result, StepInput, Task
from tests.support.attempts import Bench, action, attempt, bench, succeeded, task
from tests.support.run_harness import plan_of, step
from tests.support.tenant_keys import ACME, OTHER_RUN, RUN

WRITE = action("test.write", Effect.WRITE)
KEYED = action("test.keyed", Effect.WRITE, Idempotency.HEADER)
READ = action("test.read", Effect.READ)


def calls(name: str, uses: Action | str, arguments: Any, **fields: Any) -> PlanStep:
    if isinstance(uses, str):
        uses = action(uses)
    return step(name, uses=uses, arguments=parse_template(arguments), **fields)


FACTS = ["${{ run.id }}", "${{ trigger.id }}", "${{ vars.x }}"]
STATUS = "${{ steps.prev.status }}: ${{ steps.prev.error.message }}"
EACH = Foreach(items=parse_expression("inputs.rows"), alias="row")
PLAN: Plan = plan_of(
    calls("copy", "data.echo", {"value": "${{ steps.prev.output }}"}),
    calls("walk", "data.echo", {"value": "${{ steps.prev.output.name }}"}),
    calls("engine", "data.echo", {"value": "${{ steps.prev.output.count + 1 }}"}),
    calls("facts", "data.echo", {"value": FACTS}),
    calls("status", "data.echo", {"value": STATUS}),
    calls("each", "data.echo", {"value": "${{ row }}"}, foreach=EACH),
    calls("counts", "data.echo", {"value": "${{ steps.each.counts }}"}),
    calls("outputs", "data.echo", {"value": "${{ steps.each.items.map(i, i.output) }}"}),
    calls("pick", "data.pick", {"from": "${{ steps.prev.output }}", "fields": ["name"]}),
    calls("lookup", "data.lookup", {"key": "a", "table": {}}),
    calls("bare", "data.echo", {}),
    calls("constant", "data.echo", {"value": {"a": [1, None, True, "ü"]}}),
    calls("fallen", "data.echo", {"value": 1}, fallback=(
        Fallback(uses=action("data.echo"), arguments=parse_template({"value": "second"})),
        Fallback(output=parse_template("${{ steps.prev.output }}")),
    )),
    calls("unknown", "smtp.send", {}),
    calls("nodata", "data.nothing", {}),
    calls("read", READ, {"url": "${{ steps.prev.output }}"}),
    calls("write", WRITE, {"url": "${{ steps.prev.output }}"}),
    calls("keyed", KEYED, {}),
    calls("list", WRITE, ["not", "an", "object"]),
    vars={"x": {"y": 1}},
)  # fmt: skip


@pytest.fixture
async def made(tmp_path: Path) -> Bench:
    return await bench(PLAN, tmp_path)


def run_now(made: Bench, of: Task) -> Result:
    result = made.worker.run_now(of)
    made.worker.end_batch()
    assert result is not None, "it runs in place"
    return result


def after(made: Bench, output: Any, name: str, number: int = 1) -> Task:
    return task(attempt(name, number), PLAN, values=[succeeded("prev", made.seal(output))])


@pytest.mark.parametrize("value", [{"name": "n"}, [1, 2], "text", 0, False, None, ""])
async def test_a_whole_output_is_passed_on_and_sealed_anew(made: Bench, value: Any) -> None:
    of = after(made, value, "copy")
    result = run_now(made, of)
    assert result.outcome is Outcome.SUCCEEDED
    assert made.opened(result.output) == value
    assert value is None or result.output != of.values[0].output


async def test_what_passes_through_is_never_parsed(made: Bench) -> None:
    odd = made.vault.seal(RUN, b'{"b":1,"a":  2.50,"big":12345678901234567890123}')
    of = task(attempt("copy"), PLAN, values=[succeeded("prev", odd)])
    assert made.vault.open(RUN, run_now(made, of).output) == made.vault.open(RUN, odd)


async def test_a_payload_of_another_run_is_not_passed_on(made: Bench) -> None:
    foreign = made.seal("secret", OTHER_RUN)
    of = task(attempt("copy"), PLAN, values=[succeeded("prev", foreign)])
    result = run_now(made, of)
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == "input.tampered"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("walk", "n"),
        ("engine", 4),
        ("pick", {"name": "n"}),
        ("constant", {"a": [1, None, True, "ü"]}),
        ("facts", [RUN, "manual", {"y": 1}]),
    ],
)
async def test_arguments_are_evaluated_from_what_came_with_the_task(
    made: Bench, name: str, value: Any
) -> None:
    of = after(made, {"name": "n", "count": 3}, name)._replace(trigger="manual")
    assert made.opened(run_now(made, of).output) == value


async def test_status_and_error_of_a_failed_step_can_be_read(made: Bench) -> None:
    error = StepError(type="http.500", message=made.seal("it broke"))
    of = task(attempt("status"), PLAN, values=[StepInput("prev", "failed", error=error)])
    assert made.opened(run_now(made, of).output) == "failed: it broke"


async def test_a_step_without_state_yet_is_pending(made: Bench) -> None:
    of = task(attempt("status"), PLAN)
    result = run_now(made, of)
    assert result.error is not None and result.error.type == "expr.error"
    assert run_now(made, task(attempt("copy"), PLAN)).output == NOTHING


async def test_items_see_their_own_value(made: Bench) -> None:
    items = made.seal([["a", {"n": 1}], ["b", {"n": 2}]])
    for index, value in enumerate(({"n": 1}, {"n": 2})):
        of = task(attempt(f"each[{index}]"), PLAN, item=index, items=items)
        assert made.opened(run_now(made, of).output) == value
    beyond = run_now(made, task(attempt("each[2]"), PLAN, item=2, items=items))
    assert beyond.error is not None and beyond.error.type == "expr.error"


async def test_a_fan_out_is_read_as_counts_and_as_outputs(made: Bench) -> None:
    items = [
        ItemInput("succeeded", made.seal("one")),
        ItemInput("failed", error=StepError(type="http.500")),
        ItemInput(""),
    ]
    values = [StepInput("each", "running", items=items)]
    counts = run_now(made, task(attempt("counts"), PLAN, values=values))
    assert made.opened(counts.output) == {
        "total": 3,
        "succeeded": 1,
        "failed": 1,
        "cancelled": 0,
    }
    outputs = run_now(made, task(attempt("outputs"), PLAN, values=values))
    assert made.opened(outputs.output) == ["one", None, None]
    empty = [StepInput("each", "succeeded")]
    none = run_now(made, task(attempt("outputs"), PLAN, values=empty))
    assert made.opened(none.output) == [], "a fan-out over nothing has a list all the same"


@pytest.mark.parametrize(
    ("name", "fallback", "error_type", "part"),
    [
        ("walk", 0, "expr.error", "name"),
        ("engine", 0, "expr.error", "count"),
        ("lookup", 0, "input.invalid", "no default"),
        ("bare", 0, "input.invalid", "value"),
        ("pick", 0, "input.invalid", "from"),
        ("unknown", 0, "input.invalid", "smtp.send@1"),
        ("nodata", 0, "input.invalid", "data.nothing"),
        ("nowhere", 0, "input.invalid", "nowhere"),
        ("copy", 1, "input.invalid", "copy"),
    ],
)
async def test_a_failure_has_a_type_and_a_message_that_only_the_tenant_reads(
    made: Bench, name: str, fallback: int, error_type: str, part: str
) -> None:
    result = run_now(made, after(made, "just text", name)._replace(fallback=fallback))
    assert result.outcome is Outcome.FAILED and result.error is not None
    assert result.error.type == error_type
    assert part in made.message(result)
    assert part.encode() not in result.error.message


async def test_fallback_entries_run_their_own_action_or_give_their_output(made: Bench) -> None:
    of = after(made, "rescued", "fallen")
    values = [made.opened(run_now(made, of._replace(fallback=n)).output) for n in (0, 1, 2)]
    assert values == [1, "second", "rescued"]


async def test_an_erased_key_makes_the_input_erased(tmp_path: Path) -> None:
    made = await bench(PLAN, tmp_path)
    of = after(made, "text", "copy")
    made.keys.erase(1)
    await made.keyring.refresh()
    result = run_now(made, of)
    assert result.error is not None and result.error.type == "input.erased"
    assert result.error.message == NOTHING, "there is no key to seal a message with"


async def test_what_an_attempt_says_is_sealed_under_the_run_s_data_subject_s_key(
    tmp_path: Path,
) -> None:
    made = await bench(PLAN, tmp_path)
    key = await made.keyring.subject_key(ACME, "ada")
    of = after(made, "text", "copy")._replace(subject_key=key)
    assert subject_key_of(run_now(made, of).output) == key
    elsewhere = await bench(PLAN, tmp_path / "elsewhere")
    elsewhere.keys.subjects = made.keys.subjects
    assert elsewhere.worker.run_now(of) is None, "the key is not at hand"
    slow = await elsewhere.worker.run(Running.of(of))
    assert subject_key_of(slow.output) == key


async def test_an_attempt_whose_data_subject_is_erased_calls_nothing(tmp_path: Path) -> None:
    made = await bench(PLAN, tmp_path)
    key = await made.keyring.subject_key(ACME, "ada")
    made.keys.erase_subject(ACME, "ada")
    await made.keyring.refresh_subjects()
    of = task(attempt("keyed", 1), PLAN)._replace(subject_key=key)
    result = await made.worker.run(Running.of(of))
    assert result.error is not None and result.error.type == "input.erased"
    assert made.operation.calls == []


async def test_what_is_not_at_hand_takes_the_slow_way(tmp_path: Path) -> None:
    made = await bench(PLAN, tmp_path, cached=False)
    of = after(made, "text", "copy")
    assert made.worker.run_now(of) is None
    result = await made.worker.run(Running.of(of))
    assert made.opened(result.output) == "text"
    stranger = of._replace(attempt=attempt("copy", tenant=TenantId("nobody")))
    assert made.worker.run_now(stranger) is None
    unknown = await made.worker.run(Running.of(stranger))
    assert unknown.error == StepError(type="input.invalid")
    missing = await made.worker.run(Running.of(of._replace(plan=PlanHash("f" * 64))))
    assert missing.error is not None and missing.error.type == "input.invalid"


async def test_large_outputs_are_stored_before_their_result_is_said(
    made: Bench, tmp_path: Path
) -> None:
    large = {"name": "x" * 100_000}
    of = after(made, large, "walk")
    await made.keyring.store_pending_blobs()
    assert made.worker.run_now(of) is None, "its output has to be stored first"
    result = await made.worker.run(Running.of(of))
    assert not made.vault.has_pending_blobs
    assert sum(1 for path in (tmp_path / "blobs").rglob("*") if path.is_file()) == 2
    assert made.opened(result.output) == large["name"]


async def test_a_reference_passes_through_without_its_content(made: Bench) -> None:
    reference = made.seal("x" * 100_000)
    await made.keyring.store_pending_blobs()
    of = task(attempt("copy"), PLAN, values=[succeeded("prev", reference)])
    assert run_now(made, of).output == reference


async def test_a_reference_is_fetched_where_it_is_read(tmp_path: Path) -> None:
    writer = await bench(PLAN, tmp_path)
    reference = writer.seal({"name": "x" * 100_000})
    await writer.keyring.store_pending_blobs()
    made = await bench(PLAN, tmp_path)
    of = task(attempt("walk"), PLAN, values=[succeeded("prev", reference)])
    assert made.worker.run_now(of) is None
    assert made.opened((await made.worker.run(Running.of(of))).output) == "x" * 100_000
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    late = await bench(PLAN, tmp_path)
    lost = await late.worker.run(Running.of(of))
    assert lost.error is not None and lost.error.type == "input.missing"


async def test_a_store_that_is_away_is_asked_again_until_the_attempts_time_is_up(
    tmp_path: Path,
) -> None:
    made = await bench(PLAN, tmp_path, cached=False)
    made.plans.away = True
    of = after(made, "text", "copy")
    late = await made.worker.run(Running.of(of._replace(timeout_ms=120)))
    assert late.outcome is Outcome.FAILED and late.error is not None
    assert late.error.type == "timeout.attempt" and made.plans.loads > 1
    asked = asyncio.create_task(made.worker.run(Running.of(of)))
    await made.plans.asked(made.plans.loads + 1)
    made.plans.away = False
    assert (await asked).outcome is Outcome.SUCCEEDED


async def test_an_operation_gets_evaluated_arguments_and_says_how_it_ended(made: Bench) -> None:
    of = after(made, "https://example.com", "write")
    assert made.worker.run_now(of) is None
    running = Running.of(of)
    asked = asyncio.create_task(made.worker.run(running))
    await made.operation.called(1)
    assert made.operation.calls[0].arguments == {"url": "https://example.com"}
    assert running.acts_outside
    made.operation.end(1, Completion(Outcome.AMBIGUOUS, {"status": 503}, "http.503", "busy", 1_500))
    result = await asked
    assert (result.outcome, result.retry_after_ms) == (Outcome.AMBIGUOUS, 1_500)
    assert made.opened(result.output) == {"status": 503}
    assert result.error is not None and result.error.type == "http.503"
    assert made.message(result) == "busy"


@pytest.mark.parametrize(
    ("name", "timed_out", "cancelled"),
    [
        ("read", Outcome.FAILED, Outcome.CANCELLED),
        ("keyed", Outcome.AMBIGUOUS, Outcome.AMBIGUOUS),
        ("write", Outcome.UNKNOWN, Outcome.UNKNOWN),
    ],
)
async def test_a_call_that_is_cut_off_says_no_more_than_is_known(
    made: Bench, name: str, timed_out: Outcome, cancelled: Outcome
) -> None:
    of = after(made, "https://example.com", name)
    result = await made.worker.run(Running.of(of._replace(timeout_ms=30)))
    assert result.outcome is timed_out and result.error is not None
    assert result.error.type == "timeout.attempt"
    running = Running.of(of._replace(attempt=of.attempt._replace(number=2)))
    made.rows.rows.clear()
    asked = asyncio.create_task(made.worker.run(running))
    await made.operation.called(2)
    running.limits.cancel()
    assert (await asked).outcome is cancelled


async def test_before_its_call_an_attempt_that_is_cut_off_had_no_effect(tmp_path: Path) -> None:
    made = await bench(PLAN, tmp_path, cached=False)
    made.plans.away = True
    running = Running.of(after(made, "x", "write"))
    asked = asyncio.create_task(made.worker.run(running))
    await made.plans.asked(1)
    running.limits.cancel()
    assert (await asked).outcome is Outcome.CANCELLED
    assert made.rows.only.status is RowStatus.FAILED_BEFORE_EFFECT, "said only once it is certain"


async def test_an_operation_wants_an_object_and_a_fault_of_ours_is_told_apart(
    made: Bench,
) -> None:
    wrong = await made.worker.run(Running.of(after(made, "x", "list")))
    assert wrong.error is not None and wrong.error.type == "expr.error"
    asked = asyncio.create_task(made.worker.run(Running.of(after(made, "x", "read", 9))))
    await made.operation.called(1)
    made.operation.ends[9].set_exception(KeyError("a bug"))
    broken = await asked
    assert broken.error is not None and broken.error.type == "code.error"
    assert "KeyError" in made.message(broken)


async def test_an_output_that_is_not_json_is_invalid(made: Bench) -> None:
    asked = asyncio.create_task(made.worker.run(Running.of(after(made, "x", "read"))))
    await made.operation.called(1)
    made.operation.end(1, Completion(Outcome.SUCCEEDED, {"n": 1 << 80}))
    result = await asked
    assert result.error is not None and result.error.type == "output.invalid"


async def test_one_tenants_plan_does_not_serve_another_tenant(made: Bench) -> None:
    other = attempt("copy", tenant=TenantId("other"))
    of = task(other, PLAN, values=[succeeded("prev", made.seal("acme's"))])
    assert made.worker.run_now(of) is None, "that tenant's keys are not at hand"
    result = await made.worker.run(Running.of(of))
    assert result.error is not None and result.error.type == "input.tampered"

"""What a step's `with` must be for a function, and what a function is given."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from headrace_core.errors import InvalidInput
from headrace_core.ids import ExecutorId, PlanHash, RunId, StepKey, TenantId
from headrace_worker import Context, Worker, task
from headrace_worker.arguments import ArgumentsRefused, Parameters
from headrace_worker.messages import Attempt, Task


class Size(BaseModel):
    width: int
    height: int = 10


@dataclass
class Place:
    city: str


async def never_noted(payload: bytes) -> None:
    raise AssertionError(payload)


def context() -> Context:
    attempt = Attempt(3, 2, TenantId("acme"), RunId("r"), StepKey("read[17]"), 4, 5)
    task = Task(
        attempt,
        executor=ExecutorId("me"),
        offset=1,
        plan=PlanHash("p"),
        flow="thumbnails",
        lane="worker::resize@1",
        timeout_ms=1_500,
        idempotency_key="the key",
    )
    return Context(task, never_noted, lambda: None)


def bound(function: Callable[..., Any], fields: Any) -> dict[str, Any]:
    return Parameters(function).bind(json.dumps(fields).encode(), context())


async def resize(image: str, width: Annotated[int, Field(gt=0)] = 640) -> None: ...


def test_arguments_are_given_by_name_and_defaults_stay_the_functions() -> None:
    assert bound(resize, {"image": "a.png"}) == {"image": "a.png"}
    assert bound(resize, {"image": "a.png", "width": 3}) == {"image": "a.png", "width": 3}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "image: missing"),
        ({"image": 7}, "image: Input should be a valid string, not 7"),
        ({"image": "a", "width": "3"}, 'width: Input should be a valid integer, not "3"'),
        ({"image": "a", "width": 0}, "width: Input should be greater than 0, not 0"),
        ({"image": "a", "heigth": 1}, "heigth: this task has no such argument"),
        ([], "`with` must be an object"),
    ],
)
def test_what_does_not_fit_is_named(fields: Any, said: str) -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        bound(resize, fields)
    assert str(refused.value) == said


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        bound(resize, {"width": "x", "other": 1})
    assert str(refused.value).count(";") == 2


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ArgumentsRefused) as refused:
        bound(resize, {"image": ["x" * 1_000]})
    assert len(str(refused.value)) < 150


def test_models_dataclasses_dates_and_literals_are_made_from_json() -> None:
    def f(
        size: Size, place: Place, day: date, mode: Literal["a", "b"], tags: tuple[str, ...]
    ) -> None:
        raise AssertionError(size, place, day, mode, tags)

    fields = {
        "size": {"width": 3},
        "place": {"city": "Rome"},
        "day": "2026-11-26",
        "mode": "b",
        "tags": ["x"],
    }
    given = bound(f, fields)
    assert given["size"] == Size(width=3)
    assert given["place"] == Place("Rome")
    assert (given["day"], given["tags"]) == (date(2026, 11, 26), ("x",))
    with pytest.raises(ArgumentsRefused, match=r"size\.width: .*; mode: "):
        bound(f, fields | {"size": {"width": "x"}, "mode": "c"})


def test_the_only_parameter_called_arguments_takes_the_whole_object() -> None:
    def f(arguments: dict[str, int]) -> None:
        raise AssertionError(arguments)

    assert bound(f, {"a": 1, "b": 2}) == {"arguments": {"a": 1, "b": 2}}
    with pytest.raises(ArgumentsRefused, match=r"arguments\.a: "):
        bound(f, {"a": "x"})


def test_keywords_beyond_the_named_ones_go_where_the_function_takes_them() -> None:
    def f(first: int, **rest: str) -> None:
        raise AssertionError(first, rest)

    assert bound(f, {"first": 1, "more": "x"}) == {"first": 1, "more": "x"}
    with pytest.raises(ArgumentsRefused, match="more: "):
        bound(f, {"first": 1, "more": 2})


def test_the_context_is_given_wherever_the_function_has_it() -> None:
    def f(image: str, of: Context) -> None:
        raise AssertionError(image, of)

    given = bound(f, {"image": "a"})["of"]
    assert isinstance(given, Context)
    assert (given.run, given.step, given.item, given.attempt) == ("r", "read[17]", 17, 4)
    assert (given.tenant, given.idempotency_key, given.timeout_s) == ("acme", "the key", 1.5)
    with pytest.raises(ArgumentsRefused, match="of: this task has no such argument"):
        bound(f, {"image": "a", "of": {}})


def test_a_signature_that_no_step_could_call_is_refused_where_it_is_written() -> None:
    def positional(a: int, /) -> None: ...
    def many(*a: int) -> None: ...
    def stream(a: Worker) -> None: ...
    def unread(a: object) -> None: ...

    unread.__annotations__["a"] = "Nowhere"
    functions: list[Callable[..., None]] = [positional, many, stream, unread]
    for function in functions:
        with pytest.raises(InvalidInput, match="task function"):
            task(function)


def test_a_task_is_named_after_its_function_and_is_still_that_function() -> None:
    @task
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @task(name="sum.up", version=3)
    def other() -> None: ...

    assert (add.name, add(1, b=2), add.__doc__) == ("add@1", 3, "Adds.")
    assert (other.name, repr(other)) == ("sum.up@3", "<task worker.sum.up@3>")


@pytest.mark.parametrize(("name", "version"), [("Add", 1), ("1st", 1), ("a b", 1), ("add", 0)])
def test_a_name_that_no_step_could_call_is_refused(name: str, version: int) -> None:
    with pytest.raises(InvalidInput):
        task(name=name, version=version)(lambda: None)

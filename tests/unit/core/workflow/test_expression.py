import json
import subprocess
import sys
from typing import Any

import pytest

from headrace_core.workflow.expression import (
    LIST_ITEMS_MAX,
    ExprError,
    ProblemKind,
    TypeChecker,
    evaluate,
    evaluate_bool,
    parse_expression,
    parse_template,
    render,
)

NAMES: dict[str, Any] = {
    "inputs": {
        "n": 3,
        "name": "Ann",
        "rows": [{"id": 1, "ok": True}, {"id": 2, "ok": False}],
        "table": {"b": 1, "a": 2, "c": 3},
        "nothing": None,
        "large": 2**70,
        "long": list(range(LIST_ITEMS_MAX + 1)),
    },
    "steps": {"fetch": {"output": {"body": {"total": 7}}, "status": "succeeded"}},
}


_TEN = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"
FIVE_DEEP = f"{_TEN}.all(a, {_TEN}.all(b, {_TEN}.all(c, {_TEN}.all(d, {_TEN}.all(e, a < 10)))))"


def value_of(source: str) -> Any:
    return evaluate(parse_expression(source), NAMES)


def error_of(source: str) -> str:
    value = value_of(source)
    assert isinstance(value, ExprError), value
    return value.message


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("inputs.n", ("inputs", "n")),
        ("inputs['n']", ("inputs", "n")),
        ('steps.fetch.output["body"].total', ("steps", "fetch", "output", "body", "total")),
        ("inputs.rows[1].id", ("inputs", "rows", 1, "id")),
        ("  page  ", ("page",)),
        ("inputs.n + 1", None),
        ("inputs.name.size()", None),
        ("inputs.?n", None),
        ("inputs[inputs.name]", None),
        ("true", None),
        ("'text'", None),
        ("inputs['a\\n']", None),
        ("inputs.rows[-1]", None),
    ],
)
def test_a_mere_path_is_told_from_an_expression(source: str, path: tuple[Any, ...] | None) -> None:
    assert parse_expression(source).path == path


@pytest.mark.parametrize(
    "path",
    [
        "inputs.n",
        "inputs.rows[1]",
        "inputs['table'].b",
        "steps.fetch.output.body",
        "inputs.nothing",
    ],
)
def test_a_path_and_the_engine_give_the_same_value(path: str) -> None:
    by_engine = value_of(f"true ? {path} : {path}")
    assert value_of(path) == by_engine


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("inputs.rows[2]", "there is no 2 in inputs.rows"),
        ("inputs.rows['x']", "inputs.rows is a list and has no 'x'"),
        ("inputs.missing", "there is no 'missing' in inputs"),
        ("inputs.n.x", "inputs.n is a number and has no 'x'"),
        ("inputs.name[0]", "inputs.name is a text and has no 0"),
        ("inputs.nothing.x", "inputs.nothing is null and has no 'x'"),
        ("secrets.TOKEN", "'secrets' is not known here"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ended(path: str, message: str) -> None:
    assert error_of(path) == message


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("inputs.n + 1", 4),
        ("inputs.n / 2", 1),
        ("inputs.n > 2.5", True),
        ("inputs.rows.filter(r, r.ok).map(r, r.id)", [1]),
        ("inputs.table.map(k, k)", ["a", "b", "c"]),
        ("{'b': 1, 'a': {'d': 1, 'c': 2}}", {"a": {"c": 2, "d": 1}, "b": 1}),
        ("{1: 'x', 2: 'y'}", {"1": "x", "2": "y"}),
        ("inputs.?missing.orValue('none')", "none"),
        ("has(inputs.n) && !has(inputs.m)", True),
        ("timestamp('2026-01-02T03:04:05.5+01:00')", "2026-01-02T02:04:05.500000Z"),
        ("duration('1h30m')", "5400s"),
        ("duration('-1.5s')", "-1.5s"),
        ("b'abc'", "YWJj"),
        ("3u", 3),
        ("null", None),
        ("'%s is %d'.format([inputs.name, inputs.n])", "Ann is 3"),
        ("inputs.name.lowerAscii()", "ann"),
        ("math.greatest(1, 5, 3)", 5),
        ("size('äöü')", 3),
    ],
)
def test_json_goes_in_and_json_comes_out(source: str, value: object) -> None:
    found = value_of(source)
    assert found == value
    assert type(found) is type(value)
    json.dumps(found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("inputs.n * 1.5", "* does not work on (int, double); ints and doubles do not mix"),
        ("inputs.n + inputs.name", "+ does not work on (int, string)"),
        ("1 / (inputs.n - 3)", "divide by zero"),
        ("inputs.missing + 1", "there is no 'missing' in the value"),
        ("inputs.rows[5 - 0]", "index 5 is outside a list of 2"),
        ("unknown + 1", "'unknown' is not known here"),
        ("9223372036854775807 + inputs.n", "integer overflow"),
        ("inputs.large + 1", "out of range"),
        ("inputs.n ? 1 : 2", "a condition is not true or false"),
        ("int(inputs.name)", "cannot convert string to int"),
        ("type(1)", "JSON does not have"),
        ("1.0 / 0.0", "is not a JSON number"),
        ("inputs.?n", "end it with .orValue(...)"),
        ("inputs.n +", "the expression ends too early"),
        ("inputs.long.map(x, x)", "at most 500 items, not 501; use a foreach step"),
        ("inputs.long.filter(x, x > 3).map(x, x)", "at most 500 items, not 501"),
        (
            FIVE_DEEP,
            "more than 10,000 items",
        ),
    ],
)
def test_a_mistake_is_a_value_that_says_what_is_wrong(source: str, message: str) -> None:
    assert message in error_of(source)


def test_linear_macros_take_longer_lists() -> None:
    assert value_of("inputs.long.exists(x, x == 400)") is True


def test_only_true_and_false_are_conditions() -> None:
    assert evaluate_bool(parse_expression("inputs.n == 3"), NAMES) is True
    for source in ("inputs.n", "inputs.name", "inputs.nothing"):
        assert isinstance(evaluate_bool(parse_expression(source), NAMES), ExprError)


def test_an_error_goes_through_a_condition() -> None:
    error = evaluate_bool(parse_expression("inputs.missing"), NAMES)
    assert isinstance(error, ExprError)
    assert "missing" in error.message


def test_every_process_gives_objects_in_the_same_order() -> None:
    script = (
        "from headrace_core.workflow.expression import *; import json;"
        "t = {c: ord(c) for c in 'qwertyuiopasdfghjkl'};"
        "e = parse_expression(\"{'keys': i.map(k, k), 'all': true ? i : {}}\");"
        "print(json.dumps(evaluate(e, {'i': t})))"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
        for _ in range(3)
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ inputs.n }}", 3),
        ("${{ inputs.rows }}", NAMES["inputs"]["rows"]),
        (" ${{ inputs.n }}", " 3"),
        ("${{ inputs.n }}${{ inputs.n }}", "33"),
        ("${{ inputs.name }}: ${{ inputs.table }}", 'Ann: {"b":1,"a":2,"c":3}'),
        ("${{ inputs.nothing }} and ${{ true }}", "null and true"),
        ("plain", "plain"),
        ({"a": ["${{ inputs.n }}", {"b": "x"}], "c": None}, {"a": [3, {"b": "x"}], "c": None}),
        ("${{ {'a': {'b': '}}'}}.a.b }}", "}}"),
        ("${{ '${{' }}", "${{"),
    ],
)
def test_a_lone_expression_keeps_its_type_and_text_makes_text(template: Any, value: object) -> None:
    assert render(parse_template(template), NAMES) == value


def test_the_first_error_of_a_template_is_its_value() -> None:
    error = render(parse_template({"a": "${{ inputs.n }}", "b": ["${{ inputs.gone }}"]}), NAMES)
    assert isinstance(error, ExprError)
    assert error.source == "inputs.gone"


def test_references_name_the_payloads_to_open_and_no_others() -> None:
    template = parse_template(
        {
            "a": "${{ steps.one.output.x }} ${{ steps.two.status }}",
            "b": "${{ steps['three'].error.message + inputs.name }}",
            "c": "${{ steps.four.items.map(i, i.output + row.x) }} ${{ steps.five }}",
            "d": "${{ 'steps.six' }}",
            "e": "${{ secrets.TOKEN }}",
        }
    )
    references = template.references
    assert {one.step: (one.output, one.error, one.items) for one in references.steps} == {
        "one": (True, False, False),
        "two": (False, False, False),
        "three": (False, True, False),
        "four": (False, False, True),
        "five": (True, True, True),
    }
    assert references.names == {"steps", "inputs", "row", "secrets"}
    assert (references.inputs, references.secrets) == (("name",), ("TOKEN",))


CHECKER = TypeChecker(
    {"inputs": "map<string, dyn>", "inputs.n": "int", "inputs.tags": "list<string>"}
)


@pytest.mark.parametrize(
    ("source", "signature"),
    [
        ("inputs.n", "int"),
        ("inputs.other", "dyn"),
        ("inputs.tags.map(t, t + 'x')", "list<string>"),
        ("has(inputs.n)", "bool"),
        ("inputs.tags == null || inputs.n == null", "bool"),
        ("inputs.?n.orValue(1)", "dyn"),
    ],
)
def test_types_are_found_where_they_are_declared(source: str, signature: str) -> None:
    assert CHECKER.check(source) == signature


@pytest.mark.parametrize(
    ("source", "kind", "at"),
    [
        ("inputs.n + 'a'", ProblemKind.TYPE, "+"),
        ("inputs.n ==", ProblemKind.SYNTAX, ""),
        ("nope.x", ProblemKind.NAME, "nope.x"),
        ("inputs.tags.len()", ProblemKind.FUNCTION, "len()"),
        ("(" * 40 + "1" + ")" * 40, ProblemKind.BOUND, "("),
        ("'" + "x" * 5_000 + "'", ProblemKind.BOUND, "'"),
    ],
)
def test_a_problem_has_its_kind_and_its_place(source: str, kind: ProblemKind, at: str) -> None:
    problems = CHECKER.check(source)
    assert isinstance(problems, tuple)
    assert problems[0].kind is kind
    assert source[problems[0].offset :].startswith(at)


def test_names_can_be_added_for_an_inner_scope() -> None:
    inner = CHECKER.with_names({"item": "string"})
    assert inner.check("item + 'x'") == "string"
    assert not isinstance(CHECKER.check("item + 'x'"), str)

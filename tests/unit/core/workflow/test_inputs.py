import pytest

from headrace_core.workflow.inputs import (
    FAULTS_MAX,
    ValueFault,
    checked_inputs,
    schema_fault,
    value_faults,
)
from headrace_core.workflow.plan import Input

INPUTS = (
    Input("email", {"type": "string", "format": "email"}),
    Input("limit", {"type": "integer", "default": 5, "minimum": 1}),
    Input(
        "filter",
        {
            "type": "object",
            "properties": {"since": {"type": "string"}, "page": {"type": "integer", "default": 1}},
            "required": ["since"],
            "default": {"since": "ever"},
        },
    ),
)


def test_good_inputs_come_back_with_their_defaults() -> None:
    values, faults = checked_inputs(INPUTS, {"email": "a@example.com", "filter": {"since": "x"}})
    assert faults == []
    assert values == {
        "email": "a@example.com",
        "limit": 5,
        "filter": {"since": "x", "page": 1},
    }


def test_every_fault_is_listed_with_its_path() -> None:
    _, faults = checked_inputs(INPUTS, {"limit": 0, "filter": {"page": "x"}, "emial": "a"})
    assert [fault.path for fault in faults] == ["email", "emial", "filter", "filter.page", "limit"]
    assert str(faults[1]) == "emial: there is no such input; did you mean 'email'?"


def test_the_input_is_an_object() -> None:
    assert checked_inputs(INPUTS, [1]) == ({}, [ValueFault("", "the input must be an object")])


def test_a_whole_number_that_came_as_a_double_is_an_integer() -> None:
    values, faults = checked_inputs((Input("n", {"type": "integer"}),), {"n": 3.0})
    assert faults == []
    assert type(values["n"]) is int


def test_a_double_stays_a_double() -> None:
    values, _ = checked_inputs((Input("n", {"type": "number"}),), {"n": 3.0})
    assert type(values["n"]) is float


def test_formats_are_checked() -> None:
    _, faults = checked_inputs(INPUTS, {"email": "nobody"})
    assert [fault.path for fault in faults] == ["email"]


def test_the_number_of_faults_is_bounded() -> None:
    faults = value_faults({"items": {"type": "string"}}, list(range(1_000)))
    assert len(faults) == FAULTS_MAX


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ({"type": "text"}, "is no type"),
        ({"minimum": "x"}, "minimum"),
        ({"$ref": "https://example.com/x.json"}, "may not refer to"),
        ({"$ref": "file:///etc/hostname"}, "may not refer to"),
        ({"properties": {"a": {"$ref": "http://127.0.0.1/x"}}}, "may not refer to"),
        ({"pattern": "(?=x)"}, "linear time"),
        ({"$ref": "#/nowhere"}, "does not exist"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict[str, object], part: str) -> None:
    fault = schema_fault(schema)
    assert fault is not None
    assert part in fault


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "additionalProperties": {"$ref": "#"}}
    assert schema_fault(tree) is None
    assert [fault.path for fault in value_faults(tree, {"a": {"b": 1}})] == ["a.b"]

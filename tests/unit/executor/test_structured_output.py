"""The strict form of a schema, and an answer read back by the flow's own schema."""

import itertools
from typing import Any

import pytest

from headrace_core.workflow.inputs import value_faults
from headrace_executor.domain.model_faults import ModelFailed
from headrace_executor.domain.structured_output import Unsayable, read_output, strict_form


def an_object(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema if required is None else {**schema, "required": required}


TEXT = {"type": "string"}
NUMBER = {"type": "number"}


def test_every_member_is_required_and_no_other_is_allowed() -> None:
    inner = an_object(["b"], b=TEXT)
    strict = strict_form(an_object(["a"], a={"type": "array", "items": inner}))
    assert strict["required"] == ["a"] and strict["additionalProperties"] is False
    item = strict["properties"]["a"]["items"]
    assert item["required"] == ["b"] and item["additionalProperties"] is False


def test_an_optional_member_may_be_null() -> None:
    schema = {
        **an_object(
            ["named"],
            named=TEXT,
            plain=TEXT,
            chosen={"enum": ["a", "b"]},
            either={"anyOf": [TEXT, NUMBER]},
            defined={"$ref": "#/$defs/d"},
            nullable={"type": ["string", "null"]},
        ),
        "$defs": {"d": TEXT},
    }
    strict = strict_form(schema)
    members = strict["properties"]
    assert strict["required"] == list(members)
    assert members["named"] == TEXT
    assert members["plain"] == {"type": ["string", "null"]}
    assert members["chosen"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert members["either"] == {"anyOf": [TEXT, NUMBER, {"type": "null"}]}
    assert members["defined"] == {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}
    assert members["nullable"] == {"type": ["string", "null"]}
    assert strict["$defs"] == {"d": TEXT}


def test_a_strict_form_is_strict_already() -> None:
    schema = an_object(["a"], a=TEXT, b={"type": "array", "items": NUMBER}, c={"const": 1})
    once = strict_form(schema)
    assert strict_form(once) == once


def test_what_only_narrows_is_kept_where_the_form_has_it() -> None:
    number = {"type": "integer", "minimum": 1, "multipleOf": 2, "exclusiveMaximum": 9}
    text = {"type": "string", "minLength": 2, "pattern": "^a+$", "format": "date", "title": "T"}
    some = {"type": "array", "items": TEXT, "maxItems": 3, "uniqueItems": True}
    loose = {"type": "string", "pattern": "a+", "description": "D", "format": "odd"}
    schema = an_object(["n", "t", "s", "l"], n=number, t=text, s=some, l=loose)
    members = strict_form(schema)["properties"]
    assert members["n"] == number
    assert members["t"] == {"type": "string", "pattern": "^a+$", "format": "date"}
    assert members["s"] == {"type": "array", "items": TEXT, "maxItems": 3}
    assert members["l"] == {"type": "string", "description": "D"}


def test_a_type_that_is_not_written_follows_from_the_rest() -> None:
    schema = {
        "properties": {
            "mixed": {"enum": ["a", 1, None, True, 1.5]},
            "fixed": {"const": "x"},
            "list": {"items": TEXT},
            "object": {"properties": {"a": TEXT}, "required": ["a"]},
        },
        "required": ["mixed", "fixed", "list", "object"],
    }
    members = strict_form(schema)["properties"]
    assert members["mixed"]["type"] == ["string", "integer", "number", "boolean", "null"]
    assert members["fixed"] == {"type": "string", "enum": ["x"]}
    assert members["list"]["type"] == "array" and members["object"]["type"] == "object"


@pytest.mark.parametrize(
    ("schema", "place", "remedy"),
    [
        (an_object(), "schema is an object without members", "properties"),
        ({"type": "array", "items": TEXT}, "schema is not of type object", "member"),
        ({"anyOf": [an_object(a=TEXT)]}, "schema is not of type object", "member"),
        (an_object(a={}), "schema.properties.a does not say its type", "add type"),
        (an_object(a=True), "schema.properties.a allows any value", "type"),
        (an_object(a={"type": "array"}), "schema.properties.a does not say what", "items"),
        (
            an_object(a={"type": "array", "items": {"type": "array", "items": {"not": TEXT}}}),
            "schema.properties.a.items.items uses 'not'",
            "allowed",
        ),
        (an_object(a={"allOf": [TEXT, {"minLength": 2}]}), "uses 'allOf'", "one schema"),
        (
            {**an_object(a=TEXT), "additionalProperties": NUMBER},
            "allows members that it does not name",
            "{name, value}",
        ),
        ({**an_object(a=TEXT), "additionalProperties": True}, "does not name", "name the"),
        ({**an_object(a=TEXT), "patternProperties": {"^x": TEXT}}, "patternProperties", "list"),
        (an_object(["b"], a=TEXT), "requires 'b'", "add it to properties"),
        (an_object(a={"$ref": "#/properties/b"}, b=TEXT), "refers to", "#/$defs/"),
        (
            {**an_object(a={"$ref": "#/$defs/b", "minLength": 1}), "$defs": {"b": TEXT}},
            "has 'minLength' beside a $ref",
            "definition",
        ),
        (an_object(a={"type": "string", "anyOf": [TEXT]}), "has 'type' beside anyOf", "options"),
        (
            {**an_object(a={"$ref": "#/$defs/b"}), "$defs": {"b": {"$ref": "#/$defs/b"}}},
            "#/$defs/b refers to itself without end",
            "in between",
        ),
        (an_object(a={"type": "text"}), "no JSON Schema", "string"),
        (an_object(a={"$ref": "https://example.com/s.json"}), "may not refer to", "write it out"),
    ],
)
def test_what_the_form_cannot_say_is_refused_with_its_place(
    schema: dict[str, Any], place: str, remedy: str
) -> None:
    with pytest.raises(Unsayable) as refused:
        strict_form(schema)
    assert place in str(refused.value) and remedy in str(refused.value)


def test_a_schema_that_is_nested_without_measure_is_refused() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(80):
        schema = an_object(["a"], a=schema)
    with pytest.raises(Unsayable, match="nested too deeply"):
        strict_form(schema)


def test_definitions_may_refer_to_each_other_through_members() -> None:
    tree = an_object(["name"], name=TEXT, below={"type": "array", "items": {"$ref": "#/$defs/t"}})
    schema = {**an_object(["root"], root={"$ref": "#/$defs/t"}), "$defs": {"t": tree}}
    strict = strict_form(schema)
    assert strict["$defs"]["t"]["required"] == ["name", "below"]
    text = '{"root": {"name": "a", "below": [{"name": "b", "below": null}]}}'
    assert read_output(schema, text) == {"root": {"name": "a", "below": [{"name": "b"}]}}


def test_a_null_that_stands_for_an_absent_member_is_taken_out() -> None:
    schema = an_object(
        ["a"],
        a={"type": ["string", "null"]},
        b=TEXT,
        c={"type": ["string", "null"]},
        d=an_object(["e"], e=TEXT, f=NUMBER),
        g={"anyOf": [an_object(["h"], h=NUMBER, i=NUMBER), an_object(["k"], k=TEXT, l=TEXT)]},
    )
    text = (
        '{"a": null, "b": null, "c": null, "d": {"e": "x", "f": null}, "g": {"k": "y", "l": null}}'
    )
    value = read_output(schema, text)
    assert value == {"a": None, "c": None, "d": {"e": "x"}, "g": {"k": "y"}}
    assert value_faults(schema, value) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "gave no text"),
        ("The licence is MIT.", "not JSON: The licence is MIT."),
        ('```json\n{"n": 1}\n```', "not JSON"),
        ('{"n": NaN}', "not JSON"),
        ('{"n": 1', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"n": "one"}', "does not fit the schema: n:"),
        ('{"n": null}', "does not fit the schema: n:"),
        ('{"n": 7}', "does not fit the schema: n:"),
        ("[]", "does not fit the schema"),
        ("{}", '"n" is a required property'),
    ],
)
def test_an_answer_that_does_not_fit_is_a_mismatch(text: str, part: str) -> None:
    schema = an_object(["n"], n={"type": "integer", "maximum": 5})
    with pytest.raises(ModelFailed) as failed:
        read_output(schema, text)
    assert failed.value.error_type == "ai.schema_mismatch" and part in failed.value.message


def test_definitions_that_branch_without_measure_are_refused() -> None:
    names = [f"d{index}" for index in range(40)]
    definitions: dict[str, Any] = {
        name: {"anyOf": [{"$ref": f"#/$defs/{after}"}, {"$ref": f"#/$defs/{after}"}]}
        for name, after in itertools.pairwise(names)
    }
    definitions[names[-1]] = TEXT
    schema = {**an_object(["a"], a={"$ref": "#/$defs/d0"}), "$defs": definitions}
    with pytest.raises(Unsayable, match="branches too often"):
        strict_form(schema)

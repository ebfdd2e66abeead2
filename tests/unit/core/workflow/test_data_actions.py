from typing import Any

import pytest

from headrace_core.workflow.builtin_actions import BUILTIN_ACTIONS, DATA_ACTIONS
from headrace_core.workflow.data_actions import DataActionFailed, run_data_action
from headrace_core.workflow.inputs import schema_fault, value_faults
from headrace_core.workflow.plan import Effect

ROWS = [
    {"name": "b", "licence": {"id": "MIT"}, "size": 2},
    {"name": "a", "licence": {"id": "GPL"}, "size": 10},
    {"name": "c", "licence": {"id": "MIT"}, "size": None},
]
SCHEMAS = {action.name: action for action in DATA_ACTIONS}


def run(name: str, **arguments: Any) -> Any:
    """As the executor does: arguments and result are checked against the descriptor."""
    action = SCHEMAS[name]
    assert value_faults(action.input_schema, arguments) == []
    result = run_data_action(name, arguments)
    if action.output_schema is not None:
        assert value_faults(action.output_schema, result) == []
    return result


def test_echo_gives_back_the_value() -> None:
    assert run("data.echo", value={"a": [1, None]}) == {"a": [1, None]}


def test_pick_keeps_members_of_one_or_of_many() -> None:
    assert run("data.pick", **{"from": ROWS[0], "fields": ["name", "gone"]}) == {"name": "b"}
    assert run("data.pick", **{"from": ROWS[:2], "fields": ["licence.id"]}) == [
        {"licence.id": "MIT"},
        {"licence.id": "GPL"},
    ]


def test_merge_lets_later_objects_win() -> None:
    objects = [{"a": 1, "b": {"x": 1}}, {"b": {"y": 2}}]
    assert run("data.merge", objects=objects) == {"a": 1, "b": {"y": 2}}
    assert run("data.merge", objects=objects, deep=True) == {"a": 1, "b": {"x": 1, "y": 2}}


def test_format_fills_places_once_or_for_each_item() -> None:
    assert run("data.format", text="{{{n}}} {o.k}", values={"n": 1, "o": {"k": "v"}}) == "{1} v"
    assert run("data.format", text="{index}:{name}", items=ROWS, separator=", ") == "0:b, 1:a, 2:c"
    assert run("data.format", text="- {item}", items=["x", "y"]) == "- x\n- y"


def test_a_place_without_a_value_fails() -> None:
    with pytest.raises(DataActionFailed, match=r"\{gone\}"):
        run("data.format", text="{gone}", values={})


def test_group_by_keeps_the_order_of_first_appearance() -> None:
    groups = run("data.group_by", items=ROWS, field="licence.id")
    assert [(group["key"], group["count"]) for group in groups] == [("MIT", 2), ("GPL", 1)]


def test_groups_of_different_types_are_different() -> None:
    items = [{"k": 1}, {"k": "1"}, {"k": True}, {"k": None}, {}]
    assert [g["key"] for g in run("data.group_by", items=items, field="k")] == [1, "1", True, None]


def test_count_counts_all_and_by_field() -> None:
    assert run("data.count", items=ROWS, field="licence.id") == {
        "total": 3,
        "by": {"GPL": 1, "MIT": 2},
    }
    assert run("data.count", items=[]) == {"total": 0, "by": {}}


def test_sort_orders_mixed_values_and_puts_what_is_missing_last() -> None:
    assert [row["name"] for row in run("data.sort", items=ROWS, field="size")] == ["b", "a", "c"]
    assert run("data.sort", items=["b", 2, None, True, 1.5, "a"]) == [1.5, 2, "a", "b", True, None]
    assert run("data.sort", items=[1, 3, 2], descending=True) == [3, 2, 1]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"name": "a"}, ["a"]),
        ({"licence.id": {"in": ["MIT", "BSD"]}}, ["b", "c"]),
        ({"licence.id": {"not_in": ["MIT"]}}, ["a"]),
        ({"size": {"above": 1, "below": 5}}, ["b"]),
        ({"size": {"at_least": 2, "at_most": 10}}, ["b", "a"]),
        ({"size": {"exists": False}}, ["c"]),
        ({"size": {"not": 2}}, ["a", "c"]),
        ({"name": {"contains": "b"}}, ["b"]),
        ({"size": {"above": "x"}}, []),
        ({"size": True}, []),
    ],
)
def test_filter_keeps_what_fulfils_every_condition(where: Any, names: list[str]) -> None:
    assert [row["name"] for row in run("data.filter", items=ROWS, where=where)] == names


def test_a_filter_with_a_limit_keeps_the_first_that_fulfil_it() -> None:
    kept = run("data.filter", items=ROWS, where={"size": {"exists": True}}, limit=1)
    assert [row["name"] for row in kept] == ["b"]


def test_lookup_finds_a_value_or_the_default() -> None:
    assert run("data.lookup", key="a", table={"a": 1}) == 1
    assert run("data.lookup", key=3, table={"3": "three"}) == "three"
    assert run("data.lookup", key="b", table={"a": 1}, default=None) is None
    with pytest.raises(DataActionFailed, match="no default"):
        run("data.lookup", key="b", table={"a": 1})


def test_every_transform_has_an_implementation() -> None:
    for action in DATA_ACTIONS:
        with pytest.raises((KeyError, TypeError), match=r"^'(?!data\.)"):
            # It misses an argument, not itself.
            run_data_action(action.name, {})


def test_descriptors_are_usable_and_unlike_each_other() -> None:
    for action in BUILTIN_ACTIONS:
        assert schema_fault(action.input_schema) is None
        assert action.output_schema is None or schema_fault(action.output_schema) is None
    names = [action.name for action in BUILTIN_ACTIONS]
    assert len(set(names)) == len(names)
    assert len({action.lock for action in BUILTIN_ACTIONS}) == len(names)


def test_only_what_may_be_repeated_is_tried_three_times() -> None:
    attempts = {action.name: action.attempts for action in BUILTIN_ACTIONS}
    assert attempts["http.get"] == attempts["http.post"] == attempts["data.echo"] == 3
    assert {a.effect for a in DATA_ACTIONS} == {Effect.NONE}

"""The difference of two documents names each change once, and nothing that is equal."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace_core.run.difference import CHANGES_MAX, Change, changes_between

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_a_change_stands_at_the_deepest_place_that_both_have() -> None:
    before = {"steps": {"a": {"status": "running", "attempts": [1]}}, "status": "running"}
    after = {
        "steps": {"a": {"status": "succeeded", "attempts": [1, 2]}, "b": {}},
        "status": "running",
    }
    changes, more = changes_between(before, after)
    assert changes == [
        Change(("steps", "a", "status"), "running", "succeeded"),
        Change(("steps", "a", "attempts", "1"), None, 2, added=True),
        Change(("steps", "b"), None, {}, added=True),
    ]
    assert not more
    back, _ = changes_between(after, before)
    assert [one.path for one in back if one.removed] == [
        ("steps", "a", "attempts", "1"),
        ("steps", "b"),
    ]


def test_true_is_not_one_and_a_list_is_not_a_text() -> None:
    assert [one.path for one in changes_between({"a": True}, {"a": 1})[0]] == [("a",)]
    assert [one.path for one in changes_between({"a": ["x"]}, {"a": "x"})[0]] == [("a",)]


def test_more_changes_than_fit_are_not_passed_over_in_silence() -> None:
    wide = {str(number): number for number in range(CHANGES_MAX + 1)}
    changes, more = changes_between({}, wide)
    assert (len(changes), more) == (CHANGES_MAX, True)


@given(JSON)
def test_nothing_differs_from_itself(document: Any) -> None:
    assert changes_between(document, deepcopy(document)) == ([], False)


@given(JSON, JSON)
def test_each_change_says_what_either_side_has_at_its_path(before: Any, after: Any) -> None:
    def at(document: Any, path: tuple[str, ...]) -> Any:
        if not path:
            return document
        key: Any = int(path[0]) if isinstance(document, list) else path[0]
        return at(document[key], path[1:])

    changes, _ = changes_between(before, after)
    for change in changes:
        if not change.added:
            assert at(before, change.path) == change.before
        if not change.removed:
            assert at(after, change.path) == change.after
    assert len({change.path for change in changes}) == len(changes)

"""What differs between two documents of a run: member by member, a change at the deepest place
that both have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from headrace_core.workflow.template import JsonValue

CHANGES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """`path` are the members that lead there. What one side does not have is null there, and
    `added` or `removed` says so."""

    path: tuple[str, ...]
    before: JsonValue
    after: JsonValue
    added: bool = False
    removed: bool = False


def changes_between(before: JsonValue, after: JsonValue) -> tuple[list[Change], bool]:
    """In the order of `after`, then what is gone; at most 1,000, and whether there are more.

    Lists are compared by position.
    """
    found: list[Change] = []
    for change in _changes((), before, after):
        if len(found) == CHANGES_MAX:
            return found, True
        found.append(change)
    return found, False


def _changes(path: tuple[str, ...], before: JsonValue, after: JsonValue) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _of_members(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        old = cast("Sequence[JsonValue]", before)
        new = cast("Sequence[JsonValue]", after)
        yield from _of_members(path, _numbered(old), _numbered(new))
    elif type(before) is not type(after) or before != after:
        yield Change(path, before, after)


def _of_members(
    path: tuple[str, ...], before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> Iterator[Change]:
    for name, value in after.items():
        if name in before:
            yield from _changes((*path, name), before[name], value)
        else:
            yield Change((*path, name), None, value, added=True)
    for name, value in before.items():
        if name not in after:
            yield Change((*path, name), value, None, removed=True)


def _numbered(values: Sequence[JsonValue]) -> dict[str, JsonValue]:
    return {str(index): value for index, value in enumerate(values)}

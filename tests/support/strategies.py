"""Hypothesis strategies for the core's dataclasses, made from their fields.

Every field is varied, so a codec that forgets one fails; a field of a type that is not known here
fails too.
"""

from collections.abc import Mapping
from dataclasses import fields
from enum import EnumType
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

INT64_MAX = (1 << 63) - 1
UINT32_MAX = (1 << 32) - 1
# As narrow as the log's format stores them; times are int64.
INTEGERS: Mapping[str, st.SearchStrategy[int]] = {
    "priority": st.integers(-(1 << 31), (1 << 31) - 1),
    "token": st.integers(0, (1 << 64) - 1),
    "input_tokens": st.integers(0, (1 << 64) - 1),
    "output_tokens": st.integers(0, (1 << 64) - 1),
    "cost_micros": st.integers(0, (1 << 64) - 1),
    "number": st.integers(0, UINT32_MAX),
    "sequence": st.integers(0, INT64_MAX),
    "source_sequence": st.integers(0, INT64_MAX),
    "epoch": st.integers(-1, INT64_MAX),
    "seq": st.integers(0, INT64_MAX),
}
TIMES = st.integers(0, INT64_MAX)
COUNTS = st.integers(0, UINT32_MAX)


def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Of a dataclass, with a value for each of its fields."""
    hints = get_type_hints(kind)
    return st.builds(
        kind, **{field.name: _of(hints[field.name], field.name) for field in fields(kind)}
    )


def _of(hint: Any, name: str) -> st.SearchStrategy[Any]:
    arguments = get_args(hint)
    origin = get_origin(hint)
    if isinstance(hint, NewType):
        # Identifiers: the empty one stands for none in the log's format.
        return st.text(min_size=1) if hint.__supertype__ is str else _of(bytes, name)
    if origin in (Union, UnionType):
        options = [_of(one, name) for one in arguments if one is not NoneType]
        return st.one_of(st.none(), *options) if NoneType in arguments else st.one_of(*options)
    if origin is tuple:
        return st.lists(_of(arguments[0], name), max_size=3).map(tuple)
    if origin is list:
        return st.lists(_of(arguments[0], name), max_size=3)
    if origin is dict:
        return st.dictionaries(*(_of(one, "number") for one in arguments), max_size=3)
    if hint is int:
        return INTEGERS.get(name, TIMES if name.endswith("_ms") else COUNTS)
    simple: Mapping[Any, st.SearchStrategy[Any]] = {
        str: st.text(),
        bytes: st.binary(max_size=40),
        bool: st.booleans(),
    }
    if hint in simple:
        return simple[hint]
    if isinstance(hint, EnumType):
        return st.sampled_from(list[Any](hint))
    return instances(hint)

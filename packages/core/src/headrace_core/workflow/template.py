"""Templates: JSON data whose strings may hold `${{ CEL }}`, parsed once and evaluated often.

A string that is one expression and nothing else keeps the value's type; mixed with text it
becomes text.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic_core import CoreSchema, core_schema

from headrace_core.workflow.references import (
    NO_REFERENCES,
    References,
    Scan,
    references_of,
    scan,
    union,
)
from headrace_core.workflow.tokens import Token, TokenKind, plain_string, tokens

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
Path = tuple[str | int, ...]

OPENING, CLOSING = "${{", "}}"
_INDEX_DIGITS_MAX = 9


@dataclass(frozen=True, slots=True)
class Expression:
    """A CEL expression. `path` is set when it only walks: `a.b['c'][0]` needs no engine."""

    source: str
    path: Path | None = field(compare=False)
    references: References = field(compare=False, repr=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """In JSON an expression is its source, parsed anew where it is loaded."""
        return _as_json(parse_expression, lambda expression: expression.source)


@dataclass(frozen=True, slots=True)
class Constant:
    value: JsonValue


@dataclass(frozen=True, slots=True)
class Text:
    parts: tuple["str | Expression", ...]


@dataclass(frozen=True, slots=True)
class Items:
    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Members:
    nodes: tuple[tuple[str, "Node"], ...]


Node = Constant | Expression | Text | Items | Members


@dataclass(frozen=True, slots=True)
class Template:
    """`data` is the template as written; `node` is what an evaluation walks."""

    data: JsonValue
    node: Node = field(compare=False, repr=False)
    references: References = field(compare=False, repr=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        """In JSON a template is its data, parsed anew where it is loaded."""
        return _as_json(parse_template, lambda template: template.data)

    @property
    def is_constant(self) -> bool:
        return isinstance(self.node, Constant)


def without_members(template: Template, names: Collection[str]) -> Template:
    """What is left to evaluate where these members of an object are given otherwise."""
    data = template.data
    if not isinstance(data, Mapping):
        return template
    return parse_template({name: value for name, value in data.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Embedded:
    """An expression inside a string: its source and where that begins."""

    source: str
    offset: int


class UnclosedExpression(ValueError):
    """`${{` without its `}}`; `offset` is where it begins."""

    def __init__(self, offset: int) -> None:
        super().__init__("an expression that begins with ${{ is not closed by }}")
        self.offset = offset


def parse_expression(source: str) -> Expression:
    found = tuple(tokens(source))
    return Expression(source.strip(), _path(found), references_of((scan(found),)))


def parse_template(data: JsonValue) -> Template:
    """Raises UnclosedExpression; whether the expressions compile is asked of the engine."""
    node = _node(data)
    return Template(data, node, union(_references(node)))


def split(text: str) -> list[str | Embedded]:
    """Text and expressions in order. Raises UnclosedExpression.

    The end is found by tokens, so that braces and quotes inside an expression do not end it.
    """
    parts: list[str | Embedded] = []
    at = 0
    while (start := text.find(OPENING, at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        end = _end_of_expression(text, start)
        parts.append(Embedded(text[start + len(OPENING) : end], start + len(OPENING)))
        at = end + len(CLOSING)
    if at < len(text):
        parts.append(text[at:])
    return parts


def scan_source(source: str) -> Scan:
    return scan(tuple(tokens(source)))


def expressions_of(node: Node) -> Iterator[Expression]:
    match node:
        case Constant():
            return
        case Expression():
            yield node
        case Text(parts):
            yield from (part for part in parts if isinstance(part, Expression))
        case Items(nodes):
            for one in nodes:
                yield from expressions_of(one)
        case Members(nodes):
            for _, one in nodes:
                yield from expressions_of(one)


def _as_json(parse: Callable[[Any], object], dump: Callable[[Any], object]) -> CoreSchema:
    return core_schema.no_info_plain_validator_function(
        parse, serialization=core_schema.plain_serializer_function_ser_schema(dump)
    )


def _end_of_expression(text: str, start: int) -> int:
    depth = 0
    for token in tokens(text, start + len(OPENING)):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0:
                if text.startswith(CLOSING, token.offset):
                    return token.offset
                break
            depth -= 1
    raise UnclosedExpression(start)


def _node(data: JsonValue) -> Node:
    if isinstance(data, str):
        return _text_node(data) if OPENING in data else Constant(data)
    if isinstance(data, Mapping):
        members = tuple((key, _node(value)) for key, value in data.items())
        if all(isinstance(node, Constant) for _, node in members):
            return Constant(data)
        return Members(members)
    if isinstance(data, Sequence):
        items = tuple(_node(value) for value in data)
        if all(isinstance(node, Constant) for node in items):
            return Constant(data)
        return Items(items)
    return Constant(data)


def _text_node(text: str) -> Node:
    parts = tuple(
        parse_expression(part.source) if isinstance(part, Embedded) else part
        for part in split(text)
    )
    if len(parts) == 1:
        return cast(Expression, parts[0])
    return Text(parts)


def _references(node: Node) -> Iterator[References]:
    for expression in expressions_of(node):
        if expression.references is not NO_REFERENCES:
            yield expression.references


def _path(found: Sequence[Token]) -> Path | None:
    """The keys of a pure path, else None. Anything else, however simple, is the engine's."""
    if not found or found[0].kind is not TokenKind.NAME or found[0].text in _NO_ROOTS:
        return None
    path: list[str | int] = [found[0].text]
    at = 1
    while at < len(found):
        key: str | int | None = None
        chosen = found[at + 1] if at + 1 < len(found) else None
        if chosen is None:
            return None
        if found[at].text == "." and chosen.kind is TokenKind.NAME:
            key, at = chosen.text, at + 2
        elif found[at].text == "[" and at + 2 < len(found) and found[at + 2].text == "]":
            key, at = _key(chosen), at + 3
        if key is None:
            return None
        path.append(key)
    return tuple(path)


_NO_ROOTS = frozenset({"true", "false", "null"})


def _key(token: Token) -> str | int | None:
    if token.kind is TokenKind.NUMBER and token.text.isdigit():
        return int(token.text) if len(token.text) <= _INDEX_DIGITS_MAX else None
    return plain_string(token)

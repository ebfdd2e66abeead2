"""CEL behind one module: compile with types, evaluate, walk paths. Only home of the engine.

JSON in, JSON out: integers stay integers, times become RFC 3339 text, and the same values give
the same bytes in every process. A mistake in an expression is a value, never an exception.
Measured traps of the engine that are dealt with here: errors come back as values; `map` and
`filter` take quadratic time; objects are iterated in random order.
"""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast

from cel_expr_python import cel
from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

from headrace_core.workflow.diagnosis import (
    Problem,
    ProblemKind,
    compile_problems,
    evaluation_message,
)
from headrace_core.workflow.references import ROOTS, References
from headrace_core.workflow.template import (
    Constant,
    Embedded,
    Expression,
    Items,
    JsonValue,
    Members,
    Node,
    Template,
    Text,
    UnclosedExpression,
    parse_expression,
    parse_template,
    scan_source,
    split,
)
from headrace_core.workflow.tokens import tokens

__all__ = [
    "Embedded",
    "ExprError",
    "Expression",
    "Names",
    "Problem",
    "ProblemKind",
    "References",
    "Template",
    "TypeChecker",
    "UnclosedExpression",
    "evaluate",
    "evaluate_bool",
    "parse_expression",
    "parse_template",
    "render",
    "scan_source",
    "split",
]

Names = Mapping[str, JsonValue]
"""Values by root name (`inputs`, `steps`, ...); built from decoded JSON: dicts, lists, scalars."""

SOURCE_BYTES_MAX: Final = 4_096
LIST_ITEMS_MAX: Final = 500
ERROR_TYPE: Final = "expr.error"
_PROGRAMS_MAX = 16_384
_GUARD = "at_most_500_items_"
_GUARDED_MACROS = ("map", "filter")


@dataclass(frozen=True, slots=True)
class ExprError:
    """Why an expression has no value; its error type is `expr.error`."""

    message: str
    source: str

    def __str__(self) -> str:
        return f"{self.message} (in `{self.source}`)"


def evaluate(expression: Expression, names: Names) -> JsonValue | ExprError:
    path = expression.path
    if path is None:
        return _evaluate_program(expression, names)
    value: Any = names
    try:
        for key in path:
            if key.__class__ is int and value.__class__ is not list:
                break
            value = value[key]
        else:
            return value
    except (KeyError, IndexError, TypeError):
        pass
    return ExprError(_missing_on_path(path, names), expression.source)


def evaluate_bool(expression: Expression, names: Names) -> bool | ExprError:
    """For `when`, `switch`, `where`, `until`: anything but true and false is an error."""
    value = evaluate(expression, names)
    if value is True or value is False or isinstance(value, ExprError):
        return value
    return ExprError(f"the condition gave {_kind(value)}, not true or false", expression.source)


def render(template: Template, names: Names) -> JsonValue | ExprError:
    """The template with every expression replaced by its value, or the first error."""
    return _render(template.node, names)


def text_of(value: JsonValue) -> str:
    """How a value reads inside text: strings as they are, everything else as its JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class TypeChecker:
    """Compiles expressions against declared variables.

    A variable is a root name or a dotted path below one (`inputs.amount`), its type a signature
    such as `int`, `list<string>`, `map<string, dyn>` or `dyn`.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self._typed = _environment(variables)
        # The engine takes a dotted variable for a value in `has(a.b)`; such expressions are
        # checked with the roots only.
        self._roots = _environment({name: "dyn" for name in variables if "." not in name})

    def with_names(self, variables: Mapping[str, str]) -> "TypeChecker":
        return TypeChecker({**self._variables, **variables})

    def check(self, source: str) -> str | tuple[Problem, ...]:
        """The type's signature in lower case, or every problem found."""
        if len(source.encode()) > SOURCE_BYTES_MAX:
            message = f"an expression has at most {SOURCE_BYTES_MAX} bytes"
            return (Problem(ProblemKind.BOUND, message, "split it over several steps"),)
        environment = self._roots if _uses_has(source) else self._typed
        try:
            return environment.compile(source).return_type().name().lower()
        except RuntimeError as fault:
            return tuple(compile_problems(source, str(fault)))


def _render(node: Node, names: Names) -> JsonValue | ExprError:
    if isinstance(node, Expression):
        return evaluate(node, names)
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Members):
        members: dict[str, JsonValue] = {}
        for key, one in node.nodes:
            value = _render(one, names)
            if isinstance(value, ExprError):
                return value
            members[key] = value
        return members
    if isinstance(node, Items):
        items: list[JsonValue] = []
        for one in node.nodes:
            value = _render(one, names)
            if isinstance(value, ExprError):
                return value
            items.append(value)
        return items
    return _render_text(node, names)


def _render_text(node: Text, names: Names) -> str | ExprError:
    parts: list[str] = []
    for part in node.parts:
        if isinstance(part, str):
            parts.append(part)
            continue
        value = evaluate(part, names)
        if isinstance(value, ExprError):
            return value
        parts.append(text_of(value))
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Program:
    """`paths` are what it reads; none is the beginning of another."""

    compiled: "cel.Expression"
    paths: tuple[tuple[str, ...], ...]


def _evaluate_program(expression: Expression, names: Names) -> JsonValue | ExprError:
    source = expression.source
    program = _program(source)
    if isinstance(program, ExprError):
        return program
    try:
        value = program.compiled.eval(data=_pruned(program.paths, names))
        if value.type() == cel.Type.ERROR:
            return ExprError(evaluation_message(str(value.plain_value())), source)
        return _to_json(value.plain_value())
    except _NotJson as fault:
        return ExprError(str(fault), source)
    except TypeError:
        return ExprError("the result is an optional; end it with .orValue(...)", source)
    except RuntimeError as fault:
        return ExprError(evaluation_message(str(fault)), source)


def _pruned(paths: Iterable[tuple[str, ...]], names: Names) -> dict[str, Any]:
    """Only what the program reads: the engine copies everything that it is given."""
    data: dict[str, Any] = {}
    for path in paths:
        source: Any = names
        target = data
        last = len(path) - 1
        for depth, key in enumerate(path):
            if key not in source:
                break
            source = source[key]
            if depth == last or not isinstance(source, dict):
                target[key] = source
                break
            target = target.setdefault(key, {})
    return data


@lru_cache(maxsize=_PROGRAMS_MAX)
def _program(source: str) -> "_Program | ExprError":
    """Compiled without declared types, since values arrive as they are."""
    mentions = scan_source(source).mentions
    names = frozenset(mention.root for mention in mentions)
    try:
        compiled = _untyped(names.union(ROOTS)).compile(_guarded(source))
    except RuntimeError as fault:
        problems = tuple(compile_problems(source, str(fault)))
        return ExprError(problems[0].message if problems else str(fault), source)
    return _Program(compiled, _shortest({mention.path for mention in mentions}))


def _shortest(paths: set[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        path
        for path in sorted(paths)
        if not any(path[:length] in paths for length in range(1, len(path)))
    )


@lru_cache(maxsize=1_024)
def _untyped(names: frozenset[str]) -> "cel.Env":
    return _environment(dict.fromkeys(names, "dyn"), guard=True)


def _environment(variables: Mapping[str, str], *, guard: bool = False) -> "cel.Env":
    extensions: list[Any] = [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_encoders.ExtEncoders(),
    ]
    if guard:
        extensions.append(_guard_extension())
    declared = {name: cel.Type(signature) for name, signature in variables.items()}
    return cel.NewEnv(variables=declared, extensions=extensions)


@lru_cache(maxsize=1)
def _guard_extension() -> "cel.CelExtension":
    dyn = cel.Type.DYN
    overload = cel.Overload(
        _GUARD, return_type=dyn, parameters=[dyn], is_member=True, impl=_bounded_in_order
    )
    return cel.CelExtension("headrace", [cel.FunctionDecl(_GUARD, [overload])])


def _bounded_in_order(value: Any) -> Any:
    """What `map` and `filter` go through: short lists, and the keys of objects in order."""
    if isinstance(value, dict):
        value = sorted(cast(dict[str, Any], value))
    if isinstance(value, list) and len(cast(list[Any], value)) > LIST_ITEMS_MAX:
        count = len(cast(list[Any], value))
        raise ValueError(
            f"map and filter take at most {LIST_ITEMS_MAX} items, not {count}; use a foreach step"
        )
    return value


def _guarded(source: str) -> str:
    """The source with the guard put before every `.map(` and `.filter(`."""
    found = list(tokens(source))
    parts: list[str] = []
    at = 0
    for dot, macro, opening in zip(found, found[1:], found[2:], strict=False):
        if dot.text == "." and macro.text in _GUARDED_MACROS and opening.text == "(":
            parts.append(source[at : dot.offset])
            parts.append(f".{_GUARD}()")
            at = dot.offset
    parts.append(source[at:])
    return "".join(parts)


def _uses_has(source: str) -> bool:
    return "has" in source and any(token.text == "has" for token in tokens(source))


class _NotJson(Exception):
    """A value that JSON does not have."""


def _to_json(value: Any) -> JsonValue:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJson(f"the result {value} is not a JSON number")
        return value
    if isinstance(value, list):
        return [_to_json(item) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return _object(cast(dict[Any, Any], value))
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return _seconds(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    raise _NotJson(f"the result is a {type(value).__name__}, which JSON does not have")


def _object(value: dict[Any, Any]) -> JsonValue:
    """Sorted, since the engine gives members in an order that differs per process."""
    members = {text_of(_to_json(key)): _to_json(one) for key, one in value.items()}
    return {key: members[key] for key in sorted(members)}


def _seconds(value: timedelta) -> str:
    """A duration as in the JSON form of protocol buffers: `5400s`, `0.25s`."""
    microseconds = value // timedelta(microseconds=1)
    sign = "-" if microseconds < 0 else ""
    whole, rest = divmod(abs(microseconds), 1_000_000)
    return f"{sign}{whole}" + (f".{rest:06}".rstrip("0") if rest else "") + "s"


def _missing_on_path(path: Sequence[str | int], names: Names) -> str:
    value: Any = names
    walked = ""
    for key in path:
        try:
            if isinstance(key, int) and not isinstance(value, list):
                raise TypeError
            value = value[key]
        except (KeyError, IndexError):
            size = f" of {len(value)}" if isinstance(value, list) else ""
            where = f"{walked}{size}" if walked else "the names known here"
            return f"there is no {key!r} in {where}"
        except TypeError:
            return f"{walked} is {_kind(value)} and has no {key!r}"
        walked += f"[{key}]" if isinstance(key, int) else f".{key}" if walked else key
    raise AssertionError("a path that leads somewhere has a value")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds: Iterable[tuple[type, str]] = (
        (bool, "a bool"),
        (str, "a text"),
        (int, "a number"),
        (float, "a number"),
        (list, "a list"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")

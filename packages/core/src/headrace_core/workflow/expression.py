"""CEL behind one module: compile with types, evaluate, walk paths. Only home of the engine.

JSON in, JSON out: integers stay integers, times become RFC 3339 text, and the same values give
the same bytes in every process. A mistake in an expression is a value, never an exception.
Measured traps of the engine that are dealt with here: errors come back as values; `map` and
`filter` take quadratic time; objects are iterated in random order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from headrace_core.workflow.json_values import NotJson, kind_of, text_of, to_json
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
    return ExprError(f"the condition gave {kind_of(value)}, not true or false", expression.source)


def render(template: Template, names: Names) -> JsonValue | ExprError:
    """The template with every expression replaced by its value, or the first error."""
    return _render(template.node, names)


class TypeChecker:
    """Compiles expressions against declared variables.

    A variable is a root name or a dotted path below one (`inputs.amount`), its type a signature
    such as `int`, `list<string>`, `map<string, dyn>` or `dyn`.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        self._typed = _environment(variables)
        # The engine takes a dotted variable for a value in `has(a.b)`, and lets nothing typed be
        # compared with null, which a skipped step's output is. Such expressions are checked with
        # the roots only.
        self._roots = _environment({name: "dyn" for name in variables if "." not in name})

    def with_names(self, variables: Mapping[str, str]) -> "TypeChecker":
        return TypeChecker({**self._variables, **variables})

    def check(self, source: str) -> str | tuple[Problem, ...]:
        """The type's signature in lower case, or every problem found."""
        if len(source.encode()) > SOURCE_BYTES_MAX:
            message = f"an expression has at most {SOURCE_BYTES_MAX} bytes"
            return (Problem(ProblemKind.BOUND, message, "split it over several steps"),)
        environment = self._roots if _asks_for_absence(source) else self._typed
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
        return to_json(value.plain_value())
    except NotJson as fault:
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
            if depth == last or source.__class__ is not dict:
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
    count = len(cast(list[Any], value)) if isinstance(value, list) else 0
    if count > LIST_ITEMS_MAX:
        raise ValueError(
            f"map and filter take at most {LIST_ITEMS_MAX} items, not {count}; use a foreach step"
        )
    return cast(Any, value)


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


_UNTYPED_WORDS = frozenset({"has", "null"})


def _asks_for_absence(source: str) -> bool:
    return any(token.text in _UNTYPED_WORDS for token in tokens(source))


def _missing_on_path(path: Sequence[str | int], names: Names) -> str:
    value: Any = names
    walked = ""
    for key in path:
        following = _at(value, key)
        if following is _NOTHING:
            break
        value = following
        walked += f"[{key}]" if isinstance(key, int) else f".{key}" if walked else key
    else:
        raise AssertionError("a path that leads somewhere has a value")
    if not walked:
        return f"{key!r} is not known here"
    if isinstance(value, Mapping if isinstance(key, str) else list):
        return f"there is no {key!r} in {walked}"
    return f"{walked} is {kind_of(value)} and has no {key!r}"


_NOTHING: Any = object()


def _at(value: Any, key: str | int) -> Any:
    if isinstance(key, int):
        items = cast(list[Any], value) if isinstance(value, list) else []
        return items[key] if key < len(items) else _NOTHING
    return cast(Any, value).get(key, _NOTHING) if isinstance(value, Mapping) else _NOTHING

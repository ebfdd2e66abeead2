"""What an expression touches, found from its tokens alone.

Only the payloads named here are opened before an evaluation, so a name must never be missed; one
too many only costs time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace_core.workflow.tokens import Token, TokenKind, plain_string

STEP_FIELDS = ("status", "output", "error", "items", "counts")
ROOTS = ("inputs", "vars", "trigger", "run", "steps", "secrets")
MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_WORDS = frozenset(
    {"true", "false", "null", "in", "int", "uint", "double", "bool", "string", "bytes", "list"}
    | {"map", "null_type", "type", "dyn", "google", "optional_type", "optional", "math"}
)


@dataclass(frozen=True, slots=True)
class StepReference:
    """Which payloads of a step an expression needs; status and counts are no payloads."""

    step: str
    output: bool = False
    error: bool = False
    items: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """`names` are the root names used, item aliases among them."""

    names: frozenset[str] = frozenset()
    steps: tuple[StepReference, ...] = ()
    inputs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


NO_REFERENCES = References()


@dataclass(frozen=True, slots=True)
class Mention:
    """One use of a root name with the literal keys that follow it: `steps.fetch['output']` has
    the keys `fetch` and `output`. A computed key, an index or a call ends them."""

    root: str
    keys: tuple[str, ...]
    offset: int
    key_offsets: tuple[int, ...]

    @property
    def path(self) -> tuple[str, ...]:
        return (self.root, *self.keys)


@dataclass(frozen=True, slots=True)
class Scan:
    """All mentions in order, and the variables that macros bind."""

    mentions: tuple[Mention, ...]
    bound: tuple[Token, ...]


def scan(tokens: Sequence[Token]) -> Scan:
    bound = tuple(_bound_variables(tokens))
    local = {token.text for token in bound}
    mentions: list[Mention] = []
    for index, token in enumerate(tokens):
        if token.kind is not TokenKind.NAME or token.text in _WORDS or token.text in local:
            continue
        if index and tokens[index - 1].text in (".", ".?"):
            continue
        if _text(tokens, index + 1) == "(":
            continue
        mentions.append(_mention(tokens, index))
    return Scan(tuple(mentions), bound)


def references_of(scans: Iterable[Scan]) -> References:
    names: set[str] = set()
    steps: dict[str, set[str]] = {}
    inputs: set[str] = set()
    secrets: set[str] = set()
    for mention in (mention for scan_ in scans for mention in scan_.mentions):
        names.add(mention.root)
        if not mention.keys:
            continue
        member = mention.keys[0]
        if mention.root == "steps":
            field = mention.keys[1] if len(mention.keys) > 1 else None
            fields = (field,) if field in STEP_FIELDS else STEP_FIELDS
            steps.setdefault(member, set()).update(fields)
        elif mention.root == "inputs":
            inputs.add(member)
        elif mention.root == "secrets":
            secrets.add(member)
    return References(
        frozenset(names),
        tuple(
            StepReference(step, "output" in fields, "error" in fields, "items" in fields)
            for step, fields in sorted(steps.items())
        ),
        tuple(sorted(inputs)),
        tuple(sorted(secrets)),
    )


def union(parts: Iterable[References]) -> References:
    names: set[str] = set()
    steps: dict[str, StepReference] = {}
    inputs: set[str] = set()
    secrets: set[str] = set()
    for part in parts:
        names |= part.names
        inputs.update(part.inputs)
        secrets.update(part.secrets)
        for one in part.steps:
            other = steps.get(one.step)
            steps[one.step] = (
                one
                if other is None
                else StepReference(
                    one.step,
                    one.output or other.output,
                    one.error or other.error,
                    one.items or other.items,
                )
            )
    return References(
        frozenset(names),
        tuple(steps[step] for step in sorted(steps)),
        tuple(sorted(inputs)),
        tuple(sorted(secrets)),
    )


def _bound_variables(tokens: Sequence[Token]) -> Iterator[Token]:
    for index, token in enumerate(tokens):
        if token.text not in MACROS or not index or tokens[index - 1].text != ".":
            continue
        variable = index + 2
        is_binding = _text(tokens, index + 1) == "(" and _text(tokens, variable + 1) == ","
        if is_binding and tokens[variable].kind is TokenKind.NAME:
            yield tokens[variable]


def _mention(tokens: Sequence[Token], index: int) -> Mention:
    root = tokens[index]
    keys: list[str] = []
    offsets: list[int] = []
    at = index + 1
    while (selected := _selected(tokens, at)) is not None:
        key, offset, at = selected
        keys.append(key)
        offsets.append(offset)
    return Mention(root.text, tuple(keys), root.offset, tuple(offsets))


def _selected(tokens: Sequence[Token], index: int) -> tuple[str, int, int] | None:
    """The key chosen by `.name` or `['name']` at `index`: (key, its offset, index after it)."""
    mark = _text(tokens, index)
    if index + 1 >= len(tokens):
        return None
    chosen = tokens[index + 1]
    if mark in (".", ".?") and chosen.kind is TokenKind.NAME:
        if _text(tokens, index + 2) == "(":
            return None
        return chosen.text, chosen.offset, index + 2
    if mark in ("[", "[?") and _text(tokens, index + 2) == "]":
        key = plain_string(chosen)
        if key is not None:
            return key, chosen.offset, index + 3
    return None


def _text(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].text if index < len(tokens) else ""

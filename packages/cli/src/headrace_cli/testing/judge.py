"""What was expected against what happened, difference by difference. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from headrace_cli.testing.case_file import Expected, ExpectedError, ExpectedStep
from headrace_cli.testing.play import ErrorSeen, Played, StepSeen
from headrace_core.workflow.duration import duration_ms, duration_text
from headrace_core.workflow.fault import path_text

DIFFERENCES_MAX = 20
"""Of one value; more are counted."""


def differences(expected: Expected, played: Played) -> list[str]:
    """Empty if the case holds."""
    found = list(_run(expected, played))
    for name, step in expected.steps.items():
        seen = played.steps.get(name)
        if seen is None:
            found.append(f"steps.{name}: the flow has no such step")
        else:
            found += _step(f"steps.{name}", step, seen)
    return found


def _run(expected: Expected, played: Played) -> Iterator[str]:
    if expected.run != played.status:
        why = f" ({_shown_error(played.error)})" if played.error is not None else ""
        yield f"run: expected {expected.run}, got {played.status}{why}"
    if expected.path is not None and tuple(expected.path) != played.path:
        yield f"path: expected {', '.join(expected.path) or 'nothing'}"
        yield f"           got {', '.join(played.path) or 'nothing'}"
    if "outputs" in expected.model_fields_set and played.status == "succeeded":
        yield from _values("outputs", expected.outputs, played.outputs)
    if expected.error is not None:
        yield from _error("error", expected.error, played.error)
    if expected.took is not None and duration_ms(expected.took) != played.took_ms:
        yield f"took: expected {expected.took}, got {duration_text(played.took_ms)}"


def _step(name: str, expected: ExpectedStep, seen: StepSeen) -> Iterator[str]:
    words = (
        ("status", expected.status, seen.status),
        ("port", expected.port, seen.port),
        ("skip_reason", expected.skip_reason, seen.skip_reason),
        ("attempts", expected.attempts, seen.attempts),
    )
    for key, wanted, got in words:
        if wanted is not None and wanted != got:
            yield f"{name}.{key}: expected {wanted}, got {got or 'none'}"
    if "output" in expected.model_fields_set:
        yield from _values(f"{name}.output", expected.output, seen.output)
    if "with_" in expected.model_fields_set:
        yield from _values(f"{name}.with", expected.with_, seen.arguments)
    if expected.error is not None:
        yield from _error(f"{name}.error", expected.error, seen.error)


def _error(name: str, expected: ExpectedError, seen: ErrorSeen | None) -> Iterator[str]:
    if seen is None:
        yield f"{name}: expected {expected.type}, got none"
        return
    if expected.type != seen.type:
        yield f"{name}.type: expected {expected.type}, got {_shown_error(seen)}"
    if expected.message is not None and expected.message != seen.message:
        yield f"{name}.message: expected {expected.message!r}, got {seen.message!r}"


def _shown_error(error: ErrorSeen | None) -> str:
    return "none" if error is None else f"{error.type}: {error.message}"


def _values(name: str, expected: Any, got: Any) -> Iterator[str]:
    found = [f"{path}: {words}" for path, words in _differing((name,), expected, got)]
    yield from found[:DIFFERENCES_MAX]
    if len(found) > DIFFERENCES_MAX:
        yield f"{name}: and {len(found) - DIFFERENCES_MAX} more differences"


def _differing(path: tuple[str | int, ...], expected: Any, got: Any) -> Iterator[tuple[str, str]]:
    if isinstance(expected, dict) and isinstance(got, dict):
        wanted, found = cast("Mapping[str, Any]", expected), cast("Mapping[str, Any]", got)
        for key in sorted(wanted.keys() | found.keys()):
            if key not in found:
                yield path_text((*path, key)), f"expected {_shown(wanted[key])}, is not there"
            elif key not in wanted:
                yield path_text((*path, key)), f"not expected, got {_shown(found[key])}"
            else:
                yield from _differing((*path, key), wanted[key], found[key])
    elif isinstance(expected, list) and isinstance(got, list):
        ones, others = cast("list[Any]", expected), cast("list[Any]", got)
        for index, (one, other) in enumerate(zip(ones, others, strict=False)):
            yield from _differing((*path, index), one, other)
        if len(ones) != len(others):
            yield path_text(path), f"expected {len(ones)} entries, got {len(others)}"
    elif not _equal(expected, got):
        yield path_text(path), f"expected {_shown(expected)}, got {_shown(got)}"


def _equal(expected: Any, got: Any) -> bool:
    """As JSON has it: 3 is 3.0, but true is not 1."""
    return isinstance(expected, bool) == isinstance(got, bool) and expected == got


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "…"

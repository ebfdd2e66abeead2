"""What this release executes of the language, and what it refuses at publish, by name.

One table over the paths of the JSON Schema (`*` for any name, `[]` for any entry, `=value` for
one value of an enumeration). A test walks the schema and finds every path in one of the two; a
refused path stands for all below it. To make something executable, move its line.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from headrace_core.workflow.document import DocumentPath
from headrace_core.workflow.report import Report

EXECUTED: frozenset[str] = frozenset(
    {
        *("flow", "flow=v1", "name", "title", "description", "tags"),
        *("triggers", "triggers.*", "triggers.*.manual", "triggers.*.with"),
        *("triggers.*.schedule", "triggers.*.schedule.every", "triggers.*.schedule.cron"),
        *("triggers.*.schedule.timezone", "triggers.*.schedule.overlap"),
        *(
            f"triggers.*.schedule.overlap={value}"
            for value in ("allow", "skip", "queue", "cancel_running")
        ),
        *("triggers.*.schedule.catchup", "triggers.*.schedule.catchup=none"),
        *("triggers.*.schedule.catchup=last", "triggers.*.schedule.catchup=all"),
        *("triggers.*.webhook", "triggers.*.webhook.path", "triggers.*.webhook.verify"),
        *(
            f"triggers.*.webhook.verify={scheme}"
            for scheme in ("standard-webhooks", "hmac", "bearer", "none")
        ),
        *("triggers.*.webhook.secret", "triggers.*.webhook.dedupe", "triggers.*.webhook.respond"),
        *("triggers.*.webhook.respond=accepted", "triggers.*.webhook.respond=result"),
        *("triggers.*.event", "triggers.*.event.topic", "triggers.*.event.match"),
        *("inputs", "inputs.*", "vars", "outputs", "timeout"),
        *("concurrency", "concurrency.key", "concurrency.limit", "concurrency.on_conflict"),
        *(f"concurrency.on_conflict={value}" for value in ("queue", "skip", "cancel_running")),
        *("on_failure", "on_failure=drain", "on_failure=cancel", "on_failure=suspend"),
        "on_failure=compensate",
        *("steps.*.compensate", "steps.*.compensate.uses", "steps.*.compensate.with"),
        *("defaults", "defaults.retry", "defaults.timeout"),
        *("steps", "steps.*", "steps.*.title", "steps.*.needs", "steps.*.needs[]"),
        *("steps.*.join", "steps.*.join=all", "steps.*.join=any", "steps.*.join=settled"),
        *("steps.*.join=always", "steps.*.join.at_least"),
        *("steps.*.when", "steps.*.with", "steps.*.mode", "steps.*.mode=wait"),
        "steps.*.mode=detach",
        "steps.*.cancel_others",
        *(f"steps.*.rate_limit{part}" for part in ("", ".key", ".per", ".limit")),
        *("steps.*.foreach", "steps.*.foreach.in", "steps.*.foreach.as", "steps.*.foreach.key"),
        *("steps.*.foreach.where", "steps.*.foreach.max_parallel", "steps.*.foreach.tolerate"),
        *("steps.*.foreach.tolerate.failures", "steps.*.foreach.tolerate.percent"),
        *("steps.*.timeout", "steps.*.deadline", "steps.*.heartbeat"),
        *("steps.*.idempotency_key", "steps.*.priority", "steps.*.sensitive"),
        *("steps.*.repeat", "steps.*.repeat.until", "steps.*.repeat.max", "steps.*.repeat.delay"),
        *("steps.*.group", "steps.*.group.*", "steps.*.outputs"),
        *("steps.*.fallback", "steps.*.fallback[]", "steps.*.fallback[].uses"),
        *("steps.*.fallback[].with", "steps.*.fallback[].output"),
        *("steps.*.on_error", "steps.*.on_error=fail", "steps.*.on_error=catch"),
        "steps.*.on_error.output",
        *("steps.*.uses", "steps.*.set"),
        *("steps.*.switch", "steps.*.switch[]", "steps.*.switch[].port", "steps.*.switch[].when"),
        *("steps.*.wait", "steps.*.wait.for", "steps.*.wait.until", "steps.*.wait.expires"),
        *("steps.*.wait.event", "steps.*.wait.event.topic", "steps.*.wait.event.key"),
        *("steps.*.wait.event.match", "steps.*.wait.event.keep"),
        *("steps.*.approval", "steps.*.approval.assignees", "steps.*.approval.assignees[]"),
        *("steps.*.approval.title", "steps.*.approval.form", "steps.*.approval.expires"),
        *("steps.*.approval.on_expire", "steps.*.approval.on_expire=approved"),
        *("steps.*.approval.on_expire=rejected", "steps.*.approval.on_expire=expired"),
        *("steps.*.approval.escalate", "steps.*.approval.escalate[]"),
        *("steps.*.approval.escalate[].after", "steps.*.approval.escalate[].to"),
        *("steps.*.approval.escalate[].to[]", "steps.*.approval.escalate[].via"),
        "steps.*.approval.escalate[].via[]",
        *("steps.*.fail", "steps.*.fail.type", "steps.*.fail.message"),
        *(
            f"{owner}.retry{part}"
            for owner in ("defaults", "steps.*", "steps.*.compensate")
            for part in (
                *("", ".max_attempts", ".backoff", ".backoff.initial", ".backoff.factor"),
                *(".backoff.max", ".backoff.jitter", ".backoff.jitter=none"),
                *(".backoff.jitter=full", ".backoff.jitter=equal"),
                *(".on", ".on[]", ".not_on", ".not_on[]"),
            )
        ),
    }
)

REFUSED: Mapping[str, str] = {
    "subject": "remove it",
}
"""Path to what can be done instead."""


def check_executable(data: Any, report: Report) -> None:
    """`data` need not be of the right shape."""
    for pattern, remedy in REFUSED.items():
        keys, _, value = pattern.partition("=")
        for path, found in _everywhere(data, tuple(keys.split("."))):
            if report.has(path):
                # It is wrong in itself: what this release runs does not matter yet.
                continue
            if not value:
                message = f"`{path[-1]}`: not executed by this release"
                report.at_key("HR-1901", path, message, remedy)
            elif found == value:
                message = f"`{path[-1]}: {value}`: not executed by this release"
                report.at_value("HR-1901", path, message, remedy)


def _everywhere(data: Any, pattern: tuple[str, ...]) -> Iterator[tuple[DocumentPath, Any]]:
    """All places of a document, for a pattern of steps also those inside of groups."""
    yield from _found(data, pattern, ())
    if pattern[0] != "steps":
        return
    groups = list(_found(data, ("steps", "*", "group"), ()))
    while groups:
        path, steps = groups.pop()
        yield from _found(steps, pattern[1:], path)
        groups += _found(steps, ("*", "group"), path)


def _found(
    node: Any, pattern: tuple[str, ...], path: DocumentPath
) -> Iterator[tuple[DocumentPath, Any]]:
    """All places of a document that a pattern of keys leads to."""
    if not pattern:
        yield path, node
    elif isinstance(node, dict):
        members = cast(dict[str, Any], node)
        keys = list(members) if pattern[0] == "*" else [pattern[0]]
        for key in keys:
            if key in members:
                yield from _found(members[key], pattern[1:], (*path, key))

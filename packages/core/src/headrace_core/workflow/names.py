"""Which names an expression may use where it stands, and what is wrong with those it uses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from headrace_core.workflow.expression import Problem, ProblemKind, TypeChecker
from headrace_core.workflow.fault import did_you_mean, listed
from headrace_core.workflow.references import ROOTS, STEP_FIELDS, Mention

RUN_FIELDS = ("id", "tenant", "started_at", "scheduled_at")
RUN_FIELDS_LATER = ("usage",)
TRIGGER_FIELDS = ("id", "time", "body", "headers", "query")
SCHEDULE_FIELDS = ("id", "time")
EVENT_FIELDS = ("id", "time", "body", "topic", "key", "event", "sent_by")
STEP_TRIGGER_FIELDS = ("id",)
"""What steps know of the trigger; the rest goes through inputs."""
_NOT_HERE = {
    "trigger": "map what came to an input in the trigger's `with`, and use that",
    "steps": "use `inputs`, which are known before any step runs",
    "event": "only `wait.event.match` knows the event",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """`visible` are the steps that have certainly ended, `known` all steps that exist here;
    nothing is said about `unsure` ones, which are broken or stand on a cycle."""

    checker: TypeChecker
    inputs: frozenset[str]
    vars: frozenset[str]
    roots: frozenset[str] = frozenset({"inputs", "vars", "run", "steps", "trigger"})
    trigger_fields: tuple[str, ...] = STEP_TRIGGER_FIELDS
    aliases: tuple[str, ...] = ()
    visible: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    unsure: frozenset[str] = frozenset()
    fan_outs: frozenset[str] = frozenset()
    step: str = ""
    no_secrets: str = "a secret may not decide what runs, nor end up in the log"
    """Why secrets are refused here; empty where they are allowed."""

    def where(self, **changes: Any) -> "Names":
        return replace(self, **changes)

    def with_alias(self, alias: str, signature: str) -> "Names":
        checker = self.checker.with_names({alias: signature})
        return replace(self, checker=checker, aliases=(*self.aliases, alias))

    @property
    def all_roots(self) -> frozenset[str]:
        return self.roots.union(self.aliases)


Found = tuple[str, Problem]
"""A code and what is wrong."""


def bound_problems(bound: Iterable[tuple[str, int]], names: Names) -> Iterator[Found]:
    """A variable of a macro that hides a name could be meant either way."""
    for variable, offset in bound:
        if variable in ROOTS or variable in names.aliases:
            message = f"the variable {variable!r} hides another name"
            yield "HR-1308", _problem(message, "choose another name", offset, variable)


def mention_problems(mention: Mention, names: Names) -> Iterator[Found]:
    root = mention.root
    if root == "secrets":
        yield from _secret_problems(mention, names)
    elif root not in names.all_roots:
        yield "HR-1303", _unknown_root(mention, names)
    elif root == "steps":
        yield from _step_problems(mention, names)
    elif root == "inputs":
        yield from _member_problems(mention, "input", names.inputs)
    elif root == "vars":
        yield from _member_problems(mention, "variable", names.vars)
    elif root == "run":
        yield from _run_problems(mention)
    elif root == "trigger":
        yield from _trigger_problems(mention, names)


def _unknown_root(mention: Mention, names: Names) -> Problem:
    root = mention.root
    if root == "event" and names.trigger_fields == EVENT_FIELDS:
        remedy = "a trigger knows it as trigger.body, trigger.topic, trigger.key"
        return _problem(f"{root!r} is not known here", remedy, mention.offset, root)
    if root in _NOT_HERE:
        return _problem(f"{root!r} is not known here", _NOT_HERE[root], mention.offset, root)
    if root in names.known:
        remedy = f"write steps.{root}"
    elif root in names.inputs:
        remedy = f"write inputs.{root}"
    elif root in names.vars:
        remedy = f"write vars.{root}"
    else:
        remedy = did_you_mean(root, names.all_roots) or f"known here: {listed(names.all_roots)}"
    return _problem(f"{root!r} is not a known name", remedy, mention.offset, root)


def _secret_problems(mention: Mention, names: Names) -> Iterator[Found]:
    if names.no_secrets:
        message = "a secret may not be used here"
        yield "HR-1305", _problem(message, names.no_secrets, mention.offset, "secrets")
    elif not mention.keys:
        message = "a secret is used by its name"
        yield "HR-1303", _problem(message, "write secrets.NAME", mention.offset, "secrets")


def _member_problems(mention: Mention, noun: str, members: Iterable[str]) -> Iterator[Found]:
    known = frozenset(members)
    if mention.keys and mention.keys[0] not in known:
        name = mention.keys[0]
        remedy = did_you_mean(name, known)
        remedy = remedy or (f"known: {listed(known)}" if known else f"declare it under {noun}s")
        message = f"there is no {noun} {name!r}"
        yield "HR-1303", _problem(message, remedy, mention.key_offsets[0], name)


def _run_problems(mention: Mention) -> Iterator[Found]:
    if mention.keys and mention.keys[0] in RUN_FIELDS_LATER:
        name = mention.keys[0]
        message = f"`run.{name}`: not executed by this release"
        yield "HR-1901", _problem(message, "remove it", mention.key_offsets[0], name)
    else:
        yield from _member_problems(mention, "field of run", RUN_FIELDS)


def _trigger_problems(mention: Mention, names: Names) -> Iterator[Found]:
    if not mention.keys:
        return
    name, offset = mention.keys[0], mention.key_offsets[0]
    if name in names.trigger_fields:
        return
    known_there = (*TRIGGER_FIELDS, *EVENT_FIELDS)
    if name in known_there and names.trigger_fields == STEP_TRIGGER_FIELDS:
        message = f"trigger.{name} is known only in the trigger's own `with`"
        yield "HR-1303", _problem(message, _NOT_HERE["trigger"], offset, name)
    else:
        yield from _member_problems(mention, "field of trigger", names.trigger_fields)


def _step_problems(mention: Mention, names: Names) -> Iterator[Found]:
    if not mention.keys:
        message = "a step is used by its name, which must stand here"
        yield "HR-1303", _problem(message, "write steps.NAME", mention.offset, "steps")
        return
    step, offset = mention.keys[0], mention.key_offsets[0]
    if step in names.unsure:
        return
    if step not in names.known:
        remedy = did_you_mean(step, names.known) or f"steps here: {listed(names.known)}"
        yield "HR-1201", _problem(f"there is no step {step!r}", remedy, offset, step)
    elif step not in names.visible:
        yield "HR-1304", _not_upstream(step, offset, names)
    else:
        yield from _field_problems(mention, step, names)


def _not_upstream(step: str, offset: int, names: Names) -> Problem:
    if step == names.step:
        message = f"step {step!r} has not run yet when this is evaluated"
        return _problem(message, "use what comes before it", offset, step)
    message = f"step {step!r} does not certainly end before this is evaluated"
    return _problem(message, f"add {step!r} to `needs`, of this step or one before", offset, step)


def _field_problems(mention: Mention, step: str, names: Names) -> Iterator[Found]:
    if len(mention.keys) < 2:
        return
    name, offset = mention.keys[1], mention.key_offsets[1]
    is_fan_out = step in names.fan_outs
    if name not in STEP_FIELDS:
        remedy = did_you_mean(name, STEP_FIELDS) or f"a step has {listed(STEP_FIELDS)}"
        message = f"a step has no field {name!r}"
        yield "HR-1303", _problem(message, remedy, offset, name)
    elif name in ("items", "counts") and not is_fan_out:
        message = f"step {step!r} has no `{name}`, since it has no `foreach`"
        yield "HR-1303", _problem(message, f"use steps.{step}.output", offset, name)
    elif name == "output" and is_fan_out:
        message = f"step {step!r} is a fan-out: each item has its own output"
        remedy = f"use steps.{step}.items, of which each has .output"
        yield "HR-1303", _problem(message, remedy, offset, name)


def _problem(message: str, remedy: str, offset: int, name: str) -> Problem:
    return Problem(ProblemKind.NAME, message, remedy, offset, name)

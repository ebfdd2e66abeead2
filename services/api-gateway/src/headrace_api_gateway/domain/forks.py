"""Requests to fork a run, and what the answer says of them. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace_core.ids import RunId
from headrace_core.run.fork import ForkPlan
from headrace_core.workflow.edited_output import edited_output_faults
from headrace_core.workflow.plan import Plan

NEW_RUN = (
    "A fork is a new run: each step to come is a new effect with an idempotency key of its own, "
    "but for those with a custom key, which the outside may recognise."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkRequest:
    """`sequence` 0 is the source's newest event. `inputs` replace the source's by name; without
    a `version` the source's own is run."""

    sequence: int = 0
    version: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    again: Sequence[str] = ()
    reason: str = ""


def fork_fingerprint(source: RunId, body: bytes) -> bytes:
    return hashlib.sha256(b"fork\0" + source.encode() + b"\0" + body).digest()


def output_faults(plan: Plan, outputs: Mapping[str, Any]) -> list[str]:
    """Of steps that exist; the others are found when the fork is planned."""
    faults: list[str] = []
    for name, value in outputs.items():
        if name in plan.steps:
            for fault in edited_output_faults(plan.steps[name], value):
                path = f".{fault.path}" if fault.path else ""
                faults.append(f"outputs.{name}{path}: {fault.message}")
    return faults


def fork_document(source: RunId, sequence: int, version: int, plan: ForkPlan) -> dict[str, Any]:
    return {
        "forked_from": {"run": source, "sequence": sequence},
        "version": version,
        "reused": plan.reused,
        "edited": plan.edited,
        "again": plan.again,
        "first": plan.first,
        "effects": [
            {
                "step": one.step,
                "action": one.action,
                "effect": one.effect,
                "repeats": one.repeats,
                "custom_key": one.custom_key,
            }
            for one in plan.effects
        ],
        "note": NEW_RUN if plan.effects else None,
    }

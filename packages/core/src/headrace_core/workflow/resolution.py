"""What the `@` references of a definition mean: actions, sub-flows, prompts.

They are resolved once, at publish, into a lock that is stored with the version, so that one run
never mixes versions. Tasks of workers are not resolved: without a worker the step stays ready.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from headrace_core.ids import PlanHash
from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.builtin_actions import BUILTIN_ACTIONS
from headrace_core.workflow.plan_parts import Input

FLOW_PREFIX, WORKER_PREFIX = "flow/", "worker."


@dataclass(frozen=True, slots=True)
class FlowDescriptor:
    """A published version of a flow. `depth` is 1 for one that calls no other flow."""

    name: str
    version: int
    plan: PlanHash
    inputs: tuple[Input, ...] = ()
    depth: int = 1


class Resolver(Protocol):
    """Answers for one tenant. None means that there is no such thing."""

    def action(self, name: str, version: str) -> ActionDescriptor | None:
        """`version` is a prefix of three numbers, such as `1`, or a name."""
        ...

    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        """`version` is a number, a label, or `sha256-` and the plan's hash."""
        ...

    def prompt(self, name: str, version: str) -> str | None:
        """The content hash of a stored prompt."""
        ...

    def known(self) -> Iterable[str]:
        """Names of all actions, and of flows with their prefix, for a hint at near misses."""
        ...


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A resolver over what it is given. Without a registry there are no stored prompts."""

    actions: tuple[ActionDescriptor, ...] = BUILTIN_ACTIONS
    flows: Mapping[tuple[str, str], FlowDescriptor] = field(
        default_factory=dict[tuple[str, str], FlowDescriptor]
    )
    """By name and version as it is written: number, label or hash."""

    def action(self, name: str, version: str) -> ActionDescriptor | None:
        fitting = [
            one
            for one in self.actions
            if one.name == name and f"{one.version}.".startswith(f"{version}.")
        ]
        return max(fitting, key=_version_key, default=None)

    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        return self.flows.get((name, version))

    def prompt(self, name: str, version: str) -> str | None:
        return None

    def known(self) -> Iterable[str]:
        yield from (one.name for one in self.actions)
        yield from (FLOW_PREFIX + name for name, _ in self.flows)


def _version_key(action: ActionDescriptor) -> tuple[int, ...]:
    return tuple(int(part) for part in action.version.split("."))

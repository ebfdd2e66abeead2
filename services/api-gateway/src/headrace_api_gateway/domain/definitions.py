"""What a definition's text asks of its tenant before it can be compiled. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace_core.ids import PlanHash
from headrace_core.workflow.actions import ActionDescriptor
from headrace_core.workflow.plan import Plan, Trigger, TriggerKind
from headrace_core.workflow.resolution import FLOW_PREFIX, Catalogue, FlowDescriptor

_REFERENCE = re.compile(r"\bflow/([a-z][a-z0-9-]{0,62})@([A-Za-z0-9][A-Za-z0-9-]{0,79})")
_HASH_PREFIX = "sha256-"
REFERENCES_MAX = 200


@dataclass(frozen=True, slots=True)
class FlowReference:
    name: str
    version: str

    @property
    def plan(self) -> PlanHash | None:
        """The plan it names by its hash, if it does."""
        if not self.version.startswith(_HASH_PREFIX):
            return None
        return PlanHash(self.version.removeprefix(_HASH_PREFIX))


def flow_references(text: str) -> tuple[FlowReference, ...]:
    """What looks like a reference to another flow, wherever it stands: too many do no harm, a
    missing one would be reported as unknown."""
    found = dict.fromkeys(_REFERENCE.findall(text))
    return tuple(FlowReference(*one) for one in list(found)[:REFERENCES_MAX])


@dataclass(frozen=True, slots=True)
class TenantResolver:
    """Actions of this release, and the tenant's flows that were looked up before."""

    flows: Mapping[tuple[str, str], FlowDescriptor]
    names: tuple[str, ...] = ()
    catalogue: Catalogue = field(default_factory=Catalogue)

    def action(self, name: str, version: str) -> ActionDescriptor | None:
        return self.catalogue.action(name, version)

    def flow(self, name: str, version: str) -> FlowDescriptor | None:
        return self.flows.get((name, version))

    def prompt(self, name: str, version: str) -> str | None:
        return None

    def known(self) -> Iterable[str]:
        yield from self.catalogue.known()
        yield from (FLOW_PREFIX + name for name in self.names)


def called_plans(plan: Plan) -> tuple[PlanHash, ...]:
    """Plans of the flows that this one calls."""
    return tuple(
        PlanHash(locked)
        for reference, locked in plan.lock.items()
        if reference.startswith(FLOW_PREFIX)
    )


def schedules_of(plan: Plan) -> Mapping[str, Trigger]:
    return {
        name: trigger
        for name, trigger in plan.triggers.items()
        if trigger.kind is TriggerKind.SCHEDULE
    }

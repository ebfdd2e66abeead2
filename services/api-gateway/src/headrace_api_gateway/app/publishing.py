"""Validate and publish definitions; move labels; keep the schedules of what is stable."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_api_gateway.app.ports import Schedule, Scheduler
from headrace_api_gateway.app.receiving import Hooks
from headrace_api_gateway.domain.authorisation import Principal
from headrace_api_gateway.domain.definitions import (
    FlowReference,
    TenantResolver,
    called_plans,
    flow_references,
    schedules_of,
)
from headrace_api_gateway.domain.problems import DefinitionRefused
from headrace_api_gateway.domain.requests import DEFAULT_LABEL, check_label
from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import PlanHash, TenantId
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.plan import Plan, TriggerKind
from headrace_core.workflow.resolution import FlowDescriptor
from headrace_runtime.definitions import Publication, PublishedVersion, Version


class Versions(Protocol):
    """`headrace_runtime.definitions.Definitions`."""

    async def plan(self, tenant: TenantId, plan_hash: PlanHash) -> Plan: ...

    async def resolve(
        self, tenant: TenantId, flow: str, label_or_version: str | int
    ) -> Version: ...

    async def number_of(self, tenant: TenantId, plan_hash: PlanHash) -> int: ...

    async def source(self, tenant: TenantId, flow: str, number: int) -> str: ...

    async def versions(self, tenant: TenantId, flow: str = "") -> Sequence[PublishedVersion]: ...

    def forget_labels(self) -> None: ...


class VersionWriter(Protocol):
    """`headrace_runtime.definitions.Publishing`."""

    async def publish(self, tenant: TenantId, plan: Plan, source: str) -> Publication: ...

    async def move_label(self, tenant: TenantId, flow: str, label: str, number: int) -> None: ...


class ScheduleNames(Protocol):
    async def scheduled_triggers(self, tenant: TenantId, flow: str) -> Sequence[str]:
        """Names of all triggers that are a schedule in any version of the flow."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    name: str
    version: int
    hash: PlanHash
    is_new: bool
    label: str


class Publishing:
    def __init__(
        self,
        versions: Versions,
        writer: VersionWriter,
        schedule_names: ScheduleNames,
        hooks: Hooks,
        scheduler: Scheduler,
    ) -> None:
        self._versions = versions
        self._writer = writer
        self._schedule_names = schedule_names
        self._hooks = hooks
        self._scheduler = scheduler
        # A large definition takes seconds: not on the loop, and not several at once.
        self._one_at_a_time = asyncio.Lock()

    async def validate(self, tenant: TenantId, text: str, file: str) -> Plan:
        """Raises DefinitionRefused with every fault."""
        resolver = await self._resolver(tenant, text)
        async with self._one_at_a_time:
            compiled = await asyncio.to_thread(compile_definition, text, resolver)
        if isinstance(compiled, Plan):
            return compiled
        raise DefinitionRefused(compiled, text, file)

    async def publish(self, principal: Principal, text: str, file: str, label: str) -> Published:
        """A version of the same content is the same version, so this may be repeated.

        `label` is moved to it; empty moves none.
        """
        if label:
            check_label(label)
        plan = await self.validate(principal.tenant, text, file)
        publication = await self._writer.publish(principal.tenant, plan, text)
        number = publication.version.number
        if label:
            await self.move_label(principal, plan.flow, label, number)
        return Published(plan.flow, number, plan.hash, publication.is_new, label)

    async def move_label(self, principal: Principal, flow: str, label: str, number: int) -> None:
        """Raises NotFound, Unavailable; may be repeated, which also mends the schedules."""
        check_label(label)
        tenant = principal.tenant
        if label != DEFAULT_LABEL:
            await self._writer.move_label(tenant, flow, label, number)
            self._versions.forget_labels()
            return
        version = await self._versions.resolve(tenant, flow, number)
        await self._check_hooks(tenant, flow, version)
        await self._writer.move_label(tenant, flow, label, number)
        self._versions.forget_labels()
        await self._set_schedules(principal, flow, version)

    async def _check_hooks(self, tenant: TenantId, flow: str, version: Version) -> None:
        """A path leads to one flow. Raises InvalidInput."""
        plan = await self._versions.plan(tenant, version.hash)
        paths = [one.path for one in plan.triggers.values() if one.kind is TriggerKind.WEBHOOK]
        for path in paths:
            others = [one.flow for one in await self._hooks.at(tenant, path) if one.flow != flow]
            if others or paths.count(path) > 1:
                whose = f"flow {others[0]!r}" if others else "another trigger of this flow"
                raise InvalidInput(f"The webhook path {path!r} belongs to {whose}: choose another.")

    async def _set_schedules(self, principal: Principal, flow: str, version: Version) -> None:
        plan = await self._versions.plan(principal.tenant, version.hash)
        wanted = schedules_of(plan)
        # Of any version: what an earlier call did not get done is done by this one.
        known = await self._schedule_names.scheduled_triggers(principal.tenant, flow)
        for trigger in {*known, *wanted}:
            schedule = Schedule(
                tenant=principal.tenant,
                flow=flow,
                trigger=trigger,
                version=version.number,
                plan=version.hash,
                rhythm=wanted.get(trigger),
            )
            await self._scheduler.set_schedule(principal.actor, schedule)

    async def _resolver(self, tenant: TenantId, text: str) -> TenantResolver:
        references = flow_references(text)
        if not references:
            return TenantResolver({})
        flows: dict[tuple[str, str], FlowDescriptor] = {}
        for reference in references:
            found = await self._descriptor(tenant, reference)
            if found is not None:
                flows[reference.name, reference.version] = found
        names = dict.fromkeys(one.flow for one in await self._versions.versions(tenant))
        return TenantResolver(flows, tuple(names))

    async def _descriptor(
        self, tenant: TenantId, reference: FlowReference
    ) -> FlowDescriptor | None:
        try:
            if reference.plan is not None:
                number = await self._versions.number_of(tenant, reference.plan)
                version = Version(number, reference.plan)
            else:
                version = await self._versions.resolve(tenant, reference.name, reference.version)
            plan = await self._versions.plan(tenant, version.hash)
        except NotFound:
            return None
        if plan.flow != reference.name:
            return None
        depth = await self._depth(tenant, plan)
        return FlowDescriptor(plan.flow, version.number, plan.hash, plan.inputs, depth)

    async def _depth(self, tenant: TenantId, plan: Plan) -> int:
        """Plans call only what was published before them, so this ends."""
        called = [await self._versions.plan(tenant, one) for one in called_plans(plan)]
        return 1 + max([await self._depth(tenant, one) for one in called], default=0)


def version_document(version: PublishedVersion) -> Mapping[str, object]:
    return {
        "version": version.number,
        "hash": version.hash,
        "labels": version.labels,
        "created_at_ms": version.created_ms,
    }

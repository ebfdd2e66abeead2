"""Workflows: validate, publish, list, read, label."""

from typing import Annotated

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.answers import json_answer
from headrace_api_gateway.api.guard import Caller, needs
from headrace_api_gateway.app.publishing import Publishing, Versions, version_document
from headrace_api_gateway.domain.authorisation import Permission
from headrace_api_gateway.domain.requests import DEFAULT_LABEL
from headrace_core.errors import InvalidInput, NotFound
from headrace_core.ids import TenantId

READ, PUBLISH = needs(Permission.WORKFLOWS_READ), needs(Permission.WORKFLOWS_PUBLISH)
DEFINITION = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}, "example": examples.DEFINITION}
        },
    }
}
File = Annotated[str, Query(max_length=200, description="Name shown in the faults")]


class LabelBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"version": 3}})

    version: int = Field(ge=1)


class WorkflowRoutes:
    def __init__(self, publishing: Publishing, versions: Versions) -> None:
        self._publishing = publishing
        self._versions = versions

    def add_to(self, app: FastAPI) -> None:
        app.post(
            "/v1/workflows/validate",
            summary="Check a definition; every fault at once, with its place",
            openapi_extra={**READ, **DEFINITION},
            responses=examples.answer(examples.VALID),
        )(self.validate)
        app.post(
            "/v1/workflows",
            summary="Publish a definition as the next version of its workflow",
            description="The same content is the same version. `label` (default `stable`) is "
            "moved to it; `label=` moves none.",
            status_code=201,
            openapi_extra={**PUBLISH, **DEFINITION},
            responses=examples.answer(examples.PUBLISHED, 201),
        )(self.publish)
        app.get(
            "/v1/workflows",
            summary="Workflows and their versions",
            openapi_extra=READ,
            responses=examples.answer(examples.WORKFLOWS),
        )(self.list_workflows)
        app.get(
            "/v1/workflows/{name}",
            summary="One workflow: its versions, and the definition of one",
            openapi_extra=READ,
            responses=examples.answer(examples.WORKFLOW),
        )(self.get_workflow)
        app.put(
            "/v1/workflows/{name}/labels/{label}",
            summary="Move a label to a version",
            description="Schedules run the version labelled `stable`.",
            openapi_extra=PUBLISH,
            responses=examples.answer(examples.LABEL),
        )(self.move_label)

    async def validate(
        self, caller: Caller, request: Request, file: File = "workflow.yaml"
    ) -> Response:
        plan = await self._publishing.validate(caller.tenant, await _text(request), file)
        return json_answer({"valid": True, "name": plan.flow, "hash": plan.hash, "lock": plan.lock})

    async def publish(
        self,
        caller: Caller,
        request: Request,
        label: str = DEFAULT_LABEL,
        file: File = "workflow.yaml",
    ) -> Response:
        text = await _text(request)
        published = await self._publishing.publish(caller, text, file, label)
        answer = {
            "name": published.name,
            "version": published.version,
            "hash": published.hash,
            "new": published.is_new,
            "label": published.label or None,
        }
        return json_answer(answer, 201 if published.is_new else 200)

    async def list_workflows(self, caller: Caller) -> Response:
        versions: dict[str, list[object]] = {}
        for version in await self._versions.versions(caller.tenant):
            versions.setdefault(version.flow, []).append(version_document(version))
        workflows = [{"name": name, "versions": known} for name, known in versions.items()]
        return json_answer({"workflows": workflows})

    async def get_workflow(
        self, caller: Caller, name: str, version: str = DEFAULT_LABEL
    ) -> Response:
        """`version` is the number or label of the definition to show; where `stable` is not set,
        the newest."""
        known = await self._versions.versions(caller.tenant, name)
        if not known:
            raise NotFound(f"There is no workflow {name!r}.")
        shown = known[-1].number
        if version != DEFAULT_LABEL or any(DEFAULT_LABEL in one.labels for one in known):
            shown = (await self._versions.resolve(caller.tenant, name, version)).number
        answer = {
            "name": name,
            "versions": [version_document(one) for one in known],
            "version": shown,
            "inputs": await self._inputs(caller.tenant, name, shown),
            "definition": await self._versions.source(caller.tenant, name, shown),
        }
        return json_answer(answer)

    async def move_label(self, caller: Caller, name: str, label: str, body: LabelBody) -> Response:
        await self._publishing.move_label(caller, name, label, body.version)
        return json_answer({"name": name, "label": label, "version": body.version})

    async def _inputs(self, tenant: TenantId, name: str, number: int) -> dict[str, object]:
        version = await self._versions.resolve(tenant, name, number)
        plan = await self._versions.plan(tenant, version.hash)
        return {one.name: one.schema for one in plan.inputs}


async def _text(request: Request) -> str:
    body = await request.body()
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InvalidInput(
            f"The definition is not UTF-8: byte {fault.start}. Save the file as UTF-8."
        ) from None

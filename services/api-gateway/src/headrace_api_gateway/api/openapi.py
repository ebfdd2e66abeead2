"""/openapi.json and /docs: what the API takes and answers, with examples."""

from html import escape
from typing import Any, cast

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, Response

from headrace_api_gateway.api import examples
from headrace_api_gateway.api.guard import needs, public
from headrace_api_gateway.domain.authorisation import Permission

TITLE = "Headrace API"
VERSION = "1"
DESCRIPTION = (
    "Durable workflows. Every error is a problem document (RFC 9457) with a code `HR-nnnn` that "
    "has a page in docs/errors. The tenant comes from the API key alone."
)
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "page of the error"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "faults": {"type": "array", "items": {"type": "string"}},
        "diagnostics": {
            "type": "array",
            "items": {"type": "object"},
            "description": "of a definition: code, message, remedy, path, file, line, column",
        },
        "rendered": {"type": "string", "description": "the faults as a compiler prints them"},
    },
}
START_RUN: dict[str, Any] = {
    "summary": "Start a run",
    "description": "`workflow` is a name, or name@version with a number or a label (`stable` if "
    "absent). 202 means that the start is durable. With `wait` the answer is 200 and the run if "
    "it ends in that time. The same Idempotency-Key with the same body leads to the same run for "
    "a day.",
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "maxLength": 255},
            "example": "order-17",
        },
        {
            "name": "wait",
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "example": "30s",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "example": examples.START,
                "schema": {
                    "type": "object",
                    "required": ["workflow"],
                    "additionalProperties": False,
                    "properties": {
                        "workflow": {"type": "string"},
                        "input": {"type": "object"},
                        "priority": {"type": "integer", "minimum": -10, "maximum": 10},
                    },
                },
            }
        },
    },
    "responses": {
        "200": {
            "description": "The run has ended",
            "content": {"application/json": {"example": examples.RUN}},
        },
        "202": {
            "description": "The start is durable",
            "content": {"application/json": {"example": examples.ACCEPTED}},
        },
    },
}
_METHODS = ("get", "post", "put", "delete")


def document_of(app: FastAPI) -> dict[str, Any]:
    """The whole document: FastAPI's part, the lean route, the errors."""
    document = get_openapi(title=TITLE, version=VERSION, description=DESCRIPTION, routes=app.routes)
    start = {**START_RUN, **needs(Permission.RUNS_START)}
    document["paths"].setdefault("/v1/runs", {})["post"] = start
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = {"apiKey": {"type": "http", "scheme": "bearer"}}
    for operation in _operations(document):
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = {
            "description": "A problem",
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": examples.PROBLEM,
                }
            },
        }
    return document


def add_documentation(app: FastAPI) -> None:
    """Call it when every route is there."""
    document = document_of(app)
    text, page = orjson.dumps(document), _page(document)

    async def openapi_json() -> Response:
        return Response(text, media_type="application/json")

    async def docs() -> Response:
        return HTMLResponse(page)

    app.get("/openapi.json", include_in_schema=False, openapi_extra=public())(openapi_json)
    app.get("/docs", include_in_schema=False, openapi_extra=public())(docs)


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    paths = cast("dict[str, dict[str, Any]]", document["paths"])
    return [path[method] for path in paths.values() for method in _METHODS if method in path]


def _page(document: dict[str, Any]) -> str:
    """One page without anything from elsewhere, so that it also works without the internet."""
    paths = cast("dict[str, dict[str, Any]]", document["paths"])
    sections = [
        _section(method, path, operations[method])
        for path, operations in sorted(paths.items())
        for method in _METHODS
        if method in operations
    ]
    return (
        f"<!doctype html><meta charset=utf-8><title>{TITLE}</title><style>"
        "body{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f4;padding:.8rem;overflow:auto}"
        "code{font-family:ui-monospace,monospace}</style>"
        f"<h1>{TITLE}</h1><p>{escape(DESCRIPTION)}</p>"
        '<p>Machine-readable: <a href="/openapi.json">/openapi.json</a></p>' + "".join(sections)
    )


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    permission = operation.get("x-permission", "public")
    parts = [
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
        f"<p>{escape(operation.get('summary', ''))}. ",
        f"{escape(operation.get('description', ''))} <em>Needs: {permission}</em></p>",
    ]
    body = operation.get("requestBody", {}).get("content", {})
    parts += [_example(f"Body ({kind})", content) for kind, content in body.items()]
    for status, response in operation["responses"].items():
        if status != "default":
            contents = response.get("content", {})
            parts += [_example(f"Answer {status}", content) for content in contents.values()]
    return "".join(parts)


def _example(title: str, content: dict[str, Any]) -> str:
    example = content.get("example")
    if example is None:
        return ""
    text = example
    if not isinstance(example, str):
        text = orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
    return f"<p>{title}</p><pre>{escape(cast(str, text))}</pre>"

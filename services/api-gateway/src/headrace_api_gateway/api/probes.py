"""/livez, /readyz, /metrics: for whoever runs the gateway."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import orjson
from fastapi import FastAPI
from starlette.responses import Response

from headrace_api_gateway.api.guard import public
from headrace_runtime.metrics import metrics_text

CHECK_TIMEOUT_S = 2.0
Check = Callable[[], Awaitable[object]]
"""Answers False or raises when the part is not there."""


class Probes:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks

    def add_to(self, app: FastAPI) -> None:
        app.get("/livez", summary="The process answers", openapi_extra=public())(self.livez)
        app.get(
            "/readyz",
            summary="The parts that requests need are there",
            description="503 names the parts that are not.",
            openapi_extra=public(),
        )(self.readyz)
        app.get("/metrics", summary="For Prometheus", openapi_extra=public())(self.metrics)

    async def livez(self) -> Response:
        return Response(b'{"status":"live"}', media_type="application/json")

    async def readyz(self) -> Response:
        found = await asyncio.gather(*(_holds(check) for check in self._checks.values()))
        parts = dict(zip(self._checks, found, strict=True))
        ready = all(found)
        document = {"status": "ready" if ready else "not ready", "parts": parts}
        return Response(
            orjson.dumps(document), 200 if ready else 503, media_type="application/json"
        )

    async def metrics(self) -> Response:
        text, content_type = metrics_text()
        return Response(text, headers={"content-type": content_type})


async def _holds(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check() is not False
    except Exception:  # noqa: BLE001 - a probe only says that the part is away
        return False

"""The ASGI application: the hot route past the router, all others through FastAPI."""

import time

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace_api_gateway.api.diff_route import DiffRoute
from headrace_api_gateway.api.event_routes import EventRoutes
from headrace_api_gateway.api.fork_route import ForkRoute
from headrace_api_gateway.api.guard import Gate, guarded_by
from headrace_api_gateway.api.hook_routes import HookRoutes
from headrace_api_gateway.api.letter_routes import LetterRoutes
from headrace_api_gateway.api.live import LiveRoute
from headrace_api_gateway.api.openapi import TITLE, add_documentation
from headrace_api_gateway.api.probes import Probes
from headrace_api_gateway.api.problem import Problems
from headrace_api_gateway.api.run_routes import RunRoutes
from headrace_api_gateway.api.start_run import PATH as RUNS
from headrace_api_gateway.api.start_run import StartRunRoute
from headrace_api_gateway.api.subject_routes import SubjectRoutes
from headrace_api_gateway.api.tenant_routes import TenantRoutes
from headrace_api_gateway.api.vault_routes import VaultRoutes
from headrace_api_gateway.api.workflow_routes import WorkflowRoutes
from headrace_api_gateway.metrics import count

UNROUTED = "none"


class Application:
    """`routes` holds every way in, each with its declared permission."""

    def __init__(self, api: FastAPI, start: StartRunRoute) -> None:
        self.api = api
        self._start = start.answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.api(scope, receive, send)
        elif scope["path"] == RUNS and scope["method"] == "POST":
            await self._start(scope, receive, send)
        else:
            await _counted(self.api, scope, receive, send)


def build_application(
    gate: Gate,
    problems: Problems,
    start: StartRunRoute,
    live: LiveRoute,
    runs: RunRoutes,
    forks: ForkRoute,
    diffs: DiffRoute,
    letters: LetterRoutes,
    events: EventRoutes,
    workflows: WorkflowRoutes,
    tenants: TenantRoutes,
    vault: VaultRoutes,
    subjects: SubjectRoutes,
    hooks: HookRoutes,
    probes: Probes,
) -> Application:
    api = FastAPI(
        title=TITLE, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    api.router.route_class = guarded_by(gate)
    problems.handle(api)
    runs.add_to(api)
    forks.add_to(api)
    diffs.add_to(api)
    letters.add_to(api)
    events.add_to(api)
    workflows.add_to(api)
    tenants.add_to(api)
    vault.add_to(api)
    subjects.add_to(api)
    hooks.add_to(api)
    probes.add_to(api)
    add_documentation(api)
    api.router.routes += [start, live]
    return Application(api, start)


async def _counted(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    begun_s, status = time.perf_counter(), 500

    async def counting(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        await send(message)

    try:
        await app(scope, receive, counting)
    except Exception:  # noqa: BLE001, S110 - answered and logged by the handler of the last resort
        pass
    finally:
        route = getattr(scope.get("route"), "path", UNROUTED)
        count(f"{scope['method']} {route}", status, time.perf_counter() - begun_s)

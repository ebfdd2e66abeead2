"""Check: whether a connection works, by what Invoke would do with it."""

from headrace.connector.v1 import connector_service_pb2 as pb
from headrace_connectors.api.invoke import outcome_of
from headrace_connectors.app.attempts import Attempt, Attempts
from headrace_core.ids import TenantId

TIMEOUT_S = 15.0


async def handle(attempts: Attempts, request: pb.CheckRequest) -> pb.CheckResponse:
    attempt = Attempt(
        tenant=TenantId(request.tenant),
        action="postgres.query",
        input={"connection": request.connection, "sql": "select 1 as works"},
        timeout_s=TIMEOUT_S,
    )
    ended = await attempts.run(attempt, lambda: None)
    return pb.CheckResponse(outcome=outcome_of(ended))

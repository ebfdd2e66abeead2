"""GetUsage: runs, attempts, tokens and cost per day."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import TenantId
from headrace_history.api.json_text import json_text
from headrace_history.app.run_list import RunList


async def handle(runs: RunList, request: pb.GetUsageRequest) -> pb.GetUsageResponse:
    usage = await runs.usage(TenantId(request.tenant), request.from_ms, request.to_ms)
    return pb.GetUsageResponse(usage=json_text(usage))

"""WaitForEnd: the run once it has ended, or as it is after the wait."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import RunId, TenantId
from headrace_core.run.status import RUN_TERMINAL
from headrace_history.api.json_text import json_text
from headrace_history.app.end_wait import EndWait
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer


async def handle(
    ends: EndWait, replayer: Replayer, presenter: Presenter, request: pb.WaitForEndRequest
) -> pb.WaitForEndResponse:
    tenant, run = TenantId(request.tenant), RunId(request.run)
    await ends.wait(tenant, run, request.wait_ms / 1000)
    folded = await replayer.fold(tenant, run)
    document = await presenter.run(folded)
    ended = folded.state.status in RUN_TERMINAL
    return pb.WaitForEndResponse(run=json_text(document), ended=ended)

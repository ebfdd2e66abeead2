"""GetRun: a run in full, with its timeline."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import RunId, TenantId
from headrace_history.api.json_text import json_text
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer


async def handle(
    replayer: Replayer, presenter: Presenter, request: pb.GetRunRequest
) -> pb.GetRunResponse:
    folded = await replayer.fold(TenantId(request.tenant), RunId(request.run))
    document = await presenter.run(folded, reveal_sensitive=request.reveal_sensitive)
    return pb.GetRunResponse(run=json_text(document))

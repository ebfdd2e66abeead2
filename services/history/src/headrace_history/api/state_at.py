"""StateAt: a run as it was at one of its events."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import RunId, TenantId
from headrace_core.run.freeze import state_hash
from headrace_history.api.json_text import json_text
from headrace_history.app.presenter import Presenter
from headrace_history.app.replayer import Replayer


async def handle(
    replayer: Replayer, presenter: Presenter, request: pb.StateAtRequest
) -> pb.StateAtResponse:
    folded = await replayer.fold(TenantId(request.tenant), RunId(request.run), request.sequence)
    document = await presenter.run(folded)
    return pb.StateAtResponse(
        state=json_text(document),
        state_hash=state_hash(folded.state),
        sequence=folded.state.sequence,
    )

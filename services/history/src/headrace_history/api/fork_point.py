"""ForkPoint: the state that a fork begins with, payloads as they are stored."""

from headrace.history.v1 import history_service_pb2 as pb
from headrace_core.ids import RunId, TenantId
from headrace_core.run.freeze import freeze_run, state_hash
from headrace_core.run.status import StepStatus
from headrace_history.app.replayer import Replayer


async def handle(replayer: Replayer, request: pb.ForkPointRequest) -> pb.ForkPointResponse:
    state, newest = await replayer.fork_point(
        TenantId(request.tenant), RunId(request.run), request.sequence
    )
    begun = [key for key, step in newest.steps.items() if step.status is not StepStatus.SKIPPED]
    return pb.ForkPointResponse(
        state=freeze_run(state),
        state_hash=state_hash(state),
        sequence=state.sequence,
        begun=begun,
    )

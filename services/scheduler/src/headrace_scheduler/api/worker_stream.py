"""The outgoing side of a worker's stream: tasks carry clear JSON and nothing of the run's state."""

from collections.abc import Mapping

from headrace_core.ids import ExecutorId
from headrace_scheduler.api.task_stream import OutgoingStream, fill_attempt
from headrace_scheduler.app.ports import Assignment, Catalogue
from headrace_scheduler.app.worker_tasks import WorkerTask


class WorkerOutgoing(OutgoingStream):
    """Implements app.dispatch.WorkerStream. `process` and the values of `lanes` are the worker's
    own names for itself and for the queues it serves."""

    def __init__(
        self,
        executor: ExecutorId,
        log_id: bytes,
        catalogue: Catalogue,
        process: str,
        lanes: Mapping[str, str],
    ) -> None:
        super().__init__(executor, log_id, catalogue)
        self._process = process
        self._lanes = lanes

    def send_worker_task(self, assignment: Assignment, task: WorkerTask) -> None:
        run = assignment.run
        message = self._message.tasks.add()
        fill_attempt(message, assignment, self._catalogue.plan(run.tenant, run.plan))
        message.executor = self._process
        message.lane = self._lanes[assignment.lane]
        message.arguments = task.arguments
        message.idempotency_key = task.idempotency_key
        message.fallback = run.steps[assignment.step].fallback
        self._count(300 + len(task.arguments))

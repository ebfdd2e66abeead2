"""Run your own code as steps of a workflow, in your own process.

Below is the client side of dispatch, which executors speak too.
"""

from headrace_worker.context import Context
from headrace_worker.errors import PermanentError, RetryLater, TaskError, UnknownOutcome
from headrace_worker.task import WorkerTask, task
from headrace_worker.worker import Worker

__all__ = [
    "Context",
    "PermanentError",
    "RetryLater",
    "TaskError",
    "UnknownOutcome",
    "Worker",
    "WorkerTask",
    "task",
]

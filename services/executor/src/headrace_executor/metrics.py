"""Every metric of the executor, declared once."""

from headrace_runtime.metrics import TENANT, closed, counter, gauge
from headrace_worker.messages import Outcome

ATTEMPTS = counter(
    "headrace_executor_attempts_total",
    "Attempts that ended here, by their outcome.",
    (TENANT, closed("outcome", *(outcome.name.lower() for outcome in Outcome))),
)
WAITING = gauge("headrace_executor_waiting_attempts", "Accepted attempts without a slot.").of()
RUNNING = gauge("headrace_executor_running_attempts", "Attempts that hold a slot.").of()
UNACKNOWLEDGED = gauge(
    "headrace_executor_unacknowledged_results",
    "Results that no scheduler has acknowledged yet.",
).of()
GRANTED = gauge(
    "headrace_executor_granted_credits",
    "Room that schedulers were granted and have not used yet.",
).of()
CONNECTED = gauge(
    "headrace_executor_connected_schedulers", "Schedulers that answer on their stream."
).of()

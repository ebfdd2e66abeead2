"""The scheduler's metrics, declared once. Runs are never a label."""

from headrace_runtime.metrics import counter, gauge, histogram

PARTITIONS_OWNED = gauge("headrace_partitions_owned", "Partitions that this process owns.")
OPEN_RUNS = gauge("headrace_open_runs", "Runs of owned partitions that have not ended.")
EXECUTORS = gauge("headrace_executors_connected", "Executors with a stream to this process.")
FREE_CREDITS = gauge(
    "headrace_free_credits", "Room that executors have granted here and no step uses."
)
OWNERSHIPS_LOST = counter(
    "headrace_ownerships_lost_total", "Partitions given up: fenced, unclear append, lost lease."
)
RUNS_PARKED = counter("headrace_runs_parked_total", "Runs in which the engine met a fault.")
APPEND_SECONDS = histogram(
    "headrace_append_seconds", "From the append of a loop pass to its acknowledgement."
)
TURNS = counter("headrace_turns_total", "Records appended, which are turns.")
ATTEMPTS_LOST = counter("headrace_attempts_lost_total", "Attempts that nobody reported.")

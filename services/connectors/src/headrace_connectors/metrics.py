"""Every metric of connectors, declared once."""

from headrace_connector_sdk.outcome import Word
from headrace_runtime.metrics import bounded, closed, counter, gauge, histogram

_ACTION = bounded("action", 200)

ATTEMPTS = counter(
    "headrace_connectors_attempts_total",
    "Attempts at outside systems by the word in which they ended.",
    (_ACTION, closed("word", *Word)),
)
ATTEMPT_SECONDS = histogram(
    "headrace_connectors_attempt_seconds", "How long attempts took.", (_ACTION,)
)
OPEN = gauge("headrace_connectors_open_attempts", "Attempts that run now.").of()
EGRESS_REFUSED = counter(
    "headrace_connectors_egress_refused_total",
    "Attempts that named a host or port which the tenant may not reach.",
).of()
POSTGRES_POOLS = gauge(
    "headrace_connectors_postgres_pools", "Open pools of tenants' databases."
).of()

"""Every metric of history, declared once."""

from prometheus_client import Counter, Gauge

LAG_EVENTS = Gauge(
    "headrace_history_projection_lag_records",
    "Records of the log that the projector has not taken in yet.",
)
LAG_SECONDS = Gauge(
    "headrace_history_projection_lag_seconds",
    "Age of the newest record that was taken in, while there are more; else 0.",
)
STOPPED_PARTITIONS = Gauge(
    "headrace_history_stopped_partitions",
    "Partitions whose projection stopped at a record that cannot be read.",
)
RECORDS = Counter("headrace_history_records_total", "Records taken in from the log.")
FLUSHES = Counter("headrace_history_flushes_total", "Transactions written by the projector.")
FLUSHED_EVENTS = Counter(
    "headrace_history_flushed_events_total", "Run events written into journals."
)
SUBSCRIBERS = Gauge("headrace_history_subscribers", "Live subscriptions.")
SUBSCRIBERS_CUT = Counter(
    "headrace_history_subscribers_cut_total",
    "Live subscriptions cut because they were slow.",
)

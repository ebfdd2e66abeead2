"""Every metric of history, declared once."""

from headrace_runtime.metrics import counter, gauge

LAG_RECORDS = gauge(
    "headrace_history_projection_lag_records",
    "Records of the log that the projector has not taken in yet.",
).of()
LAG_SECONDS = gauge(
    "headrace_history_projection_lag_seconds",
    "Age of the newest record that was taken in, while there are more; else 0.",
).of()
STOPPED_PARTITIONS = gauge(
    "headrace_history_stopped_partitions",
    "Partitions whose projection stopped at a record that cannot be read.",
).of()
RECORDS = counter("headrace_history_records_total", "Records taken in from the log.").of()
FLUSHES = counter("headrace_history_flushes_total", "Transactions that wrote projections.").of()
FLUSHED_EVENTS = counter(
    "headrace_history_flushed_events_total", "Run events written into journals."
).of()
SUBSCRIBERS = gauge("headrace_history_subscribers", "Live subscriptions.").of()
SUBSCRIBERS_CUT = counter(
    "headrace_history_subscribers_cut_total", "Live subscriptions cut because they were slow."
).of()

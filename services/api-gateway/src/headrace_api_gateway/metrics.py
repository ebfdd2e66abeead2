"""Metrics of the gateway. No tenant is a label: /metrics is open to whoever reaches the gateway."""

from headrace_runtime.metrics import bounded, closed, counter, histogram

ROUTE = bounded("route", 60)
REQUESTS = counter(
    "headrace_gateway_requests_total",
    "HTTP requests by route and class of status.",
    (ROUTE, closed("status", "2xx", "3xx", "4xx", "5xx")),
)
SECONDS = histogram(
    "headrace_gateway_request_seconds", "From the first byte to the end of the answer.", (ROUTE,)
)


def count(route: str, status: int, seconds: float) -> None:
    REQUESTS.of(route, f"{status // 100}xx").inc()
    SECONDS.of(route).observe(seconds)

"""Metrics with closed label sets, on prometheus_client.

Each service declares its metrics once, in its own `metrics.py`, with `counter`, `gauge` and
`histogram`; those of the shared code stand here. A child is looked up in a plain dict, which is a
third of the price of `.labels()`. A tenant may be a label of counters; a run never is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from headrace_core.errors import SetupError
from headrace_runtime.address import Address

OTHER = "other"
"""The value that stands for all beyond an open label's bound."""
FORBIDDEN_LABELS = frozenset({"run", "run_id", "step_key", "attempt", "token"})
LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

Child = TypeVar("Child", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Label:
    """With `values` any other value is a bug (ValueError). Without, the first `values_max` that
    come are kept apart and all later ones are counted as "other": a scrape is CPU of ours."""

    name: str
    values: frozenset[str] = frozenset()
    values_max: int = 0

    def __post_init__(self) -> None:
        if self.name in FORBIDDEN_LABELS:
            raise ValueError(f"label {self.name!r} is without bound: it belongs into a log line")
        if bool(self.values) == bool(self.values_max):
            raise ValueError(f"label {self.name!r} needs either its values or their bound")


def closed(name: str, *values: str) -> Label:
    return Label(name, values=frozenset(values))


def bounded(name: str, values_max: int) -> Label:
    return Label(name, values_max=values_max)


TENANT = bounded("tenant", 500)


class Family(Generic[Child]):
    """One metric and its children by label values."""

    def __init__(self, metric: Child, labels: Sequence[Label]) -> None:
        self._metric = metric
        self._labels = tuple(labels)
        self._seen: list[set[str]] = [set(label.values) for label in labels]
        self._children: dict[tuple[str, ...], Child] = {}

    def of(self, *values: str) -> Child:
        """The child to count on; keep it where the values are fixed."""
        child = self._children.get(values)
        if child is None:
            child = self._admit(values)
        return child

    def _admit(self, values: tuple[str, ...]) -> Child:
        if len(values) != len(self._labels):
            names = ", ".join(label.name for label in self._labels)
            raise ValueError(f"{self._metric} takes the labels ({names}), not {values}")
        admitted = tuple(map(self._value, range(len(values)), values))
        child = self._metric.labels(*admitted) if admitted else self._metric
        if admitted == values:
            self._children[values] = child
        return child

    def _value(self, place: int, value: str) -> str:
        label, seen = self._labels[place], self._seen[place]
        if value in seen:
            return value
        if label.values:
            raise ValueError(f"{value!r} is not a value of label {label.name!r}")
        if len(seen) >= label.values_max:
            return OTHER
        seen.add(value)
        return value


def counter(
    name: str, text: str, labels: Sequence[Label] = (), registry: CollectorRegistry = REGISTRY
) -> Family[Counter]:
    """`name` ends in `_total`."""
    return _family(Counter(name, text, _names(labels), registry=registry), labels)


def gauge(
    name: str, text: str, labels: Sequence[Label] = (), registry: CollectorRegistry = REGISTRY
) -> Family[Gauge]:
    return _family(Gauge(name, text, _names(labels), registry=registry), labels)


def histogram(
    name: str,
    text: str,
    labels: Sequence[Label] = (),
    registry: CollectorRegistry = REGISTRY,
    buckets: Sequence[float] = LATENCY_BUCKETS_S,
) -> Family[Histogram]:
    metric = Histogram(name, text, _names(labels), registry=registry, buckets=buckets)
    return _family(metric, labels)


def metrics_text(registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """The body and the content type of a /metrics answer."""
    return generate_latest(registry), CONTENT_TYPE_LATEST


def serve_metrics(
    listen: Address, registry: CollectorRegistry = REGISTRY
) -> tuple[Address, Callable[[], None]]:
    """Serve /metrics from a thread of its own, so that a scrape never stands in the loop's way.

    Answers the bound address and what stops it. Raises SetupError for a taken port.
    """
    try:
        server, thread = start_http_server(listen.port, listen.host, registry)
    except OSError as fault:
        raise SetupError(
            f"Cannot serve metrics on {listen}: {fault.strerror or fault}. "
            "Set HEADRACE_METRICS_LISTEN to a free host:port."
        ) from fault

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return Address(listen.host, server.server_port), stop


def _names(labels: Sequence[Label]) -> tuple[str, ...]:
    return tuple(label.name for label in labels)


def _family(metric: Child, labels: Sequence[Label]) -> Family[Child]:
    return Family(metric, labels)


STREAM_MESSAGES = counter(
    "headrace_stream_messages_total",
    "Messages written to coalescing streams.",
    (bounded("stream", 20),),
)
STREAM_ITEMS = counter(
    "headrace_stream_items_total",
    "Items written to coalescing streams; items by messages is how well they coalesce.",
    (bounded("stream", 20),),
)

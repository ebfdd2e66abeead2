"""Metrics with label sets that cannot grow without bound."""

import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.metrics import (
    Label,
    bounded,
    closed,
    counter,
    gauge,
    histogram,
    metrics_text,
    serve_metrics,
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_children_of_a_metric_are_counted_apart(registry: CollectorRegistry) -> None:
    steps = counter("steps_total", "Steps.", (closed("outcome", "ok", "bad"),), registry)
    steps.of("ok").inc()
    steps.of("ok").inc()
    steps.of("bad").inc()
    assert registry.get_sample_value("steps_total", {"outcome": "ok"}) == 2
    assert registry.get_sample_value("steps_total", {"outcome": "bad"}) == 1


def test_a_value_outside_a_closed_set_is_a_bug(registry: CollectorRegistry) -> None:
    steps = counter("steps_total", "Steps.", (closed("outcome", "ok", "bad"),), registry)
    with pytest.raises(ValueError, match="'odd' is not a value of label 'outcome'"):
        steps.of("odd")


def test_values_beyond_the_bound_are_counted_as_other(registry: CollectorRegistry) -> None:
    steps = counter("steps_total", "Steps.", (bounded("tenant", 2),), registry)
    for tenant in ("a", "b", "c", "d", "a"):
        steps.of(tenant).inc()
    assert registry.get_sample_value("steps_total", {"tenant": "a"}) == 2
    assert registry.get_sample_value("steps_total", {"tenant": "other"}) == 2
    assert registry.get_sample_value("steps_total", {"tenant": "c"}) is None


def test_a_metric_without_labels_has_one_child(registry: CollectorRegistry) -> None:
    gauge("runs_open", "Open runs.", registry=registry).of().set(7)
    histogram("wait_seconds", "Waiting.", registry=registry).of().observe(0.2)
    assert registry.get_sample_value("runs_open") == 7
    assert registry.get_sample_value("wait_seconds_count") == 1


def test_labels_are_given_in_number_and_order(registry: CollectorRegistry) -> None:
    steps = counter("steps_total", "Steps.", (bounded("tenant", 2),), registry)
    with pytest.raises(ValueError, match="takes the labels"):
        steps.of("a", "b")


def test_a_run_is_never_a_label() -> None:
    with pytest.raises(ValueError, match="without bound"):
        bounded("run_id", 10)


def test_a_label_has_either_values_or_a_bound() -> None:
    with pytest.raises(ValueError, match="needs either"):
        Label("tenant")


def test_the_endpoint_serves_the_text(registry: CollectorRegistry) -> None:
    counter("steps_total", "Steps.", registry=registry).of().inc()
    address, stop = serve_metrics(Address("127.0.0.1", 0), registry)
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            assert answer.read() == metrics_text(registry)[0]
    finally:
        stop()


def test_a_taken_metrics_port_is_named(registry: CollectorRegistry) -> None:
    address, stop = serve_metrics(Address("127.0.0.1", 0), registry)
    try:
        with pytest.raises(SetupError, match=f"metrics on {address}.*HEADRACE_METRICS_LISTEN"):
            serve_metrics(address, registry)
    finally:
        stop()

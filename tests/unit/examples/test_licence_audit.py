"""The parts of the demonstration; CI runs the whole of it."""

import json
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from examples.licence_audit.audit import FLOWS, PUBLISHED
from examples.licence_audit.installed import EXCERPT_LETTERS, list_packages, read_licence
from examples.licence_audit.receiver import Receiver
from headrace_core.workflow.compile import compile_definition
from headrace_core.workflow.fault import render_faults
from headrace_core.workflow.plan import Plan
from headrace_core.workflow.resolution import Catalogue, FlowDescriptor


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(failures=1)
    receiver.start()
    yield receiver
    receiver.stop()


def test_the_flows_compile_in_the_order_in_which_they_are_published() -> None:
    flows: dict[tuple[str, str], FlowDescriptor] = {}
    for name in PUBLISHED:
        text = (FLOWS / f"{name}.flow.yaml").read_text()
        plan = compile_definition(text, Catalogue(flows=flows))
        assert isinstance(plan, Plan), render_faults(plan, text, name)
        flows[name, "stable"] = FlowDescriptor(name, 1, plan.hash, plan.inputs)
    assert {file.name for file in FLOWS.iterdir()} == {f"{name}.flow.yaml" for name in PUBLISHED}


def test_every_installed_package_but_our_own_is_listed_once_by_name() -> None:
    names = [one["name"] for one in list_packages()]
    assert "pytest" in names and not any(name.startswith("headrace") for name in names)
    assert names == sorted(set(names), key=str.casefold)


def test_a_licence_is_read_from_what_is_installed() -> None:
    version = {one["name"]: one["version"] for one in list_packages()}["pytest"]
    read = read_licence("pytest", version)
    assert read["declared"] == "MIT" and "Permission is hereby granted" in read["text"]
    assert read["text_bytes"] == len(read["text"].encode())
    assert len(read["excerpt"]) <= EXCERPT_LETTERS


@pytest.mark.parametrize(("name", "version"), [("pytest", "0.0.1"), ("no-such-package", "1")])
def test_what_is_not_installed_in_that_version_is_refused(name: str, version: str) -> None:
    with pytest.raises(LookupError, match=name):
        read_licence(name, version)


def test_the_receiver_fails_first_and_takes_each_key_once(receiver: Receiver) -> None:
    def post(key: str) -> int:
        request = urllib.request.Request(  # noqa: S310 - the address is this test's own
            receiver.url,
            json.dumps({"packages": 3}).encode(),
            {"Idempotency-Key": key, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310 - the same
                return answer.status
        except HTTPError as refusal:
            with refusal:
                return refusal.code

    assert [post("a"), post("a"), post("a")] == [503, 201, 201]
    assert receiver.accepted == {"a": {"packages": 3}}
    assert len(receiver.requests) == 3

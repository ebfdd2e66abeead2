"""Probes, metrics, the API's own documents, and problems of requests that match no route."""

from typing import Any, cast

import pytest

from headrace_api_gateway.api import examples
from tests.integration.api_gateway.conftest import YAML, Gateway, lease_all

pytestmark = pytest.mark.postgres


async def test_a_gateway_whose_parts_are_there_is_ready(gateway: Gateway) -> None:
    answer = await gateway.client().get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json()["parts"] == {"database": True, "schedulers": True, "history": True}
    assert (await gateway.client().get("/livez")).json() == {"status": "live"}


async def test_a_partition_without_owner_makes_it_not_ready_but_alive(gateway: Gateway) -> None:
    await lease_all(gateway.dsn, None)
    answer = await gateway.client().get("/readyz")
    assert (answer.status_code, answer.json()["parts"]["schedulers"]) == (503, False)
    assert (await gateway.client().get("/livez")).status_code == 200


async def test_requests_are_counted_by_route_and_never_by_tenant(gateway: Gateway) -> None:
    client = await gateway.tenant("some-tenant")
    await client.get("/v1/runs/nonsense")
    text = (await gateway.client().get("/metrics")).text
    assert 'route="GET /v1/runs/{run}",status="4xx"' in text
    assert "some-tenant" not in text and "nonsense" not in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/v1/workflows", 405), ("GET", "/v1/", 404)],
)
async def test_a_request_that_fits_no_route_is_a_problem_too(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = await gateway.client().request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["instance"]) == (status, "HR-2003", path)
    if status == 405:
        assert answer.headers["allow"]


async def test_a_fault_of_ours_tells_the_client_an_incident_and_the_log_the_reason(
    gateway: Gateway,
) -> None:
    client = await gateway.tenant()
    run = "run_0g0jq8a1b2c3d4e5f6g7h8"
    gateway.history.add(run, "acme", plan=7, secret="not for the client")
    answer = await client.post(f"/v1/runs/{run}/approvals/a", json={"decision": "approved"})
    assert (answer.status_code, answer.json()["code"]) == (500, "HR-0000")
    incident = answer.json()["detail"].rpartition(" ")[2].rstrip(".")
    assert any(incident.encode() in line and b"stack" in line for line in gateway.logged)


async def test_the_openapi_document_describes_every_route_with_examples(
    gateway: Gateway,
) -> None:
    document = (await gateway.client().get("/openapi.json")).json()
    assert document["openapi"].startswith("3.")
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) == 47
    for name, operation in operations.items():
        assert operation["summary"], name
        assert "default" in operation["responses"], name
        if name.startswith(("GET /v1", "POST /v1", "PUT /v1")) and "export" not in name:
            contents = [
                content
                for status, response in operation["responses"].items()
                if status != "default"
                for content in response.get("content", {}).values()
            ]
            assert any("example" in content for content in contents), name
        if name.startswith(("POST", "PUT")):
            # The sender of a webhook chooses its body.
            may_be_without = (
                "/cancel",
                "/fork",
                "/resume",
                "/replay",
                "/discard",
                "/signals/{name}",
                "/{path}",
            )
            needs_no_body = name.endswith(may_be_without)
            assert example_of_body(document, operation) is not None or needs_no_body, name


async def test_the_examples_of_the_documents_are_taken_as_they_stand(gateway: Gateway) -> None:
    admin = gateway.admin
    tenant = {name: examples.TENANT[name] for name in ("id", "weight")}
    assert (await admin.post("/v1/tenants", json=tenant)).status_code == 201
    client = await gateway.tenant("acme")
    published = await client.post("/v1/workflows", content=examples.DEFINITION, headers=YAML)
    assert published.json().keys() == examples.PUBLISHED.keys()
    started = await client.post("/v1/runs", json=examples.START)
    assert started.json().keys() == examples.ACCEPTED.keys()
    assert (await client.get("/v1/workflows/greet")).json().keys() == examples.WORKFLOW.keys()
    valid = await client.post("/v1/workflows/validate", content=examples.DEFINITION, headers=YAML)
    assert valid.json().keys() == examples.VALID.keys()


async def test_the_page_for_readers_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = (await gateway.client().get("/docs")).text
    assert "POST /v1/runs" in page and "Idempotency" in page
    assert "http://" not in page and "https://" not in page


def example_of_body(document: dict[str, Any], operation: dict[str, Any]) -> object:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" in content:
            return content["example"]
        reference = str(content["schema"].get("$ref", ""))
        name = reference.rpartition("/")[2]
        if name:
            return cast("dict[str, Any]", document["components"]["schemas"][name]).get("example")
    return None

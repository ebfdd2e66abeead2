"""The fifth service under `headrace up`: it is there, and keeps what it was told over a kill."""

import json

import pytest

from tests.e2e.suite import Suite, until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

SERVICES = {"scheduler", "connectors", "executor", "history", "api-gateway"}


def test_up_runs_five_services_and_lists_them(suite: Suite) -> None:
    document = json.loads((suite.home / "processes.json").read_text(encoding="utf-8"))
    assert set(document["services"]) == SERVICES
    for name, service in document["services"].items():
        assert service["pid"] == document["pids"][name]
        assert service["address"].startswith("127.0.0.1:")
    assert set(suite.said["pids"]) == SERVICES | {"supervisor", "postgres"}


def test_secrets_and_the_list_survive_a_kill_of_connectors(suite: Suite) -> None:
    pair = {"host": "db.internal", "port": 5433}
    with suite.new_tenant("vault") as client:
        client.put("/v1/secrets/shop_db", json={"value": "a-value"}).raise_for_status()
        client.put("/v1/egress", json=pair).raise_for_status()
        suite.kill("connectors")
        until(lambda: client.get("/v1/secrets").status_code == 200, "connectors answer again")
        listed = client.get("/v1/secrets").json()["secrets"]
        assert [(one["name"], one["version"]) for one in listed] == [("shop_db", 1)]
        assert client.get("/v1/egress").json() == {"allowed": [pair]}
        again = client.put("/v1/secrets/shop_db", json={"value": "another"})
        assert again.json()["version"] == 2

"""The demonstration's conversation with the API: everything goes through what users have too."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.licence_audit import audit_database
from examples.licence_audit.audit_database import AuditDatabase
from examples.licence_audit.stage import Platform, wait_for
from headrace_cli.api_client import ApiClient, Target
from headrace_cli.live import follow
from headrace_runtime.postgres.embedded import running_dsn
from headrace_runtime.postgres.roles import DATABASE

TENANT = "licence-audit"
OWNER = "release-manager"
FLOWS = Path(__file__).parent / "flows"
# In this order: a flow is resolved when one that calls it is published.
PUBLISHED = ("package-licence", "licence-audit", "package-count")
CONNECTION = "audit"


@dataclass(slots=True)
class Audit:
    """`api` speaks for the tenant."""

    platform: Platform
    api: ApiClient
    key: str
    database: AuditDatabase

    @classmethod
    def prepare(cls, platform: Platform, receiver_port: int) -> "Audit":
        """A tenant with a key, its secret, and what it may reach on this machine."""
        url = platform.said["api"]
        admin = ApiClient(Target(url, platform.said["admin_key"]))
        admin.post("/v1/tenants", {"id": TENANT})
        made = admin.post(f"/v1/tenants/{TENANT}/keys", {"name": "demonstration", "role": "editor"})
        admin.close()
        database = asyncio.run(audit_database.make(superuser_dsn(platform.home)))
        api = ApiClient(Target(url, made["key"]))
        api.put(f"/v1/secrets/{CONNECTION}", {"value": database.dsn})
        for host, port in (("127.0.0.1", receiver_port), (database.host, database.port)):
            api.put("/v1/egress", {"host": host, "port": port})
        return cls(platform, api, made["key"], database)

    def publish(self) -> list[str]:
        """Name and version of each flow."""
        published: list[str] = []
        for name in PUBLISHED:
            text = (FLOWS / f"{name}.flow.yaml").read_bytes()
            answer = self.api.post_text("/v1/workflows", text, label="stable")
            published.append(f"{answer['name']}@{answer['version']}")
        return published

    def start(self, receiver: str) -> str:
        """The run's id. The key makes a repeated request give the same run."""
        body = {"workflow": "licence-audit", "input": {"receiver": receiver, "owner": OWNER}}
        answer = self.api.post("/v1/runs", body, {"Idempotency-Key": "demonstration"})
        return answer["id"]

    def follow(self, run: str, take: Callable[[Mapping[str, Any]], None]) -> None:
        for event in follow(self.api.target, run):
            take(event)

    def approve(self, run: str) -> None:
        self.api.post(
            f"/v1/runs/{run}/approvals/approve",
            {"decision": "approved", "comment": "read and found in order"},
        )

    def run(self, run: str) -> Mapping[str, Any]:
        return self.api.get(f"/v1/runs/{run}")

    def runs_of(self, flow: str) -> list[Mapping[str, Any]]:
        return self.api.get("/v1/runs", workflow=flow, limit=200)["runs"]

    def await_scheduled(self, count: int) -> list[Mapping[str, Any]]:
        """The first runs that the schedule started, ended, oldest first."""

        def ended() -> list[Mapping[str, Any]]:
            runs = [one for one in self.runs_of("package-count") if one["status"] == "succeeded"]
            return runs[::-1][:count] if len(runs) >= count else []

        return wait_for(ended, f"the schedule has fired {count} times")

    def event_where(self, run: str, kind: str, step: str) -> int:
        """The number of the first such event."""
        after = 0
        while True:
            page = self.api.get(f"/v1/runs/{run}/events", after=after, limit=1_000)
            for event in page["events"]:
                if event["kind"] == kind and str(event.get("step") or "").startswith(step):
                    return event["sequence"]
                after = event["sequence"]
            if not page["more"]:
                return after


def superuser_dsn(home: Path) -> str:
    """Of the database that the platform uses."""
    return os.environ.get("HEADRACE_POSTGRES_DSN") or running_dsn(home, DATABASE)

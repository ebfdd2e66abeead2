"""Lanes: the queues in which ready steps wait, and which an executor's stream serves."""

import re

SHARED_LANE = "shared"
"""Served by the installation's own executors."""
_WORKER_LANE = re.compile(
    r"worker:(?P<tenant>[a-z][a-z0-9-]{0,38})?:(?P<task>[a-z][a-z0-9_.-]{0,99}@[a-z0-9][a-z0-9.-]*)"
)


def worker_lane(tenant: str, task: str) -> str:
    """`task` is what a step calls, without `worker.`: `resize@1`.

    A worker, who knows its tenant only from its key, leaves the tenant empty.
    """
    return f"worker:{tenant}:{task}"


def split_worker_lane(lane: str) -> tuple[str, str] | None:
    """(tenant, task), None for what is no lane of a worker."""
    found = _WORKER_LANE.fullmatch(lane)
    return None if found is None else (found["tenant"] or "", found["task"])

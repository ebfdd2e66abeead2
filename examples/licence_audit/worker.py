"""The customer's own code: a process that serves two tasks and reaches only the schedulers."""

import os
from typing import Any

from examples.licence_audit import installed
from headrace_worker import PermanentError, Worker, task


@task
def list_packages() -> dict[str, Any]:
    """Every installed distribution, by name."""
    return {"packages": installed.list_packages()}


@task
def read_licence(name: str, version: str) -> dict[str, Any]:
    """What a distribution's metadata declare, and the text of its licence."""
    try:
        return installed.read_licence(name, version)
    except LookupError as fault:
        raise PermanentError(str(fault), type="package.missing") from fault


if __name__ == "__main__":
    Worker(
        api_key=os.environ["HEADRACE_API_KEY"],
        address=os.environ["HEADRACE_WORKER_ADDRESS"],
        tasks=[list_packages, read_licence],
    ).run()

"""A worker that tests start as a process: it writes a line for each call, before it does it.

Its environment names the file of those lines, beside key and address.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from headrace_worker import Context, PermanentError, RetryLater, Worker, task

WITNESS = Path(os.environ.get("WITNESS_FILE", "witness.jsonl"))


def witness(context: Context, what: str, **more: Any) -> None:
    line = {
        "what": what,
        "tenant": context.tenant,
        "run": context.run,
        "step": context.step,
        "attempt": context.attempt,
        "key": context.idempotency_key,
        **more,
    }
    with WITNESS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


@task
async def echo(context: Context, value: Any) -> Any:
    witness(context, "echo", bytes=len(json.dumps(value)))
    return value


@task
async def hang(context: Context, marker: str) -> str:
    """Until a file of that name lies beside the witness."""
    witness(context, "begun")
    try:
        while not WITNESS.with_name(marker).exists():  # noqa: ASYNC110 a file of another process has no event
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        witness(context, "cancelled")
        raise
    return f"attempt {context.attempt}"


@task
async def fail(context: Context, how: str) -> str:
    witness(context, "fail")
    if how == "permanent":
        raise PermanentError("no hope")
    if context.attempt < 3:
        raise RetryLater(0.01, "soon") if how == "later" else ValueError("a bug")
    return "well in the end"


@task
async def count(context: Context) -> str:
    await context.note({"half": "way"})
    return "noted"


if __name__ == "__main__":
    Worker(
        os.environ["HEADRACE_API_KEY"],
        os.environ["HEADRACE_WORKER_ADDRESS"],
        [echo, hang, fail, count],
        drain_s=1.0,
    ).run()

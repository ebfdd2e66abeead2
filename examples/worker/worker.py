"""Serves the tasks of flow.yaml: `python worker.py`, with a key and an address in the environment.

HEADRACE_API_KEY is a key with the role worker; HEADRACE_WORKER_ADDRESS is what `headrace up --json`
prints as `worker_address`.
"""

import asyncio
import os
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from headrace_worker import Context, PermanentError, RetryLater, Worker, task

FORMATS = (".png", ".jpg", ".webp")


@dataclass
class Thumbnail:
    file: str
    width: int


@task
async def resize(image: str, width: Annotated[int, Field(gt=0, le=4_096)]) -> Thumbnail:
    """Arguments are what the step's `with` says, checked against these annotations."""
    stem, dot, ending = image.rpartition(".")
    if dot + ending not in FORMATS:
        raise PermanentError(f"{image} is none of {', '.join(FORMATS)}")
    await asyncio.sleep(0.01)  # where the pixels would be computed
    return Thumbnail(f"{stem}-{width}.{ending}", width)


@task
async def publish(context: Context, album: str, files: list[str]) -> dict[str, object]:
    """May be called again for the same step, with the same key: make the effect only once."""
    if not store_is_open():
        raise RetryLater(after_s=2.0, message="the store is closed for the moment")
    context.log.info("publishing %d files as %s", len(files), context.idempotency_key)
    return {"album": album, "files": files, "attempt": context.attempt}


def store_is_open() -> bool:
    """Stands for whatever your effect depends on."""
    return True


if __name__ == "__main__":
    Worker(
        api_key=os.environ["HEADRACE_API_KEY"],
        address=os.environ["HEADRACE_WORKER_ADDRESS"],
        tasks=[resize, publish],
        concurrency=4,
    ).run()

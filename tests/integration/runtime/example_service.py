"""A service whose build does what its first argument says; run as a process by the tests."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import ClassVar

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.service import Life, main
from headrace_runtime.settings import ServiceSettings


class ExampleSettings(ServiceSettings):
    service: ClassVar[str] = "example"

    behaviour: str


async def forever() -> None:
    await asyncio.Event().wait()


async def crash() -> None:
    raise KeyError("a bug in a task")


async def end_at_once() -> None:
    return


async def block_the_loop() -> None:
    while True:
        os.getpid()


@asynccontextmanager
async def build(settings: ExampleSettings, life: Life) -> AsyncGenerator[Address]:
    if settings.behaviour == "cannot start":
        raise SetupError("PostgreSQL refuses the login.")
    life.keep("loop", forever())
    try:
        yield Address("127.0.0.1", 7001)
        life.log.info("drained", frozen=gc.get_freeze_count() > 0)
        if settings.behaviour == "hangs in its drain":
            await forever()
    finally:
        life.log.info("closed")


@asynccontextmanager
async def build_crashing(settings: ExampleSettings, life: Life) -> AsyncGenerator[Address]:
    async with build(settings, life) as address:
        if settings.behaviour == "task crashes":
            life.spawn("bad task", crash())
        if settings.behaviour == "loop ends":
            life.keep("short loop", end_at_once())
        if settings.behaviour == "short task ends":
            life.spawn("short task", end_at_once())
        yield address
        if settings.behaviour == "blocks the loop":
            await block_the_loop()


if __name__ == "__main__":
    main(build_crashing, ExampleSettings, {**os.environ, "HEADRACE_BEHAVIOUR": sys.argv[1]})

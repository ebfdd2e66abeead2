"""The life of every service process: start, serve, drain, exit.

A service is one async context manager, its `build`: it sets everything up, yields the address it
serves at, and on the way out drains and closes in reverse order.

    @asynccontextmanager
    async def build(settings: HistorySettings, life: Life) -> AsyncGenerator[Address]:
        async with await open_pool(...) as pool:
            projector = Projector(pool)
            life.keep("projector", projector.run())
            server = await start_server(settings.listen, ...)
            yield server.address
            await projector.drain()
            await server.stop()
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import orjson
import uvloop

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.metrics import serve_metrics
from headrace_runtime.settings import ServiceSettings
from headrace_runtime.telemetry import Level, Logger, capture_library_logs

DRAIN_TIMEOUT_S = 4.5
"""From the signal to the exit. Whoever stops us kills after 5 s."""


class Exit(IntEnum):
    DRAINED = 0
    CRASHED = 1
    MISCONFIGURED = 2
    CUT_SHORT = 3
    """The drain took too long, or a second signal came: work in flight was dropped, which the
    next owner of it recovers like that of a killed process."""


class TaskCrashed(RuntimeError):
    """A task of the service raised, or ended although it must live as long as the service."""

    def __init__(self, task: str) -> None:
        super().__init__(f"task {task!r} crashed")
        self.task = task


class _Stopped(Exception):
    """Cancels what is left of the task group once the service has drained."""


class Life:
    """What `build` gets: the owner of the service's tasks, and the request to stop."""

    def __init__(self, tasks: asyncio.TaskGroup, log: Logger) -> None:
        self.log = log
        self._tasks = tasks
        self._stop = asyncio.Event()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def stopped(self) -> None:
        """Until somebody asked the service to stop."""
        await self._stop.wait()

    def stop(self) -> None:
        """As the signal does: drain, then exit 0."""
        self._stop.set()

    def keep(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Run a loop that lives until the drain: it ending early is a crash of the service."""
        return self._tasks.create_task(self._kept(name, work), name=name)

    def spawn(self, name: str, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """Run something that ends by itself; an exception of it is a crash of the service."""
        return self._tasks.create_task(self._watched(name, work), name=name)

    async def _kept(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        await self._watched(name, work)
        if not self.stopping:
            self.log.error("task ended although the service goes on", task=name)
            raise TaskCrashed(name)

    async def _watched(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as fault:
            # Said here: the group reports it only after every other task has ended.
            self.log.failure("task crashed", fault, task=name)
            raise TaskCrashed(name) from fault


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)
Build = Callable[[SettingsT, Life], AbstractAsyncContextManager[Address]]


def main(
    build: Build[SettingsT], settings: type[SettingsT], environment: Mapping[str, str]
) -> NoReturn:
    """The whole of a service's `__main__`: `main(build, HistorySettings, os.environ)`."""
    try:
        read = settings.from_environment(environment)
    except SetupError as fault:
        Logger(settings.service).error("settings refused", code=fault.code, message=fault.message)
        sys.exit(Exit.MISCONFIGURED)
    code = run(build, read)
    sys.stdout.flush()
    # Not sys.exit: threads of libraries that never end must not keep a drained process alive.
    os._exit(code)


def run(build: Build[SettingsT], settings: SettingsT) -> Exit:
    """Serve until SIGTERM or SIGINT; answers the exit code and never raises."""
    log = Logger(settings.service, Level.named(settings.log_level))
    capture_library_logs(log)
    log.debug("service starting", **settings.shown())
    limit = _ExitTimer(log)
    try:
        uvloop.run(_live(build, settings, log, limit))
    except BaseExceptionGroup as faults:
        return max(_report(fault, log) for fault in _leaves(faults))
    finally:
        limit.cancel()
    log.info("service stopped")
    return Exit.DRAINED


def _report(fault: BaseException, log: Logger) -> Exit:
    if isinstance(fault, SetupError):
        log.error("service not started", code=fault.code, message=fault.message)
        return Exit.MISCONFIGURED
    if isinstance(fault, TaskCrashed):
        log.error("service crashed", task=fault.task)
    else:
        log.failure("service crashed", fault)
    return Exit.CRASHED


async def _live(
    build: Build[SettingsT], settings: SettingsT, log: Logger, limit: "_ExitTimer"
) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            life = Life(tasks, log)
            _listen_to_signals(life, limit, log)
            try:
                async with build(settings, life) as address:
                    await _serve(settings, life, address)
                    life.stop()
                    limit.start(Exit.CUT_SHORT)
            except BaseException:
                # Also here a part that hangs while it closes must not keep the process.
                limit.start(Exit.CRASHED)
                raise
            raise _Stopped
    except* _Stopped:
        pass
    finally:
        limit.start(Exit.CRASHED)
        _remove(settings.ready_file)


async def _serve(settings: ServiceSettings, life: Life, address: Address) -> None:
    stop_metrics: Callable[[], None] | None = None
    shown: dict[str, object] = {"address": str(address)}
    if settings.metrics_listen is not None:
        metrics_address, stop_metrics = serve_metrics(settings.metrics_listen)
        shown["metrics_address"] = str(metrics_address)
    try:
        # What exists now stays: the collector need not walk modules and wiring again and again.
        gc.collect()
        gc.freeze()
        if settings.ready_file is not None:
            write_ready_file(settings.ready_file, settings.service, shown)
        life.log.info("service ready", **shown)
        await life.stopped()
    finally:
        if stop_metrics is not None:
            stop_metrics()


def write_ready_file(path: Path, service: str, shown: Mapping[str, object]) -> None:
    """One JSON line; a reader sees all of it or no file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    line = {"pid": os.getpid(), **shown, "service": service}
    draft.write_bytes(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    draft.replace(path)


def _remove(ready_file: Path | None) -> None:
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)


def _listen_to_signals(life: Life, limit: "_ExitTimer", log: Logger) -> None:
    def asked(received: signal.Signals) -> None:
        if life.stopping:
            log.warning("second signal: leaving without drain", signal=received.name)
            os._exit(Exit.CUT_SHORT)
        log.info("draining", signal=received.name)
        limit.start(Exit.CUT_SHORT)
        life.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)


class _ExitTimer:
    """Ends the process from a thread: a loop that is stuck cannot end itself."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._timer: threading.Timer | None = None

    def start(self, code: Exit) -> None:
        """The first call counts."""
        if self._timer is None:
            self._timer = threading.Timer(DRAIN_TIMEOUT_S, self._leave, (code,))
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _leave(self, code: Exit) -> None:
        self._log.error("closing took too long: leaving", limit_s=DRAIN_TIMEOUT_S)
        os._exit(code)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            found += _leaves(inner)  # pyright: ignore[reportUnknownArgumentType] narrowing loses it
        else:
            found.append(inner)
    return found

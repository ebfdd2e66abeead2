"""A process that serves tasks: finds the schedulers, keeps its word, stops in good order."""

import asyncio
import logging
import os
import random
import secrets
import signal
from collections.abc import Sequence
from contextlib import suppress

from headrace_core.errors import InvalidInput
from headrace_core.ids import ExecutorId
from headrace_core.lanes import worker_lane
from headrace_worker.dispatch_client import DispatchClient
from headrace_worker.protocol import DispatchProtocol
from headrace_worker.runner import TaskRunner, window_of
from headrace_worker.task import AnyTask

DEFAULT_CONCURRENCY = 8
DEFAULT_DRAIN_S = 10.0
CUT_S = 1.0
"""So long a function that was cancelled at the end may take to return."""

_log = logging.getLogger("headrace_worker")


class Worker:
    """Serves `tasks` for the tenant whose key this is, at every scheduler in `address`.

    `concurrency` functions run at a time. On a stop no new task is taken; those that run have
    `drain_s` seconds, and what then still runs is cancelled and given to other workers.
    """

    def __init__(
        self,
        api_key: str,
        address: str | Sequence[str],
        tasks: Sequence[AnyTask],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        drain_s: float = DEFAULT_DRAIN_S,
    ) -> None:
        """Raises InvalidInput when there is nothing to serve, or one name stands twice."""
        self._addresses = [address] if isinstance(address, str) else list(address)
        names = [one.name for one in tasks]
        if not tasks or not self._addresses:
            raise InvalidInput("A worker needs a task at least, and a scheduler's host:port.")
        if len(set(names)) < len(names):
            raise InvalidInput(f"A task stands twice among {', '.join(names)}.")
        if concurrency < 1:
            raise InvalidInput("A worker runs one function at a time at least.")
        self._tasks = {worker_lane("", one.name): one for one in tasks}
        self._api_key = api_key
        self._concurrency = concurrency
        self._drain_s = drain_s
        self._stop = asyncio.Event()

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; a second one leaves at once.

        Raises Unauthenticated, Forbidden or InvalidInput when a scheduler refuses this worker.
        """
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        asyncio.run(self._run())

    def stop(self) -> None:
        """As a signal does; from inside the loop."""
        self._stop.set()

    async def serve(self) -> None:
        """Like `run`, in a loop of your own and without signal handlers; ends after `stop`."""
        executor = ExecutorId(f"wrk_{secrets.token_hex(8)}")
        window = window_of(self._concurrency, len(self._tasks))
        protocol = DispatchProtocol(executor, list(self._tasks), window, self._api_key)
        client = DispatchClient(protocol, self._addresses, random.random)
        runner = TaskRunner(self._tasks, client, self._concurrency)
        _log.info("serving %s", ", ".join(one.name for one in self._tasks.values()))
        streams = asyncio.create_task(client.run(runner))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((streams, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not streams.done():
                _log.info("stopping: %d tasks still run", protocol.open)
                if not await client.drain(self._drain_s):
                    _log.warning("%d tasks are given to others", protocol.open)
        finally:
            stopped.cancel()
            await runner.abandon(CUT_S)
            if not streams.done():
                await client.close()
                streams.cancel()
        with suppress(asyncio.CancelledError):
            await streams

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        await self.serve()

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            os._exit(1)
        self._stop.set()

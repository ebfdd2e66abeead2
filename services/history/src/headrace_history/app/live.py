"""Live subscriptions: turns reach subscribers as they are consumed, before the database has them.

A subscriber's queue is bounded. One that reads too slowly is cut with a clear error and resumes
by the number of the last event that it saw: nothing is lost, since the journal has everything.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

from headrace_core.errors import Unavailable
from headrace_core.ids import RunId
from headrace_history import metrics
from headrace_history.domain.turns import JournalTurn

QUEUE_TURNS_MAX = 1024


class Subscription:
    """Turns of one run from the moment of subscribing on; earlier ones come from the journal."""

    def __init__(self, run: RunId, turns_max: int) -> None:
        self.run = run
        self._turns: deque[JournalTurn] = deque()
        self._turns_max = turns_max
        self._woken = asyncio.Event()
        self._cut = False
        self._closed = False

    def restart(self) -> None:
        """Forget what is queued: the caller reads it elsewhere."""
        self._turns.clear()
        self._cut = False

    def push(self, turn: JournalTurn) -> None:
        if not self._cut and len(self._turns) >= self._turns_max:
            self._cut = True
            metrics.SUBSCRIBERS_CUT.inc()
            self._turns.clear()
        if not self._cut:
            self._turns.append(turn)
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()

    async def next(self, wait_s: float | None = None) -> list[JournalTurn]:
        """What has come since the last call, at least one turn; empty after `wait_s`.

        Raises Unavailable when the subscriber was cut.
        """
        if not self._turns and not self._cut and not self._closed:
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                return []
        if self._cut:
            raise Unavailable(
                f"the subscriber of run {self.run} fell more than {self._turns_max} turns behind "
                "and was cut: subscribe again after the last event that was received"
            )
        if self._closed:
            raise Unavailable(
                "history is stopping: subscribe again after the last event that was received"
            )
        self._woken.clear()
        turns = list(self._turns)
        self._turns.clear()
        return turns


class Live:
    """Every subscription and every wait for a run's end in this process."""

    def __init__(self, queue_turns_max: int = QUEUE_TURNS_MAX) -> None:
        self.watched: dict[RunId, list[Subscription]] = {}
        self.awaited: dict[RunId, set[asyncio.Future[None]]] = {}
        self._queue_turns_max = queue_turns_max

    @contextmanager
    def subscribe(self, run: RunId) -> Generator[Subscription]:
        subscription = Subscription(run, self._queue_turns_max)
        metrics.SUBSCRIBERS.inc()
        self.watched.setdefault(run, []).append(subscription)
        try:
            yield subscription
        finally:
            metrics.SUBSCRIBERS.dec()
            others = self.watched[run]
            others.remove(subscription)
            if not others:
                del self.watched[run]

    @contextmanager
    def await_end(self, run: RunId) -> Generator[asyncio.Future[None]]:
        """Done when the run's end is taken in, from now on."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self.awaited.setdefault(run, set())
        waiting.add(ended)
        try:
            yield ended
        finally:
            waiting.discard(ended)
            if not waiting and self.awaited.get(run) is waiting:
                del self.awaited[run]

    def end(self, run: RunId) -> None:
        for ended in self.awaited.pop(run, ()):
            if not ended.done():
                ended.set_result(None)

    def close(self) -> None:
        """History stops: subscribers are told to come back."""
        for subscriptions in self.watched.values():
            for subscription in subscriptions:
                subscription.close()
        for run in list(self.awaited):
            self.end(run)

    def push(self, run: RunId, turn: JournalTurn) -> None:
        for subscription in self.watched[run]:
            subscription.push(turn)

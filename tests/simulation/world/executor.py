"""An executor of the simulation: the real protocol, and work that only takes time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId, StepKey
from headrace_core.payload import NOTHING
from headrace_core.run.events import StepError
from headrace_worker.messages import Attempt, Outcome, Received, Result, Task
from headrace_worker.protocol import DispatchProtocol
from tests.simulation.world.links import Link, Network

WORK_MS_MAX = 40
WINDOW = 8


@dataclass(slots=True)
class SimExecutor:
    """`fails` says which attempts end badly. `accepted` is its log of tasks, for the checker."""

    name: ExecutorId
    network: Network
    fails: Callable[[str, StepKey, int], bool]
    accepted: list[Task] = field(default_factory=list[Task])
    crashed: bool = False
    _protocol: DispatchProtocol = field(init=False)
    _links: dict[str, Link] = field(default_factory=dict[str, Link])
    _cancelled: set[tuple[str, str, int]] = field(default_factory=set[tuple[str, str, int]])

    def __post_init__(self) -> None:
        self._protocol = DispatchProtocol(self.name, ["shared"], WINDOW)

    def connect(self, link: Link) -> None:
        old = self._links.get(link.owner)
        if old is not None:
            old.close()
            self._protocol.disconnect(link.owner)
        self._links[link.owner] = link
        self._protocol.connect(link.owner)
        self._send(link)

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(self._links.values())

    def is_connected(self, owner: str) -> bool:
        link = self._links.get(owner)
        return link is not None and not link.broken

    def break_stream(self, owner: str) -> None:
        link = self._links.pop(owner, None)
        if link is not None:
            link.close()
            self._protocol.disconnect(owner)

    def crash(self) -> None:
        """The process is gone with everything it held; a new one has another name."""
        self.crashed = True
        for link in self._links.values():
            link.close()
        self._links.clear()

    def receive(self, link: Link, message: Received) -> None:
        if self.crashed or self._links.get(link.owner) is not link:
            return
        work = self._protocol.receive(link.owner, message)
        for task in work.tasks:
            self.accepted.append(task)
            delay_s = self.network.chance.randrange(1, WORK_MS_MAX) / 1_000
            asyncio.get_running_loop().call_later(delay_s, self._finish, task.attempt)
        for attempt in work.cancelled:
            self._cancelled.add(attempt.key)
        self._send_all()

    def _finish(self, attempt: Attempt) -> None:
        if self.crashed:
            return
        if attempt.key in self._cancelled:
            result = Result(attempt, Outcome.CANCELLED)
        elif self.fails(attempt.run, attempt.step, attempt.number):
            error = StepError(type="http.500", message=NOTHING)
            result = Result(attempt, Outcome.FAILED, error=error)
        else:
            result = Result(attempt, Outcome.SUCCEEDED)
        self._protocol.finish(result)
        self._send_all()

    def _send_all(self) -> None:
        for link in tuple(self._links.values()):
            self._send(link)

    def _send(self, link: Link) -> None:
        while (message := self._protocol.next_message(link.owner)) is not None:
            link.to_owner(message)

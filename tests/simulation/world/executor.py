"""An executor of the simulation: the real protocol, the real care for effects, simulated work."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace_core.ids import ExecutorId
from headrace_core.payload import NOTHING
from headrace_core.run.events import StepError
from headrace_core.workflow.plan import Action
from headrace_executor.app.effects import Effect, Effects, Ruled, Timing
from headrace_executor.app.limits import Interrupted, Limits
from headrace_executor.domain.effect_flow import (
    Word,
    guard_of,
    needs_row,
    outcome_of,
    takes_key,
)
from headrace_runtime.delivery.effects import EffectKey
from headrace_worker.messages import Attempt, Outcome, Received, Result, Task
from headrace_worker.protocol import DispatchProtocol
from headrace_worker.window import LaneWindow
from tests.simulation.world.effects import ExecutorRows, FarSide, RowStore
from tests.simulation.world.links import Link

LANE = "shared"
WORK_MS_MAX = 40
CALL_MS_MAX = 15
WINDOW = 8
TIMING = Timing(lease_ms=1_000, renew_s=0.3, cancel_grace_s=0.5)
KEEPALIVE_S = 0.4
"""After this silence the owner's side of a stream gives the executor up."""
FAILURES = {Word.RETRY: "http.503", Word.PERMANENT: "input.invalid"}


@dataclass(frozen=True, slots=True)
class Duties:
    """What the world tells an executor of its work: what is called, and how the call goes.
    `answer` is None for a call that succeeds."""

    action_of: Callable[[Task], Action]
    answer_of: Callable[[Task], Word | None]
    rows: RowStore
    far_side: FarSide


@dataclass(slots=True)
class SimExecutor:
    """`accepted` is its log of tasks, for the checker. While it is frozen nothing of it moves:
    what arrives waits, and what was about to happen happens late."""

    name: ExecutorId
    chance: random.Random
    duties: Duties
    accepted: list[Task] = field(default_factory=list[Task])
    crashed: bool = False
    frozen: bool = False
    on_point: Callable[["SimExecutor", str], None] = lambda executor, point: None
    _protocol: DispatchProtocol = field(init=False)
    _effects: Effects = field(init=False)
    _links: dict[str, Link] = field(default_factory=dict[str, Link])
    _limits: dict[tuple[str, str, int], Limits] = field(
        default_factory=dict[tuple[str, str, int], Limits]
    )
    _unread: list[tuple[Link, Received]] = field(default_factory=list[tuple[Link, Received]])
    _thawed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _claims: int = 0

    def __post_init__(self) -> None:
        self._protocol = DispatchProtocol(self.name, [LANE], WINDOW)
        rows = ExecutorRows(self.duties.rows, self._gate)
        self._effects = Effects(rows, self._claimant, TIMING)
        self._thawed.set()

    # Streams.

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

    def link_to(self, owner: str) -> Link | None:
        """None while there is no stream that works."""
        link = self._links.get(owner)
        return link if link is not None and not link.broken else None

    def is_connected(self, owner: str) -> bool:
        return self.link_to(owner) is not None

    def window_of(self, owner: str) -> LaneWindow:
        return self._protocol.window_of(owner, LANE)

    def held_of(self, owner: str) -> Sequence[Attempt]:
        return self._protocol.held_of(owner)

    def break_stream(self, owner: str) -> None:
        link = self._links.get(owner)
        if link is None:
            return
        link.close()
        if not self.frozen:
            self._notice_breaks()

    def receive(self, link: Link, message: Received) -> None:
        if self.crashed:
            return
        if self.frozen:
            self._unread.append((link, message))
            return
        if self._links.get(link.owner) is not link:
            return
        work = self._protocol.receive(link.owner, message)
        for task in work.tasks:
            self.accepted.append(task)
            self._begin(task)
        for attempt in work.cancelled:
            limits = self._limits.get(attempt.key)
            if limits is not None:
                limits.cancel()
        self._send_all()

    # Lives.

    def crash(self) -> None:
        """The process is gone with everything it held; a new one has another name."""
        self.crashed = True
        for link in self._links.values():
            link.close()
        self._links.clear()
        for task in self._tasks:
            task.cancel()

    def freeze(self) -> None:
        self.frozen = True
        self._thawed.clear()
        asyncio.get_running_loop().call_later(KEEPALIVE_S, self._keepalive_missed)

    def thaw(self) -> None:
        if not self.frozen or self.crashed:
            return
        self.frozen = False
        unread, self._unread = self._unread, []
        for link, message in unread:
            self.receive(link, message)
        self._notice_breaks()
        self._thawed.set()
        self._send_all()

    def _keepalive_missed(self) -> None:
        if self.frozen:
            for link in self._links.values():
                link.close()

    def _notice_breaks(self) -> None:
        for owner in [owner for owner, link in self._links.items() if link.broken]:
            del self._links[owner]
            self._protocol.disconnect(owner)

    async def _gate(self) -> None:
        await self._thawed.wait()

    async def _reached(self, point: str) -> None:
        """Where the world may end or stop this process."""
        self.on_point(self, point)
        if self.crashed:
            await asyncio.Event().wait()
        await self._gate()

    def _claimant(self) -> str:
        self._claims += 1
        return f"{self.name}/{self._claims}"

    # Work.

    def _begin(self, task: Task) -> None:
        key = task.attempt.key
        limits = self._limits[key] = Limits(task.timeout_ms)
        action = self.duties.action_of(task)
        if needs_row(action):
            work = self._act(task, action, limits)
        else:
            work = self._transform(task, limits)
        begun = asyncio.get_running_loop().create_task(work, name=f"{self.name} {key}")
        self._tasks.add(begun)
        begun.add_done_callback(self._tasks.discard)

    async def _transform(self, task: Task, limits: Limits) -> None:
        await self._reached("task accepted")
        await asyncio.sleep(self.chance.randrange(1, WORK_MS_MAX) / 1_000)
        await self._gate()
        if limits.cancelled:
            self._finish(task.attempt, Outcome.CANCELLED)
            return
        word = self.duties.answer_of(task)
        self._finish(task.attempt, Outcome.FAILED if word else Outcome.SUCCEEDED, word)

    async def _act(self, task: Task, action: Action, limits: Limits) -> None:
        await self._reached("task accepted")
        effect = self._effects.of(task, guard_of(action.idempotency))
        word: Word | None = None
        try:
            ruled = await effect.claim(limits)
            await self._reached("claimed")
            if ruled is None:
                if limits.over:
                    raise Interrupted
                async with effect.lease_kept():
                    word, acted = await self._call(task, action)
                ruled = await self._settle(effect, action, word, acted=acted)
        except Interrupted:
            ruled = await effect.end_without_call(Outcome.CANCELLED)
        await self._reached("settled")
        self._finish(task.attempt, ruled.say.outcome, word)

    async def _call(self, task: Task, action: Action) -> tuple[Word | None, bool]:
        """The word of the far side, None for a success, and whether it may have acted."""
        attempt = task.attempt
        await asyncio.sleep(self.chance.randrange(1, CALL_MS_MAX) / 1_000)
        await self._gate()
        word = self.duties.answer_of(task)
        if word in (Word.RETRY, Word.PERMANENT):
            return word, False
        key = EffectKey.of(attempt.tenant, attempt.run, attempt.step, task.fallback)
        self.duties.far_side.take(
            attempt.run, attempt.step, key.outside() if takes_key(action) else ""
        )
        await self._reached("called")
        await asyncio.sleep(self.chance.randrange(1, CALL_MS_MAX) / 1_000)
        await self._gate()
        return word, True

    async def _settle(
        self, effect: Effect, action: Action, word: Word | None, *, acted: bool
    ) -> Ruled:
        outcome = (
            Outcome.SUCCEEDED
            if word is None
            else outcome_of(word, may_have_acted=acted, action=action)
        )
        return await effect.settle(outcome, NOTHING)

    def _finish(self, attempt: Attempt, outcome: Outcome, word: Word | None = None) -> None:
        if self.crashed:
            return
        self._limits.pop(attempt.key, None)
        error = None
        if outcome in (Outcome.FAILED, Outcome.AMBIGUOUS):
            kind = FAILURES.get(word, "network") if word is not None else "network"
            error = StepError(type=kind, message=NOTHING)
        self._protocol.finish(Result(attempt, outcome, error=error))
        self._send_all()

    def _send_all(self) -> None:
        for link in tuple(self._links.values()):
            self._send(link)

    def _send(self, link: Link) -> None:
        if self.frozen:
            return
        while (message := self._protocol.next_message(link.owner)) is not None:
            link.to_owner(message)


def fixed_action(action: Action) -> Callable[[Task], Action]:
    """For worlds in which every step calls the same."""
    return lambda task: action


def always(word: Word | None) -> Callable[[Task], Word | None]:
    return lambda task: word

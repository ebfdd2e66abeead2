"""The client of a campaign: starts runs, follows each live, answers approvals; writes down all.

It behaves as a careful client should: every start has an idempotency key and is repeated until it
is answered; a live stream that breaks goes on after the last event that was seen.
"""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.chaos.journal import Journal
from tests.support.subscribers import Subscribers

RETRY_S = 0.2
ANSWER_S = 10.0
DONE_STATUSES = (200, 202)
TRANSIENT_STATUSES = (500, 502, 503, 504)
CUT_CHANCE = 0.04
"""Of the client's own accord, after a message of the stream."""
OVERHEAR_CHANCE, OVERHEARD, OVERHEAR_S = 0.3, 3, 4.0
"""Of a run that others listen to as well, so many times each way, with pauses up to so long."""
REPEAT_CHANCE = 0.1
"""Of a start that was answered and is sent once more, as a client does that lost the answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """`api` is the base address, `key` an editor's of the tenant."""

    api: str
    key: str
    tenant: str

    def subscribers(self, home: Path) -> Subscribers:
        """At the suite of this home."""
        return Subscribers(home, self.api, self.key, self.tenant)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def live(self, run: str, after: int) -> str:
        return f"{self.api.replace('http', 'ws', 1)}/v1/runs/{run}/live?after={after}"


@dataclass(frozen=True, slots=True)
class Order:
    """A start to be made after `delay_s`, under the client's own key."""

    key: str
    workflow: str
    fields: Mapping[str, object]
    delay_s: float = 0.0


class Client:
    """Every exception of its tasks ends the campaign: what a client may meet is handled here."""

    def __init__(
        self,
        access: Access,
        subscribers: Subscribers,
        journal: Journal,
        group: asyncio.TaskGroup,
        chance: random.Random,
        on_end: Callable[[], None],
    ) -> None:
        self._access = access
        self._subscribers = subscribers
        self._journal = journal
        self._group = group
        self._chance = chance
        self._http = httpx.AsyncClient(
            base_url=access.api, headers=access.headers, timeout=ANSWER_S
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._ordered: set[str] = set()
        self._orders: dict[str, str] = {}
        self._followed: set[str] = set()
        self._ended: set[str] = set()
        self._last: dict[str, int] = {}
        self._on_end = on_end
        self._quiet = asyncio.Event()

    async def wait_until_quiet(self, limit_s: float) -> bool:
        """Whether everything that was asked for has been answered and has ended in time."""
        try:
            async with asyncio.timeout(limit_s):
                while self.open:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._http.aclose()

    @property
    def open(self) -> list[str]:
        """Starts that were not answered yet, and runs that have not ended."""
        return [*(self._ordered - set(self._orders)), *(self._followed - self._ended)]

    @property
    def ended_orders(self) -> int:
        return sum(1 for run in self._orders.values() if run in self._ended)

    def told(self) -> str:
        """How far it is, for a person."""
        orders, runs = len(self._orders), len(self._followed)
        return f"{orders} started, {runs} runs with sub-flows, {len(self._ended)} ended"

    def start(self, order: Order) -> None:
        self._ordered.add(order.key)
        self._spawn(self._start(order))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, order: Order) -> None:
        await asyncio.sleep(order.delay_s)
        body = {"workflow": order.workflow, "input": order.fields}
        run = await self._started(order.key, body)
        self.follow(run, is_child=False)
        self._orders[order.key] = run
        answer = await self._call("GET", f"/v1/runs/{run}", wanted=(200, 404))
        self._journal.write(fact="looked up", run=run, status=answer.status_code)
        if self._chance.random() < REPEAT_CHANCE:
            await self._started(order.key, body)

    async def _started(self, key: str, body: Mapping[str, object]) -> str:
        answer = await self._call("POST", "/v1/runs", body, {"Idempotency-Key": key})
        said = answer.json()
        self._journal.write(fact="answered", key=key, run=said["id"], repeated=said["repeated"])
        return said["id"]

    def follow(self, run: str, *, is_child: bool) -> None:
        if run not in self._followed:
            self._followed.add(run)
            self._spawn(self._follow(run, is_child=is_child))
            if self._chance.random() < OVERHEAR_CHANCE:
                self._spawn(self._overhear(run))

    async def _follow(self, run: str, *, is_child: bool) -> None:
        connection = 0
        while run not in self._ended:
            connection += 1
            try:
                async with connect(
                    self._access.live(run, self._last.get(run, 0)),
                    additional_headers=self._access.headers,
                    proxy=None,
                ) as socket:
                    await self._read(socket, run, connection)
            except InvalidHandshake as refused:
                status = getattr(getattr(refused, "response", None), "status_code", 0)
                if status == 404 and not is_child:
                    self._journal.write(fact="looked up", run=run, status=status)
            except (WebSocketException, OSError, TimeoutError):
                pass
            await asyncio.sleep(RETRY_S * (run not in self._ended))

    async def _overhear(self, run: str) -> None:
        """Others come and go, each from some event on and for a while."""
        for via in self._subscribers.ways:
            for _ in range(OVERHEARD):
                await asyncio.sleep(self._chance.random() * OVERHEAR_S)
                after = self._chance.randint(0, self._last.get(run, 0))
                heard = await self._subscribers.hear(via, run, after, self._chance.randint(1, 20))
                self._journal.write(fact="heard", **asdict(heard))

    async def _read(self, socket: ClientConnection, run: str, connection: int) -> None:
        """Until the end, a fault, or the client's own cut."""
        async for message in socket:
            said = json.loads(message)
            for event in said["events"]:
                sequence, kind = event["sequence"], event["kind"]
                self._last[run] = sequence
                self._journal.write(
                    fact="event", run=run, connection=connection, sequence=sequence, kind=kind
                )
                self._react(run, event)
            if said["ended"]:
                self._journal.write(fact="end", run=run, connection=connection)
                self._ended.add(run)
                self._on_end()
                self._quiet.set()
                return
            if self._chance.random() < CUT_CHANCE:
                return

    def _react(self, run: str, event: Mapping[str, Any]) -> None:
        if event["kind"] == "StepWaiting" and event.get("child"):
            self.follow(event["child"], is_child=True)
        elif event["kind"] == "ApprovalRequested":
            self._spawn(self._approve(run, event["step"]))

    async def _approve(self, run: str, step: str) -> None:
        path = f"/v1/runs/{run}/approvals/{step}"
        answer = await self._call("POST", path, {"decision": "approved"}, wanted=(200, 409))
        # 409: an answer to an earlier try of this very call was lost.
        self._journal.write(fact="approved", run=run, step=step, status=answer.status_code)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        wanted: tuple[int, ...] = DONE_STATUSES,
    ) -> httpx.Response:
        """Again and again until it is answered. Raises RuntimeError for an answer that no
        repetition will mend."""
        while True:
            try:
                answer = await self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_S)
                continue
            if answer.status_code in wanted:
                return answer
            if answer.status_code not in TRANSIENT_STATUSES:
                raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
            if answer.status_code == 500:
                self._journal.write(fact="internal fault", path=path, text=answer.text)
            await asyncio.sleep(RETRY_S)

"""The killer of a campaign: kill -9, one process after the other, while attempts are in flight."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.journal import Journal, now_ms
from tests.invariants.witnesses import Killed

POLL_S = 0.05
IN_FLIGHT_WAIT_S = 30.0
BACK_WAIT_S = 60.0
CALM_S = (0.5, 2.5)
"""Between the return of one process and the next kill; drawn from the seed."""


class NotBack(Exception):
    """A killed process was not started again: the campaign cannot go on."""


@dataclass(slots=True)
class Killer:
    """`before` is called before each kill with the number of kills that are left."""

    home: Path
    receiver: str
    journal: Journal
    chance: random.Random
    before: Callable[[int], None]

    async def run(self, times: int) -> list[Killed]:
        """Each process of the suite `times` times."""
        kills: list[Killed] = []
        order = list(drawn_order(self.victims(), times, self.chance))
        async with httpx.AsyncClient(timeout=5) as http:
            for number, process in enumerate(order):
                self.before(len(order) - number)
                await asyncio.sleep(self.chance.uniform(*CALM_S))
                killed = await self._kill(http, process)
                self.journal.write(
                    fact="killed", process=process, pid=killed.pid, open_calls=killed.open_calls
                )
                kills.append(killed)
                await self._until_back(killed)
        return kills

    def victims(self) -> Sequence[str]:
        """The services and the postmaster; not the supervisor, which is the machine here."""
        return sorted(name for name in self._pids() if name != "supervisor")

    async def _kill(self, http: httpx.AsyncClient, process: str) -> Killed:
        while True:
            open_calls = await self._open_calls(http)
            pid = self._pids()[process]
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                # It died by itself, which `restarts` will show.
                await asyncio.sleep(POLL_S)
            else:
                return Killed(process, pid, now_ms(), open_calls)

    async def _open_calls(self, http: httpx.AsyncClient) -> int:
        """Waits until there is one, but not for ever: the log has the last word on that."""
        give_up_s = asyncio.get_running_loop().time() + IN_FLIGHT_WAIT_S
        while True:
            found = (await http.get(f"{self.receiver}/open")).json()["open"]
            if found or asyncio.get_running_loop().time() > give_up_s:
                return found
            await asyncio.sleep(POLL_S)

    async def _until_back(self, killed: Killed) -> None:
        give_up_s = asyncio.get_running_loop().time() + BACK_WAIT_S
        while self._pids().get(killed.process) in (killed.pid, None) or not self._is_ready(
            killed.process
        ):
            if asyncio.get_running_loop().time() > give_up_s:
                raise NotBack(f"{killed.process} was not started again within {BACK_WAIT_S:.0f} s")
            await asyncio.sleep(POLL_S)

    def _is_ready(self, process: str) -> bool:
        """Services say so themselves; the supervisor waits for the database before it names it."""
        if process == "postgres":
            return True
        try:
            said = json.loads((self.home / "run" / f"{process}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return said.get("pid") == self._pids().get(process)

    def restarts(self) -> Mapping[str, int]:
        """How often the supervisor has started each service again until now."""
        services = self._processes()["services"]
        return {name: service["restarts"] for name, service in services.items()}

    def _pids(self) -> dict[str, int]:
        return self._processes()["pids"]

    def _processes(self) -> Any:
        return json.loads((self.home / "processes.json").read_bytes())


def drawn_order(processes: Sequence[str], times: int, chance: random.Random) -> Iterator[str]:
    """`times` rounds, each over all in an order of its own; never one twice in a row."""
    last = ""
    for _ in range(times):
        this_round = list(processes)
        chance.shuffle(this_round)
        if this_round[0] == last:
            this_round.append(this_round.pop(0))
        yield from this_round
        last = this_round[-1]

"""Process chaos: runs through a whole suite while each of its processes is killed with -9.

`make chaos`, or `python -m tests.chaos.campaign [--runs N] [--kills N] [--seed N]`. The seed
draws flows, times and the order of kills; what the machine makes of it is another matter. Exit
code 1 with the evidence when a check finds something, or when too little happened.
"""

import argparse
import asyncio
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import httpx

from tests.chaos.client import Access, Client, Order
from tests.chaos.evidence import (
    HistoryTold,
    ask_history,
    ask_usage,
    journalled,
    last_words,
    read_raw_log,
    room_at_rest,
)
from tests.chaos.journal import Journal
from tests.chaos.killer import Killer
from tests.chaos.report import Outcome, died_by_themselves, report, shortfalls
from tests.e2e.suite import Suite, publish
from tests.invariants.checks import check_facts
from tests.invariants.facts import LogFacts, gather
from tests.invariants.witnesses import Killed, Projected, Witnesses
from tests.support.projected_tables import environment_of, rebuilt

FLOWS = Path(__file__).with_name("flows")
CALLED_FLOWS, STARTED_FLOWS = ("part",), ("sequence", "fan-out", "family")
TENANTS = ("chaos", "chaos-crowd")
CROWD = 0.8
"""So much of what is started is the second tenant's; the first has its share all the same."""
METRICS = {"HEADRACE_METRICS_LISTEN": "127.0.0.1:0"}
WINDOW = 16
"""Little enough that tenants wait for each other."""
NAP_MS = (200, 1_000)
DRAIN_S = 120.0
"""How long after the last kill every run must have ended."""
VIOLATIONS_SHOWN = 20
SPREAD_S = 4.0
"""Starts that come before one kill are spread over so long."""


@dataclass(frozen=True, slots=True)
class Plan:
    runs: int
    kills: int
    seed: int


def main(arguments: Sequence[str]) -> int:
    plan = _plan(arguments)
    # Also when it takes too long for whoever waits for it: nothing is left running.
    signal.signal(signal.SIGTERM, _stop_early)
    say(f"chaos: {plan.runs} runs, each process killed {plan.kills} times, SEED={plan.seed}")
    folder = Path(tempfile.mkdtemp(prefix="headrace-chaos-"))
    begun_s = time.monotonic()
    os.environ.update(METRICS | {"HEADRACE_WINDOW": str(WINDOW)})
    suite = Suite(folder / "home", arguments=("--log-level", "debug"))
    suite.start()
    try:
        with running_receiver(folder) as receiver:
            seen = asyncio.run(_campaign(plan, suite, receiver, folder))
        environment = environment_of(suite.pid_of("history"))
    finally:
        suite.stop()
    before, after = rebuilt(suite.home, environment)
    outcome = _judged(plan, seen, [before], after)
    say(report(outcome, time.monotonic() - begun_s))
    violations = list(map(str, outcome.violations))
    more = len(violations) - VIOLATIONS_SHOWN
    faults = [*violations[:VIOLATIONS_SHOWN], *shortfalls(outcome, plan.kills)]
    if faults:
        say("", *faults, "", *([f"and {more} more violations"] if more > 0 else []))
        for process in died_by_themselves(outcome):
            say(f"errors of {process}:", *last_words(suite.home / "logs" / f"{process}.log"), "")
        say(f"SEED={plan.seed}; journals, logs and the database are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _stop_early(signum: int, frame: FrameType | None) -> None:
    sys.exit("chaos: stopped before its end")


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


@contextmanager
def running_receiver(folder: Path) -> Generator[str]:
    """Its address."""
    command = [
        sys.executable,
        "-m",
        "tests.chaos.receiver",
        "--log",
        str(folder / "received.jsonl"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().decode().strip()
        assert port, "the receiver did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@dataclass(frozen=True, slots=True)
class Seen:
    facts: LogFacts
    witnesses: Witnesses
    driven: "Driven"


async def _campaign(plan: Plan, suite: Suite, receiver: str, folder: Path) -> Seen:
    accesses = [
        Access(
            suite.said["api"], await asyncio.to_thread(_prepare, suite, tenant, receiver), tenant
        )
        for tenant in TENANTS
    ]
    with Journal(folder / "client.jsonl") as journal:
        driven = await _drive(plan, suite, receiver, accesses, journal)
    room = await room_at_rest(suite.home, WINDOW)
    raw = await read_raw_log(suite.home)
    facts = gather(raw.partitions, raw.log_id)
    witnesses = await _witnesses(accesses, facts, suite, folder, plan.seed)
    return Seen(facts, replace(witnesses, credits=[room]), driven)


def _judged(plan: Plan, seen: Seen, projected: Sequence[Projected], rebuilt: Projected) -> Outcome:
    """Once the suite has been stopped: history's tables are looked at without it."""
    witnesses = replace(seen.witnesses, projected=projected, rebuilt=rebuilt)
    violations = check_facts(seen.facts, witnesses)
    driven = seen.driven
    return Outcome(plan.runs, seen.facts, witnesses, driven.kills, driven.restarts, violations)


def _prepare(suite: Suite, tenant: str, receiver: str) -> str:
    """A tenant that may reach the receiver, with the flows published; its key."""
    host, _, port = receiver.removeprefix("http://").partition(":")
    with suite.new_tenant(tenant) as client:
        for name in (*CALLED_FLOWS, *STARTED_FLOWS):
            publish(client, (FLOWS / f"{name}.flow.yaml").read_text(encoding="utf-8"))
        client.put("/v1/egress", json={"host": host, "port": int(port)}).raise_for_status()
        return client.headers["Authorization"].removeprefix("Bearer ")


async def _witnesses(
    accesses: Sequence[Access], facts: LogFacts, suite: Suite, folder: Path, seed: int
) -> Witnesses:
    written = journalled(folder / "client.jsonl", folder / "received.jsonl", suite.home / "logs")
    said, usage = HistoryTold(), dict[str, tuple[int, int]]()
    for access in accesses:
        runs = sorted(name for name, run in facts.runs.items() if run.tenant == access.tenant)
        async with httpx.AsyncClient(
            base_url=access.api, headers=access.headers, timeout=30
        ) as http:
            await ask_history(http, runs, random.Random(seed), said)
            await ask_usage(http, usage)
    return replace(written, states=said.states, rows=said.rows, told=said.told, usage=usage)


@dataclass(frozen=True, slots=True)
class Driven:
    """`restarts` by service: no more than its kills."""

    kills: Sequence[Killed]
    restarts: Mapping[str, int]


async def _drive(
    plan: Plan, suite: Suite, receiver: str, accesses: Sequence[Access], journal: Journal
) -> Driven:
    """Start and kill, then wait until every run has ended, or for as long as is reasonable: what
    has not ended by then the checker finds in the log."""
    async with asyncio.TaskGroup() as tasks:
        progress = Progress(plan.runs)
        clients = [
            Client(
                access,
                access.subscribers(suite.home),
                journal,
                tasks,
                random.Random(f"client {plan.seed} {access.tenant}"),
                lambda: progress.tell(clients),
            )
            for access in accesses
        ]
        starts = Starts(plan, receiver, clients, random.Random(f"starts {plan.seed}"))
        chance = random.Random(f"kills {plan.seed}")
        killer = Killer(suite.home, receiver, journal, chance, starts.release)
        before = killer.restarts()
        kills = await killer.run(plan.kills)
        for client in clients:
            if not await client.wait_until_quiet(DRAIN_S):
                say(f"still open {DRAIN_S:.0f} s after the last kill: {', '.join(client.open)}")
        for client in clients:
            await client.close()
    restarts = {name: after - before[name] for name, after in killer.restarts().items()}
    return Driven(kills, restarts)


class Progress:
    """A line per tenth of the runs."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._tenths = 0
        self._begun_s = time.monotonic()

    def tell(self, clients: Sequence[Client]) -> None:
        tenths = sum(client.ended_orders for client in clients) * 10 // self._runs
        if tenths > self._tenths:
            self._tenths = tenths
            told = "; ".join(client.told() for client in clients)
            say(f"{tenths * 10:>4} %  {time.monotonic() - self._begun_s:>4.0f} s  {told}")


class Starts:
    """Releases the starts in equal shares before each kill, so that runs are always on the way."""

    def __init__(
        self, plan: Plan, receiver: str, clients: Sequence[Client], chance: random.Random
    ) -> None:
        self._plan = plan
        self._receiver = receiver
        self._clients = clients
        self._chance = chance
        self._released = 0

    def release(self, kills_left: int) -> None:
        share = -(-(self._plan.runs - self._released) // kills_left)
        for _ in range(share):
            name, fields = self._drawn()
            key = f"order-{self._plan.seed}-{self._released}"
            delay_s = self._chance.random() * SPREAD_S
            client = self._clients[self._chance.random() < CROWD]
            client.start(Order(key, f"chaos-{name}", fields, delay_s))
            self._released += 1

    def _drawn(self) -> tuple[str, Mapping[str, object]]:
        """A flow and its input."""
        chance = self._chance
        name = chance.choice(STARTED_FLOWS)
        naps = [chance.randint(*NAP_MS) for _ in range(3)]
        fields: dict[str, object] = {"receiver": self._receiver, "naps": naps}
        if name != "sequence":
            fields["lines"] = [
                {"index": index, "nap_ms": chance.randint(*NAP_MS)}
                for index in range(chance.randint(2, 4))
            ]
        return name, fields


def _plan(arguments: Sequence[str]) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--kills", type=int, default=5, help="of each process")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    return Plan(given.runs, given.kills, seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

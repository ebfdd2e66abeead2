"""Gathers what the witnesses wrote: journals, executors' logs, history's words, the raw log."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx

from headrace_runtime.eventlog.port import Entry
from headrace_runtime.postgres.embedded import running_dsn
from tests.invariants.witnesses import (
    CreditsSeen,
    EndSeen,
    EventSeen,
    Heard,
    HistorySaid,
    LookedUp,
    RowSaid,
    StartAnswered,
    TaskAccepted,
    Witnesses,
    json_lines,
    requests_of,
    tasks_accepted,
)

DATABASE = "headrace"
PAGE = 500
RETRY_S = 0.2
UNAVAILABLE = 503
PATIENCE_S = 30.0
ANSWER_S = 10.0
LAST_WORDS = 12
MIDDLES = 2
"""States asked of history at drawn events of a run, besides the one at its end."""


@dataclass(frozen=True, slots=True)
class RawLog:
    log_id: bytes
    partitions: Mapping[int, list[Entry]]


async def read_raw_log(home: Path) -> RawLog:
    """By plain SQL: the platform's own readers drop what they do not count."""
    connection = await asyncpg.connect(running_dsn(home, DATABASE))
    try:
        log = await connection.fetchrow("select log_id, partitions from headrace_log.log")
        assert log is not None, "there is no log"
        rows = await connection.fetch(
            "select part, off, rec from headrace_log.record order by part, off"
        )
        heads = await connection.fetch("select part, next_off from headrace_log.head")
    finally:
        await connection.close()
    partitions: dict[int, list[Entry]] = {part: [] for part in range(log["partitions"])}
    for row in rows:
        partitions[row["part"]].append(Entry(row["off"], row["rec"]))
    ends = {part: len(entries) for part, entries in partitions.items()}
    assert ends == {row["part"]: row["next_off"] for row in heads}, "heads and records differ"
    return RawLog(log["log_id"], partitions)


@dataclass(slots=True)
class HistoryTold:
    states: list[HistorySaid] = field(default_factory=list[HistorySaid])
    rows: list[RowSaid] = field(default_factory=list[RowSaid])
    told: list[EventSeen] = field(default_factory=list[EventSeen])


async def ask_history(
    http: httpx.AsyncClient, runs: Iterable[str], chance: random.Random, found: HistoryTold
) -> None:
    """Adds its states, rows and events of these runs. `http` carries a reader's key."""
    listed = {row["id"]: row async for row in _listed(http)}
    for run in runs:
        try:
            await _ask_of_run(http, run, listed.get(run), chance, found)
        except httpx.HTTPStatusError as refused:
            answer = refused.response
            found.rows.append(RowSaid(run, f"answered {answer.status_code} by history", 0))


async def _ask_of_run(
    http: httpx.AsyncClient,
    run: str,
    row: Mapping[str, Any] | None,
    chance: random.Random,
    found: HistoryTold,
) -> None:
    told = [event async for event in _events(http, run)]
    found.told += [EventSeen(run, 1, event["sequence"], event["kind"]) for event in told]
    found.rows.append(_row(run, row, told))
    middles = [chance.randint(1, max(1, len(told))) for _ in range(MIDDLES)]
    for sequence in (0, *middles):
        said = await _get(http, f"/v1/runs/{run}/state", sequence=sequence)
        found.states.append(HistorySaid(run, said["sequence"], said["state_hash"]))


async def ask_usage(http: httpx.AsyncClient, found: dict[str, tuple[int, int]]) -> None:
    """Adds what was used in the last days: a campaign may begin before midnight."""
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for row in (await _get(http, "/v1/usage", **{"from": since}))["rows"]:
        if row["model"] is None:
            runs, attempts = found.get(row["flow"], (0, 0))
            found[row["flow"]] = (runs + row["runs"], attempts + row["attempts"])


async def room_at_rest(home: Path, window: int) -> CreditsSeen:
    """Of the one executor with this window at the one scheduler, by the metrics of both, when
    nothing is open: what is under way at the first look has arrived at a later one."""
    give_up_s = time.monotonic() + PATIENCE_S
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        while True:
            granted = await _metric(http, home, "executor", "headrace_executor_granted_credits")
            free = await _metric(http, home, "scheduler", "headrace_free_credits")
            seen = CreditsSeen("executor", "scheduler", granted, free, 0, window, at_rest=True)
            if granted == free > 0 or time.monotonic() > give_up_s:
                return seen
            await asyncio.sleep(RETRY_S)


async def _metric(http: httpx.AsyncClient, home: Path, service: str, name: str) -> int:
    said = json.loads((home / "run" / f"{service}.json").read_bytes())
    text = (await http.get(f"http://{said['metrics_address']}/metrics")).text
    [value] = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return int(float(value))


def journalled(client: Path, receiver: Path, logs: Path) -> Witnesses:
    """What stands in files: the client's journal, the receiver's, the executors' logs."""
    starts: list[StartAnswered] = []
    lookups: list[LookedUp] = []
    events: list[EventSeen] = []
    ends: list[EndSeen] = []
    heard: list[Heard] = []
    for said in json_lines(client.read_bytes().splitlines()):
        match said["fact"]:
            case "answered":
                starts.append(StartAnswered(said["key"], said["run"], said["repeated"]))
            case "looked up":
                lookups.append(LookedUp(said["run"], said["status"]))
            case "event":
                seen = (said["run"], said["connection"], said["sequence"], said["kind"])
                events.append(EventSeen(*seen))
            case "end":
                ends.append(EndSeen(said["run"], said["connection"]))
            case "heard":
                told = [(number, kind) for number, kind in said["events"]]
                heard.append(Heard(said["run"], said["via"], said["after"], told, said["ended"]))
            case _:
                continue
    return Witnesses(
        starts=starts,
        lookups=lookups,
        events=events,
        ends=ends,
        heard=heard,
        requests=list(requests_of(receiver.read_bytes().splitlines())),
        tasks=list(_tasks(logs)),
    )


def last_words(log: Path) -> list[str]:
    """What a service wrote as errors, and what is no line of ours: an interpreter's own cry."""
    said = [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if '"level":"error"' in line or not line.startswith("{")
    ]
    return said[-LAST_WORDS:]


def _tasks(logs: Path) -> Iterator[TaskAccepted]:
    for path in sorted(logs.glob("executor.log*")):
        yield from tasks_accepted(path.read_bytes().splitlines())


async def _get(http: httpx.AsyncClient, path: str, **parameters: str | int) -> Any:
    """Asked again while a part is still on its way back from the last kill."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = await http.get(path, params=parameters)
            if answer.status_code != UNAVAILABLE:
                return answer.raise_for_status().json()
        except httpx.TransportError:
            if time.monotonic() > give_up_s:
                raise
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"GET {path} was not answered within {PATIENCE_S:.0f} s")
        await asyncio.sleep(RETRY_S)


async def _listed(http: httpx.AsyncClient) -> AsyncIterator[Mapping[str, Any]]:
    cursor = ""
    while cursor is not None:
        document = await _get(http, "/v1/runs", limit=PAGE, cursor=cursor)
        for row in document["runs"]:
            yield row
        cursor = document["next_cursor"]


async def _events(http: httpx.AsyncClient, run: str) -> AsyncIterator[Mapping[str, Any]]:
    after, more = 0, True
    while more:
        document = await _get(http, f"/v1/runs/{run}/events", after=after, limit=PAGE)
        for event in document["events"]:
            after = event["sequence"]
            yield event
        more = document["more"]


def _row(run: str, row: Mapping[str, Any] | None, events: list[Mapping[str, Any]]) -> RowSaid:
    """Receipts are those that the events show."""
    receipts = {
        event["step"]: receipt
        for event in events
        if event["kind"] == "StepSucceeded" and (receipt := _receipt(event["output"])) is not None
    }
    if row is None:
        return RowSaid(run, "not listed", 0, {}, receipts)
    return RowSaid(run, row["status"], row["sequence"], row["counts"], receipts)


def _receipt(output: Any) -> int | None:
    """Of an answer of the receiver, as a step that called it shows it."""
    answer = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
    body = answer.get("body") if "status" in answer else None
    return cast("dict[str, Any]", body).get("receipt") if isinstance(body, dict) else None

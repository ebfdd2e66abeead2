"""What a suite shows of a crowd of runs stands in its log: its tables, also after a rebuild, its
live streams from whatever event on, and the turns in which tenants were served."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos.evidence import read_raw_log
from tests.e2e.suite import Suite, begin, publish
from tests.invariants.checks import check_campaign
from tests.invariants.facts import gather
from tests.invariants.fairness import waits_of
from tests.invariants.witnesses import (
    Heard,
    Projected,
    StartAnswered,
    Witnesses,
    tasks_accepted,
)
from tests.support.projected_tables import environment_of, read_projected, rebuilt
from tests.support.subscribers import Subscribers

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

PART = """\
flow: v1
name: part
inputs: {value: {type: integer}}
steps: {echo: {uses: data.echo@1, with: {value: "${{ inputs.value }}"}}}
"""
CROWD = """\
flow: v1
name: crowd
steps:
  each:
    foreach: {in: "[1, 2, 3, 4, 5, 6, 7, 8]", as: one}
    uses: data.echo@1
    with: {value: "${{ one }}"}
  parts: {needs: [each], foreach: {in: "[1, 2]", as: one}, uses: flow/part@stable,
    with: {value: "${{ one }}"}}
  ask: {needs: [parts], approval: {assignees: [ann], expires: 300ms, on_expire: approved}}
  nap: {needs: [ask.approved], wait: {for: 4s}}
  last: {needs: [nap], uses: data.echo@1, with: {value: done}}
"""
BROKEN = """\
flow: v1
name: broken
steps:
  good: {uses: data.echo@1, with: {value: 1}}
  bad: {needs: [good], uses: data.echo@1, with: {value: "${{ steps.good.output.none.at.all }}"}}
  tail: {needs: [bad], uses: data.echo@1, with: {value: 2}}
"""
CROWDS = {"noisy": 24, "acme": 6, "bolt": 6}
KILLED = ("history", "api-gateway", "scheduler")
CUT_AFTER_MAX = 12
LOOK_S = 0.5


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """With so little room that tenants wait for each other."""
    monkeypatch.setenv("HEADRACE_WINDOW", "4")
    return Suite(tmp_path / "home", arguments=("--log-level", "debug"))


def test_tables_and_streams_are_those_of_the_log_over_kills_and_a_rebuild(suite: Suite) -> None:
    suite.start()
    try:
        runs = _begin_all(suite)
        heard, projected = asyncio.run(_watch(suite, runs))
        raw = asyncio.run(read_raw_log(suite.home))
        lines = (suite.home / "logs/executor.log").read_bytes().splitlines()
        environment = environment_of(suite.pid_of("history"))
    finally:
        assert suite.stop() == 0
    before, after = rebuilt(suite.home, environment)
    witnesses = Witnesses(
        starts=[StartAnswered(run, run) for run in runs],
        tasks=list(tasks_accepted(lines)),
        heard=heard,
        projected=[*projected, before],
        rebuilt=after,
    )
    violations = check_campaign(raw.partitions, raw.log_id, witnesses)
    assert not violations, "\n".join(map(str, violations[:5]))

    waits = list(waits_of(gather(raw.partitions, raw.log_id)))
    assert sum(wait.assigned_ms > wait.ready_ms for wait in waits) > 50, "nobody had to wait"
    assert sum(one.ended for one in heard) == len(runs)
    assert {one.via for one in heard if one.after} == {"websocket", "grpc"}
    assert any(row["ended_ms"] is None for row in _rows(projected)), "no run was open when looked"
    assert len(_rows([after])) == len(runs) + 2 * sum(CROWDS.values())


def _begin_all(suite: Suite) -> Mapping[str, Subscribers]:
    """Who may follow each run."""
    found: dict[str, Subscribers] = {}
    for tenant, count in CROWDS.items():
        with suite.new_tenant(tenant) as client:
            for flow in (PART, CROWD, BROKEN):
                publish(client, flow)
            key = client.headers["Authorization"].removeprefix("Bearer ")
            subscribers = Subscribers(suite.home, suite.said["api"], key, tenant)
            for number in range(count):
                found[begin(client, "crowd")] = subscribers
                if number % 3 == 0:
                    found[begin(client, "broken")] = subscribers
    return found


async def _watch(
    suite: Suite, runs: Mapping[str, Subscribers]
) -> tuple[list[Heard], list[Projected]]:
    """Follows every run to its end while services are killed, and looks at the tables meanwhile;
    history writes open runs, too, once they have waited for a while."""
    projected: list[Projected] = []
    following = asyncio.gather(*(_follow(run, by) for run, by in runs.items()))
    killing = asyncio.gather(*(_kill(suite, name, 1.5 * at) for at, name in enumerate(KILLED)))
    while not following.done():
        projected.append(await read_projected(suite.home))
        await asyncio.wait([following], timeout=LOOK_S)
    await killing
    return [one for each in await following for one in each], projected


async def _kill(suite: Suite, service: str, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await asyncio.to_thread(suite.kill, service)


async def _follow(run: str, by: Subscribers) -> list[Heard]:
    """On one connection after the other, each cut somewhere, now this way and now that."""
    chance, found, after = random.Random(run), list[Heard](), 0
    while not found or not found[-1].ended:
        via = chance.choice(["websocket", "grpc"])
        one = await by.hear(via, run, after, chance.randint(1, CUT_AFTER_MAX))
        found.append(one)
        after += len(one.events)
        await asyncio.sleep(0.05 * (not one.events))
    return found


def _rows(projected: list[Projected]) -> list[Mapping[str, object]]:
    return [row for one in projected for of in one.tenants for row in of.tables["run"]]

"""What readers see: their own writes, states at any event, pages, live events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from headrace_core.errors import InvalidInput, NotFound, Unavailable
from headrace_core.ids import RunId, StepKey, TenantId
from headrace_core.payload import Stored
from headrace_core.run import events as ev
from headrace_core.run.status import RunStatus
from headrace_history.api.json_text import json_text
from headrace_history.app.follower import Followed, Follower
from headrace_history.app.ports import RunFilter
from tests.integration.history.conftest import LAZY, History, running_history
from tests.unit.history.recorded_runs import (
    START_MS,
    TENANT,
    LogWriter,
    assigned,
    ready,
    run_of,
    sequential_run,
    started,
    succeeded,
)

pytestmark = pytest.mark.postgres


async def next_of(following: AsyncGenerator[Followed, None]) -> Followed:
    return await anext(following)


async def follow_to_end(follower: Follower, run: RunId, after: int = 0) -> list[int]:
    """The numbers of the events that a subscriber gets."""
    numbers: list[int] = []
    async for followed in follower.follow(TENANT, run, after):
        numbers += [json.loads(json_text(event))["sequence"] for event in followed.events]
        if followed.ended:
            break
    return numbers


async def test_a_run_is_read_right_after_its_record_was_written(
    database: str, writer: LogWriter
) -> None:
    async with running_history(database, writer, LAZY) as history:
        for number in range(30):
            run = run_of(number)
            await writer.turn(run, started(), ready("a"), assigned("a"))
            folded = await history.replayer.fold(TENANT, run)
            assert folded.state.status is RunStatus.RUNNING


async def test_an_unknown_run_is_not_found_once_the_log_was_read_to_its_end(
    history: History, writer: LogWriter
) -> None:
    await writer.run(run_of(1), sequential_run(1))
    for run in (run_of(2), RunId("run_nonsense"), RunId("")):
        with pytest.raises(NotFound):
            await history.replayer.fold(TENANT, run)


async def test_a_run_of_another_tenant_is_not_found(history: History, writer: LogWriter) -> None:
    await writer.turn(run_of(1), started(), ready("a"))
    await writer.run(run_of(2), sequential_run(1))
    await history.flushed(TENANT)
    other = TenantId("bolt")
    for run in (run_of(1), run_of(2)):
        with pytest.raises(NotFound):
            await history.replayer.fold(other, run)
        with pytest.raises(NotFound):
            await anext(history.follower.follow(other, run, 0))
    page = await history.runs.page(other, RunFilter(), 10, "")
    assert page.runs == []


async def test_the_state_at_any_event_is_the_fold_up_to_it(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    await writer.run(run, sequential_run(3))
    await history.flushed(TENANT)
    newest = await history.replayer.fold(TENANT, run)
    assert newest.state.sequence == 11
    for sequence in range(1, 12):
        state = (await history.replayer.fold(TENANT, run, sequence)).state
        assert state.sequence == sequence
    with pytest.raises(InvalidInput, match="there is no event 12"):
        await history.replayer.fold(TENANT, run, 12)


async def test_events_come_in_pages_across_journal_and_memory(
    database: str, writer: LogWriter
) -> None:
    async with running_history(database, writer, LAZY) as history:
        run = run_of(1)
        turns = sequential_run(120)
        await writer.run(run, turns[:80])
        await history.flushed(TENANT)
        await writer.run(run, turns[80:])
        await history.projector.passed_ends(5)
        seen: list[object] = []
        more = True
        while more:
            events, more = await history.events.page(TENANT, run, len(seen), 50)
            assert len(events) <= 50
            seen += [event["sequence"] for event in events]
        assert seen == list(range(1, writer.runs[run][0] + 1))


async def test_lists_show_the_newest_first_in_pages_and_by_filter(
    history: History, writer: LogWriter
) -> None:
    for number in range(10):
        flow = "orders" if number % 2 else "refunds"
        await writer.turn(run_of(number), started(flow=flow), ready("a"), assigned("a"))
        if number < 4:
            end = ev.RunSucceeded(output=Stored(b""))
            await writer.turn(run_of(number), succeeded("a"), end)

    async def listed(wanted: RunFilter) -> Sequence[object]:
        found: list[object] = []
        cursor = ""
        while True:
            page = await history.runs.page(TENANT, wanted, 3, cursor)
            found += [run["id"] for run in page.runs]
            cursor = page.cursor
            if not cursor:
                return found

    newest_first = [run_of(number) for number in reversed(range(10))]
    assert await listed(RunFilter()) == newest_first
    assert await listed(RunFilter(flow="orders")) == newest_first[::2]
    assert await listed(RunFilter(status=RunStatus.SUCCEEDED)) == newest_first[6:]
    both = RunFilter(flow="refunds", status=RunStatus.SUCCEEDED)
    assert await listed(both) == [run_of(2), run_of(0)]
    row = await history.replayer.row(TENANT, run_of(5))
    since = RunFilter(started_after_ms=row.started_ms)
    before = RunFilter(started_before_ms=row.started_ms)
    assert await listed(since) == newest_first[:5]
    assert await listed(before) == newest_first[5:]
    with pytest.raises(InvalidInput, match="cursor"):
        await history.runs.page(TENANT, RunFilter(), 3, "not-a-cursor")


async def test_usage_includes_what_has_just_happened(history: History, writer: LogWriter) -> None:
    usage = ev.Usage(model="small", input_tokens=11, output_tokens=2)
    await writer.turn(run_of(1), started(), ready("a"), assigned("a"))
    await writer.turn(run_of(1), ev.StepSucceeded(step=StepKey("a"), attempt=1, usage=usage))
    document = await history.runs.usage(TENANT, START_MS, START_MS + 1)
    assert json.loads(json_text(document))["rows"] == [
        {
            "day": "2025-11-14",
            "flow": "orders",
            "model": None,
            "runs": 1,
            "attempts": 1,
            "calls": 0,
            "input_tokens": 0,
            "output_tokens": 0,
            "cost_micros": 0,
        },
        {
            "day": "2025-11-14",
            "flow": "orders",
            "model": "small",
            "runs": 0,
            "attempts": 0,
            "calls": 1,
            "input_tokens": 11,
            "output_tokens": 2,
            "cost_micros": 0,
        },
    ]


async def test_a_subscriber_sees_every_event_once_from_the_past_into_the_present(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    turns = sequential_run(60)
    await writer.run(run, turns[:20])
    following = asyncio.create_task(follow_to_end(history.follower, run))
    for turn in turns[20:]:
        await writer.turn(run, *turn)
        await asyncio.sleep(0)
    assert await following == list(range(1, writer.runs[run][0] + 1))


async def test_a_subscriber_that_was_cut_off_resumes_without_gap_or_repeat(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    first, *rest = sequential_run(30)
    await writer.turn(run, *first)
    writing = asyncio.create_task(writer.run(run, rest))
    seen: list[int] = []
    ended = False
    while not ended:
        following = history.follower.follow(TENANT, run, seen[-1] if seen else 0)
        followed = await anext(following)
        await following.aclose()
        seen += [json.loads(json_text(event))["sequence"] for event in followed.events]
        ended = followed.ended
    await writing
    assert seen == list(range(1, writer.runs[run][0] + 1))


async def test_a_subscriber_of_an_ended_run_gets_all_of_it_and_the_end(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    await writer.run(run, sequential_run(2))
    await history.flushed(TENANT)
    last = writer.runs[run][0]
    assert await follow_to_end(history.follower, run, 3) == list(range(4, last + 1))
    assert await follow_to_end(history.follower, run, last) == []


async def test_a_slow_subscriber_is_cut_with_a_clear_error(
    database: str, writer: LogWriter
) -> None:
    async with running_history(database, writer, queue_turns_max=4) as history:
        run = run_of(1)
        await writer.turn(run, started())
        following = history.follower.follow(TENANT, run, 0)
        await anext(following)
        waiting = asyncio.create_task(next_of(following))
        await history.projector.moved()
        await writer.turn(run, ready("first"))
        assert [event["kind"] for event in (await waiting).events] == ["StepReady"]
        for step in range(20):
            await writer.turn(run, ready(f"s{step}"))
            await history.projector.passed_ends(5)
        with pytest.raises(Unavailable, match=r"4 turns behind .* subscribe again after"):
            await anext(following)
        assert not history.live.watched


async def test_waiting_for_the_end_returns_when_it_is_taken_in_and_after_the_wait(
    history: History, writer: LogWriter
) -> None:
    run = run_of(1)
    await writer.turn(run, started(), ready("a"), assigned("a"))
    await history.ends.wait(TENANT, run, 0.01)
    assert not (await history.replayer.row(TENANT, run)).ended
    waiting = asyncio.create_task(history.ends.wait(TENANT, run, 30))
    await writer.turn(run, succeeded("a"), ev.RunSucceeded(output=Stored(b"")))
    await waiting
    assert (await history.replayer.row(TENANT, run)).ended
    await history.ends.wait(TENANT, run, 30)
    assert not history.live.awaited


async def test_a_hint_of_the_scheduler_wakes_the_projector(
    database: str, writer: LogWriter
) -> None:
    async with running_history(database, writer, replace(LAZY, poll_s=3600)) as history:
        await history.projector.passed_ends(5)
        waiting = asyncio.create_task(history.ends.wait(TENANT, run_of(1), 30))
        await writer.run(run_of(1), sequential_run(1))
        history.projector.hint(list(enumerate(await writer.log.ends())))
        await waiting
        assert (await history.replayer.row(TENANT, run_of(1))).ended

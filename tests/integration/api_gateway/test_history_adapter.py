"""The gateway's way to history, against a peer that speaks the real protocol."""

from collections.abc import AsyncGenerator

import orjson
import pytest

from headrace_api_gateway.adapters.history import HistoryClient
from headrace_api_gateway.app.ports import RunFilter
from headrace_core.errors import NotFound, Unavailable
from headrace_core.ids import RunId, TenantId
from tests.integration.api_gateway.peers import ScriptedHistory

ACME, OTHER = TenantId("acme"), TenantId("other")
RUN = RunId("run_00000000000000000000000000")


@pytest.fixture
async def history() -> AsyncGenerator[ScriptedHistory]:
    history = ScriptedHistory()
    await history.serve()
    yield history
    await history.stop()


@pytest.fixture
async def client(history: ScriptedHistory) -> AsyncGenerator[HistoryClient]:
    client = HistoryClient(history.address, read_s=2)
    yield client
    await client.close()


async def test_a_document_of_history_is_passed_on_as_it_is(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, ACME, flow="copy")
    assert orjson.loads(await client.run(ACME, RUN))["flow"] == "copy"


async def test_a_run_of_another_tenant_is_not_found(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, OTHER)
    with pytest.raises(NotFound, match="There is no run"):
        await client.run(ACME, RUN)


async def test_a_read_that_was_cut_off_is_asked_again(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, ACME)
    history.fail_first = 2
    assert orjson.loads(await client.run(ACME, RUN))["id"] == RUN
    assert len(history.asked) == 3


async def test_a_history_that_is_away_is_unavailable_in_the_end() -> None:
    history = ScriptedHistory()
    await history.serve()
    address = history.address
    await history.stop()
    client = HistoryClient(address, read_s=0.2)
    with pytest.raises(Unavailable):
        await client.run(ACME, RUN)
    await client.close()


async def test_filters_of_a_list_reach_history(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, ACME)
    page, cursor = await client.runs(ACME, RunFilter(flow="copy", status="failed", limit=7))
    assert (len(page), cursor) == (1, "next")
    asked = history.asked[0]
    assert (asked.flow, asked.status, asked.limit) == ("copy", "failed", 7)


async def test_a_wait_ends_with_the_run(history: ScriptedHistory, client: HistoryClient) -> None:
    history.add(RUN, ACME).end()
    document, ended = await client.wait_for_end(ACME, RUN, 5_000)
    assert ended and orjson.loads(document)["status"] == "succeeded"


async def test_a_wait_that_is_too_short_says_that_the_run_goes_on(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, ACME)
    assert (await client.wait_for_end(ACME, RUN, 10))[1] is False


async def test_a_subscription_that_is_cut_goes_on_without_gap_or_repeat(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    run = history.add(RUN, ACME)
    for _ in range(9):
        run.add("StepSucceeded")
    run.end()
    history.cut_after_events = 2
    sequences: list[int] = []
    async for events, _ in client.subscribe(ACME, RUN, 3):
        sequences += [orjson.loads(event)["sequence"] for event in events]
    assert sequences == list(range(4, 12))


async def test_a_subscription_to_an_unknown_run_is_not_found(client: HistoryClient) -> None:
    with pytest.raises(NotFound):
        [events async for events in client.subscribe(ACME, RUN, 0)]


async def test_an_export_comes_chunk_by_chunk(
    history: ScriptedHistory, client: HistoryClient
) -> None:
    history.add(RUN, ACME).end()
    lines = b"".join([chunk async for chunk in client.export(ACME, RUN)]).splitlines()
    assert [orjson.loads(line)["kind"] for line in lines] == ["RunStarted", "RunSucceeded"]


async def test_an_export_of_an_unknown_run_is_not_found(client: HistoryClient) -> None:
    with pytest.raises(NotFound):
        [chunk async for chunk in client.export(ACME, RUN)]

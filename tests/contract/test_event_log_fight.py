"""Owners that fight over the same partitions, on each engine, judged by the checks of the log."""

import asyncio
import random
from contextlib import suppress

import pytest

from headrace_core.errors import UnclearAppend
from headrace_runtime.eventlog.memory import Fate, StaleAppend
from headrace_runtime.eventlog.port import EventLog
from headrace_runtime.eventlog.reader import LogReader, open_reader
from tests.contract.log_checks import (
    accepted_of,
    check_log,
    check_nobody_acted_on_a_void_record,
    read_raw,
)
from tests.contract.log_owner import Notes, Owner, Write
from tests.contract.log_stores import PARTITIONS, LogStore, MemoryStore

ROUNDS = 1_500
MISHAP = (Fate.LOST, Fate.ACK_LOST, Fate.DELAYED)
pytestmark = pytest.mark.slow


async def fight(owner: Owner, chance: random.Random, rounds: int = ROUNDS) -> None:
    """Claims what it does not own, appends to what it believes to own, sometimes dozes off."""
    for _ in range(rounds):
        if not owner.places or chance.random() < 0.15:
            with suppress(UnclearAppend):
                await owner.claim(chance.randrange(PARTITIONS))
        if owner.places:
            await owner.append(
                {
                    partition: [owner.new_value() for _ in range(chance.randint(1, 3))]
                    for partition in owner.places
                }
            )
        for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
            await asyncio.sleep(0)


async def follow(
    reader: LogReader, live: dict[int, list[tuple[int, str]]], done: asyncio.Event
) -> None:
    """Reads while the others write, and on to the end once they have done."""
    while True:
        was_done = done.is_set()
        batches = await reader.next(limit=40)
        for batch in batches:
            live[batch.watermark.partition] += [
                (accepted.offset, accepted.record.body.decode()) for accepted in batch.records
            ]
        if was_done and not batches:
            return
        await asyncio.sleep(0)


async def test_two_owners_that_fight_never_act_on_what_readers_drop(
    store: LogStore, log: EventLog, log_id: bytes, owner: Owner, rival: Owner, notes: Notes
) -> None:
    live: dict[int, list[tuple[int, str]]] = {number: [] for number in range(PARTITIONS)}
    reader = await open_reader(await store.connect())
    done = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(reader, live, done))
        await asyncio.gather(fight(owner, random.Random(1)), fight(rival, random.Random(2)))
        done.set()

    raw = await read_raw(log, page=700)
    check_log(raw, log_id, notes)
    assert live == accepted_of(raw, log_id)
    assert live == accepted_of(await read_raw(await store.connect(), page=64), log_id)
    assert len(notes.claims) >= 300
    assert len(notes.acted) >= 1_000
    lost = notes.refused if store.refuses else [None] * notes.fenced_by_gap
    assert len(lost) >= 100
    assert store.refuses or notes.gaps_survived >= 10


async def test_owners_that_fight_over_a_failing_network_never_act_on_what_readers_drop(
    store: LogStore, log: EventLog, log_id: bytes, rival: Owner, notes: Notes
) -> None:
    unlucky = Owner("unlucky", await store.connect_faulty(), log_id, notes)
    chance = random.Random(3)

    async def suffer() -> None:
        for _ in range(40):
            await fight(unlucky, chance, rounds=5)
            await store.doom_next_append(chance.choice(MISHAP))
            await fight(unlucky, chance, rounds=1)
            if chance.random() < 0.5:
                await store.land_delayed()

    await asyncio.gather(suffer(), fight(rival, random.Random(4), rounds=300))
    await store.land_delayed()
    raw = await read_raw(log, page=1_000)
    check_log(raw, log_id, notes)
    assert len(notes.unclear) >= 20
    assert len(notes.acted) >= 300


class RecklessOwner(Owner):
    """Acts on every acknowledgement, without a look at the gap before it."""

    async def has_been_overtaken(self, write: Write, base: int) -> bool:
        return False


async def test_the_checks_notice_an_owner_that_does_not_read_the_gap(notes: Notes) -> None:
    store = MemoryStore(StaleAppend.VOIDS)
    log = await store.connect()
    log_id = (await log.describe()).log_id
    owner, rival = (RecklessOwner(name, log, log_id, notes) for name in ("first", "second"))
    await asyncio.gather(
        fight(owner, random.Random(1), rounds=50), fight(rival, random.Random(2), rounds=50)
    )
    raw = await read_raw(log, page=1_000)
    with pytest.raises(AssertionError):
        check_nobody_acted_on_a_void_record(accepted_of(raw, log_id), notes)

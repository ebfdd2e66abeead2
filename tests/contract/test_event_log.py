"""The contract of every event log, on each engine."""

import pytest

from headrace_core.errors import (
    Fenced,
    LogRewound,
    RangeDeleted,
    RecordTooLarge,
    UnclearAppend,
)
from headrace_core.log.record import RECORD_BYTES_MAX
from headrace_runtime.eventlog.memory import Fate
from headrace_runtime.eventlog.port import Batch, EventLog
from tests.contract.log_checks import accepted_of, check_log, read_raw
from tests.contract.log_owner import Notes, Owner, claim_record, value_record
from tests.contract.log_stores import PARTITIONS, LogStore


async def test_a_log_says_who_it_is_to_everybody_alike(store: LogStore, log: EventLog) -> None:
    described = await log.describe()
    assert len(described.log_id) == 16
    assert described.partitions == PARTITIONS
    assert await (await store.connect()).describe() == described


async def test_a_new_log_is_empty(log: EventLog) -> None:
    assert await log.ends() == [0] * PARTITIONS
    assert await log.read(0, 0, 10) == []


async def test_a_claim_answers_the_offset_of_its_own_record(log: EventLog, log_id: bytes) -> None:
    claims = [claim_record(log_id, 1, str(number)) for number in range(3)]
    assert [await log.claim(1, claim) for claim in claims] == [0, 1, 2]
    assert [entry.record for entry in await log.read(1, 0, 10)] == claims
    assert await log.ends() == [0, 3, 0, 0]


async def test_records_follow_each_other_without_a_hole(owner: Owner, log: EventLog) -> None:
    await owner.claim(0)
    await owner.claim(2)
    for number in range(5):
        acted = await owner.append({2: [f"c{number}", f"d{number}"], 0: [f"a{number}"]})
        assert acted == {0: True, 2: True}
    assert await log.ends() == [6, 0, 11, 0]
    raw = await read_raw(log, page=3)
    assert accepted_of(raw, (await log.describe()).log_id)[2] == [
        (1 + 2 * number + place, f"{letter}{number}")
        for number in range(5)
        for place, letter in enumerate("cd")
    ]


async def test_answers_come_in_the_order_of_the_batches(log: EventLog, log_id: bytes) -> None:
    order = (3, 0, 2)
    epochs = {
        number: await log.claim(number, claim_record(log_id, number, "a")) for number in order
    }
    batches = [
        Batch(number, epochs[number], 1, [value_record(log_id, number, 0, 0, f"v{number}")])
        for number in order
    ]
    acknowledged = await log.append(batches)
    assert [(ack.partition, ack.base_offset) for ack in acknowledged] == [(3, 1), (0, 1), (2, 1)]


async def test_a_read_answers_at_most_what_was_asked_for(owner: Owner, log: EventLog) -> None:
    await owner.claim(0)
    await owner.append({0: [f"v{number}" for number in range(9)]})
    assert [entry.offset for entry in await log.read(0, 4, 3)] == [4, 5, 6]
    assert [entry.offset for entry in await log.read(0, 8, 100)] == [8, 9]
    assert await log.read(0, 10, 100) == []


async def test_several_partitions_are_read_at_once(owner: Owner, log: EventLog) -> None:
    for partition in (0, 1, 3):
        await owner.claim(partition)
        await owner.append({partition: [f"v{partition}-{number}" for number in range(5)]})
    answers = await log.read_many([(3, 2), (0, 6), (2, 0), (1, 0)], 3)
    assert [(number, [e.offset for e in entries]) for number, entries in answers] == [
        (3, [2, 3, 4]),
        (0, []),
        (2, []),
        (1, [0, 1, 2]),
    ]
    for number, entries in answers:
        if entries:
            assert entries == await log.read(number, entries[0].offset, 3)


async def test_an_owner_that_was_overtaken_cannot_act(
    owner: Owner, rival: Owner, log: EventLog, notes: Notes
) -> None:
    await owner.claim(0)
    assert await owner.append({0: ["before"]}) == {0: True}
    await rival.claim(0)
    assert rival.seen[0] == ["before"]
    assert await owner.append({0: ["too late"]}) == {0: False}
    assert 0 not in owner.places
    raw = await read_raw(log, page=10)
    assert accepted_of(raw, (await log.describe()).log_id)[0] == [(1, "before")]
    check_log(raw, (await log.describe()).log_id, notes)


async def test_a_late_write_of_an_overtaken_owner_does_not_cost_the_rightful_one_its_partition(
    store: LogStore, owner: Owner, rival: Owner, notes: Notes
) -> None:
    await owner.claim(0)
    await rival.claim(0)
    await owner.append({0: ["void"]})
    assert await rival.append({0: ["good"]}) == {0: True}
    assert notes.gaps_survived == (0 if store.refuses else 1)


async def test_where_one_of_several_partitions_is_lost_the_others_are_appended_again(
    store: LogStore, owner: Owner, rival: Owner, log: EventLog, log_id: bytes
) -> None:
    for partition in range(PARTITIONS):
        await owner.claim(partition)
    await rival.claim(1)
    await rival.claim(3)
    ends = await log.ends()
    values = {partition: [f"v{partition}"] for partition in range(PARTITIONS)}
    if store.refuses:
        places = dict(owner.places)
        batches = [
            Batch(number, place.epoch, place.next_offset, [value_record(log_id, number, 0, 0, "x")])
            for number, place in places.items()
        ]
        with pytest.raises(Fenced) as refusal:
            await log.append(batches)
        assert sorted(refusal.value.partitions) == [1, 3]
        assert await log.ends() == ends
        values = {partition: values[partition] for partition in (0, 2)}
    acted = await owner.append(values)
    assert acted == {number: number in (0, 2) for number in values}
    accepted = accepted_of(await read_raw(log, page=10), log_id)
    assert accepted == {0: [(1, "v0")], 1: [], 2: [(1, "v2")], 3: []}


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.ACK_LOST, Fate.DELAYED])
async def test_after_an_unclear_append_a_new_claim_decides_what_counts(
    store: LogStore, log: EventLog, log_id: bytes, notes: Notes, fate: Fate
) -> None:
    unlucky = Owner("unlucky", await store.connect_faulty(), log_id, notes)
    await unlucky.claim(0)
    await unlucky.append({0: ["first"]})
    await store.doom_next_append(fate)
    assert await unlucky.append({0: ["unclear"]}) == {0: False}
    assert notes.unclear
    await unlucky.claim(0)
    landed = ["first", "unclear"] if fate is Fate.ACK_LOST else ["first"]
    assert unlucky.seen[0] == landed
    await store.land_delayed()
    assert await unlucky.append({0: ["after"]}) == {0: True}
    raw = await read_raw(log, page=10)
    assert [value for _, value in accepted_of(raw, log_id)[0]] == [*landed, "after"]
    check_log(raw, log_id, notes)


async def test_an_unclear_append_that_lands_before_the_next_claim_is_part_of_what_it_folds(
    store: LogStore, log_id: bytes, notes: Notes
) -> None:
    unlucky = Owner("unlucky", await store.connect_faulty(), log_id, notes)
    await unlucky.claim(0)
    await unlucky.append({0: ["first"]})
    await store.doom_next_append(Fate.DELAYED)
    await unlucky.append({0: ["late"]})
    await store.land_delayed()
    await unlucky.claim(0)
    assert unlucky.seen[0] == ["first", "late"]


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.ACK_LOST])
async def test_an_unclear_claim_is_claimed_again(
    store: LogStore, log: EventLog, log_id: bytes, notes: Notes, fate: Fate
) -> None:
    unlucky = Owner("unlucky", await store.connect_faulty(), log_id, notes)
    await unlucky.claim(0)
    await store.doom_next_append(fate)
    with pytest.raises(UnclearAppend):
        await unlucky.claim(0)
    await unlucky.claim(0)
    assert await unlucky.append({0: ["good"]}) == {0: True}
    check_log(await read_raw(log, page=10), log_id, notes)


async def test_a_record_that_is_too_large_is_refused_before_it_is_sent(
    owner: Owner, log: EventLog
) -> None:
    await owner.claim(0)
    await owner.claim(1)
    with pytest.raises(RecordTooLarge, match="partition 1"):
        await log.append(
            [Batch(0, 0, 1, [b"small"]), Batch(1, 0, 1, [b"x" * (RECORD_BYTES_MAX + 1)])]
        )
    with pytest.raises(RecordTooLarge):
        await log.claim(1, b"x" * (RECORD_BYTES_MAX + 1))
    assert await log.ends() == [1, 1, 0, 0]
    assert await owner.append({0: ["good"], 1: ["good too"]}) == {0: True, 1: True}


async def test_records_of_the_largest_size_are_all_read(owner: Owner, log: EventLog) -> None:
    largest = bytes(RECORD_BYTES_MAX)
    await owner.claim(0)
    for place in range(4):
        await log.append([Batch(0, 0, 1 + 3 * place, [largest] * 3)])
    raw = await read_raw(log, page=100)
    assert [entry.record for entry in raw[0][1:]] == [largest] * 12


async def test_what_was_deleted_is_said_to_be_deleted(owner: Owner, log: EventLog) -> None:
    await owner.claim(0)
    await owner.append({0: [f"v{number}" for number in range(9)]})
    await log.delete_below(0, 4)
    await log.delete_below(0, 2)
    with pytest.raises(RangeDeleted, match="partition 0 begins at offset 4, 3 is deleted"):
        await log.read(0, 3, 10)
    with pytest.raises(RangeDeleted):
        await log.read_many([(1, 0), (0, 0)], 10)
    assert [entry.offset for entry in await log.read(0, 4, 2)] == [4, 5]
    assert await owner.append({0: ["more"]}) == {0: True}
    assert (await log.ends())[0] == 11


async def test_a_partition_of_which_everything_was_deleted_goes_on_where_it_was(
    owner: Owner, log: EventLog
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b"]})
    await log.delete_below(0, 3)
    with pytest.raises(RangeDeleted):
        await log.read(0, 2, 1)
    assert await log.read(0, 3, 1) == []
    assert await owner.append({0: ["c"]}) == {0: True}
    assert [entry.offset for entry in await log.read(0, 3, 10)] == [3]


async def test_nothing_is_deleted_beyond_the_end(owner: Owner, log: EventLog) -> None:
    await owner.claim(0)
    with pytest.raises(LogRewound):
        await log.delete_below(0, 2)
    assert await log.ends() == [1, 0, 0, 0]


async def test_a_read_beyond_the_end_means_that_the_log_was_rewound(
    store: LogStore, owner: Owner, log: EventLog
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b", "c"]})
    await store.rewind(0, 2)
    with pytest.raises(LogRewound, match="partition 0 ends at offset 2, but offset 4 was there"):
        await log.read(0, 4, 10)
    with pytest.raises(LogRewound):
        await log.read_many([(1, 0), (0, 3)], 10)
    assert await log.read(0, 2, 10) == []


async def test_an_owner_notices_that_the_log_was_rewound(
    store: LogStore, owner: Owner, log: EventLog, log_id: bytes
) -> None:
    await owner.claim(0)
    await owner.append({0: ["a", "b", "c"]})
    await store.rewind(0, 2)
    assert await owner.append({0: ["d"]}) == {0: False}
    end = 2 if store.refuses else 3
    assert await log.claim(0, claim_record(log_id, 0, "again")) == end

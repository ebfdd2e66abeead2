"""Jepsen's checks of a log, and ours: nobody acts on a record that readers drop.

Source of the six: jepsen-io/jepsen, jepsen/tests/kafka.clj. A run in which nothing succeeded
passes all of them, so whoever calls this also asserts a minimum of successes.
"""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from headrace_contracts.codec import decode_record
from headrace_core.log.filter import LogFilter
from headrace_runtime.eventlog.port import Entry, EventLog
from tests.contract.log_owner import Notes, value_of

Raw = Mapping[int, Sequence[Entry]]


async def read_raw(log: EventLog, page: int) -> dict[int, list[Entry]]:
    """Every record of every partition; each answer alone is checked for order and holes."""
    raw: dict[int, list[Entry]] = {}
    for partition, end in enumerate(await log.ends()):
        entries: list[Entry] = []
        while len(entries) < end:
            answer = await log.read(partition, len(entries), page)
            offsets = [entry.offset for entry in answer]
            assert offsets == list(range(len(entries), len(entries) + len(answer)))
            assert 0 < len(answer) <= page
            entries += answer
        assert await log.read(partition, end, page) == []
        raw[partition] = entries
    return raw


def accepted_of(raw: Raw, log_id: bytes) -> dict[int, list[tuple[int, str]]]:
    """(offset, value) of each record that counts, per partition."""
    accepted: dict[int, list[tuple[int, str]]] = {}
    for partition, entries in raw.items():
        accept = LogFilter(log_id)
        accepted[partition] = [
            (entry.offset, record.body.decode())
            for entry, record in ((entry, decode_record(entry.record)) for entry in entries)
            if accept.accept(entry.offset, record.envelope)
        ]
    return accepted


def check_failed_writes_are_never_read(raw: Raw, notes: Notes) -> None:
    stored = {value_of(entry.record) for entries in raw.values() for entry in entries}
    refused = {value for write in notes.refused for value in write.values}
    assert not stored & refused


def check_acknowledged_writes_are_read_where_they_were_said_to_be(raw: Raw, notes: Notes) -> None:
    """Also: the records of a write stand together and in order."""
    for write, base in notes.acknowledged:
        found = raw[write.partition][base : base + len(write.values)]
        assert tuple(value_of(entry.record) for entry in found) == write.values
    for partition, epoch, nonce in notes.claims:
        assert value_of(raw[partition][epoch].record) == nonce


def check_each_value_is_stored_at_most_once(raw: Raw) -> None:
    values = [value_of(entry.record) for entries in raw.values() for entry in entries]
    assert len(values) == len(set(values))


def check_nobody_acted_on_a_void_record(
    accepted: Mapping[int, Sequence[tuple[int, str]]], notes: Notes
) -> None:
    counts = {(number, *record) for number, records in accepted.items() for record in records}
    assert [acted for acted in notes.acted if acted not in counts] == []


def check_calls_have_one_order_in_all_partitions(raw: Raw, notes: Notes) -> None:
    """No cycle: if a call comes before another in one partition, it does so in all."""
    call_of = {value: write.call for write, _ in notes.acknowledged for value in write.values}
    sorter = TopologicalSorter[str]()
    for entries in raw.values():
        before = ""
        for entry in entries:
            call = call_of.get(value_of(entry.record), "")
            if call and call != before:
                sorter.add(call, *([before] if before else []))
                before = call
    try:
        sorter.prepare()
    except CycleError as cycle:
        raise AssertionError(f"calls in a circle: {cycle.args[1]}") from cycle


def check_log(raw: Raw, log_id: bytes, notes: Notes) -> None:
    check_failed_writes_are_never_read(raw, notes)
    check_acknowledged_writes_are_read_where_they_were_said_to_be(raw, notes)
    check_each_value_is_stored_at_most_once(raw)
    check_nobody_acted_on_a_void_record(accepted_of(raw, log_id), notes)
    check_calls_have_one_order_in_all_partitions(raw, notes)

"""The filter that decides which records count: against a model, and from any place on."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.errors import WrongLog
from headrace_core.ids import TenantId
from headrace_core.log.filter import LogFilter
from headrace_core.log.record import Envelope

LOG = b"a" * 16


def envelope(epoch: int, seq: int, *, claim: bool = False) -> Envelope:
    return Envelope(
        log_id=LOG,
        partition=0,
        epoch=epoch,
        seq=seq,
        time_ms=0,
        tenant=TenantId(""),
        run=None,
        sequence=0,
        chain=b"",
        claim=claim,
    )


CLAIM = envelope(0, 0, claim=True)


def accepted(log: Sequence[Envelope], begin: int = 0, state: LogFilter | None = None) -> list[int]:
    accept = state or LogFilter(LOG)
    return [at for at, one in enumerate(log[begin:], begin) if accept.accept(at, one)]


def model(log: Sequence[Envelope]) -> list[int]:
    """Said another way: per claim, the longest run of 0, 1, 2, ... under it up to the next one."""
    offsets: list[int] = []
    for number, record in enumerate(log):
        if record.claim:
            continue
        claims = [at for at, other in enumerate(log[:number]) if other.claim]
        if not claims or record.epoch != claims[-1]:
            continue
        before = [at for at in offsets if at > claims[-1]]
        if record.seq == len(before):
            offsets.append(number)
    return offsets


logs = st.lists(
    st.one_of(
        st.just(CLAIM),
        st.builds(envelope, epoch=st.integers(-1, 12), seq=st.integers(0, 4)),
    ),
    max_size=14,
)


def test_nothing_counts_before_the_first_claim() -> None:
    assert accepted([envelope(-1, 0), envelope(0, 0), envelope(1, 0)]) == []


def test_a_claim_itself_is_not_folded() -> None:
    assert accepted([CLAIM, CLAIM, CLAIM]) == []


def test_records_of_the_newest_claim_count_in_order() -> None:
    assert accepted([CLAIM, envelope(0, 0), envelope(0, 1), envelope(0, 2)]) == [1, 2, 3]


def test_a_record_of_an_older_claim_is_void() -> None:
    log = [CLAIM, envelope(0, 0), CLAIM, envelope(0, 1), envelope(2, 0)]
    assert accepted(log) == [1, 4]


def test_a_repeated_record_is_void() -> None:
    assert accepted([CLAIM, envelope(0, 0), envelope(0, 0), envelope(0, 1)]) == [1, 3]


def test_nothing_counts_after_a_skipped_number() -> None:
    assert accepted([CLAIM, envelope(0, 0), envelope(0, 2), envelope(0, 3)]) == [1]


def test_a_claim_begins_its_own_numbers() -> None:
    assert accepted([CLAIM, envelope(0, 0), CLAIM, envelope(2, 1), envelope(2, 0)]) == [1, 4]


def test_a_record_of_another_log_is_refused() -> None:
    accept = LogFilter(LOG)
    with pytest.raises(WrongLog, match=f"offset 7 of partition 0 belongs to log {'62' * 16}"):
        accept.accept(7, replace(CLAIM, log_id=b"b" * 16))
    assert accept == LogFilter(LOG)


@given(logs)
def test_the_filter_agrees_with_the_model(log: list[Envelope]) -> None:
    assert accepted(log) == model(log)


@given(logs, st.integers(0, 14))
def test_a_filter_goes_on_from_any_watermark(log: list[Envelope], place: int) -> None:
    before = LogFilter(LOG)
    accepted(log[:place], state=before)
    stored = LogFilter(LOG, before.epoch, before.next_seq)
    rest = [offset for offset in accepted(log) if offset >= place]
    assert accepted(log, begin=place, state=stored) == rest

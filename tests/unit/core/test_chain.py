"""The hash chain: its format is final, and everything that it covers changes it."""

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace_core.log.chain import CHAIN_BYTES, chain_hash

TURN: dict[str, Any] = {
    "previous": b"p" * CHAIN_BYTES,
    "tenant": "acme",
    "run": "run_1",
    "sequence": 3,
    "time_ms": 1_700_000_000_000,
    "body": b"body",
}
names = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=8)
turns = st.fixed_dictionaries(
    {
        "previous": st.sampled_from([b"", b"p" * CHAIN_BYTES, b"q" * CHAIN_BYTES]),
        "tenant": names,
        "run": names,
        "sequence": st.integers(0, 1 << 62),
        "time_ms": st.integers(0, 1 << 62),
        "body": st.binary(max_size=8),
    }
)


def test_the_hash_is_what_released_logs_hold() -> None:
    covered = b"p" * 32 + b"acme\0run_1\x003\x001700000000000\0body"
    assert chain_hash(**TURN) == hashlib.sha256(covered).digest()
    assert len(chain_hash(**TURN)) == CHAIN_BYTES


def test_whatever_a_record_says_is_covered() -> None:
    changes: dict[str, Any] = {
        "previous": b"",
        "tenant": "acme2",
        "run": "run_2",
        "sequence": 4,
        "time_ms": 1_700_000_000_001,
        "body": b"Body",
    }
    hashes = {chain_hash(**TURN | {name: value}) for name, value in changes.items()}
    assert len(hashes | {chain_hash(**TURN)}) == len(changes) + 1


@given(turns, turns)
def test_different_turns_never_run_into_each_other(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (chain_hash(**one) == chain_hash(**other)) == (one == other)


def test_a_record_that_is_moved_or_dropped_changes_the_end_of_the_chain() -> None:
    def end_of(bodies: list[bytes]) -> bytes:
        end = b""
        for sequence, body in enumerate(bodies, 1):
            end = chain_hash(end, "acme", "run_1", sequence, 0, body)
        return end

    ends = {end_of(bodies) for bodies in ([b"a", b"b", b"c"], [b"a", b"c", b"b"], [b"a", b"c"])}
    assert len(ends) == 3

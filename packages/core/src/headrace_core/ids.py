"""Typed identifiers and their text form.

A run's id carries its slot and its day, so that everybody finds the partition of a run, and the
day of its effect rows, without asking anybody.
"""

import hashlib
from typing import NewType

RunId = NewType("RunId", str)
TenantId = NewType("TenantId", str)
StepKey = NewType("StepKey", str)
"""Address of a step inside its run: `fetch`, or `read[17]` for item 17 of the fan-out `read`. What
undoes it has an address of its own, `fetch:compensate`."""
ExecutorId = NewType("ExecutorId", str)
"""Drawn at each start of an executor process; a restarted executor is another one."""
PlanHash = NewType("PlanHash", str)
"""SHA-256 of the canonical definition, in hex."""

SLOTS = 1024
"""Number of slots; a partition is slot * partitions // SLOTS, partitions being a power of two."""
UNIQUE_BYTES = 10
DAY_MS = 86_400_000

_COMPENSATE = ":compensate"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT = {letter: value for value, letter in enumerate(_ALPHABET)}
_PREFIX = "run_"
_SLOT_AT, _DAY_AT, _UNIQUE_AT = 4, 6, 10
_LENGTH = 26


def run_id(slot: int, day: int, unique: bytes) -> RunId:
    """Compose an id; `day` counts from 1970-01-01, `unique` is 10 bytes of chance or of a hash."""
    assert 0 <= slot < SLOTS and 0 <= day < 1 << 20 and len(unique) == UNIQUE_BYTES
    text = _digits(slot, 2) + _digits(day, 4) + _digits(int.from_bytes(unique), 16)
    return RunId(_PREFIX + text)


def slot_of(run: str) -> int:
    return _DIGIT[run[_SLOT_AT]] << 5 | _DIGIT[run[_SLOT_AT + 1]]


def day_of(run: str) -> int:
    return _number(run[_DAY_AT:_UNIQUE_AT])


def is_run_id(text: str) -> bool:
    return (
        len(text) == _LENGTH
        and text.startswith(_PREFIX)
        and all(letter in _DIGIT for letter in text[_SLOT_AT:])
    )


def partition_of(slot: int, partitions: int) -> int:
    return slot * partitions // SLOTS


def slot_for(*parts: str) -> int:
    """The slot of something that is found by name, e.g. (tenant, start key)."""
    return int.from_bytes(stable_hash(*parts)[:4]) % SLOTS


def child_run_id(parent: RunId, step: StepKey, ordinal: int, day: int) -> RunId:
    """Id of a child run in its parent's slot; equal for the same attempt whoever decides it."""
    unique = stable_hash(parent, step, str(ordinal))[:UNIQUE_BYTES]
    return run_id(slot_of(parent), day, unique)


def stable_hash(*parts: str) -> bytes:
    """SHA-256 over parts that cannot run into each other."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4))
        digest.update(encoded)
    return digest.digest()


def item_key(step: StepKey, index: int) -> StepKey:
    return StepKey(f"{step}[{index}]")


def step_of(key: StepKey) -> tuple[str, int | None]:
    """The plan's step and the item index of a step key: `read[17]` -> ("read", 17)."""
    if not key.endswith("]"):
        return key, None
    name, _, index = key[:-1].rpartition("[")
    return name, int(index)


def compensation_key(step: StepKey) -> StepKey:
    """Address of what undoes a step, or an item."""
    return StepKey(step + _COMPENSATE)


def compensated_by(key: StepKey) -> StepKey | None:
    """The step or item that is undone at this address; None if it is no compensation's."""
    return StepKey(key[: -len(_COMPENSATE)]) if key.endswith(_COMPENSATE) else None


def origin_of(key: StepKey) -> StepKey:
    """The step or item that an address is about: of a compensation, what it undoes."""
    return compensated_by(key) or key


def name_of(key: StepKey) -> str:
    """The address without its item: what all items of a fan-out, or their undoing, share."""
    undone = compensated_by(key)
    if undone is None:
        return step_of(key)[0]
    return compensation_key(StepKey(step_of(undone)[0]))


def _digits(value: int, width: int) -> str:
    letters = [""] * width
    for place in range(width - 1, -1, -1):
        letters[place] = _ALPHABET[value & 31]
        value >>= 5
    return "".join(letters)


def _number(text: str) -> int:
    value = 0
    for letter in text:
        value = value << 5 | _DIGIT[letter]
    return value

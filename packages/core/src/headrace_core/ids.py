"""Typed identifiers and their text form.

A run's id carries its slot and its day, so that everybody finds the partition of a run, and the
day of its effect rows, without asking anybody.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NewType

RunId = NewType("RunId", str)
TenantId = NewType("TenantId", str)
EventId = NewType("EventId", str)
"""Of an event or a signal from outside; also the owner under whose key its payload is sealed."""
LetterId = NewType("LetterId", str)
"""Of a dead letter; follows from the run, the step and the attempt that failed for good."""
Correlation = NewType("Correlation", str)
"""SHA-256 in hex of (tenant, topic, key): where an event and those who wait for it meet."""
LimitKey = NewType("LimitKey", str)
"""SHA-256 in hex of (tenant, what is limited, key): where those who share a limit meet."""
StepKey = NewType("StepKey", str)
"""Address of a step inside its run: `fetch`, `read[17]` for item 17 of the fan-out `read`,
`poll#2` for the second pass of a repeated step, `sync/read` for a step of the group `sync`. They
nest: `sync[3]#2/read[17]`. What undoes a step has an address of its own, `fetch:compensate`."""
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
_MARKS = re.compile(r"[\[#:]")
_PREFIX = "run_"
_EVENT_PREFIX = "evt_"
_LETTER_PREFIX = "ltr_"
_SLOT_AT, _DAY_AT, _UNIQUE_AT = 4, 6, 10
_LENGTH = 26


def run_id(slot: int, day: int, unique: bytes) -> RunId:
    """Compose an id; `day` counts from 1970-01-01, `unique` is 10 bytes of chance or of a hash."""
    assert 0 <= slot < SLOTS and 0 <= day < 1 << 20 and len(unique) == UNIQUE_BYTES
    text = _digits(slot, 2) + _digits(day, 4) + _digits(int.from_bytes(unique), 16)
    return RunId(_PREFIX + text)


def event_id(slot: int, day: int, unique: bytes) -> EventId:
    """Composed like a run's id, in the slot of the event's correlation or of its run."""
    return EventId(_EVENT_PREFIX + run_id(slot, day, unique)[len(_PREFIX) :])


def letter_id(run: RunId, step: StepKey, attempt: int) -> LetterId:
    """Equal for the same attempt whoever decides it; as long as a run's id."""
    unique = int.from_bytes(stable_hash("dead letter", run, step, str(attempt))[:14])
    return LetterId(_LETTER_PREFIX + _digits(unique, _LENGTH - len(_LETTER_PREFIX)))


def is_letter_id(text: str) -> bool:
    return _is_id(text, _LETTER_PREFIX)


def slot_of(run: str) -> int:
    return _DIGIT[run[_SLOT_AT]] << 5 | _DIGIT[run[_SLOT_AT + 1]]


def day_of(run: str) -> int:
    return _number(run[_DAY_AT:_UNIQUE_AT])


def is_run_id(text: str) -> bool:
    return _is_id(text, _PREFIX)


def partition_of(slot: int, partitions: int) -> int:
    return slot * partitions // SLOTS


def slot_for(*parts: str) -> int:
    """The slot of something that is found by name, e.g. (tenant, start key)."""
    return slot_of_hash(stable_hash(*parts))


def slot_of_hash(hashed: bytes) -> int:
    """Of a `stable_hash`, such as a start key."""
    return int.from_bytes(hashed[:4]) % SLOTS


def correlation_of(tenant: TenantId, topic: str, key: str) -> Correlation:
    return Correlation(stable_hash(tenant, topic, key).hex())


def slot_of_correlation(correlation: Correlation) -> int:
    """Equal to `slot_for(tenant, topic, key)`."""
    return int(correlation[:8], 16) % SLOTS


def run_limit_of(tenant: TenantId, flow: str, key: str) -> LimitKey:
    """Of the runs of one flow that have the same `concurrency` key."""
    return LimitKey(stable_hash(tenant, "concurrency", flow, key).hex())


def rate_limit_of(tenant: TenantId, key: str) -> LimitKey:
    """Of all steps of a tenant that have the same `rate_limit` key."""
    return LimitKey(stable_hash(tenant, "rate_limit", key).hex())


def slot_of_limit(limit: LimitKey) -> int:
    return int(limit[:8], 16) % SLOTS


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


def pass_key(step: StepKey, number: int) -> StepKey:
    """Of one pass of a repeated step, numbered from 1."""
    return StepKey(f"{step}#{number}")


def member_key(group: StepKey, step: str) -> StepKey:
    """Of a step inside a group, or inside one item or pass of a group."""
    return StepKey(f"{group}/{step}")


def is_plain(key: StepKey) -> bool:
    """Whether it is a step of the top level itself: no item, no pass, and in no group."""
    return "/" not in key and "#" not in key and key[-1:] != "]"


def owner_of(key: StepKey) -> StepKey | None:
    """The fan-out of an item, the repeated step of a pass; None for a step itself."""
    if key[-1:] == "]":
        return StepKey(key[: key.rindex("[")])
    if "#" not in key:
        return None
    mark = key.rfind("#")
    return StepKey(key[:mark]) if mark > key.rfind("/") and ":" not in key else None


def wholes_of(key: StepKey) -> Iterator[StepKey]:
    """The key itself, then of an item or a pass what that is a part of."""
    whole: StepKey | None = key
    while whole is not None:
        yield whole
        whole = owner_of(whole)


def group_of(key: StepKey) -> StepKey | None:
    """The group whose step this is, or the item or pass of the group; None at the top."""
    if "/" not in key:
        return None
    return StepKey(key[: key.rindex("/")])


def item_of(key: StepKey) -> tuple[StepKey, int] | None:
    """The fan-out and the position of an item: `a/read[17]` -> ("a/read", 17)."""
    if key[-1:] != "]":
        return None
    name, _, index = key[:-1].rpartition("[")
    return StepKey(name), int(index)


def enclosing_items(key: StepKey) -> Iterator[tuple[StepKey, int]]:
    """The items that something belongs to, itself included, from the inside out."""
    place: StepKey | None = origin_of(key)
    while place is not None:
        item = item_of(place)
        if item is not None:
            yield item
        place = owner_of(place) or group_of(place)


def step_path(key: StepKey) -> tuple[str, ...]:
    """The ids that lead to the step in its plan: `sync[3]#2/read[17]` -> ("sync", "read")."""
    return tuple(_MARKS.split(part, maxsplit=1)[0] for part in key.split("/"))


def step_of(key: StepKey) -> tuple[str, int | None]:
    """The step and the item index of a step key: `read[17]` -> ("read", 17)."""
    item = item_of(key)
    return (key, None) if item is None else item


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
    """The address without items and passes: what all of a step, or all its undoing, share."""
    name = StepKey("/".join(step_path(key)))
    return name if compensated_by(key) is None else compensation_key(name)


def _is_id(text: str, prefix: str) -> bool:
    return (
        len(text) == _LENGTH
        and text.startswith(prefix)
        and all(letter in _DIGIT for letter in text[len(prefix) :])
    )


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

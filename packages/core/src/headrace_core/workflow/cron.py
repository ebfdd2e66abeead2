"""Times of a cron expression in a time zone: the only module that knows the cron library.

Over a change of the clock: an expression that names an hour and a minute runs once a day, at the
first of two equal times, and right after the gap where its time does not exist; one whose hour or
minute is `*` or a step of it follows real time. Known: in Australia/Lord_Howe, which changes by
half an hour, a stepped hour is off on the two days of the change.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

NEVER_MS = 4_102_444_800_000
"""The year 2100: due where no time is left."""

_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = 5
_BACK_MS = (3_600_000, 86_400_000, 32 * 86_400_000, 367 * 86_400_000)
_CHECKED_FROM_MS = 946_684_800_000


def cron_fault(cron: str) -> str:
    """What is wrong with an expression, or the empty text."""
    fields = _NAMED.get(cron.strip().lower(), cron).split()
    if len(fields) != _FIELDS:
        return f"it has {len(fields)} fields, a cron expression has {_FIELDS}"
    try:
        found = next_time_ms(cron, "UTC", _CHECKED_FROM_MS)
    except CronSimError as fault:
        return str(fault)
    return "" if found < NEVER_MS else "no time ever fits it"


def is_time_zone(name: str) -> bool:
    if not name:
        return False
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def next_time_ms(cron: str, timezone: str, after_ms: int) -> int:
    """The first time later than `after_ms`, in epoch milliseconds; NEVER_MS if there is none. An
    empty zone is UTC."""
    if after_ms >= NEVER_MS:
        return NEVER_MS
    return next(_times(cron, timezone, after_ms), NEVER_MS)


def last_time_ms(cron: str, timezone: str, first_ms: int, now_ms: int) -> int:
    """The latest time that is not after `now_ms`; `first_ms` is one of the times and the least
    answer. Looks back over growing spans, so that long outages cost no more than short ones."""
    for back_ms in _BACK_MS:
        if now_ms - back_ms <= first_ms:
            break
        last_ms = _last_of(cron, timezone, now_ms - back_ms, now_ms)
        if last_ms is not None:
            return last_ms
    return _last_of(cron, timezone, first_ms, now_ms) or first_ms


def _last_of(cron: str, timezone: str, after_ms: int, now_ms: int) -> int | None:
    last_ms = None
    for time_ms in _times(cron, timezone, after_ms):
        if time_ms > now_ms:
            break
        last_ms = time_ms
    return last_ms


def _times(cron: str, timezone: str, after_ms: int) -> Iterator[int]:
    expression = _NAMED.get(cron.strip().lower(), cron)
    after_s = after_ms // 1_000
    last_s = after_s
    for time in CronSim(expression, datetime.fromtimestamp(after_s, _zone(timezone))):
        time_s = int(time.timestamp())
        # Of two equal local times the library knows the first only, and two times in one gap come
        # to the same end of it.
        if time_s > last_s and _stands_on_the_wall(expression, time):
            last_s = time_s
            yield time_s * 1_000


def _stands_on_the_wall(expression: str, time: datetime) -> bool:
    """False for what the library gives where a day begins in a gap: a time that does not exist,
    while at that moment the clock shows one that does not fit."""
    shown = time.astimezone(UTC).astimezone(time.tzinfo).replace(tzinfo=None)
    if shown == time.replace(tzinfo=None):
        return True
    return next(CronSim(expression, shown - timedelta(seconds=1)), None) == shown


@lru_cache(maxsize=1_024)
def _zone(name: str) -> tzinfo:
    return UTC if name in ("", "UTC") else ZoneInfo(name)

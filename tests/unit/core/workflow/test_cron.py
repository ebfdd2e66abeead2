"""Cron times: against a second library, over changes of the clock, and what is refused."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_core.workflow.cron import (
    NEVER_MS,
    cron_fault,
    is_time_zone,
    last_time_ms,
    next_time_ms,
)

CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Asia/Kolkata", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]
# The one zone that changes by half an hour, where the library loses the minutes of a stepped hour.
WHOLE_HOURS = [change for change in CHANGES if change[0] != "Australia/Lord_Howe"]
SPAN = timedelta(days=2)


def _ms(time: datetime) -> int:
    return int(time.timestamp()) * 1_000


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    lists = st.lists(numbers, min_size=1, max_size=3, unique=True).map(
        lambda some: ",".join(map(str, sorted(some)))
    )
    pairs = st.lists(numbers, min_size=2, max_size=2, unique=True).map(sorted)
    return lists | pairs.map(lambda two: f"{two[0]}-{two[1]}")


STEPS = st.sampled_from(("*", "*/2", "*/7", "*/15"))
WEEKDAYS = st.just("*") | _field(0, 6)


def _times(cron: str, zone: str, begin: datetime, end: datetime) -> list[int]:
    found, after = list[int](), _ms(begin)
    while (after := next_time_ms(cron, zone, after)) <= _ms(end):
        found.append(after)
    return found


def _walls(cron: str, zone: ZoneInfo, begin: datetime, end: datetime) -> Iterable[datetime]:
    """By the other library, which is asked for a clock without a time zone."""
    first = begin.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3)
    last = end.astimezone(zone).replace(tzinfo=None) + timedelta(hours=3)
    return takewhile(lambda time: time <= last, croniter(cron, first).all_next(datetime))


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    there = wall.replace(tzinfo=zone)
    return there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall


def _after_the_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    while not _exists(wall, zone):
        wall += timedelta(minutes=1)
    return wall


@settings(max_examples=30)
@given(change=st.sampled_from(CHANGES), minute=_field(0, 59), hour=_field(0, 23), day=WEEKDAYS)
def test_a_time_of_day_comes_once_a_day_whatever_the_clock_does(
    change: tuple[str, datetime], minute: str, hour: str, day: str
) -> None:
    """Expected: every time on the wall by the other library, brought to where it exists."""
    name, at = change
    zone, cron = ZoneInfo(name), f"{minute} {hour} * * {day}"
    begin, end = at - SPAN, at + SPAN
    walls = _walls(cron, zone, begin, end)
    real = {_after_the_gap(time, zone).replace(tzinfo=zone) for time in walls}
    expected = sorted(_ms(time) for time in real if begin < time.astimezone(UTC) <= end)
    assert _times(cron, name, begin, end) == expected


@settings(max_examples=30)
@given(change=st.sampled_from(WHOLE_HOURS), minute=STEPS, hour=STEPS, day=WEEKDAYS)
def test_a_step_follows_real_time_over_a_change_of_the_clock(
    change: tuple[str, datetime], minute: str, hour: str, day: str
) -> None:
    """Expected: every real minute whose time on the wall the other library says fits."""
    name, at = change
    zone, cron = ZoneInfo(name), f"{minute} {hour} * * {day}"
    begin, end = at - timedelta(hours=5), at + timedelta(hours=5)
    walls = set(_walls(cron, zone, begin, end))
    minutes = [begin + timedelta(minutes=one) for one in range(1, 601)]
    expected = [_ms(at) for at in minutes if at.astimezone(zone).replace(tzinfo=None) in walls]
    assert _times(cron, name, begin, end) == expected


@given(
    cron=st.sampled_from(("*/5 * * * *", "30 2 * * *", "0 0 1 * *", "0 12 29 2 *", "@weekly")),
    change=st.sampled_from(CHANGES),
    first=st.integers(0, 10**7),
    late=st.integers(0, 10**8),
)
def test_the_last_time_before_now_is_the_one_with_no_other_until_now(
    cron: str, change: tuple[str, datetime], first: int, late: int
) -> None:
    name, at = change
    first_ms = next_time_ms(cron, name, _ms(at) + first * 1_000)
    now_ms = first_ms + late * 1_000
    last_ms = last_time_ms(cron, name, first_ms, now_ms)
    assert first_ms <= last_ms <= now_ms < next_time_ms(cron, name, last_ms)


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("0 2 * *", "it has 4 fields, a cron expression has 5"),
        ("61 2 * * *", "Bad minute"),
        ("0 2 * * MOO", "Bad day-of-week"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("@reboot", "it has 1 fields, a cron expression has 5"),
        ("0 2 * * MON-FRI", ""),
        ("0 2 L * *", ""),
        ("@daily", ""),
    ],
)
def test_an_expression_is_refused_with_its_fault(cron: str, fault: str) -> None:
    assert cron_fault(cron) == fault


def test_a_time_zone_is_a_name_of_the_database() -> None:
    assert is_time_zone("Europe/Berlin") and is_time_zone("UTC")
    assert not any(map(is_time_zone, ("Europe/Bonn", "../etc/passwd", "", "Europe / Berlin")))


def test_where_no_time_is_left_the_answer_is_never() -> None:
    assert next_time_ms("0 0 1 1 *", "UTC", NEVER_MS) == NEVER_MS

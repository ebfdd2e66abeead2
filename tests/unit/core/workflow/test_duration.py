import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_core.workflow.duration import DURATION_MS_MAX, duration_ms, duration_text


@pytest.mark.parametrize(
    ("text", "ms"),
    [("0ms", 0), ("500ms", 500), ("90s", 90_000), ("1h30m", 5_400_000), ("2d", 172_800_000)],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "5", "5 m", "-1s", "1.5h", "m", "1h 30m", "1H", "1s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ms(text)


def test_a_duration_of_centuries_is_a_slip_of_the_pen() -> None:
    with pytest.raises(ValueError, match="longer than ten years"):
        duration_ms("99999d")


@given(st.integers(0, DURATION_MS_MAX))
def test_text_and_milliseconds_are_each_others_inverse(ms: int) -> None:
    assert duration_ms(duration_text(ms)) == ms

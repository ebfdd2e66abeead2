"""Delays grow, are bounded, and are the same on every replay."""

from hypothesis import given
from hypothesis import strategies as st

from headrace_core.policy.retry import delay_ms, is_retryable, matches
from headrace_core.workflow.plan import Jitter, RetryPolicy


@given(
    tries=st.integers(1, 100),
    initial=st.integers(0, 10_000),
    factor=st.floats(1, 5),
    cap=st.integers(0, 100_000),
    jitter=st.sampled_from(Jitter),
)
def test_a_delay_is_within_its_bounds_and_equal_on_replay(
    tries: int, initial: int, factor: float, cap: int, jitter: Jitter
) -> None:
    policy = RetryPolicy(5, initial, factor, cap, jitter)
    first = delay_ms(policy, tries, "run", "step", 3)
    assert 0 <= first <= cap
    assert first == delay_ms(policy, tries, "run", "step", 3)
    assert delay_ms(policy, tries, "run", "step", 3, retry_after_ms=200_000) == 200_000


def test_types_match_by_dotted_prefix_and_by_hundreds() -> None:
    assert matches("timeout.attempt", "timeout")
    assert not matches("timeouts", "timeout")
    assert matches("http.503", "http.5xx") and not matches("http.503", "http.4xx")
    assert not matches("http.5", "http.5xx")


def test_only_what_the_policy_names_is_retried_and_never_what_it_excludes() -> None:
    policy = RetryPolicy(3, on=("http.5xx", "network"), not_on=("http.501",))
    assert is_retryable(policy, "http.503")
    assert not is_retryable(policy, "http.501")
    assert not is_retryable(policy, "timeout.attempt")

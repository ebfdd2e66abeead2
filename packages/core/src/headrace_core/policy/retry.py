"""Retry: which errors, how often, after how long.

Exponential backoff with full jitter as in M. Brooker, "Exponential Backoff And Jitter" (2015),
except that chance is a hash of (run, step, attempt), so that a replay draws the same delay.
"""

from headrace_core.ids import stable_hash
from headrace_core.workflow.plan import Jitter, RetryPolicy

NEVER_RETRIED = (
    "auth",
    "input.invalid",
    "input.erased",
    "http.4xx",
    "ai.refusal",
    "ai.budget",
    "ai.context_too_long",
    "ai.not_configured",
    "expr.error",
    "unknown_outcome",
    "worker.permanent",
)
_RETRIED_4XX = frozenset({"http.408", "http.425", "http.429"})
DELAY_MS_MAX = 30 * 86_400_000


def matches(error_type: str, pattern: str) -> bool:
    """Dotted types match by prefix; `http.4xx` and `http.5xx` stand for their hundred codes."""
    if error_type == pattern or error_type.startswith(pattern + "."):
        return True
    if pattern in ("http.4xx", "http.5xx"):
        code = error_type.removeprefix("http.")
        return len(code) == 3 and code.isdigit() and code[0] == pattern[5]
    return False


def is_retryable(policy: RetryPolicy, error_type: str) -> bool:
    if error_type not in _RETRIED_4XX and any(
        matches(error_type, pattern) for pattern in NEVER_RETRIED
    ):
        return False
    if any(matches(error_type, pattern) for pattern in policy.not_on):
        return False
    return not policy.on or any(matches(error_type, pattern) for pattern in policy.on)


def delay_ms(
    policy: RetryPolicy, tries: int, run: str, step: str, attempt: int, retry_after_ms: int = 0
) -> int:
    """Wait before the next attempt after `tries` counted ones; a longer Retry-After wins."""
    assert tries >= 1, "the first attempt is not delayed"
    # The exponent is bounded since a float overflows where the cap has long been reached.
    ceiling = min(policy.max_ms, int(policy.initial_ms * policy.factor ** min(tries - 1, 64)))
    chance = int.from_bytes(stable_hash(run, step, str(attempt))[:7]) / (1 << 56)
    if policy.jitter is Jitter.FULL:
        delay = int(ceiling * chance)
    elif policy.jitter is Jitter.EQUAL:
        delay = ceiling // 2 + int(ceiling / 2 * chance)
    else:
        delay = ceiling
    return min(max(delay, retry_after_ms), DELAY_MS_MAX)

"""Why a call of a model gave no output: typed, in the words that `retry.on` knows.

`http.<code>`, `network`, `timeout.attempt` and `auth` mean what they mean for every other call.
Of the words of its own kind, `ai.schema_mismatch`, `ai.truncated`, `ai.content_filter` and
`ai.protocol` are retried where the policy says so, since the next answer may be another one;
`ai.refusal`, `ai.budget`, `ai.context_too_long` and `ai.not_configured` never are, so that the
step goes on to its fallback at once (headrace_core.policy.retry).
"""

import email.utils
import re
from datetime import UTC

AUTH = "auth"
NETWORK = "network"
TIMEOUT = "timeout.attempt"
BUDGET = "ai.budget"
BUDGET_OF_PROVIDER = "ai.budget.provider"
CONTENT_FILTER = "ai.content_filter"
CONTEXT_TOO_LONG = "ai.context_too_long"
NOT_CONFIGURED = "ai.not_configured"
PROTOCOL = "ai.protocol"
REFUSAL = "ai.refusal"
SCHEMA_MISMATCH = "ai.schema_mismatch"
TRUNCATED = "ai.truncated"

RETRY_AFTER_MS_MAX = 24 * 3_600_000
EXCERPT_CHARACTERS = 500

_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation"})
_NO_CREDIT_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
# Servers without a code say it in words of their own.
_TOO_LONG = re.compile(
    r"context (length|size|window)|maximum (context|model) length|prompt is too long"
    r"|too many tokens|input is too long|exceeds? the (available )?context",
    re.IGNORECASE,
)


class ModelFailed(Exception):
    """The call gave no output. `message` is for the flow's author; 0 ms is no wish to wait."""

    def __init__(self, error_type: str, message: str, retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.retry_after_ms = retry_after_ms


def fault_of_status(
    status: int, codes: frozenset[str], message: str, retry_after_ms: int = 0
) -> ModelFailed:
    """What an answer that is no success means. `codes` are the `code` and `type` of its error."""
    text = f"the model's endpoint answered {status}"
    if message:
        text += f": {excerpt_of(message)}"
    if codes & _NO_CREDIT_CODES:
        return ModelFailed(BUDGET_OF_PROVIDER, text)
    if status in (401, 403):
        return ModelFailed(AUTH, text)
    if status in (400, 413, 422):
        if codes & _TOO_LONG_CODES or _TOO_LONG.search(message):
            return ModelFailed(CONTEXT_TOO_LONG, text)
        if codes & _FILTER_CODES:
            return ModelFailed(CONTENT_FILTER, text)
    return ModelFailed(f"http.{status}", text, retry_after_ms)


def retry_after_ms(precise: str | None, value: str | None, now_ms: int) -> int:
    """Of the headers `retry-after-ms` and `retry-after` (RFC 9110, 10.2.3); 0 if there is none."""
    for text, unit in ((precise, 1), (value, 1_000)):
        if text and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip(), re.ASCII):
            return min(int(float(text) * unit), RETRY_AFTER_MS_MAX)
    if not value:
        return 0
    try:
        date = email.utils.parsedate_to_datetime(value.strip())
    except ValueError:
        return 0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0, min(int(date.timestamp() * 1_000) - now_ms, RETRY_AFTER_MS_MAX))


def excerpt_of(text: str) -> str:
    """The beginning, on one line."""
    return " ".join(text[: 4 * EXCERPT_CHARACTERS].split())[:EXCERPT_CHARACTERS]

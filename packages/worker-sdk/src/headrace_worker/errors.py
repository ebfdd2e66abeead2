"""How a task says that it failed. Any other exception is a `worker.error`, which may be retried."""

import re

WORKER_ERROR = "worker.error"
PERMANENT = "worker.permanent"
RETRY_LATER = "worker.retry_later"
INPUT_INVALID = "input.invalid"
OUTPUT_INVALID = "output.invalid"
TIMEOUT = "timeout.attempt"
UNKNOWN_OUTCOME = "unknown_outcome"
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


class TaskError(Exception):
    """The attempt failed. `type` is a dotted word of your own, such as `order.locked`, which a
    flow's `retry.on`, `retry.not_on` and error ports can name; the policy decides on a retry."""

    def __init__(self, message: str, *, type: str = WORKER_ERROR) -> None:  # noqa: A002 the word of the definition language
        super().__init__(message)
        if not _TYPE.fullmatch(type):
            raise ValueError(f"{type!r} is not a dotted word, such as order.locked")
        self.type = type


class PermanentError(TaskError):
    """The attempt failed and no further one can do better: never retried, whatever the policy.

    A `type` of your own is put behind `worker.permanent.`
    """

    def __init__(self, message: str, *, type: str = "") -> None:  # noqa: A002 see above
        super().__init__(message, type=f"{PERMANENT}.{type}" if type else PERMANENT)


class RetryLater(TaskError):
    """The attempt failed; if the policy allows another one, it begins in `after_s` at the
    earliest."""

    def __init__(
        self,
        after_s: float,
        message: str = "asked to come back later",
        *,
        type: str = RETRY_LATER,  # noqa: A002 see above
    ) -> None:
        super().__init__(message, type=type)
        if after_s < 0:
            raise ValueError("after_s is a time to wait, in seconds")
        self.after_s = after_s


class UnknownOutcome(TaskError):
    """Something outside may have happened and nobody can be asked: the step fails at once, and a
    person has to look."""

    def __init__(self, message: str) -> None:
        super().__init__(message, type=UNKNOWN_OUTCOME)

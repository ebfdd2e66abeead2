"""What becomes of a start that finds earlier runs open, and of a firing that was missed."""

from enum import StrEnum


class Overlap(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"


class OnConflict(StrEnum):
    """Of a start whose `concurrency` key has as many runs as its limit."""

    QUEUE = "queue"
    SKIP = "skip"
    CANCEL_RUNNING = "cancel_running"


class Catchup(StrEnum):
    """Which of the firings that were missed are made up for."""

    NONE = "none"
    LAST = "last"
    ALL = "all"

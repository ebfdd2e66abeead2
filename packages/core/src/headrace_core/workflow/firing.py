"""What a schedule does about a firing that finds an earlier run open, or that was missed."""

from enum import StrEnum


class Overlap(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    CANCEL_RUNNING = "cancel_running"


class Catchup(StrEnum):
    """Which of the firings that were missed are made up for."""

    NONE = "none"
    LAST = "last"
    ALL = "all"

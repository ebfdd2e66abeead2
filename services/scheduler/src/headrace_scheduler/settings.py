"""Settings of the scheduler, read once from the environment."""

from typing import ClassVar

from pydantic import Field

from headrace_runtime.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    service: ClassVar[str] = "scheduler"

    partitions: int = Field(
        default=8, description="partitions of a new log; an existing log keeps its own"
    )
    advertise: str = Field(
        default="", description="host:port that others dial; the bound address without it"
    )
    snapshot_interval_ms: int = Field(default=5_000, ge=100, description="between checkpoints")
    append_deadline_ms: int = Field(
        default=10_000, ge=1_000, description="above the log's own failover time"
    )

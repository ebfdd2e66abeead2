"""History's settings."""

from typing import ClassVar

from pydantic import Field

from headrace_runtime.settings import AddressList, ServiceSettings


class HistorySettings(ServiceSettings):
    service: ClassVar[str] = "history"

    schedulers: AddressList = Field(default=(), description="host:port of each scheduler")
    history_flush_ms: int = Field(
        default=250, ge=10, le=5_000, description="milliseconds between two flushes"
    )
    history_read_wait_s: float = Field(
        default=10.0, gt=0, le=60, description="seconds a reader waits for the projection"
    )

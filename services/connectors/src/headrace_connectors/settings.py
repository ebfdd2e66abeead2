"""Settings of connectors, read once from the environment."""

from typing import ClassVar

from pydantic import Field

from headrace_runtime.settings import ServiceSettings


class ConnectorsSettings(ServiceSettings):
    service: ClassVar[str] = "connectors"

    attempts_max: int = Field(default=1_000, ge=1, le=100_000, description="attempts at a time")
    attempt_timeout_s: float = Field(
        default=300.0, gt=0, le=3_600, description="seconds that one attempt may take at most"
    )
    answer_bytes_max: int = Field(
        default=4 * 1024 * 1024,
        ge=1_024,
        le=8 * 1024 * 1024,
        description="bytes of one answer of an outside system, decompressed",
    )

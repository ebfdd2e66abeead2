"""Settings of the executor, read once from the environment."""

from typing import ClassVar

from pydantic import Field

from headrace_runtime.settings import AddressList, ServiceSettings


class ExecutorSettings(ServiceSettings):
    service: ClassVar[str] = "executor"

    schedulers: AddressList = Field(description="host:port of every scheduler", min_length=1)
    slots: int = Field(default=64, ge=1, le=10_000, description="attempts that wait at a time")
    window: int = Field(
        default=1_024, ge=1, le=65_536, description="attempts open or on their way here"
    )

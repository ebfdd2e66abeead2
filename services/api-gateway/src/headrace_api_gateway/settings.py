"""Settings of the gateway, read once from the environment."""

from typing import ClassVar

from pydantic import Field

from headrace_runtime.settings import ListenAddress, LocalPath, ServiceSettings


class GatewaySettings(ServiceSettings):
    service: ClassVar[str] = "api-gateway"

    history: ListenAddress = Field(description="host:port of the history service")
    connectors: ListenAddress = Field(description="host:port of the connectors service")
    admin_key_file: LocalPath | None = Field(
        default=None, description="file with the first administrator's key; written if absent"
    )
    body_bytes_max: int = Field(default=1_048_576, description="largest request body")

"""Settings of the executor, read once from the environment."""

from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from headrace_runtime.settings import AddressList, ListenAddress, ServiceSettings


def _endpoint(given: str) -> str:
    try:
        url = urlsplit(given)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        usable = False
        url = urlsplit("")
    if not usable or url.username or url.password or url.query or url.fragment:
        raise ValueError("must be like https://api.openai.com/v1")
    return given


EndpointUrl = Annotated[str, AfterValidator(_endpoint)]


class ExecutorSettings(ServiceSettings):
    service: ClassVar[str] = "executor"

    schedulers: AddressList = Field(description="host:port of every scheduler", min_length=1)
    connectors: ListenAddress = Field(description="host:port of the connectors service")
    slots: int = Field(default=64, ge=1, le=10_000, description="attempts that wait at a time")
    window: int = Field(
        default=1_024, ge=1, le=65_536, description="attempts open or on their way here"
    )
    ai_base_url: EndpointUrl | None = Field(
        default=None, description="OpenAI-compatible endpoint of ai.extract, with its version"
    )
    ai_api_key: SecretStr = Field(default=SecretStr(""), description="key of that endpoint")
    ai_model: str = Field(default="", description="model of steps that name none")

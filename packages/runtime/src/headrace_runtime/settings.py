"""The base of every service's settings: one frozen model, read once from the environment.

A field `log_level` is read from `HEADRACE_LOG_LEVEL`. Secrets are SecretStr and never printed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from headrace_core.errors import SetupError
from headrace_runtime.address import Address

PREFIX = "HEADRACE_"


def _address(given: object) -> object:
    return Address.parse(given) if isinstance(given, str) else given


def _addresses(given: object) -> object:
    """`a:1,b:2`, blanks and empty places allowed."""
    if not isinstance(given, str):
        return given
    return tuple(Address.parse(part) for part in given.split(",") if part.strip())


def _from_home(given: object) -> object:
    return Path(given).expanduser() if isinstance(given, str) and given else given


ListenAddress = Annotated[Address, BeforeValidator(_address)]
"""Port 0 takes any free port."""
AddressList = Annotated[tuple[Address, ...], BeforeValidator(_addresses)]
LocalPath = Annotated[Path, BeforeValidator(_from_home)]
LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(BaseModel):
    """`from_environment` reads what the model declares and ignores the rest, since services of
    one machine share an environment. An empty variable counts as absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises SetupError that lists every fault, each with its variable."""
        given = {
            name: environment[variable_of(name)]
            for name in cls.model_fields
            if environment.get(variable_of(name))
        }
        try:
            return cls.model_validate(given)
        except ValidationError as invalid:
            lines = [_fault(cls, dict(error)) for error in invalid.errors()]
            raise SetupError(
                "These environment variables must be corrected:\n  " + "\n  ".join(lines)
            ) from None

    def shown(self) -> dict[str, object]:
        """For logs: plain values, secrets as asterisks."""
        return {name: _shown(value) for name, value in self}


class ServiceSettings(Settings):
    """What every service takes. `service` names it in logs, metrics and its ready file."""

    service: ClassVar[str]

    home: LocalPath = Field(description="state directory")
    postgres_dsn: SecretStr = Field(description="DSN of this service's own login")
    blobs: str = Field(default="", description="URL of an object store, s3://bucket/prefix")
    root_key_file: LocalPath = Field(description="file that holds the root key")
    listen: ListenAddress = Field(default=Address("127.0.0.1", 0), description="host:port")
    metrics_listen: ListenAddress | None = Field(default=None, description="host:port")
    ready_file: LocalPath | None = Field(default=None, description="written when it serves")
    log_level: LogLevel = "info"


def variable_of(field: str) -> str:
    return PREFIX + field.upper()


def _shown(value: object) -> object:
    if isinstance(value, tuple):
        return [str(part) for part in cast("tuple[object, ...]", value)]
    return value if isinstance(value, int | float | None) else str(value)


def _fault(model: type[Settings], error: dict[str, Any]) -> str:
    field = str(error["loc"][0]) if error["loc"] else ""
    if not field:
        return str(error["msg"])
    description = model.model_fields[field].description
    if error["type"] == "missing":
        return f"{variable_of(field)} is not set ({description or 'required'})"
    return f"{variable_of(field)}: {str(error['msg']).removeprefix('Value error, ')}"

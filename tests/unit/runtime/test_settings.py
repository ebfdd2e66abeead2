"""Settings from an environment: every fault at once, no secret in any text."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from headrace_core.errors import SetupError
from headrace_runtime.address import Address
from headrace_runtime.settings import AddressList, ServiceSettings

ENVIRONMENT = {
    "HEADRACE_HOME": "/var/lib/headrace",
    "HEADRACE_POSTGRES_DSN": "postgresql://scheduler:hunter2@127.0.0.1/headrace",
    "HEADRACE_ROOT_KEY_FILE": "/var/lib/headrace/root.key",
    "HEADRACE_SCHEDULERS": "127.0.0.1:7001, [::1]:7002",
}


class ExampleSettings(ServiceSettings):
    service: ClassVar[str] = "example"

    schedulers: AddressList
    slots: int = Field(default=64, ge=1)


def test_settings_are_read_by_the_name_of_their_variable() -> None:
    settings = ExampleSettings.from_environment({**ENVIRONMENT, "HEADRACE_SLOTS": "8"})
    assert settings.home == Path("/var/lib/headrace")
    assert settings.schedulers == (Address("127.0.0.1", 7001), Address("::1", 7002))
    assert settings.slots == 8
    assert settings.listen == Address("127.0.0.1", 0)
    assert settings.ready_file is None


def test_all_faults_are_told_at_once_with_their_variables() -> None:
    wrong = {
        **ENVIRONMENT,
        "HEADRACE_HOME": "",
        "HEADRACE_SLOTS": "many",
        "HEADRACE_LISTEN": "7001",
        "HEADRACE_LOG_LEVEL": "loud",
    }
    with pytest.raises(SetupError) as refused:
        ExampleSettings.from_environment(wrong)
    lines = refused.value.message.splitlines()
    assert lines[1:] == [
        "  HEADRACE_HOME is not set (state directory)",
        "  HEADRACE_LISTEN: '7001' is not host:port, such as 127.0.0.1:7431",
        "  HEADRACE_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'",
        "  HEADRACE_SLOTS: Input should be a valid integer, unable to parse string as an integer",
    ]


def test_a_secret_is_never_part_of_any_text() -> None:
    settings = ExampleSettings.from_environment(ENVIRONMENT)
    assert "hunter2" not in f"{settings!r} {settings} {settings.shown()}"
    assert "hunter2" in settings.postgres_dsn.get_secret_value()


def test_variables_of_other_services_are_no_concern_of_ours() -> None:
    ExampleSettings.from_environment({**ENVIRONMENT, "HEADRACE_PARTITIONS": "8", "PATH": "/bin"})


def test_settings_cannot_be_changed_after_the_start() -> None:
    settings = ExampleSettings.from_environment(ENVIRONMENT)
    with pytest.raises(ValidationError):
        settings.slots = 1


@pytest.mark.parametrize("text", ["host", "host:", ":80", "host:http", "host:70000", "::1:80"])
def test_what_is_no_address_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("[", r"\[")):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "scheduler-0.scheduler:7001", "[::1]:7001"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text)) == text

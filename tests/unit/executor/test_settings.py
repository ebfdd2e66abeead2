"""Settings of the executor."""

import pytest

from headrace_core.errors import SetupError
from headrace_executor.settings import ExecutorSettings
from headrace_runtime.address import Address

NEEDED = {
    "HEADRACE_HOME": "/srv/headrace",
    "HEADRACE_POSTGRES_DSN": "postgresql://executor@db/headrace",
    "HEADRACE_ROOT_KEY_FILE": "/srv/headrace/root.key",
    "HEADRACE_SCHEDULERS": "a:1, b:2",
    "HEADRACE_CONNECTORS": "c:3",
}


def test_schedulers_are_a_list_of_addresses_and_the_rest_has_defaults() -> None:
    settings = ExecutorSettings.from_environment(NEEDED)
    assert settings.schedulers == (Address("a", 1), Address("b", 2))
    assert settings.connectors == Address("c", 3)
    assert (settings.slots, settings.window) == (64, 1_024)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_SCHEDULERS", " , "),
        ("HEADRACE_CONNECTORS", ""),
        ("HEADRACE_SLOTS", "0"),
        ("HEADRACE_WINDOW", "many"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(SetupError, match=variable):
        ExecutorSettings.from_environment({**NEEDED, variable: value})

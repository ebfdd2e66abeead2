"""Settings of the executor that name the operator's model."""

import pytest

from headrace_core.errors import SetupError
from headrace_executor.settings import ExecutorSettings

NEEDED = {
    "HEADRACE_HOME": "/srv/headrace",
    "HEADRACE_POSTGRES_DSN": "postgresql://executor@db/headrace",
    "HEADRACE_ROOT_KEY_FILE": "/srv/headrace/root.key",
    "HEADRACE_SCHEDULERS": "a:1",
    "HEADRACE_CONNECTORS": "c:3",
}


def test_without_an_endpoint_there_is_no_model() -> None:
    settings = ExecutorSettings.from_environment(NEEDED)
    assert (settings.ai_base_url, settings.ai_model) == (None, "")


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "http://127.0.0.1:8080/v1", "http://[::1]:8080"]
)
def test_an_endpoint_is_taken_as_it_is_and_its_key_is_never_shown(url: str) -> None:
    given = {**NEEDED, "HEADRACE_AI_BASE_URL": url, "HEADRACE_AI_API_KEY": "sk-4711"}
    settings = ExecutorSettings.from_environment(given)
    assert settings.ai_base_url == url
    assert settings.ai_api_key.get_secret_value() == "sk-4711"
    assert "4711" not in str(settings.shown()) and "4711" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://models/v1",
        "http://",
        "http://models:0/v1",
        "http://models:99999/v1",
        "https://user:word@models/v1",
        "https://models/v1?version=2",
        "http://[::1/v1",
    ],
)
def test_an_endpoint_that_is_no_plain_url_is_named(url: str) -> None:
    with pytest.raises(SetupError, match="HEADRACE_AI_BASE_URL"):
        ExecutorSettings.from_environment({**NEEDED, "HEADRACE_AI_BASE_URL": url})

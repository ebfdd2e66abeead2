from headrace_cli.processes import inherited

ENVIRONMENT = {"PATH": "/bin", "HEADRACE_AI_API_KEY": "sk", "HEADRACE_AI_MODEL": "m"}


def test_what_is_withheld_is_not_handed_on() -> None:
    assert inherited(ENVIRONMENT, "HEADRACE_AI_") == {"PATH": "/bin"}


def test_everything_is_handed_on_where_nothing_is_withheld() -> None:
    assert inherited(ENVIRONMENT, "") == ENVIRONMENT

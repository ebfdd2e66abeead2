"""Values and addresses as they are typed, and the look of a terminal."""

import io
from pathlib import Path

import pytest

from headrace_cli.console import style_of
from headrace_cli.egress import Address, read_address
from headrace_cli.tenant_secrets import read_secret_value


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"pass\n", "pass"), (b"pass\r\n", "pass"), (b" two\nlines\n\n", " two\nlines\n")],
)
def test_one_line_break_at_its_end_is_not_part_of_a_secret(
    tmp_path: Path, content: bytes, value: str
) -> None:
    file = tmp_path / "value"
    file.write_bytes(content)
    assert read_secret_value(file, "db") == value


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("db.example.com:5432", "db.example.com", 5432), ("[::1]:80", "::1", 80)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert read_address(text) == Address(host, port)
    assert str(read_address(text)) == text


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them() -> None:
    assert style_of(Terminal(), {}).colours
    assert not style_of(Terminal(), {"NO_COLOR": "1"}).colours
    assert not style_of(Terminal(), {"TERM": "dumb"}).colours
    assert not style_of(io.StringIO(), {}).colours

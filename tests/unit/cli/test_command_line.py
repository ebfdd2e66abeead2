"""The command line as a whole: what it offers, and commands that need no service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from headrace_cli.__main__ import app
from headrace_cli.exit_code import MEANINGS, ExitCode
from tests.unit.cli.command import headrace

GOOD = "flow: v1\nname: good\nsteps: {keep: {set: {n: 1}}}\n"
BAD = "flow: v1\nname: bad\nsteps: {keep: {sett: {n: 1}}}\n"


def commands(of: typer.Typer, *prefix: str) -> Iterator[tuple[str, ...]]:
    """Every command as its words on the command line."""
    for info in of.registered_commands:
        assert info.callback is not None
        yield (*prefix, info.name or info.callback.__name__)
    for group in of.registered_groups:
        assert group.typer_instance is not None
        assert group.name is not None
        yield from commands(group.typer_instance, *prefix, group.name)


COMMANDS = tuple(commands(app))


def test_the_commands_are_those_that_the_documentation_names() -> None:
    text = Path("docs/cli.md").read_text(encoding="utf-8")
    missing = [" ".join(words) for words in COMMANDS if f"`headrace {' '.join(words)}" not in text]
    assert missing == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_json_and_explains_itself(words: tuple[str, ...]) -> None:
    shown = headrace(*words, "--help")
    assert shown.exit_code == ExitCode.OK
    assert "--json" in shown.stdout


def test_the_help_says_what_the_exit_codes_mean() -> None:
    shown = " ".join(headrace("--help").stdout.split())
    for code, meaning in MEANINGS.items():
        assert f"{code.value} {meaning}" in shown


def test_the_documentation_says_what_the_exit_codes_mean() -> None:
    text = Path("docs/cli.md").read_text(encoding="utf-8")
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text


def test_an_unknown_command_and_a_wrong_option_are_usage(tmp_path: Path) -> None:
    for words in (["bogus"], ["runs", "--nope"], ["state"], ["validate", str(tmp_path)]):
        assert headrace(*words).exit_code == ExitCode.USAGE


def test_where_nothing_runs_the_failure_says_how_to_start_it(tmp_path: Path) -> None:
    answered = headrace("runs", "--home", str(tmp_path), "--json")
    assert answered.exit_code == ExitCode.UNREACHABLE
    assert f"headrace up --home {tmp_path}" in answered.stderr
    assert json.loads(answered.stdout)["error"]["code"] == "HR-2007"


def test_validation_answers_with_its_exit_code(tmp_path: Path) -> None:
    good = tmp_path / "good.flow.yaml"
    good.write_text(GOOD, encoding="utf-8")
    answered = headrace("validate", str(good))
    assert (answered.exit_code, answered.stdout) == (ExitCode.OK, "")
    assert answered.stderr == "1 file valid\n"
    (tmp_path / "bad.flow.yaml").write_text(BAD, encoding="utf-8")
    answered = headrace("validate", str(tmp_path))
    assert answered.exit_code == ExitCode.REFUSED
    assert f"{tmp_path}/bad.flow.yaml:3:" in answered.stdout
    assert "help: " in answered.stdout
    assert answered.stderr.endswith("in 1 of 2 files\n")
    document = json.loads(headrace("validate", str(tmp_path), "--json").stdout)
    assert [one["valid"] for one in document["files"]] == [False, True]


def test_the_schema_describes_what_validation_accepts() -> None:
    answered = headrace("schema")
    assert answered.exit_code == ExitCode.OK
    schema = json.loads(answered.stdout)
    assert "steps" in json.dumps(schema)
    assert answered.stdout == headrace("schema", "--json").stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [("{", "no JSON"), ("[1]", "must hold a JSON object"), ("@/gone.json", "cannot be read")],
)
def test_an_input_that_is_none_is_refused_before_anything_is_asked(
    tmp_path: Path, given: str, told: str
) -> None:
    answered = headrace("run", "hello", "--input", given, "--home", str(tmp_path))
    assert answered.exit_code == ExitCode.USAGE
    assert told in answered.stderr


@pytest.mark.parametrize("given", [b"", b"\n", b"\xff\xfe"])
def test_a_secret_without_a_value_is_refused_before_anything_is_asked(
    tmp_path: Path, given: bytes
) -> None:
    file = tmp_path / "value"
    file.write_bytes(given)
    there = ("--url", "http://127.0.0.1:1", "--key", "k")
    for answered in (
        headrace("secrets", "set", "db", *there, given=given),
        headrace("secrets", "set", "db", "--from-file", str(file), *there),
    ):
        # Nobody answers there, which would be said otherwise.
        assert answered.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    "text", ["host", "host:", ":80", "host:0", "host:65536", "::1:80", "a/b:1"]
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    answered = headrace("egress", "allow", text, "--home", str(tmp_path))
    assert answered.exit_code == ExitCode.USAGE
